"""Open-loop traffic among a few clients, for breaking the server under it: so many a second, whatever comes.

It books every message in a ledger and remembers when each was answered.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from apps.routing.protocol.im_pb2 import DownStreamMessage
from bench.client import OWN, SOCKET_CLOSED, Client, websocket_url
from bench.ledger import Ledger, Verdict
from bench.load import connect, disconnect, number_of, numbered
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


class Traffic:
    """`users` clients that send `rate` messages a second in all, each to PEERS others; a context manager.

    They find their gateways by asking the `navigators` (http://host:port); without any they go to the app's.
    """

    def __init__(self, app: App, *, users: int = 20, rate: int = 200, navigators: Sequence[str] = ()):
        self._app = app
        self._navigators = navigators
        self._users = [f"traffic-{secrets.token_hex(4)}-{n}" for n in range(users)]
        self.rate = rate
        self._random = random.Random(users)
        self._sending: asyncio.Task[None] | None = None
        self.ledger = Ledger()
        self.answers: list[Answer] = []
        self.clients: list[Client] = []

    async def __aenter__(self) -> "Traffic":
        tokens = await asyncio.to_thread(self._app.tokens, self._users)
        self.clients = [
            Client(
                websocket_url(self._app.url, self._app.key, tokens[user]),
                user,
                self._answered_to(user),
                self._shown_to(user),
                navigation(self._navigators, self._app.key, tokens[user]) if self._navigators else None,
            )
            for user in self._users
        ]
        await connect(self.clients)
        self._sending = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stop_sending()
        await disconnect(self.clients)

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

    async def settle(self, within: float) -> Verdict:
        """Stop sending, let every client reconnect and pull, wait until nothing is missing, and judge."""
        await self._stop_sending()
        await self._until(lambda: not self.ledger.verdict().unanswered, within / 4)
        for client in self.clients:
            client.reconnect()
        deadline = time.monotonic() + within
        await self._until(lambda: all(client.ready.is_set() for client in self.clients), within)
        await self._until(lambda: next(self.ledger.missing(), None) is None, deadline - time.monotonic())
        await asyncio.sleep(SECOND_COPY_SECONDS)
        return self.ledger.verdict()

    def longest_gap(self, since: float) -> float:
        """Longest time without an acknowledgement from `since` (monotonic) until now, in seconds."""
        heard = (answer.heard for answer in self.answers if not answer.status and answer.heard > since)
        return max(later - earlier for earlier, later in pairwise([since, *heard, time.monotonic()]))

    def describe(self) -> str:
        """State in a line, for the message of a failing test."""
        online = sum(client.online for client in self.clients)
        ready = sum(client.ready.is_set() for client in self.clients)
        refusals = sorted({answer.status for answer in self.answers if answer.status})
        verdict = self.ledger.verdict()
        return f"{online} of {len(self.clients)} online, {ready} ready, refusals {refusals}, {verdict}"

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

    async def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send(self) -> None:
        began, turn = time.monotonic(), 0
        count = len(self.clients)
        while True:
            while turn < (time.monotonic() - began) * self.rate:
                at = turn % count
                peer = (at + self._random.randint(1, PEERS)) % count
                turn += 1
                self._send_one(self.clients[at], self._users[peer])
            await asyncio.sleep(TICK_SECONDS)

    def _send_one(self, client: Client, receiver: str) -> None:
        if client.online:  # the SDK refuses by itself otherwise, and nothing leaves the page
            number = self.ledger.attempted(client.user, receiver)
            client.send(receiver, numbered(number), (receiver, number, time.monotonic()))

    def _answered_to(self, sender: str) -> Callable[[tuple[str, int, float], int, str, int], None]:
        def answered(context: tuple[str, int, float], status: int, uid: str, sent_at: int) -> None:
            receiver, number, sent = context
            if status == SOCKET_CLOSED:
                return
            self.answers.append(Answer(sent, time.monotonic(), status))
            if status:
                self.ledger.refused(sender, receiver, number, status)
            else:
                self.ledger.acknowledged(sender, receiver, number, uid, sent_at)

        return answered

    def _shown_to(self, receiver: str) -> Callable[[DownStreamMessage], None]:
        def shown(message: DownStreamMessage) -> None:
            if message.direction != OWN:
                number = number_of(message.content)
                self.ledger.shown(message.fromUserId, receiver, number, message.msgId, message.dataTime)

        return shown
