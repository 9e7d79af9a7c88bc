"""Open-loop traffic among a few clients, for breaking the server under it: so many a second, whatever comes.

It books every message in a ledger and remembers when each was answered.
"""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from apps.routing.protocol.im_pb2 import DownStreamMessage
from bench.client import OWN, SOCKET_CLOSED, Answered, Client, Shown, websocket_url
from bench.ledger import Books, Ledger, Verdict
from bench.load import SECOND_PLATFORM, connect, disconnect, number_of, numbered, sends_nothing
from bench.navigation import navigation
from bench.tokens import App

PEERS = 3  # that each client writes to
TICK_SECONDS = 0.005
LOOK_SECONDS = 0.05  # between two looks at whether something has happened
FLOWING = 0.8  # of the rate, acknowledged within one second: traffic flows
SECOND_COPY_SECONDS = 1.0  # after the last message is there: time for a duplicate to show up


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender heard about one message; monotonic seconds."""

    sent: float
    heard: float
    status: int
    sender: str
    receiver: str


class Traffic:
    """Users that send `rate` messages a second in all, each to the PEERS next ones; a context manager.

    `users` is how many, or their names. If they are at home in several SETs (`across_sets`), each has a
    second device, which only listens: it shows what the first one receives, and copies of what it sends. They
    find their gateways by asking the `navigators` (http://host:port); without any they go to the app's.
    """

    def __init__(
        self,
        app: App,
        *,
        users: int | Sequence[str] = 20,
        rate: int = 200,
        navigators: Sequence[str] = (),
        across_sets: bool = False,
    ):
        self._app = app
        self._navigators = navigators
        self._across_sets = across_sets
        named = f"traffic-{secrets.token_hex(4)}"
        self._users = [f"{named}-{n}" for n in range(users)] if isinstance(users, int) else users
        self.rate = rate
        self._random = random.Random(len(self._users))
        self._sending: asyncio.Task[None] | None = None
        places = ["received", "second", "copied"] if across_sets else ["received"]
        self.books = Books(**{place: Ledger() for place in places})
        self.answers: list[Answer] = []
        self.clients: list[Client] = []  # the first devices, which send; the second ones follow
        self._senders: list[Client] = []

    async def __aenter__(self) -> "Traffic":
        tokens = await asyncio.to_thread(self._app.tokens, self._users)
        self._senders = [
            self._client(user, tokens[user], "", self._answered_to(user), self._shown_to(user))
            for user in self._users
        ]
        self.clients = list(self._senders)
        if self._across_sets:
            self.clients += [
                self._client(user, tokens[user], SECOND_PLATFORM, sends_nothing, self._shown_on_second(user))
                for user in self._users
            ]
        await connect(self.clients)
        self._sending = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop_sending()
        await disconnect(self.clients)

    def _client(self, user: str, token: str, platform: str, answered: Answered, shown: Shown) -> Client:
        url = websocket_url(self._app.url, self._app.key, token, platform)
        navigate = navigation(self._navigators, self._app.key, token, platform) if self._navigators else None
        return Client(url, user, answered, shown, navigate)

    async def flows(self, within: float) -> float:
        """Wait until one second of traffic is acknowledged; returns the seconds it took to begin again.

        Raises AssertionError after `within` seconds: the traffic of the second must have begun by then.
        """
        began = time.monotonic()
        while True:
            now = time.monotonic()
            start = max(began, now - 1.0)
            if now - began >= 1.0 and self._acknowledged_since(start) >= FLOWING * self.rate:
                return start - began
            assert start - began <= within, f"no traffic {within:g} s after the fault: {self.describe()}"
            await asyncio.sleep(LOOK_SECONDS)

    async def reaches_everybody(self, within: float) -> float:
        """Wait until something sent to each user from now on is acknowledged; the seconds that it took.

        AssertionError after `within` seconds.
        """
        began = time.monotonic()
        left, place = set(self._users), len(self.answers)
        while left:
            news, place = self.answers[place:], len(self.answers)
            left -= {each.receiver for each in news if each.sent > began and not each.status}
            took = time.monotonic() - began
            assert took <= within, f"{len(left)} users reached by nobody for {within:g} s: {self.describe()}"
            await asyncio.sleep(LOOK_SECONDS)
        return took

    async def copies_arrive(self, within: float) -> float:
        """Wait until the senders' second devices show all that is acknowledged now; the seconds that it took.

        AssertionError after `within` seconds.
        """
        began = time.monotonic()
        ledger = self.books["copied"]
        wanted = set(ledger.missing())
        while wanted := wanted & set(ledger.missing()):
            assert time.monotonic() - began <= within, f"{len(wanted)} copies are missing: {self.describe()}"
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - began

    async def settle(self, within: float) -> Verdict:
        """Stop sending, let every client reconnect and pull, wait until nothing is missing, and judge."""
        await self.stop_sending()
        await self._until(lambda: not self.books.verdict().unanswered, within / 4)
        for client in self.clients:
            client.reconnect()
        deadline = time.monotonic() + within
        await self._until(lambda: all(client.ready.is_set() for client in self.clients), within)
        await self._until(lambda: next(self.books.missing(), None) is None, deadline - time.monotonic())
        await asyncio.sleep(SECOND_COPY_SECONDS)
        return self.books.verdict()

    def longest_gap(self, since: float) -> float:
        """Longest time without an acknowledgement from `since` (monotonic) until now, in seconds."""
        heard = (answer.heard for answer in self.answers if not answer.status and answer.heard > since)
        return max(later - earlier for earlier, later in pairwise([since, *heard, time.monotonic()]))

    def slowest(self, since: float, until: float = inf) -> float:
        """The longest wait for an acknowledgement, of messages sent in that time (monotonic), in seconds.

        0 without any. Messages that have none yet are left out.
        """
        sent = [a for a in self.answers if since < a.sent < until and not a.status]
        return max((answer.heard - answer.sent for answer in sent), default=0.0)

    def refusals(self, since: float) -> Counter[int]:
        """Status -> how many messages sent since then (monotonic) were refused with it."""
        return Counter(answer.status for answer in self.answers if answer.sent > since and answer.status)

    def describe(self) -> str:
        """State in a line, for the message of a failing test."""
        online = sum(client.online for client in self.clients)
        ready = sum(client.ready.is_set() for client in self.clients)
        refusals = sorted({answer.status for answer in self.answers if answer.status})
        return f"{online} of {len(self.clients)} online, {ready} ready, refusals {refusals}; {self.books}"

    def _acknowledged_since(self, start: float) -> int:
        count = 0
        for answer in reversed(self.answers):
            if answer.heard < start:
                break
            count += not answer.status
        return count

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        for _ in range(int(seconds / LOOK_SECONDS)):
            if condition():
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def stop_sending(self) -> None:
        """Nothing more from now on."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send(self) -> None:
        began, turn = time.monotonic(), 0
        count = len(self._senders)
        while True:
            while turn < (time.monotonic() - began) * self.rate:
                at = turn % count
                peer = (at + self._random.randint(1, PEERS)) % count
                turn += 1
                self._send_one(self._senders[at], self._users[peer])
            await asyncio.sleep(TICK_SECONDS)

    def _send_one(self, client: Client, receiver: str) -> None:
        if client.online:  # the SDK refuses by itself otherwise, and nothing leaves the page
            number = self.books.attempted(client.user, receiver)
            client.send(receiver, numbered(number), (receiver, number, time.monotonic()))

    def _answered_to(self, sender: str) -> Answered:
        def answered(context: tuple[str, int, float], status: int, uid: str, sent_at: int) -> None:
            receiver, number, sent = context
            if status == SOCKET_CLOSED:
                return
            self.answers.append(Answer(sent, time.monotonic(), status, sender, receiver))
            if status:
                self.books.refused(sender, receiver, number, status)
            else:
                self.books.acknowledged(sender, receiver, number, uid, sent_at)

        return answered

    def _shown_to(self, user: str) -> Shown:
        ledger = self.books["received"]

        def shown(message: DownStreamMessage) -> None:
            peer, number = message.fromUserId, number_of(message.content)
            if message.direction == OWN:
                ledger.echoed(user, peer, number)
            else:
                ledger.shown(peer, user, number, message.msgId, message.dataTime)

        return shown

    def _shown_on_second(self, user: str) -> Shown:
        received, copied = self.books["second"], self.books["copied"]

        def shown(message: DownStreamMessage) -> None:
            peer, number = message.fromUserId, number_of(message.content)
            if message.direction == OWN:
                copied.shown(user, peer, number, message.msgId, message.dataTime)
            else:
                received.shown(peer, user, number, message.msgId, message.dataTime)

        return shown
