"""The ledger is the judge of every fault test, so each kind of wrong must be seen by it, and nothing else."""

import pytest

from bench.ledger import Books, Ledger


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def send(ledger: Ledger, count: int, *, receiver: str = "bob") -> list[int]:
    """Attempt and acknowledge `count` messages of alice; uid and time follow from the number."""
    numbers = [ledger.attempted("alice", receiver) for _ in range(count)]
    for number in numbers:
        ledger.acknowledged("alice", receiver, number, f"uid-{number}", 1000 + number)
    return numbers


def show(ledger: Ledger, *numbers: int, receiver: str = "bob") -> None:
    for number in numbers:
        ledger.shown("alice", receiver, number, f"uid-{number}", 1000 + number)


def test_messages_shown_once_and_in_order_are_no_fault(ledger: Ledger) -> None:
    show(ledger, *send(ledger, 3))
    verdict = ledger.verdict()
    assert verdict.faults == {}
    assert (verdict.attempted, verdict.acknowledged, verdict.delivered) == (3, 3, 3)


def test_an_acknowledged_message_that_nobody_saw_is_missing(ledger: Ledger) -> None:
    send(ledger, 3)
    show(ledger, 0, 2)
    assert ledger.verdict().faults == {"missing": 1}
    assert list(ledger.missing()) == [("alice", "bob", 1)]


def test_a_message_seen_twice_is_a_duplicate_once(ledger: Ledger) -> None:
    send(ledger, 2)
    show(ledger, 0, 1, 0)
    assert ledger.verdict().faults == {"duplicates": 1}


def test_a_message_seen_after_a_later_one_is_an_inversion(ledger: Ledger) -> None:
    send(ledger, 4)
    show(ledger, 0, 2, 1, 3)
    assert ledger.verdict().faults == {"inversions": 1}


def test_conversations_have_no_order_between_them(ledger: Ledger) -> None:
    send(ledger, 2)
    send(ledger, 2, receiver="carol")
    show(ledger, 0, 1, receiver="carol")
    show(ledger, 0, 1)
    assert ledger.verdict().faults == {}


def test_an_unanswered_message_may_be_seen_late_or_never(ledger: Ledger) -> None:
    ledger.attempted("alice", "bob")
    ledger.attempted("alice", "bob")
    number = ledger.attempted("alice", "bob")
    ledger.acknowledged("alice", "bob", number, "uid-2", 1002)
    show(ledger, 2, 0)
    verdict = ledger.verdict()
    assert verdict.faults == {}
    assert (verdict.unanswered, verdict.shown_unacknowledged, verdict.delivered) == (2, 1, 1)


def test_an_unanswered_message_seen_twice_is_still_a_duplicate(ledger: Ledger) -> None:
    ledger.attempted("alice", "bob")
    show(ledger, 0, 0)
    assert ledger.verdict().faults == {"duplicates": 1}


def test_a_refused_message_is_answered_and_not_missing(ledger: Ledger) -> None:
    number = ledger.attempted("alice", "bob")
    ledger.refused("alice", "bob", number, 20607)
    verdict = ledger.verdict()
    assert verdict.faults == {}
    assert (verdict.refused, verdict.unanswered, verdict.shown_refused) == (1, 0, 0)


def test_a_refused_message_that_is_seen_is_told(ledger: Ledger) -> None:
    number = ledger.attempted("alice", "bob")
    ledger.refused("alice", "bob", number, 20607)
    show(ledger, 0)
    assert ledger.verdict().shown_refused == 1


def test_two_answers_to_one_message_are_a_fault(ledger: Ledger) -> None:
    number = ledger.attempted("alice", "bob")
    ledger.refused("alice", "bob", number, 20607)
    ledger.acknowledged("alice", "bob", number, "uid-0", 1000)
    show(ledger, 0)
    assert ledger.verdict().faults == {"answered_twice": 1}


def test_another_uid_or_time_than_acknowledged_is_a_mismatch(ledger: Ledger) -> None:
    send(ledger, 2)
    ledger.shown("alice", "bob", 0, "uid-0", 999)
    ledger.shown("alice", "bob", 1, "uid-other", 1001)
    assert ledger.verdict().faults == {"mismatched": 2}


def test_an_acknowledged_message_that_comes_back_to_its_device_is_an_echo(ledger: Ledger) -> None:
    show(ledger, *send(ledger, 2))
    ledger.attempted("alice", "bob")
    ledger.echoed("alice", "bob", 1)
    ledger.echoed("alice", "bob", 2)
    assert ledger.verdict().faults == {"echoes": 1}


def test_books_want_a_message_in_each_of_their_places() -> None:
    books = Books(received=Ledger(), copied=Ledger())
    first, second = books.attempted("alice", "bob"), books.attempted("alice", "bob")
    books.acknowledged("alice", "bob", first, "uid-0", 1000)
    books.refused("alice", "bob", second, 20607)
    books["received"].shown("alice", "bob", first, "uid-0", 1000)
    assert list(books.missing()) == [("alice", "bob", first)]
    assert books.verdict().faults == {"missing": 1}
    books["copied"].shown("alice", "bob", first, "uid-0", 1000)
    assert list(books.missing()) == []
    assert (books.verdict().faults, books.verdict().delivered) == ({}, 2)


def test_a_message_that_nobody_sent_is_invented(ledger: Ledger) -> None:
    ledger.shown("mallory", "bob", 0, "uid-0", 1000)
    assert ledger.verdict().faults == {"invented": 1}


def test_verdicts_of_all_conversations_add_up(ledger: Ledger) -> None:
    show(ledger, *send(ledger, 2))
    send(ledger, 3, receiver="carol")
    verdict = ledger.verdict()
    assert (verdict.attempted, verdict.delivered, verdict.missing) == (5, 2, 3)
