"""A crowd in one chatroom: members that do nothing but listen, as v4 does, and one that talks.

A member pulls when it is told that there is something, one pull at a time, and shows what it gets. Everybody
is to be shown every message once and in order. All ends live in this process, so one clock times them.
"""

import asyncio
import time
from array import array
from collections.abc import Callable
from typing import Any

from apps.routing.protocol.im_pb2 import ChrmInput, ChrmPullMsg, DownStreamMessages
from apps.routing.protocol.packets import PINGREQ, Publish, Query, encode_upstream
from bench.client import websocket_url
from bench.load import number_of, numbered, paced
from bench.tokens import App
from bench.wire import Wire

ENTERING_AT_ONCE = 64
ENTER_SECONDS = 60.0  # for one member to be in, within the queue of all
DRAIN_SECONDS = 10.0  # after the last message, for what is still on its way
LOOK_SECONDS = 0.05
PING_SECONDS = 30.0
PUBLISH, PUBACK, QUERYACK, CONNACK = 3, 4, 6, 2  # the upper half of a packet's first byte
JOINING = 1  # messageId

Shown = Callable[["Member", int], None]  # which message


class Member:
    """One connection in the room."""

    def __init__(self, room: str, on_shown: Shown):
        self._room = room
        self._prefix = encode_upstream(Query("chrmPull", room, 0, b""))[:-2]
        self._on_shown = on_shown
        self._wire: Wire | None = None
        self._id = JOINING
        self._pulling = False
        self._again = False
        self.cursor = 0  # ms
        self.expected = 0  # the number of the next message
        self.inside: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refused = 0

    async def enter(self, url: str) -> None:
        """Connect, join, and pull for the first time; TimeoutError or ConnectionError when it cannot."""
        async with asyncio.timeout(ENTER_SECONDS):
            self._wire = await Wire.open(url, self._on_packet, self._lost)
            self._wire.send(PINGREQ)
            join = Query("joinChrm", self._room, JOINING, ChrmInput(nothing=0).SerializeToString())
            self._wire.send(encode_upstream(join))
            await self.inside

    def say(self, number: int) -> None:
        """Send a message into the room."""
        if self._wire is not None:
            self._id = self._id % 65535 + 1
            self._wire.send(encode_upstream(Publish("chatMsg", self._room, self._id, numbered(number))))

    def ping(self) -> None:
        if self._wire is not None:
            self._wire.send(PINGREQ)

    def close(self) -> None:
        if self._wire is not None:
            self._wire.abort()

    def _lost(self) -> None:
        if not self.inside.done():
            self.inside.set_exception(ConnectionError("closed before it was in the room"))

    def _on_packet(self, data: bytes) -> None:
        kind = data[0] >> 4
        if kind == PUBLISH:  # nothing but notices: messages are never pushed
            self._pull()
        elif kind == QUERYACK:
            self._answered(int.from_bytes(data[1:3]), int.from_bytes(data[7:9]), data[9:])
        elif kind == PUBACK and data[7:9] != b"\0\0":
            self.refused += 1

    def _pull(self) -> None:
        if self._pulling:
            self._again = True
        elif self._wire is not None:
            self._pulling, self._again = True, False
            self._id = self._id % 65535 + 1
            wanted = ChrmPullMsg(syncTime=self.cursor, count=0).SerializeToString()
            self._wire.send(self._prefix + self._id.to_bytes(2) + wanted)

    def _answered(self, message_id: int, status: int, payload: bytes) -> None:
        if status:
            self.refused += 1
        elif message_id == JOINING and not self.cursor:
            self._pull()
            return
        else:
            reply = DownStreamMessages.FromString(payload)
            for message in reply.list:
                self._on_shown(self, number_of(message.content))
            self.cursor = reply.syncTime
            if not self.inside.done():
                self.inside.set_result(None)
        self._pulling = False
        if self._again:
            self._pull()


class Crowd:
    """The members of one room, and what they were shown."""

    def __init__(self, app: App, tokens: dict[str, str], room: str):
        self._app = app
        self._room = room
        self._urls = [websocket_url(app.url, app.key, token) for token in tokens.values()]
        self.members: list[Member] = []
        self._talker = Member(room, lambda member, number: None)
        self._sent: list[float] = []
        self._missing: list[int] = []  # by message: how many members have not been shown it
        self.last_member = array("d")  # s from a message's sending to when the last member was shown it
        self.deliveries = 0
        self.repeated = self.out_of_order = 0

    async def enter(self, number: int, tell: Callable[[str], None]) -> None:
        """Have so many more be in the room; the one who talks is the first."""
        if not self.members:
            await self._talker.enter(self._urls.pop())
        urls = [self._urls.pop() for _ in range(min(number, len(self._urls)))]
        turns = asyncio.Semaphore(ENTERING_AT_ONCE)

        async def one(url: str) -> None:
            async with turns:
                member = Member(self._room, self._shown)
                await member.enter(url)
                self.members.append(member)
                if not len(self.members) % 1000:
                    tell(f"{len(self.members)} members")

        await asyncio.gather(*map(one, urls))

    async def talk(self, rate: int, seconds: float) -> None:
        """Send so many messages a second, whatever becomes of them."""
        pinged = time.perf_counter()
        async for _ in paced(rate, seconds):
            number = len(self._sent)
            self._missing.append(len(self.members))
            self._sent.append(time.perf_counter())
            self._talker.say(number)
            if time.perf_counter() - pinged > PING_SECONDS:
                pinged = time.perf_counter()
                for member in self.members:
                    member.ping()

    async def settle(self) -> None:
        """Wait for what is still on its way."""
        for _ in range(round(DRAIN_SECONDS / LOOK_SECONDS)):
            if not any(self._missing):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        for member in (self._talker, *self.members):
            member.close()

    def _shown(self, member: Member, number: int) -> None:
        self.deliveries += 1
        if number == member.expected:
            member.expected += 1
        elif number < member.expected:
            self.repeated += 1
            return
        else:
            self.out_of_order += 1  # one is missing before it
            member.expected = number + 1
        self._missing[number] -= 1
        if not self._missing[number]:
            self.last_member.append(time.perf_counter() - self._sent[number])

    def faults(self) -> dict[str, Any]:
        """What went wrong; lost: not shown to a member at all."""
        return {
            "lost": sum(self._missing),
            "duplicated": self.repeated,
            "out_of_order": self.out_of_order,
            "refused": self._talker.refused + sum(member.refused for member in self.members),
        }
