"""The newest messages of a chatroom as a gateway keeps them, encoded: what pulls are answered from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container

from apps.routing.protocol.im_pb2 import ChrmDownStreamMessages, DownStreamMessages
from apps.routing.protocol.messages import for_v2, in_list

RING_MAX = 400  # messages
RING_MIN = 32  # likewise, in a room that few of the gateway's connections are in
MESSAGE_BYTES = 2560  # so much for each of these; the oldest go first
PAGES_MAX = 64  # encoded replies that are kept until the next message
_NEVER = 1 << 63


class Ring:
    """The newest messages of a room, as they are shown: complete after `floor`, or not at all yet."""

    __slots__ = ("_bodies", "_bodies_v2", "_evicted", "_pages", "_since", "_size", "_times", "_uids")

    def __init__(self) -> None:
        self._times: list[int] = []
        self._uids: list[str] = []
        self._bodies: list[bytes] = []
        self._bodies_v2: list[bytes] = []
        self._size = 0
        self._since = _NEVER
        self._evicted = 0
        self._pages: dict[tuple[int, int], bytes] = {}

    @property
    def floor(self) -> int:
        """ms; every message later than this is here."""
        return max(self._since, self._evicted)

    @property
    def newest(self) -> int:
        return self._times[-1] if self._times else 0

    def complete(self, since: int) -> None:
        """What is not here is not later than this: a node has looked after the ring was made."""
        self._since = min(self._since, since)

    def add(self, at: int, uid: str, down: bytes, readers: int) -> None:
        """The next message. The more connections read it, the more are kept."""
        body = in_list(down)
        old = for_v2(down)
        self._times.append(at)
        self._uids.append(uid)
        self._bodies.append(body)
        self._bodies_v2.append(body if old is down else in_list(old))
        self._size += len(body)
        self._pages.clear()
        most = min(RING_MIN + readers, RING_MAX)
        if len(self._times) > most or self._size > most * MESSAGE_BYTES:
            self._evict(most * 7 // 8)  # more than is needed, so that it is not done at every message

    def remove(self, uid: str) -> None:
        """A message that is shown no more."""
        if uid in self._uids:
            place = self._uids.index(uid)
            self._size -= len(self._bodies[place])
            for each in (self._times, self._uids, self._bodies, self._bodies_v2):
                del each[place]  # type: ignore[attr-defined]
            self._pages.clear()

    def _evict(self, most: int) -> None:
        number, kept = 0, self._size
        while kept > most * MESSAGE_BYTES or len(self._times) - number > most:
            kept -= len(self._bodies[number])
            number += 1
        self._size, self._evicted = kept, self._times[number - 1]
        for each in (self._times, self._uids, self._bodies, self._bodies_v2):
            del each[:number]  # type: ignore[attr-defined]

    def first(self, count: int, joined_at: int) -> int | None:
        """ms after which a first pull of `count` messages begins; None when these are not all here."""
        if count <= 0:
            return joined_at
        return min(self._times[-count - 1], joined_at) if count < len(self._times) else None

    def page(self, since: int, upto: int, generation: int, without: Container[str] = ()) -> bytes:
        """The reply with everything later than `since`, which takes the client's cursor to `upto`."""
        start = bisect_right(self._times, since)
        if without:
            return self._encode(start, upto, generation, without)
        key = (start, generation)
        page = self._pages.get(key)
        if page is None or upto > self.newest:
            page = self._encode(start, upto, generation, without)
            if len(self._pages) < PAGES_MAX and upto == self.newest:
                self._pages[key] = page
        return page

    def _encode(self, start: int, upto: int, generation: int, without: Container[str]) -> bytes:
        bodies = self._bodies_v2 if generation == 2 else self._bodies
        shown = [bodies[i] for i in range(start, len(bodies)) if self._uids[i] not in without]
        return b"".join(shown) + page_end(upto, generation)


def page_end(upto: int, generation: int) -> bytes:
    """What follows the list in the reply to a chrmPull: that the client has everything up to then.

    v2 and v4 want to hear that it is all. For v5 the same field says that the list is compressed.
    """
    if generation == 5:
        return ChrmDownStreamMessages(syncTime=upto).SerializeToString()
    return DownStreamMessages(syncTime=upto, finished=True).SerializeToString()


def without(payload: bytes, own: dict[str, None]) -> bytes:
    """A node's page of messages without those that the connection itself has sent."""
    if not own:
        return payload
    page = DownStreamMessages.FromString(payload)
    kept = [message for message in page.list if message.msgId not in own]
    if len(kept) == len(page.list):
        return payload
    del page.list[:]
    page.list.extend(kept)
    return page.SerializeToString()
