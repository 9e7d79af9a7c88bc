"""A group whose members are all online: one of them talks, the others are shown it, as v4 does.

First at a rate, whatever becomes of the messages; then in a closed loop, with so many messages under way as a
message is under way until the last member has been shown it. One clock times all ends.
"""

import asyncio
import http.client
import time
from array import array
from typing import Any
from urllib.parse import urlsplit

from apps.routing.protocol.im_pb2 import DownStreamMessage
from bench.client import OWN, Client, websocket_url
from bench.load import DRAIN_LOOK_SECONDS, DRAIN_SECONDS, number_of, numbered, sends_nothing
from bench.tokens import TIMEOUT_SECONDS, App

METHOD = "pgMsgP"
UNDER_WAY = 8  # messages of the closed loop


class Fanout:
    """What one of `members` says to all others, and what these were shown, whatever the server is."""

    def __init__(self, members: int):
        self.clients: list[Any] = []  # Devices, in the order of the members
        self._expected = [0] * members  # by member: the number of the next message
        self._sent: list[float] = []
        self._missing: list[int] = []  # by message: how many members have not been shown it
        self.last_member = array("d")  # s from a message's sending to when the last member was shown it
        self.deliveries = 0
        self._loops = False
        self._faults = {"lost": 0, "duplicated": 0, "out_of_order": 0}

    @property
    def sent(self) -> int:
        """Messages so far."""
        return len(self._sent)

    def send(self, number: int) -> None:
        """Have the first member say it."""
        raise NotImplementedError

    async def talk(self, rate: float, seconds: float) -> None:
        """Send so many messages a second, and wait until all have them."""
        began = time.perf_counter()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(began + number / rate - time.perf_counter(), 0.0))
            self._say()
        await self._settle()

    async def loop(self, seconds: float) -> None:
        """Keep messages under way for so long, and wait until all have them."""
        self._loops = True
        for _ in range(UNDER_WAY):
            self._say()
        await asyncio.sleep(seconds)
        self._loops = False
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(round(DRAIN_SECONDS / DRAIN_LOOK_SECONDS)):
            if not any(self._missing):
                return
            await asyncio.sleep(DRAIN_LOOK_SECONDS)

    def _say(self) -> None:
        number = len(self._sent)
        self._missing.append(len(self.clients) - 1)
        self._sent.append(time.perf_counter())
        self.send(number)

    def shown(self, place: int, number: int) -> None:
        """A member other than the first was shown it."""
        self.deliveries += 1
        expected = self._expected[place]
        if number < expected:
            self._faults["duplicated"] += 1
            return
        self._faults["out_of_order"] += number > expected  # one is missing before it
        self._expected[place] = number + 1
        self._missing[number] -= 1
        if not self._missing[number]:
            self.last_member.append(time.perf_counter() - self._sent[number])
            if self._loops:
                self._say()

    def faults(self) -> dict[str, Any]:
        """What went wrong; lost: not shown to a member at all."""
        return self._faults | {"lost": sum(self._missing)}


class Group(Fanout):
    """The members of one group, and what they were shown."""

    def __init__(self, app: App, tokens: dict[str, str], group: str):
        super().__init__(len(tokens))
        self._app, self._users, self._group = app, list(tokens), group
        self.clients = [
            Client(websocket_url(app.url, app.key, token), user, sends_nothing, self._shown_to(place))
            for place, (user, token) in enumerate(tokens.items())
        ]

    def create(self) -> None:
        """Make the group, by the server API."""
        connection = http.client.HTTPConnection(urlsplit(self._app.url).netloc, timeout=TIMEOUT_SECONDS)
        try:
            form: dict[str, str | list[str]] = {"groupId": self._group, "groupName": "The crowd"}
            self._app.post(connection, "/group/create.json", **form, userId=self._users)
        finally:
            connection.close()

    def send(self, number: int) -> None:
        self.clients[0].send(self._group, numbered(number), number, METHOD)

    def _shown_to(self, place: int) -> Any:
        def shown(message: DownStreamMessage) -> None:
            if message.direction != OWN:
                self.shown(place, number_of(message.content))

        return shown
