"""The log against a real PostgreSQL: commit order, once each, whatever is tried again or breaks."""

import threading
import time
from typing import Any

import psycopg
import pytest
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from apps.messaging.log import (
    COLUMNS,
    Appended,
    Elsewhere,
    Entry,
    Log,
    Unavailable,
    conversation,
    lock_head,
    offsets,
)
from apps.messaging.models import PRIVATE
from apps.routing.topology import slot
from tests.messaging import conftest
from tests.messaging.conftest import user

HERE = user("set1")
FAR = user("set2")


def entry(**facts: Any) -> Entry:
    """A message between two users of set1, unless others are named."""
    return conftest.entry(**{"sender": HERE, "target": user("set1", but=HERE)} | facts)


@pytest.fixture
def log(sets: dict[str, Log]) -> Log:
    return sets["set1"]


def stored(log: Log) -> list[tuple[int, str, int]]:
    return log.read("SELECT seq, uid, time FROM messaging_message ORDER BY seq", ())


def sides(log: Log) -> list[tuple[str, bool, bool, bool]]:
    """(uid, inbox, sendbox, export) of all rows."""
    return log.read("SELECT uid, inbox, sendbox, export FROM messaging_message ORDER BY seq", ())


def places(appended: Appended) -> list[tuple[int, int]]:
    """(seq, time) of the rows that are new."""
    return [(row.seq, row.time) for row in appended.rows]


def test_a_batch_takes_one_range_of_the_log_in_its_order(log: Log) -> None:
    entries = [entry() for _ in range(5)]
    appended = log.append(entries, within=1)
    assert appended.upto - appended.before == 5
    assert [seq for seq, _ in places(appended)] == list(range(appended.before + 1, appended.upto + 1))
    assert [uid for _, uid, _ in stored(log)] == [e.uid for e in entries]


def test_a_batch_appended_twice_is_stored_once_at_its_first_place(log: Log) -> None:
    entries = [entry() for _ in range(3)]
    first = log.append(entries, within=1)
    again = log.append([*entries, new := entry()], within=1)
    assert again.repeated == dict(zip((e.uid for e in entries), places(first), strict=True))
    assert [row.uid for row in again.rows] == [new.uid]
    assert (again.before, again.upto) == (first.upto, first.upto + 1)
    assert [uid for _, uid, _ in stored(log)] == [e.uid for e in [*entries, new]]


def test_postgresql_compiles_no_statement_of_the_log(log: Log) -> None:
    assert log.read("SHOW jit", ()) == [("off",)]


def test_times_rise_past_what_the_sender_has_seen_and_past_every_earlier_batch(log: Log) -> None:
    future = time.time_ns() // 1_000_000 + 30_000  # ms: by the clock of another SET
    (_, first), (_, second) = places(log.append([entry(seen=future), entry()], within=1))
    ((_, later),) = places(log.append([entry()], within=1))
    assert future < first < second < later


def test_writers_side_by_side_leave_no_gap_and_a_reader_by_seq_misses_nothing(log: Log) -> None:
    appended: list[Appended] = []
    read: list[int] = []
    done = threading.Event()

    def write() -> None:
        own = Log("set1")
        appended.extend(own.append([entry() for _ in range(3)], within=5) for _ in range(20))
        own.close()

    def follow() -> None:
        own, cursor = Log("set1"), 0
        while True:
            ended = done.is_set()
            rows = own.read("SELECT seq FROM messaging_message WHERE seq > %s ORDER BY seq", (cursor,))
            read.extend(seq for (seq,) in rows)
            cursor = read[-1] if read else 0
            if ended:
                own.close()
                return

    writers = [threading.Thread(target=write) for _ in range(4)]
    reader = threading.Thread(target=follow)
    for thread in [*writers, reader]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert read == sorted(seq for batch in appended for seq, _ in places(batch))
    assert read == list(range(read[0], read[0] + 240))


def test_a_connection_that_breaks_between_batches_is_opened_again(log: Log) -> None:
    log.append([entry()], within=1)
    with connections["set1"].cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    log.append([entry()], within=2)
    assert len(stored(log)) == 2


def test_a_writer_that_stands_still_within_a_batch_keeps_the_others_waiting_for_seconds_only(
    log: Log,
) -> None:
    still = Log("set1")
    written: list[Appended] = []
    waiter = threading.Thread(target=lambda: written.append(log.append([entry()], within=8)), daemon=True)

    def stand_still(connection: psycopg.Connection[Any]) -> None:
        lock_head(connection)
        with connection.cursor().copy(f"COPY messaging_message ({COLUMNS}) FROM STDIN (FORMAT BINARY)"):
            waiter.start()
            waiter.join(timeout=20)

    with pytest.raises(Unavailable):
        still.run(stand_still, within=0)
    assert len(written) == 1
    assert len(stored(log)) == 1


def test_a_batch_with_messages_of_another_sets_slots_names_them_and_stores_nothing(log: Log) -> None:
    before = log.read("SELECT seq, time FROM messaging_head", ())
    with pytest.raises(Elsewhere) as refused:
        log.append([entry(), entry(target=FAR), entry(), entry(target=FAR)], within=1)
    assert refused.value.indexes == {1, 3}
    assert stored(log) == []
    assert log.read("SELECT seq, time FROM messaging_head", ()) == before


def test_what_is_stored_already_gets_its_place_beside_a_message_of_another_sets_slot(log: Log) -> None:
    known = entry()
    log.append([known], within=1)
    with pytest.raises(Elsewhere) as refused:
        log.append([known, entry(target=FAR)], within=1)
    assert refused.value.indexes == {1}


def test_a_message_from_another_sets_user_is_marked_for_that_set_and_not_synced_here(log: Log) -> None:
    own, far = entry(), entry(sender=FAR)
    appended = log.append([own, far], within=1)
    assert sides(log) == [(own.uid, True, True, False), (far.uid, True, False, True)]
    assert appended.exported == 1 << slot("1", FAR)
    assert [(row.to, row.sync) for row in appended.rows] == [((own.target,), True), ((far.target,), False)]


def test_a_hidden_message_is_neither_in_its_senders_box_nor_for_his_set(log: Log) -> None:
    own, far = entry(hidden=True), entry(sender=FAR, hidden=True)
    appended = log.append([own, far], within=1)
    assert sides(log) == [(own.uid, True, False, False), (far.uid, True, False, False)]
    assert appended.exported == 0
    assert [row.sync for row in appended.rows] == [False, False]


def test_a_copy_and_its_origin_are_both_in_one_log_once_each(log: Log) -> None:
    origin, copy = entry(uid="same"), entry(uid="same", copy=True, sent=1)
    first = log.append([origin], within=1)
    second = log.append([copy], within=1)
    assert sides(log) == [("same", True, True, False), ("same", False, True, False)]
    assert [(row.to, row.sync) for row in second.rows] == [((), True)]
    assert log.append([origin], within=1).repeated == {"same": places(first)[0]}
    assert log.append([copy], within=1).repeated == {"same": places(second)[0]}
    assert len(stored(log)) == 2


def test_a_copy_belongs_where_its_sender_is_at_home_whoever_the_receiver_is(log: Log) -> None:
    log.append([entry(target=FAR, copy=True)], within=1)
    with pytest.raises(Elsewhere):
        log.append([entry(sender=FAR, copy=True)], within=1)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), max_size=40))
def test_no_two_messages_of_one_inbox_share_a_time(pairs: list[tuple[str, str]]) -> None:
    entries = [entry(sender=sender, target=target, uid="x") for sender, target in pairs]
    latest: dict[str, int] = {}
    for one, offset in zip(entries, offsets(entries), strict=True):
        for name in {one.sender, one.target}:
            assert offset > latest.get(name, -1)
            latest[name] = offset


def test_a_private_conversation_is_the_same_from_both_sides_and_another_one_in_another_tenant() -> None:
    assert conversation(1, PRIVATE, "a", "b") == conversation(1, PRIVATE, "b", "a")
    assert conversation(1, PRIVATE, "a", "b") != conversation(2, PRIVATE, "a", "b")
