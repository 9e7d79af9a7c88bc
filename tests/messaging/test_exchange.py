"""The copies of messages between SETs: each once, in order, whoever is away, stops or reads as well."""

import asyncio
import subprocess
import sys
import time
from itertools import pairwise
from queue import Empty

import pytest
from celery import current_app
from channels.layers import get_channel_layer
from django.core.exceptions import ValidationError

from apps.messaging import exchange
from apps.messaging.exchange import PAGE, PAGE_BYTES, catch_up
from apps.messaging.log import Log, Unavailable
from apps.messaging.methods.history import history
from apps.messaging.tasks import take_over
from apps.routing import metrics
from apps.routing.envelope import Hint, Request, feed_group
from apps.routing.models import ServerSet
from apps.routing.protocol.im_pb2 import HistoryMsgInput, HistoryMsgOuput
from apps.routing.topology import slot
from imcloud.celery import app  # noqa: F401  queues are its business
from tests.messaging.conftest import Shown, away, entry, pulled, text, user, users

FAR = user("set2")  # sends
NEAR = user("set1")  # receives
Copy = tuple[str, int, int]  # uid, seq, time


@pytest.fixture(autouse=True)
def _sets(sets: dict[str, Log], redis_client: object) -> None:
    """Every test here has two SETs."""


@pytest.fixture
def origin(sets: dict[str, Log]) -> Log:
    return sets["set1"]


@pytest.fixture
def destination(sets: dict[str, Log]) -> Log:
    return sets["set2"]


def send(log: Log, number: int, up: bytes = b"") -> list[str]:
    """Messages from FAR to NEAR, in batches of some; their uids."""
    entries = [entry(FAR, NEAR, up) for _ in range(number)]
    for begin in range(0, number, 100):
        log.append(entries[begin : begin + 100], within=1)
    return [each.uid for each in entries]


def copies(log: Log) -> list[Copy]:
    return log.read("SELECT uid, seq, time FROM messaging_message ORDER BY seq", ())


def cursor(log: Log) -> list[tuple[str, int]]:
    return log.read("SELECT origin, seq FROM messaging_exchangecursor", ())


def head(log: Log) -> int:
    (found,) = log.read("SELECT seq FROM messaging_head", ())[0]
    return found


def transactions(log: Log) -> int:
    """In how many transactions the rows were stored."""
    return log.read("SELECT count(DISTINCT xmin::text) FROM messaging_message", ())[0][0]


def test_messages_are_copied_to_their_senders_set_once_and_in_order(origin: Log, destination: Log) -> None:
    sent = send(origin, 20)
    assert catch_up("set2", "set1") == 20
    came = copies(destination)
    assert [uid for uid, *_ in came] == sent
    assert [seq for _, seq, _ in came] == list(range(came[0][1], came[0][1] + 20))
    assert cursor(destination) == [("set1", head(origin))]
    assert catch_up("set2", "set1") == 0
    assert copies(destination) == came
    assert catch_up("set1", "set2") == 0


def test_copies_are_later_than_all_in_their_log_and_know_when_they_were_sent(
    origin: Log, destination: Log
) -> None:
    now = time.time_ns() // 1_000_000
    send(origin, 3)
    destination.append([entry(FAR, FAR, seen=now + 20_000)], within=1)  # its clock is ahead
    catch_up("set2", "set1")
    origin.append([entry(FAR, NEAR, seen=now + 40_000)], within=1)  # the other's is ahead of that
    catch_up("set2", "set1")
    first, *times = [at for _, _, at in copies(destination)]
    assert now + 20_000 < first < min(times)
    assert all(one < later for one, later in pairwise(times))
    assert times[-1] > now + 40_000
    there = dict(origin.read("SELECT uid, time FROM messaging_message", ()))
    assert dict(destination.read("SELECT uid, sent FROM messaging_message WHERE NOT inbox", ())) == there
    assert all(at >= there[uid] for uid, _, at in copies(destination)[1:])


def test_what_concerns_no_user_of_the_other_set_stays(origin: Log, destination: Log) -> None:
    near, other = users("set1", 2)
    origin.append([entry(near, other), entry(FAR, near, hidden=True)], within=1)
    assert catch_up("set2", "set1") == 0
    assert copies(destination) == []


def test_a_cursor_passes_what_does_not_concern_it_now_and_then(
    origin: Log, destination: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "IDLE_ROWS", 5)
    near, other = users("set1", 2)
    origin.append([entry(near, other) for _ in range(4)], within=1)
    catch_up("set2", "set1")
    assert cursor(destination) == []
    origin.append([entry(near, other)], within=1)
    catch_up("set2", "set1")
    assert cursor(destination) == [("set1", head(origin))]
    assert catch_up("set2", "set1") == 0


@pytest.mark.parametrize(
    ("number", "up", "pages"),
    [
        (PAGE, b"", 1),
        (2 * PAGE + 10, b"", 3),
        (12, text(b"x" * (PAGE_BYTES // 5)), 3),
        (3, text(b"x" * PAGE_BYTES), 3),
    ],
    ids=["a whole one", "by number", "by size", "of one each"],
)
def test_many_messages_come_in_pages(
    number: int, up: bytes, pages: int, origin: Log, destination: Log
) -> None:
    sent = send(origin, number, up)
    assert catch_up("set2", "set1") == number
    assert [uid for uid, *_ in copies(destination)] == sent
    assert transactions(destination) == pages


def test_a_reader_that_another_one_has_overtaken_takes_nothing(origin: Log, destination: Log) -> None:
    send(origin, 1)
    slots = destination.read("SELECT slots FROM messaging_head", ())[0][0]
    page = [entry(FAR, NEAR, copy=True)]
    catch_up("set2", "set1")
    came = copies(destination)
    assert not exchange._take("set2", "set1", page, (0, 1), slots)
    assert not exchange._take("set2", "set1", page, (head(origin), head(origin) + 1), bytes(len(slots)))
    assert copies(destination) == came
    assert cursor(destination) == [("set1", head(origin))]


def test_two_processes_that_read_at_the_same_time_store_each_copy_once(origin: Log, destination: Log) -> None:
    sent = send(origin, 6 * PAGE)
    script = (
        "import django; django.setup(); from apps.messaging.exchange import catch_up;"
        " print(catch_up('set2', 'set1'))"
    )
    readers = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)]
    taken = [int(reader.communicate(timeout=60)[0]) for reader in readers]
    assert sum(taken) == len(sent)
    assert [uid for uid, *_ in copies(destination)] == sent


@pytest.mark.parametrize("server_set", ["set1", "set2"], ids=["origin", "destination"])
def test_after_a_database_was_away_everything_comes_once_and_in_order(
    server_set: str, origin: Log, destination: Log
) -> None:
    sent = send(origin, 3)
    catch_up("set2", "set1")
    sent += send(origin, PAGE + 1)
    with away(server_set), pytest.raises(Unavailable):
        catch_up("set2", "set1")
    assert catch_up("set2", "set1") == PAGE + 1
    assert [uid for uid, *_ in copies(destination)] == sent


def test_an_origin_that_is_away_ends_no_timed_run() -> None:
    with away("set1"):
        exchange.run("set2")
    exchange.run("set2")


def test_what_was_stored_before_is_not_stored_again_when_the_cursor_was_lost(
    origin: Log, destination: Log
) -> None:
    sent = send(origin, PAGE + 1)
    catch_up("set2", "set1")
    came = copies(destination)
    destination.run(lambda c: c.execute("DELETE FROM messaging_exchangecursor"), within=1)
    sent += send(origin, 2)
    catch_up("set2", "set1")
    assert copies(destination)[: len(came)] == came
    assert [uid for uid, *_ in copies(destination)] == sent


def test_each_side_sees_the_message_once_in_its_own_set(origin: Log, destination: Log) -> None:
    (there,) = send(origin, 1)
    back = entry(NEAR, FAR)
    destination.append([back], within=1)
    exchange.run("set1")
    exchange.run("set2")
    for name, server_set, sent in ((NEAR, "set1", back.uid), (FAR, "set2", there)):
        received = there if sent == back.uid else back.uid
        both = pulled(server_set, name)
        assert sorted((each.uid, each.sent) for each in both) == sorted([(sent, True), (received, False)])
        assert [each.time for each in both] == sorted({each.time for each in both})
        assert conversation(server_set, name, NEAR if name == FAR else FAR) == both


def conversation(server_set: str, name: str, peer: str) -> list[Shown]:
    wanted = HistoryMsgInput(targetId=peer, time=0, count=20, order=1).SerializeToString()
    answer = history(server_set, Request(1, name, "qryPMsg", name, wanted))
    page = HistoryMsgOuput.FromString(answer.payload).list
    return [Shown(each.dataTime, each.msgId, each.direction == 1) for each in page]


def leave_open(destination: Log, upto: int) -> None:
    """As if FAR's slot had come to set2 when that had passed over all that set1 had for it up to a seq."""
    put = "INSERT INTO messaging_exchangegap (origin, slot, after, upto) VALUES ('set1', %s, 0, %s)"
    move = "INSERT INTO messaging_exchangecursor (origin, seq) VALUES ('set1', %s)"
    destination.run(lambda c: c.execute(put, (slot("1", FAR), upto)), within=1)
    destination.run(lambda c: c.execute(move, (upto,)), within=1)


def gaps(log: Log) -> list[tuple[int, int]]:
    return log.read("SELECT after, upto FROM messaging_exchangegap", ())


def test_a_gap_of_many_pages_is_filled_and_forgotten(origin: Log, destination: Log) -> None:
    sent = send(origin, PAGE + 5)
    leave_open(destination, head(origin))
    send(origin, 1)
    exchange.fill_gaps("set2")
    assert [uid for uid, *_ in copies(destination)] == sent
    assert gaps(destination) == []


def test_what_was_left_open_comes_before_what_is_sent_now(origin: Log, destination: Log) -> None:
    sent = send(origin, 3)
    leave_open(destination, head(origin))
    sent += send(origin, 3)
    catch_up("set2", "set1")
    assert [uid for uid, *_ in copies(destination)] == sent
    assert gaps(destination) == []


def test_the_senders_set_is_woken_and_reads(origin: Log, destination: Log) -> None:
    near, other = users("set1", 2)
    appended = origin.append([entry(FAR, near), entry(near, other)], within=1)
    exchange.wake("set1", appended.upto, appended.exported | 1 << slot("1", near))
    with current_app.connection_for_read() as broker:
        woken = {
            name: broker.SimpleQueue(f"{name}.exchange", accept=["msgpack"]) for name in ("set1", "set2")
        }
        message = woken["set2"].get(timeout=5)
        message.ack()
        for queue in woken.values():
            with pytest.raises(Empty):
                queue.get(block=False)
    assert message.headers["task"] == take_over.name
    args, *_ = message.payload
    take_over(*args)
    assert [uid for uid, *_ in copies(destination)] == [appended.rows[0].uid]


def test_a_wake_up_that_comes_late_asks_the_origin_nothing(origin: Log, destination: Log) -> None:
    send(origin, 1)
    catch_up("set2", "set1")
    with away("set1"):
        assert catch_up("set2", "set1", upto=1) == 0


async def test_gateways_are_told_of_the_copies(origin: Log) -> None:
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(feed_group("set2"), channel)
    sent = await asyncio.to_thread(send, origin, 2)
    await asyncio.to_thread(catch_up, "set2", "set1")
    hint = Hint.unpack((await asyncio.wait_for(layer.receive(channel), 5))["data"])
    assert [(row.uid, row.to, row.sync) for row in hint.rows] == [(uid, (), True) for uid in sent]
    assert hint.upto - hint.before == 2


def test_it_is_told_how_much_waits_and_for_how_long_even_while_the_destination_is_away(origin: Log) -> None:
    way = ("set2", "set1")

    def measured() -> tuple[float, float]:
        exchange.measure()
        return metrics.EXCHANGE_WAITING.of(*way)[0], metrics.EXCHANGE_LAG.of(*way)[0]

    send(origin, 2)
    waiting, lag = measured()
    assert waiting == 2 and lag > 0
    with away("set2"):
        send(origin, 1)
        longer = measured()
    assert longer[0] == 3 and longer[1] > lag
    catch_up("set2", "set1")
    assert measured() == (0, 0)


def test_a_set_stays_until_the_others_have_read_it(origin: Log) -> None:
    def reasons() -> list[str]:
        try:
            exchange.check_removal(ServerSet(name="set1"))
        except ValidationError as refused:
            return refused.messages
        return []

    assert reasons() == []
    send(origin, 1)
    assert reasons() == ["SET set2 has not read all of SET set1 yet: try again soon."]
    catch_up("set2", "set1")
    assert reasons() == []
    with away("set2"):
        assert reasons() == ["Whether SET set2 has read all of SET set1 cannot be found out now."]
