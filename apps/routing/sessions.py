"""One connection and what it may be shown: direct push, notice, sync, acknowledgement.

The rules are PROTOCOL 6.2 and 6.3, and one of our own: a connection has a `position`, the log's seq up to
which its last finished pull held everything. Rows up to it are never pushed; rows past it are pushed in log
order, or the connection falls behind and gets one `s_ntf`; it is pushed to again when it has pulled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from enum import Enum
from typing import Any, Protocol

from apps.routing.envelope import Answer, Row, first_seq
from apps.routing.methods import METHODS, Method
from apps.routing.metrics import traffic
from apps.routing.protocol import packets
from apps.routing.protocol.im_pb2 import NotifyMsg
from apps.routing.protocol.messages import for_v2
from apps.routing.protocol.packets import DisconnectStatus

logger = logging.getLogger(__name__)

WINDOW = 64  # pushes that a connection may leave unacknowledged; past it, notices
OUTBOX_MAX = 1024  # frames that wait for a socket which a server with back-pressure holds up
SENT_MAX = 4096  # messages for other SETs whose copies have not come back; see sent_elsewhere
DUE = 5.0  # s without acknowledgement after which a device is notified; doubled each time
DUE_MAX = 300.0  # s
LINGER = 0.5  # s between a last DISCONNECT and the close: it must be flushed first (PROTOCOL 6.10)
# What a server's `send` raises when the connection has ended, which `receive` has still to say: the first by
# ASGI, the second is uvicorn's after a close of its own.
GONE = (OSError, RuntimeError)

_ORDINARY = Method()

Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]

_tasks: set[asyncio.Future[None]] = set()  # the event loop itself holds its tasks weakly


def _hold(task: asyncio.Future[None]) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


class Reading(Enum):
    """What a connection has read of its inbox."""

    NOTHING = 0  # it has not finished a pull yet
    LIVE = 1  # everything: what comes next is pushed
    BEHIND = 2  # something was kept from it: it must pull


@types.coroutine
def _resume(started: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that was started by hand and now waits."""
    while True:
        try:
            try:
                value = yield waits_for
            except BaseException as error:
                waits_for = started.throw(error)
            else:
                waits_for = started.send(value)
        except StopIteration:
            return


class Socket(Protocol):
    """A way around ASGI's `send`, where there is one."""

    def write(self, frame: bytes) -> None:
        """Send one binary message now, without waiting; nothing when the socket is closed."""

    def unsent(self) -> int:
        """Bytes that the client has not read."""


class Connection:
    """One client connection. All its methods run on the event loop and none waits."""

    __slots__ = (
        "_next_id",
        "_sent",
        "acknowledged",
        "address",
        "app_key",
        "backoff",
        "changes",
        "closed",
        "device",
        "ending",
        "epoch",
        "generation",
        "groups",
        "heard_at",
        "home",
        "id",
        "in_flight",
        "issued",
        "logged_out",
        "missed",
        "missed_time",
        "notified_at",
        "outbox",
        "platform",
        "polls",
        "port",
        "position",
        "pulled",
        "pulls",
        "reading",
        "rooms",
        "sdk",
        "seen",
        "send",
        "shown",
        "since",
        "socket",
        "source",
        "tenant",
        "user",
        "window",
    )  # fmt: skip

    def __init__(self, *, id: str, tenant: int, app_key: str, user: str, home: str, send: Send) -> None:
        self.id = id
        self.tenant = tenant
        self.app_key = app_key
        self.user = user
        self.home = home  # the user's SET
        self.send = send
        self.platform = "Web"
        self.generation = 0
        self.device = ""
        self.sdk = ""
        self.source = 0  # the bits of Request.options of its platform
        self.address = ""
        self.port = 0
        self.logged_out = False  # it ended with "no more pushes"
        self.socket: Socket | None = None  # where the server offers one
        self.polls = False  # long polling: a push that arrives with a pull's reply is lost (PROTOCOL 6.3)
        self.since = time.time_ns() // 1_000_000
        self.issued = self.since  # ms: its token
        self.heard_at = time.monotonic()
        self.ending = False  # a DISCONNECT was written: what it still sends is not looked at
        self.closed = False
        self.outbox: deque[bytes] | None = None
        self.reading = Reading.NOTHING
        self.position = -1  # seq; see the module
        self.epoch = 1  # of the home's log, as far as one has begun on this connection
        self.pulls = 0  # pulls that are out
        self.missed = 0  # seq of the newest row that was kept from it
        self.missed_time = 0
        self.window: dict[int, tuple[int, float]] = {}  # messageId -> (message time, pushed at)
        self.notified_at = 0.0  # monotonic; 0: no notice is unanswered
        self.backoff = DUE
        self.seen = 0  # ms: highest message time shown; a message that it sends is later
        self.shown = 0  # ms: everything of the home's log up to it was shown, if nothing was kept
        self.acknowledged = 0  # ms: everything up to it was acknowledged
        self.pulled: dict[int, int] = {}  # messageId of a pull -> its newest time, until QUERYCON
        self.in_flight = 0  # publishes and queries without an answer
        self.rooms: dict[str, Any] = {}  # the chatrooms that it has joined; apps.routing.rooms has the values
        self._next_id = 65536
        self._sent: dict[str, None] = {}
        self.groups: frozenset[str] | None = None  # of the user; None: not known, a pull must ask for them
        self.changes: list[tuple[int, str, bool]] = []  # (seq, group, comes) while a pull is out

    # --- writing

    def __str__(self) -> str:
        """As log lines have it."""
        return f"tenant {self.tenant}, connection {self.id}"

    def write(self, frame: bytes) -> None:
        """Hand one frame to the server, which may make it wait: that is waited for apart."""
        if self.closed or self.ending:
            return
        traffic.sent[frame[0]] += 1
        if self.socket is not None:
            self.socket.write(frame)
            return
        if self.outbox is not None:
            self.outbox.append(frame)
            if len(self.outbox) > OUTBOX_MAX:
                logger.warning("%s: too slow, dropped", self)
                self.close()
            return
        # Driving the coroutine here saves a task per frame; ASGI servers without back-pressure never wait.
        sending = self.send({"type": "websocket.send", "bytes": frame})
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        except GONE:  # one row is shown to many: who is gone must not keep it from the others
            self.closed = True
            return
        self.outbox = deque()
        _hold(asyncio.ensure_future(self._drain(sending, waits_for)))

    async def _drain(self, sending: Coroutine[Any, Any, None], waits_for: Any) -> None:
        try:
            await _resume(sending, waits_for)
            while self.outbox and not self.closed:
                await self.send({"type": "websocket.send", "bytes": self.outbox.popleft()})
        except GONE:
            self.closed = True
        finally:
            self.outbox = None

    def close(self) -> None:
        """End the connection without a DISCONNECT: SDKs reconnect."""
        if not self.closed:
            self.closed = True
            _hold(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        with contextlib.suppress(*GONE):
            await self.send({"type": "websocket.close"})

    def disconnect(self, status: DisconnectStatus) -> None:
        """End the connection with a reason: SDKs do not come back, but on a redirect."""
        if self.ending:
            return
        self.write(packets.encode_disconnect(status))
        self.ending = True
        asyncio.get_running_loop().call_later(LINGER, self.close)

    # --- showing

    def _take_id(self) -> int:
        # Downwards: the client's own ids count upwards, and one table holds both (PROTOCOL 3.6).
        self._next_id = self._next_id - 1 if self._next_id > 32768 else 65535
        return self._next_id

    @property
    def _up_to_date(self) -> bool:
        return self.reading is Reading.LIVE and not self.pulls

    def _keep(self, row: Row) -> None:
        self.missed = row.seq
        self.missed_time = row.time

    def show(self, row: Row, down: bytes) -> None:
        """Push a received message, or note that it was kept."""
        if row.seq == 0:
            if self.reading is not Reading.NOTHING:
                body = for_v2(down) if self.generation == 2 else down
                self.write(packets.encode_push(row.time // 1000, self.user, self._take_id(), body, qos=0))
                traffic.pushed(row.time)
        elif row.seq > self.position:
            # An SDK makes its cursor of the time that a push shows: it must be the one of its inbox.
            pushes = self._up_to_date and not self.polls and len(self.window) < WINDOW
            if pushes and row.sent == row.time:
                message_id = self._take_id()
                self.window[message_id] = (row.time, time.monotonic())
                self.seen = max(self.seen, row.time)
                self.shown = row.time
                body = for_v2(down) if self.generation == 2 else down
                self.write(packets.encode_push(row.time // 1000, self.user, message_id, body, qos=1))
                traffic.pushed(row.time)
            else:
                self._keep(row)
                if self._up_to_date:
                    self.reading = Reading.BEHIND
                    if not self.window:  # otherwise the notice goes when it has emptied
                        self.notify()

    def show_sent(self, row: Row) -> None:
        """Sync a message that another device of the user has sent (PROTOCOL 3.6)."""
        method = METHODS.get(row.method, _ORDINARY)
        if row.seq <= self.position or self.generation < method.since:
            return
        # v2 asks for its own sent messages only in its first pull, and drops repeated ones by itself.
        if self._up_to_date or (self.generation == 2 and self.reading is not Reading.NOTHING):
            message_id = self._take_id()
            target = row.target if method.resource is None else self.user
            self.write(packets.encode_sync(row.sent // 1000, row.method, target, message_id, row.up))
            if not self.polls or self.generation != 2:  # which knows nothing to do with it (PROTOCOL 2.3)
                self.write(packets.encode_puback(message_id, row.sent, 0, row.uid))
            traffic.syncs += 1
            self.seen = max(self.seen, row.time)
            self.shown = max(self.shown, row.time)
        else:
            self._keep(row)

    def pass_over(self, row: Row) -> None:
        """A message of its own, which it shows already."""
        if self._up_to_date:
            self.shown = max(self.shown, row.time)

    def sent_elsewhere(self, uid: str) -> None:
        """It has sent a message to a user of another SET: a copy for the sender's other devices will come."""
        if len(self._sent) >= SENT_MAX:
            del self._sent[next(iter(self._sent))]
        self._sent[uid] = None

    def has_sent(self, uid: str) -> bool:
        """Whether the copy that has come is of a message of its own; once."""
        return bool(self._sent) and self._sent.pop(uid, uid) is None

    def fall_behind(self, position: int) -> None:
        """It was not shown rows up to seq `position`: it must pull."""
        self.missed = position
        self.missed_time = max(self.missed_time, self.seen + 1)
        if self.reading is Reading.LIVE:
            self.reading = Reading.BEHIND
            if not self.pulls:
                self.notify()

    def move(self, home: str, covered: int) -> None:
        """The user's slot went to another SET, whose log counts from elsewhere, up to `covered` so far."""
        self.home = home
        self.position = -1
        self.epoch = 1  # the other one was of another log
        self.fall_behind(covered)

    def begin(self, epoch: int) -> None:
        """The home's log goes on in another database, with an epoch of its own."""
        self.epoch = epoch
        self.fall_behind(self.least)

    @property
    def least(self) -> int:
        """A position, as a seq, before this one is of an earlier epoch's log."""
        return first_seq(self.epoch)

    @property
    def from_old_log(self) -> bool:
        """What it has read is the log of an earlier epoch."""
        return 0 <= self.position < self.least

    def notify(self) -> None:
        """One `s_ntf`: pull what you were not shown."""
        self.notified_at = time.monotonic()
        notice = NotifyMsg(type=1, time=self.missed_time).SerializeToString()
        self.write(packets.encode_notify(self.missed_time // 1000, self.user, notice))
        traffic.notices += 1

    def signal(self, topic: str, payload: bytes) -> None:
        """A notice of another kind, such as `s_cmd` (PROTOCOL 4.2)."""
        self.write(packets.encode_notify(int(time.time()), self.user, payload, topic=topic))

    # --- hearing

    def confirm(self, message_id: int) -> None:
        """PUBACK of a push."""
        if self.window.pop(message_id, None) is None:
            return
        traffic.acknowledged += 1
        if self.window:
            return
        if self.reading is Reading.BEHIND and not self.pulls and not self.notified_at:
            self.notify()

    def confirm_query(self, message_id: int) -> None:
        """QUERYCON of a pull: its reply was taken."""
        newest = self.pulled.pop(message_id, 0)
        self.acknowledged = max(self.acknowledged, newest)

    def pull_answered(self, message_id: int, answer: Answer, home: str) -> None:
        """The reply of a pull has just been written. `home`: the SET that was asked."""
        self.pulls -= 1
        self.pulled = {message_id: answer.newest}
        self.seen = max(self.seen, answer.newest)
        self.shown = max(self.shown, answer.newest)
        if home != self.home or answer.position < self.least:  # it has moved since, or the home's log has
            self.reading = Reading.BEHIND
            self.missed_time = max(self.missed_time, answer.newest + 1)
            if not self.pulls:
                self.notify()
            return
        if not answer.finished:
            self.reading = Reading.BEHIND
            self.missed_time = max(self.missed_time, answer.newest + 1)
            if self.generation == 2:  # it does not go on by itself (PROTOCOL 6.2)
                self.notify()
            return
        if self.from_old_log:
            self.acknowledged = answer.newest or self.acknowledged  # of the new one
        self.position = max(self.position, answer.position)
        self.window.clear()
        self.notified_at, self.backoff = 0.0, DUE
        if self.missed <= self.position:
            self.reading = Reading.LIVE
        else:
            self.reading = Reading.BEHIND
            if not self.pulls:
                self.notify()

    # --- time

    def cursor(self) -> int:
        """ms up to which everything was acknowledged."""
        if self.window:
            self.acknowledged = max(self.acknowledged, next(iter(self.window.values()))[0] - 1)
        elif self._up_to_date and not self.pulled:
            self.acknowledged = max(self.acknowledged, self.shown)
        return self.acknowledged

    def due_at(self) -> float | None:
        """monotonic s at which what it has not acknowledged should be announced again; None: nothing."""
        if self.pulls:
            return None
        if self.notified_at:
            return self.notified_at + self.backoff
        if self.window:
            return next(iter(self.window.values()))[1] + self.backoff
        return None

    def compensate(self) -> bool:
        """Announce what was pushed and not acknowledged; True if there was still need."""
        due = self.due_at()
        if due is None or due > time.monotonic():
            return False
        self.missed_time = max(self.missed_time, self.seen + 1)  # v2 ignores a notice of what it has
        self.window.clear()
        self.reading = Reading.BEHIND
        self.backoff = min(self.backoff * 2, DUE_MAX)
        self.notify()
        return True
