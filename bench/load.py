"""Closed-loop load of user pairs, and idle connections; both measure a window after a warm-up.

A message occupies its place in the loop until it is acknowledged to the sender *and* shown to the receiver,
and only then counts. Both ends live in this process, so one clock times both.
"""

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from apps.routing.protocol.im_pb2 import DownStreamMessage
from bench.client import OWN, SOCKET_CLOSED, Client, text_message, websocket_url
from bench.ledger import Ledger, Verdict

BODY_BYTES = 120
CONNECTING_AT_ONCE = 32
CONNECT_SECONDS = 60.0  # for one client to be ready, within the queue of all
DRAIN_SECONDS = 10.0  # after the window, for what is still on its way
DRAIN_LOOK_SECONDS = 0.05
PAUSE_SECONDS = 0.1  # after a refusal or while offline
_HEAD, _DIGITS = b'{"content":"', 10
_BODY = (_HEAD + b"#" * _DIGITS).ljust(BODY_BYTES - 2, b"x") + b'"}'
_BEGIN, _END = text_message(_BODY).split(b"#" * _DIGITS)


def numbered(number: int) -> bytes:
    """UpStreamMessage whose body of BODY_BYTES carries `number`."""
    return _BEGIN + b"%0*d" % (_DIGITS, number) + _END


def number_of(content: bytes) -> int:
    """The number in a body made by `numbered`; -1 in a body of somebody else."""
    digits = content[len(_HEAD) : len(_HEAD) + _DIGITS]
    return int(digits) if digits.isdigit() else -1


@dataclass(slots=True)
class Window:
    """What completed while the window was open; times in seconds."""

    open: bool = False
    completed: int = 0
    acks: "array[float]" = field(default_factory=lambda: array("d"))
    deliveries: "array[float]" = field(default_factory=lambda: array("d"))


class Loop:
    """One sender that keeps `outstanding` messages to one receiver under way until `running` is false."""

    def __init__(self, ledger: Ledger, window: Window, receiver: str):
        self._ledger = ledger
        self._window = window
        self._receiver = receiver
        self._started: dict[int, float] = {}
        self._half_done: set[int] = set()  # acknowledged or shown, and the other one is awaited
        self.client: Client | None = None
        self.running = True

    @property
    def under_way(self) -> int:
        """Messages that wait for their acknowledgement or showing."""
        return len(self._started)

    def next(self) -> None:
        """Send one more message, now or as soon as the client is online."""
        client = self.client
        if not self.running or client is None:
            return
        if not client.online:
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self.next)
            return
        number = self._ledger.attempted(client.user, self._receiver)
        self._started[number] = time.perf_counter()
        client.send(self._receiver, numbered(number), number)

    def answered(self, number: int, status: int, uid: str, sent_at: int) -> None:
        """The sender's SDK has heard (or has lost hope) about `number`."""
        assert self.client is not None
        if not status:
            self._ledger.acknowledged(self.client.user, self._receiver, number, uid, sent_at)
            if self._window.open:
                self._window.acks.append(time.perf_counter() - self._started[number])
            self._one_half(number)
            return
        if status != SOCKET_CLOSED:
            self._ledger.refused(self.client.user, self._receiver, number, status)
        self._started.pop(number, None)
        self._half_done.discard(number)
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, self.next)

    def shown(self, number: int) -> None:
        """The receiver's user saw `number`."""
        started = self._started.get(number)
        if started is not None:
            if self._window.open:
                self._window.deliveries.append(time.perf_counter() - started)
            self._one_half(number)

    def _one_half(self, number: int) -> None:
        if number not in self._half_done:
            self._half_done.add(number)
            return
        self._half_done.discard(number)
        del self._started[number]
        if self._window.open:
            self._window.completed += 1
        self.next()


class Pairs:
    """`users` connected users in pairs, `senders` of which send to their partner."""

    def __init__(self, url: str, app_key: str, tokens: dict[str, str], *, senders: int | None = None):
        users = list(tokens)
        self.ledger = Ledger()
        self.window = Window()
        partner = {user: users[index ^ 1] for index, user in enumerate(users)}
        self._loops = {user: Loop(self.ledger, self.window, partner[user]) for user in users}
        self.clients = [self._client(websocket_url(url, app_key, tokens[user]), user) for user in users]
        self._senders = list(self._loops.values())[:senders]

    def _client(self, url: str, user: str) -> Client:
        client = Client(url, user, self._loops[user].answered, self._shown_to(user))
        self._loops[user].client = client
        return client

    def _shown_to(self, receiver: str) -> Callable[[DownStreamMessage], None]:
        ledger, loops = self.ledger, self._loops

        def shown(message: DownStreamMessage) -> None:
            if message.direction == OWN:
                return
            sender, number = message.fromUserId, number_of(message.content)
            ledger.shown(sender, receiver, number, message.msgId, message.dataTime)
            if sender in loops:
                loops[sender].shown(number)

        return shown

    def begin(self, outstanding: int) -> None:
        """Put the loops in motion."""
        for loop in self._senders:
            for _ in range(outstanding):
                loop.next()

    async def finish(self) -> Verdict:
        """Stop sending, wait until all is there or DRAIN_SECONDS have passed, and judge."""
        for loop in self._senders:
            loop.running = False
        for _ in range(int(DRAIN_SECONDS / DRAIN_LOOK_SECONDS)):
            if not any(loop.under_way for loop in self._senders):
                break
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
        await asyncio.sleep(0.5)  # a second copy would come now
        return self.ledger.verdict()


async def connect(clients: Sequence[Client], progress: Callable[[str], None] = lambda _: None) -> None:
    """Connect all and wait until each has finished its first pull; TimeoutError when one does not."""
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
    ready = 0

    async def one(client: Client) -> None:
        nonlocal ready
        async with gate:
            client.start()
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.ready.wait()
        ready += 1
        if ready % 500 == 0:
            progress(f"{ready} of {len(clients)} connected")

    await asyncio.gather(*(one(client) for client in clients))


async def disconnect(clients: Sequence[Client]) -> None:
    """Close all connections of `clients`."""
    await asyncio.gather(*(client.stop() for client in clients))
