"""The log against a real PostgreSQL: commit order, once each, whatever is tried again or breaks."""

import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from apps.messaging.log import Appended, Entry, Log, conversation, offsets
from apps.messaging.models import PRIVATE

pytestmark = pytest.mark.django_db(databases=["set1"], transaction=True)


def entry(sender: str = "a", target: str = "b", uid: str = "", seen: int = 0) -> Entry:
    return Entry(uid or uuid.uuid4().hex, 1, PRIVATE, sender, target, 3, "ppMsgP", b"\x08\x03", seen)


@pytest.fixture
def log() -> Iterator[Log]:
    connections["set1"].ensure_connection()
    one = Log("set1")
    with connections["set1"].cursor() as cursor:
        cursor.execute("INSERT INTO messaging_head VALUES (1, 1, 0, 0) ON CONFLICT (id) DO NOTHING")
    yield one
    one.close()


def stored(log: Log) -> list[tuple[int, str, int]]:
    return log.read("SELECT seq, uid, time FROM messaging_message ORDER BY seq", ())


def test_a_batch_takes_one_range_of_the_log_in_its_order(log: Log) -> None:
    entries = [entry() for _ in range(5)]
    appended = log.append(entries, within=1)
    assert appended.upto - appended.before == 5
    assert [seq for seq, _ in appended.places] == list(range(appended.before + 1, appended.upto + 1))
    assert [uid for _, uid, _ in stored(log)] == [e.uid for e in entries]


def test_a_batch_appended_twice_is_stored_once_at_its_first_place(log: Log) -> None:
    entries = [entry() for _ in range(3)]
    first = log.append(entries, within=1)
    again = log.append([*entries, new := entry()], within=1)
    assert again.places[:3] == first.places
    assert again.repeated == {0, 1, 2}
    assert (again.before, again.upto) == (first.upto, first.upto + 1)
    assert [uid for _, uid, _ in stored(log)] == [e.uid for e in [*entries, new]]


def test_times_rise_past_what_the_sender_has_seen_and_past_every_earlier_batch(log: Log) -> None:
    future = time.time_ns() // 1_000_000 + 30_000  # ms: by the clock of another SET
    (_, first), (_, second) = log.append([entry(seen=future), entry()], within=1).places
    ((_, later),) = log.append([entry("x", "y")], within=1).places
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
    assert read == sorted(seq for batch in appended for seq, _ in batch.places)
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


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), max_size=40))
def test_no_two_messages_of_one_inbox_share_a_time(pairs: list[tuple[str, str]]) -> None:
    entries = [entry(sender, target, uid="x") for sender, target in pairs]
    latest: dict[str, int] = {}
    for one, offset in zip(entries, offsets(entries), strict=True):
        for user in {one.sender, one.target}:
            assert offset > latest.get(user, -1)
            latest[user] = offset


def test_a_private_conversation_is_the_same_from_both_sides_and_another_one_in_another_tenant() -> None:
    assert conversation(1, PRIVATE, "a", "b") == conversation(1, PRIVATE, "b", "a")
    assert conversation(1, PRIVATE, "a", "b") != conversation(2, PRIVATE, "a", "b")
