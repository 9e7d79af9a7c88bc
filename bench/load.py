"""Closed-loop load of user pairs, and idle connections; both measure a window after a warm-up.

A message occupies its place in the loop until it is acknowledged to the sender *and* shown to the receiver
(and to the sender's second device, where it has one), and only then counts. All ends live in this process, so
one clock times them.
"""

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from apps.routing.protocol.im_pb2 import DownStreamMessage
from bench.client import OWN, SOCKET_CLOSED, Client, text_message, websocket_url
from bench.ledger import Books, Ledger, Verdict
from bench.tokens import App

BODY_BYTES = 120
CONNECTING_AT_ONCE = 32
CONNECT_SECONDS = 60.0  # for one client to be ready, within the queue of all
DRAIN_SECONDS = 10.0  # after the window, for what is still on its way
DRAIN_LOOK_SECONDS = 0.05
SECOND_PLATFORM = "PC"  # of a user's second device; the first one's is the default
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
    copies: "array[float]" = field(default_factory=lambda: array("d"))  # on the sender's second device


class Device(Protocol):
    """A client of any kind of server."""

    user: str
    online: bool
    ready: asyncio.Event  # what is sent to the user from now on is shown
    connections: int

    def start(self) -> None: ...
    async def stop(self) -> None: ...
    def send(self, target: str, upstream: bytes, context: Any) -> bool: ...


class Loop:
    """One sender that keeps `outstanding` messages to one receiver under way until `running` is false.

    `numbered` makes what the client sends of a message's number.
    """

    def __init__(self, books: Books, window: Window, receiver: str, numbered: Callable[[int], bytes]):
        self._books = books
        self._window = window
        self._receiver = receiver
        self._numbered = numbered
        self._started: dict[int, float] = {}
        self._awaited: dict[int, int] = {}  # how many of: acknowledgement and showings
        self.client: Device | None = None
        self.running = True

    @property
    def under_way(self) -> int:
        """Messages that wait for their acknowledgement or a showing."""
        return len(self._started)

    def next(self) -> None:
        """Send one more message, now or as soon as the client is online."""
        client = self.client
        if not self.running or client is None:
            return
        if not client.online:
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self.next)
            return
        number = self._books.attempted(client.user, self._receiver)
        self._awaited[number] = 1 + len(self._books)
        self._started[number] = time.perf_counter()
        client.send(self._receiver, self._numbered(number), number)

    def answered(self, number: int, status: int, uid: str, sent_at: int) -> None:
        """The sender's SDK has heard (or has lost hope) about `number`."""
        assert self.client is not None
        if not status:
            self._books.acknowledged(self.client.user, self._receiver, number, uid, sent_at)
            self._came(number, self._window.acks)
            return
        if status != SOCKET_CLOSED:
            self._books.refused(self.client.user, self._receiver, number, status)
        self._started.pop(number, None)
        self._awaited.pop(number, None)
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, self.next)

    def shown(self, number: int) -> None:
        """The receiver's user saw `number`."""
        self._came(number, self._window.deliveries)

    def copied(self, number: int) -> None:
        """The sender's second device has shown `number`."""
        self._came(number, self._window.copies)

    def _came(self, number: int, times: "array[float]") -> None:
        """One of the awaited is there."""
        started = self._started.get(number)
        if started is None:
            return
        if self._window.open:
            times.append(time.perf_counter() - started)
        self._awaited[number] -= 1
        if self._awaited[number]:
            return
        del self._started[number], self._awaited[number]
        if self._window.open:
            self._window.completed += 1
        self.next()


class Loops:
    """Users in pairs, `senders` of which send to their partner, whatever the server is.

    A message is to be shown at each of `places`.
    """

    def __init__(
        self,
        users: Sequence[str],
        places: Sequence[str],
        senders: int | None,
        numbered: Callable[[int], bytes],
    ):
        self.books = Books(**{place: Ledger() for place in places})
        self.window = Window()
        self.clients: list[Any] = []  # Devices
        self._loops = {
            user: Loop(self.books, self.window, users[index ^ 1], numbered)
            for index, user in enumerate(users)
        }
        self._senders = list(self._loops.values())[:senders]

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
        return self.books.verdict()


class Pairs(Loops):
    """Connected users in pairs, `senders` of which send to their partner.

    With `second_devices` each sender has another device, on which its messages are to appear too.
    """

    def __init__(
        self,
        app: App,
        tokens: dict[str, str],
        *,
        senders: int | None = None,
        second_devices: bool = False,
    ):
        users = list(tokens)
        super().__init__(users, ["received", "copied"] if second_devices else ["received"], senders, numbered)
        self.clients = [self._client(websocket_url(app.url, app.key, tokens[user]), user) for user in users]
        if second_devices:
            self.clients += [
                Client(
                    websocket_url(app.url, app.key, tokens[user], SECOND_PLATFORM),
                    user,
                    sends_nothing,
                    self._copied_to(user),
                )
                for user in users[:senders]
            ]

    def _client(self, url: str, user: str) -> Client:
        client = Client(url, user, self._loops[user].answered, self._shown_to(user))
        self._loops[user].client = client
        return client

    def _shown_to(self, receiver: str) -> Callable[[DownStreamMessage], None]:
        ledger, loops = self.books["received"], self._loops

        def shown(message: DownStreamMessage) -> None:
            sender, number = message.fromUserId, number_of(message.content)
            if message.direction == OWN:  # fromUserId is the peer
                ledger.echoed(receiver, sender, number)
                return
            ledger.shown(sender, receiver, number, message.msgId, message.dataTime)
            if sender in loops:
                loops[sender].shown(number)

        return shown

    def _copied_to(self, sender: str) -> Callable[[DownStreamMessage], None]:
        ledger, loop = self.books["copied"], self._loops[sender]

        def shown(message: DownStreamMessage) -> None:
            if message.direction == OWN:
                number = number_of(message.content)
                ledger.shown(sender, message.fromUserId, number, message.msgId, message.dataTime)
                loop.copied(number)

        return shown


def sends_nothing(context: Any, status: int, uid: str, sent_at: int) -> None:
    """What a client hears of answers that sends nothing."""


async def connect(clients: Sequence[Device], progress: Callable[[str], None] = lambda _: None) -> None:
    """Connect all and wait until each is ready; TimeoutError when one does not."""
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
    ready = 0

    async def one(client: Device) -> None:
        nonlocal ready
        async with gate:
            client.start()
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.ready.wait()
        ready += 1
        if ready % 500 == 0:
            progress(f"{ready} of {len(clients)} connected")

    await asyncio.gather(*(one(client) for client in clients))


async def disconnect(clients: Sequence[Device]) -> None:
    """Close all connections of `clients`."""
    await asyncio.gather(*(client.stop() for client in clients))
