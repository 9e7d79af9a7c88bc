"""One answer for many: when a room's entries change, all of its members ask a node the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from apps.routing.envelope import Answer
from apps.routing.protocol.packets import Query

SHARED_MAX = 16  # answers about a room that are kept
QUESTION_MAX = 64  # bytes of a question that others may ask too
FRESH = 1.0  # s that an answer serves all who ask the same


class Asking(Protocol):
    """The connection's handler of packets."""

    def reply(self, packet: Query, status: int, payload: bytes) -> None: ...

    def submit(self, packet: Query, resolve: Callable[[Answer], None], *, acknowledged: int = 0) -> bool:
        """Have a node answer; False when the packet was refused at once."""


class Shared:
    """The answer to one question, or those who wait for it."""

    __slots__ = ("answer", "fresh_until", "waiting")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.fresh_until = time.monotonic() + FRESH
        self.waiting: list[tuple[Asking, Query]] = []

    @property
    def fresh(self) -> bool:
        return self.answer is None or time.monotonic() < self.fresh_until


class SharedAnswers:
    """What nodes have said about one room's entries since they changed last."""

    def __init__(self) -> None:
        self._of: dict[bytes, Shared] = {}  # by the question

    def clear(self) -> None:
        """They have changed: who asks from now on hears of it."""
        self._of.clear()

    def ask(self, asking: Asking, packet: Query) -> None:
        """Answer, now or with the answer that somebody waits for already."""
        shared = self._of.get(packet.payload)
        if shared is not None and shared.answer is None:
            shared.waiting.append((asking, packet))
        elif shared is not None and shared.answer is not None and shared.fresh:
            asking.reply(packet, 0, shared.answer.payload)
        else:
            self._ask_node(asking, packet)

    def _ask_node(self, asking: Asking, packet: Query) -> None:
        self._of = {question: its for question, its in self._of.items() if its.fresh}
        mine = Shared()

        def resolve(answer: Answer) -> None:
            mine.answer = answer
            if answer.status and self._of.get(packet.payload) is mine:
                del self._of[packet.payload]
            for one, its in ((asking, packet), *mine.waiting):
                one.reply(its, answer.status, answer.payload)

        sent = asking.submit(packet, resolve) and mine.answer is None
        if sent and len(self._of) < SHARED_MAX and len(packet.payload) <= QUESTION_MAX:
            self._of[packet.payload] = mine
