"""UIds are unique and rise, whatever the clock does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.routing.protocol.packets import ProtocolError
from apps.routing.protocol.uid import ALPHABET, NUMBER_MAX, UidIssuer, decode

NOW = 1795410963286


def test_the_published_example() -> None:
    uid = decode("F42V-CLQP-JEY7-UDEW")
    assert (uid.time, uid.conversation_type) == (NOW, 1)
    assert len(set(ALPHABET)) == 32


def test_the_clock_is_read_when_no_time_is_given() -> None:
    assert decode(UidIssuer(7, clock=lambda: NOW * 1_000_000 + 999_999).next(3)) == (NOW, 0, 3, 7)


def test_a_full_counter_borrows_the_next_millisecond() -> None:
    issuer = UidIssuer(1)
    uids = [issuer.next(1, NOW) for _ in range(4097)]
    assert decode(uids[4095]) == (NOW, 4095, 1, 1)
    assert decode(uids[4096]) == (NOW + 1, 0, 1, 1)
    assert decode(issuer.next(1, NOW + 1)) == (NOW + 1, 1, 1, 1)


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2**42 - 100)), max_size=50),
    st.integers(0, NUMBER_MAX),
)
def test_uids_rise_and_say_what_went_into_them(calls: list[tuple[int, int]], number: int) -> None:
    issuer = UidIssuer(number)
    uids = [issuer.next(kind, now) for kind, now in calls]
    assert uids == sorted(set(uids))
    for (kind, now), text in zip(calls, uids, strict=True):
        uid = decode(text)
        assert (uid.conversation_type, uid.number) == (kind, number)
        assert uid.time >= now


@given(st.integers(0, NUMBER_MAX), st.integers(0, NUMBER_MAX), st.integers(0, 15))
def test_two_processes_never_issue_the_same(one: int, other: int, kind: int) -> None:
    assert (UidIssuer(one).next(kind, NOW) == UidIssuer(other).next(kind, NOW)) is (one == other)


@pytest.mark.parametrize("number", [-1, NUMBER_MAX + 1])
def test_a_process_number_has_22_bits(number: int) -> None:
    with pytest.raises(ValueError, match="process number"):
        UidIssuer(number)


@pytest.mark.parametrize(
    "text", ["", "F42V-CLQP-JEY7", "F42VCLQPJEY7UDEW", "F42V-CLQP-JEY7-UDE0", "f42v-clqp-jey7-udew"]
)
def test_other_text_is_no_uid(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode(text)


@given(st.text(max_size=24))
def test_any_text_is_a_uid_or_a_protocol_error(text: str) -> None:
    try:
        decode(text)
    except ProtocolError:
        pass
