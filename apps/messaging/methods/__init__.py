"""What each method means, by subject. A node looks a method up here; a gateway never does.

A message method is a function of a whole batch's requests of that method (so that it asks the database once
a batch): `admit(server_set, requests) -> [Entry | Status | Refused]`, aligned with the requests.
A query method answers one request: `answer(server_set, request) -> Answer` with place 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apps.messaging.log import Entry
from apps.routing.envelope import Answer, Request


@dataclass(frozen=True, slots=True)
class Refused:
    """The request gets this code (PROTOCOL 7.3) and nothing is stored."""

    status: int


@dataclass(frozen=True, slots=True)
class Status:
    """A status message (PROTOCOL 6.7): shown to those who are online now, never stored."""

    kind: int
    up: bytes = b""  # what they are shown, if it is not as it was sent


Verdict = Entry | Status | Refused
Admit = Callable[[str, Sequence[Request]], Sequence[Verdict]]
AnswerQuery = Callable[[str, Request], Answer]
