"""What was promised and what was kept: counts messages without knowing anything of the server.

A conversation is one sender writing to one receiver; its messages are numbered 0, 1, 2 … in the order in
which they were sent, and the number travels inside the body, so neither uid nor time has to be trusted. The
receiver's side is told what the SDK's rules showed to the user, not what arrived on the socket. What the
sender's other device shows of it is booked in a ledger of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import ClassVar


@dataclass(slots=True)
class Conversation:
    """One direction between two users; every list of answers is indexed by message number."""

    uids: list[str | None] = field(default_factory=list)  # of the acknowledgement; None = not acknowledged
    times: list[int] = field(default_factory=list)  # ms, of the acknowledgement; 0 = not acknowledged
    answers: list[int] = field(default_factory=list)  # PUBACKs received; exactly 1 when all went well
    refusals: list[int] = field(default_factory=list)  # status of a refusal; 0 = not refused
    shown: list[int] = field(default_factory=list)  # numbers in the order in which the user saw them
    shown_as: list[tuple[str, int]] = field(default_factory=list)  # (uid, time) beside each of `shown`
    echoed: list[int] = field(default_factory=list)  # numbers that came back to the device that sent them


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counts of a whole run; those of `FAULTS` must be zero whatever happened to the server."""

    attempted: int = 0
    acknowledged: int = 0
    refused: int = 0
    unanswered: int = 0  # the connection went away before the answer: the outcome is open, both are right
    delivered: int = 0  # acknowledged and shown
    missing: int = 0  # acknowledged, never shown
    duplicates: int = 0  # shown again after having been shown
    inversions: int = 0  # acknowledged, shown after an acknowledged message that was sent later
    answered_twice: int = 0
    mismatched: int = 0  # shown with another uid or time than acknowledged
    shown_unacknowledged: int = 0  # open outcome that turned out as stored
    shown_refused: int = 0  # the sender was told that it failed, yet it was shown
    invented: int = 0  # shown, never sent
    echoes: int = 0  # acknowledged, and shown to its sender again, as another device's

    FAULTS: ClassVar[tuple[str, ...]] = (
        "missing",
        "duplicates",
        "inversions",
        "answered_twice",
        "mismatched",
        "invented",
        "echoes",
    )

    @property
    def faults(self) -> dict[str, int]:
        """The counts that break the promise, without those that are zero."""
        return {name: getattr(self, name) for name in self.FAULTS if getattr(self, name)}

    def __str__(self) -> str:
        return ", ".join(f"{f.name} {getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name))

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


class Ledger:
    """Books of all conversations of one run, kept by the client side alone."""

    def __init__(self) -> None:
        self._conversations: dict[tuple[str, str], Conversation] = {}

    def attempted(self, sender: str, receiver: str) -> int:
        """Book that a message is being sent; return its number, which the body must carry."""
        book = self._conversations.setdefault((sender, receiver), Conversation())
        number = len(book.uids)
        book.uids.append(None)
        book.times.append(0)
        book.answers.append(0)
        book.refusals.append(0)
        return number

    def acknowledged(self, sender: str, receiver: str, number: int, uid: str, time: int) -> None:
        """Book a PUBACK with status 0; `time` in ms."""
        book = self._conversations[sender, receiver]
        book.answers[number] += 1
        book.uids[number] = uid
        book.times[number] = time

    def refused(self, sender: str, receiver: str, number: int, status: int) -> None:
        """Book a PUBACK with a status other than 0."""
        book = self._conversations[sender, receiver]
        book.answers[number] += 1
        book.refusals[number] = status

    def shown(self, sender: str, receiver: str, number: int, uid: str, time: int) -> None:
        """Book that the receiver's user saw the message, in the order of the calls; `time` in ms."""
        book = self._conversations.setdefault((sender, receiver), Conversation())
        book.shown.append(number)
        book.shown_as.append((uid, time))

    def echoed(self, sender: str, receiver: str, number: int) -> None:
        """Book that the sending device showed the message as another device's.

        Right when its acknowledgement never came.
        """
        self._conversations.setdefault((sender, receiver), Conversation()).echoed.append(number)

    def missing(self) -> Iterator[tuple[str, str, int]]:
        """(sender, receiver, number) of every message that was acknowledged and not shown so far."""
        for (sender, receiver), book in self._conversations.items():
            seen = set(book.shown)
            for number, uid in enumerate(book.uids):
                if uid is not None and number not in seen:
                    yield sender, receiver, number

    def verdict(self) -> Verdict:
        """Judge all conversations as they are now."""
        books = self._conversations.values()
        return sum((judge(book) for book in books), Verdict())


class Books:
    """A ledger for each place where a message is to be shown; all hear of every send and its answer."""

    def __init__(self, **ledgers: Ledger) -> None:
        self._ledgers = ledgers

    def __getitem__(self, place: str) -> Ledger:
        return self._ledgers[place]

    def __len__(self) -> int:
        return len(self._ledgers)

    def __str__(self) -> str:
        return "; ".join(f"{place}: {ledger.verdict()}" for place, ledger in self._ledgers.items())

    def attempted(self, sender: str, receiver: str) -> int:
        """As of a ledger; the number is the same in all of them."""
        number = 0
        for ledger in self._ledgers.values():
            number = ledger.attempted(sender, receiver)
        return number

    def acknowledged(self, sender: str, receiver: str, number: int, uid: str, time: int) -> None:
        """As of a ledger."""
        for ledger in self._ledgers.values():
            ledger.acknowledged(sender, receiver, number, uid, time)

    def refused(self, sender: str, receiver: str, number: int, status: int) -> None:
        """As of a ledger."""
        for ledger in self._ledgers.values():
            ledger.refused(sender, receiver, number, status)

    def missing(self) -> Iterator[tuple[str, str, int]]:
        """As of a ledger; a message once for each place where it is missing."""
        return chain.from_iterable(ledger.missing() for ledger in self._ledgers.values())

    def verdict(self) -> Verdict:
        """Of all ledgers together: a message counts once for each place where it is to be shown."""
        return sum((ledger.verdict() for ledger in self._ledgers.values()), Verdict())


def judge(book: Conversation) -> Verdict:
    """Count what one conversation has kept of its promises."""
    attempted = len(book.uids)
    known = [number for number in book.shown if number < attempted]
    seen = set(known)
    acknowledged = {number for number, uid in enumerate(book.uids) if uid is not None}
    return Verdict(
        attempted=attempted,
        acknowledged=len(acknowledged),
        refused=sum(1 for status in book.refusals if status),
        unanswered=sum(1 for count in book.answers if not count),
        delivered=len(acknowledged & seen),
        missing=len(acknowledged - seen),
        duplicates=len(known) - len(seen),
        inversions=_inversions(book, acknowledged),
        answered_twice=sum(1 for count in book.answers if count > 1),
        mismatched=_mismatched(book),
        shown_unacknowledged=sum(1 for number in seen if not book.answers[number]),
        shown_refused=sum(1 for number in seen if book.refusals[number] and number not in acknowledged),
        invented=len(book.shown) - len(known),
        echoes=sum(1 for number in book.echoed if number in acknowledged),
    )


def _inversions(book: Conversation, acknowledged: set[int]) -> int:
    """Acknowledged messages whose first showing came after that of a later acknowledged one.

    A message without an acknowledgement may come late: to its sender it failed, it has no place in the order.
    """
    highest, count = -1, 0
    seen: set[int] = set()
    for number in book.shown:
        if number in seen or number not in acknowledged:
            continue
        seen.add(number)
        count += number < highest
        highest = max(highest, number)
    return count


def _mismatched(book: Conversation) -> int:
    """Showings whose uid or time differ from what the sender was told."""
    count = 0
    for number, (uid, time) in zip(book.shown, book.shown_as, strict=True):
        if number < len(book.uids) and book.uids[number] is not None:
            count += (uid, time) != (book.uids[number], book.times[number])
    return count
