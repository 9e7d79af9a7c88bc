"""Lanes over the real broker: one batch at a time, in order, whatever becomes of nodes and slots."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import Empty
from typing import Any

import pytest
from celery import current_app

from apps.accounts.directory import Directory
from apps.accounts.snapshot import Renewed
from apps.routing import lanes as module
from apps.routing import topology
from apps.routing.envelope import ELSEWHERE, Answer, Batch, Hint, Request, Row
from apps.routing.feed import Feed
from apps.routing.lanes import UNANSWERED, UNHEARD, Lanes, Pending
from apps.routing.placement import SLOTS
from apps.routing.protocol.packets import AckStatus
from apps.routing.protocol.uid import UidIssuer
from apps.routing.topology import NodeEntry, SetEntry, Snapshot
from imcloud.celery import app  # noqa: F401  the broker is its business

METHODS = frozenset({"ppMsgP", "pullMsg"})
ONE, TWO, FAR = (
    NodeEntry(name, server_set, 1.0, METHODS)
    for name, server_set in (("ONE", "set1"), ("TWO", "set1"), ("FAR", "set2"))
)


def snapshot(*nodes: NodeEntry, home: str = "set1") -> Snapshot:
    """A topology of these nodes, in which every user is at home in one SET."""
    sets = {name: SetEntry(name, "main", "") for name in ("set1", "set2")}
    messages, queries = frozenset({"ppMsgP"}), frozenset({"pullMsg"})
    return Snapshot(1, {"main": (home,) * SLOTS}, sets, nodes, messages, queries)


class Gateway:
    """Lanes with the feeds of two SETs, and what became of the requests."""

    def __init__(self, routes: Snapshot) -> None:
        loop = asyncio.get_running_loop()
        self.lanes = Lanes("gateway.1", UidIssuer(1), loop, self._when_covered, routes)
        self.lanes.opened |= {"set1", "set2"}
        self.feeds = {
            name: Feed(name, self._apply, lambda _: None, lambda _: None) for name in self.lanes.opened
        }
        for name, feed in self.feeds.items():
            feed.read(Hint(name, 0, 0), 0)
        self.became: dict[str, int] = {}  # payload -> status
        self.order: list[str] = []

    def _when_covered(self, server_set: str, position: int, then: Callable[[], None]) -> None:
        self.feeds[server_set].when_covered(position, then)

    def _apply(self, row: Row) -> None:
        self.lanes.committed(row.uid, row.sent)

    def _resolve(self, pending: Pending, answer: Answer) -> None:
        text = pending.request.payload.decode()
        assert text not in self.became
        self.became[text] = answer.status
        self.order.append(text)

    def send(self, *texts: str, target: str = "bob") -> None:
        for text in texts:
            request = Request(1, "alice", "ppMsgP", target, text.encode())
            self.lanes.enter(request, self._resolve)

    def ask(self, *texts: str) -> None:
        for text in texts:
            self.lanes.enter(Request(1, "alice", "pullMsg", "alice", text.encode()), self._resolve)

    def age(self, text: str, by: float) -> None:
        """Let a message be that much older, in s, and the batch that it is in."""
        (its,) = (p for p in self.lanes._uncommitted.values() if p.request.payload == text.encode())
        its.since -= by
        its.placed_at -= by
        for flight in (flight for lane in self.lanes._lanes.values() for flight in lane._flights.values()):
            if its in flight.open.values():
                flight.since -= by
                flight.placed_at -= by

    def answer(self, batch: Batch, *answers: Answer) -> None:
        """The node has stored what it has no other answer for."""
        feed = self.feeds[batch.server_set]
        told = {answer.place for answer in answers}
        stored = [request for place, request in enumerate(batch.requests) if place not in told]
        rows = [
            Row(seq, r.uid, 1000 + seq, 1000 + seq, 1, 1, r.user, r.target, (), False, r.method, r.payload)
            for seq, r in enumerate(stored, feed.covered + 1)
        ]
        self.lanes.back(batch.number)
        feed.offer(Hint(batch.server_set, feed.covered, feed.covered + len(rows), rows))
        self.lanes.answered(batch.number, list(answers))


class Queue:
    """A node's end of its queue."""

    def __init__(self, connection: Any, node: NodeEntry, is_message: bool) -> None:
        self._queue = connection.SimpleQueue(node.queue(is_message), no_ack=True, accept=["msgpack"])

    def take(self) -> Batch | None:
        try:
            args, *_ = self._queue.get(block=False).payload
        except Empty:
            return None
        return Batch.unpack(args[0])

    async def batch(self) -> Batch:
        """The next one."""
        give_up_at = time.monotonic() + 10
        while (found := self.take()) is None:
            assert time.monotonic() < give_up_at, "no batch came"
            await asyncio.sleep(0.005)
        return found

    async def silent(self) -> bool:
        """Nothing comes for a while."""
        await asyncio.sleep(0.1)
        return self.take() is None


def texts(batch: Batch) -> list[str]:
    return [request.payload.decode() for request in batch.requests]


@pytest.fixture
def queues(redis_client: object) -> Iterator[dict[str, Queue]]:
    """Node -> its queue of messages; NODE? -> its queue of queries."""
    with current_app.connection_for_read() as connection:
        nodes = (ONE, TWO, FAR)
        messages = {node.name: Queue(connection, node, True) for node in nodes}
        yield messages | {f"{node.name}?": Queue(connection, node, False) for node in nodes}


@pytest.fixture(autouse=True)
def one_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tenant is pinned to a cluster: all are of the first one."""
    monkeypatch.setattr(topology, "directory", Renewed("directory", lambda _: Directory()))


def targets(routes: Snapshot, node: NodeEntry, number: int = 1) -> list[str]:
    """Users whose messages this node takes."""
    names = (f"user{n}" for n in range(1000))
    mine = (name for name in names if routes.node_for(node.server_set, name, "ppMsgP") == node)
    return [next(mine) for _ in range(number)]


async def test_while_a_batch_is_out_the_next_one_collects(queues: dict[str, Queue]) -> None:
    gateway = Gateway(snapshot(ONE))
    gateway.send("a")
    first = await queues["ONE"].batch()
    gateway.send("b")
    gateway.send("c")
    assert await queues["ONE"].silent()
    gateway.answer(first)
    second = await queues["ONE"].batch()
    assert (texts(first), texts(second)) == (["a"], ["b", "c"])
    gateway.answer(second, Answer(1, AckStatus.BLOCKED_BY_PEER))
    assert gateway.became == {"a": 0, "b": 0, "c": AckStatus.BLOCKED_BY_PEER}


async def test_the_next_batch_leaves_before_what_became_of_the_last_is_told(
    queues: dict[str, Queue],
) -> None:
    gateway = Gateway(snapshot(ONE))
    gateway.send("a")
    first = await queues["ONE"].batch()
    gateway.send("b")
    gateway.lanes.back(first.number)
    gateway.send("c")
    second = await queues["ONE"].batch()
    assert texts(second) == ["b"]
    assert not gateway.order
    gateway.lanes.back(first.number)  # a second copy of it has been worked on
    gateway.answer(first)
    gateway.lanes.back(first.number)
    assert await queues["ONE"].silent(), "one batch at a time"
    gateway.answer(second)
    assert texts(await queues["ONE"].batch()) == ["c"]
    assert gateway.order == ["a", "b"]


async def test_four_batches_of_queries_are_out_at_once_and_answered_in_any_order(
    queues: dict[str, Queue],
) -> None:
    gateway = Gateway(snapshot(ONE))
    out = []
    for text in "abcd":
        gateway.ask(text)
        out.append(await queues["ONE?"].batch())
    gateway.ask("e", "f")
    assert await queues["ONE?"].silent()
    gateway.lanes.answered(out[2].number, [Answer(0, 0)])
    assert texts(await queues["ONE?"].batch()) == ["e", "f"]
    assert gateway.became == {"c": 0}


async def test_what_an_earlier_try_has_stored_is_acknowledged_when_its_row_has_been_shown(
    queues: dict[str, Queue],
) -> None:
    gateway = Gateway(snapshot(ONE))
    gateway.send("a")
    batch = await queues["ONE"].batch()
    gateway.lanes.answered(batch.number, [Answer(0, 0, 1003, b"", 3)])
    assert gateway.became == {}
    gateway.feeds["set1"].offer(Hint("set1", 0, 3))
    assert gateway.became == {"a": 0}


async def test_an_unanswered_batch_goes_again_under_the_same_uids(
    queues: dict[str, Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESEND", 0.0)
    gateway = Gateway(snapshot(ONE))
    gateway.send("a", "b")
    first = await queues["ONE"].batch()
    await asyncio.sleep(0.05)
    gateway.lanes.sweep()
    second = await queues["ONE"].batch()
    assert (first.attempt, second.attempt) == (0, 1)
    assert (first.number, first.requests) == (second.number, second.requests)


async def test_tries_that_the_broker_did_not_take_do_not_put_off_the_next_copy(
    queues: dict[str, Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", 0.0)
    gateway = Gateway(snapshot(ONE))
    with monkeypatch.context() as away:
        away.setitem(current_app.conf, "broker_write_url", "redis://127.0.0.1:1")
        gateway.send("a")
        await asyncio.sleep(0)
        (flight,) = (its for lane in gateway.lanes._lanes.values() for its in lane._flights.values())
        while flight.attempt < 3:
            gateway.lanes.sweep()
            await asyncio.sleep(0.005)
    while not flight.heard:
        gateway.lanes.sweep()
        await asyncio.sleep(0.005)
    assert (await queues["ONE"].batch()).attempt == flight.attempt >= 3
    assert flight.retry_at - time.monotonic() <= module.RESEND


async def test_after_a_change_messages_wait_for_those_before_them_and_keep_their_order(
    queues: dict[str, Queue],
) -> None:
    before = snapshot(ONE, TWO)
    (bob,) = targets(before, ONE)
    gateway = Gateway(before)
    gateway.send("a", target=bob)
    out = await queues["ONE"].batch()
    gateway.send("b", target=bob)
    gateway.lanes.follow(snapshot(replace(ONE, weight=0.0), TWO))
    gateway.send("c", target=bob)
    assert await queues["TWO"].silent()
    gateway.answer(out)
    moved = await queues["TWO"].batch()
    assert texts(moved) == ["b", "c"]
    gateway.send("d", target=bob)
    gateway.answer(moved)
    gateway.answer(await queues["TWO"].batch())
    assert gateway.order == ["a", "b", "c", "d"]
    assert await queues["ONE"].silent()


async def test_a_change_waits_for_all_batches_and_a_second_one_for_those_that_are_still_out(
    queues: dict[str, Queue],
) -> None:
    before = snapshot(ONE, TWO)
    (bob,), (carol,) = targets(before, ONE), targets(before, TWO)
    gateway = Gateway(before)
    gateway.send("a", target=bob)
    gateway.send("b", target=carol)
    one, two = await queues["ONE"].batch(), await queues["TWO"].batch()
    gateway.lanes.follow(snapshot(replace(ONE, weight=0.0), TWO))
    gateway.send("c", target=bob)
    gateway.answer(two)
    gateway.lanes.follow(snapshot(ONE, replace(TWO, weight=0.0)))
    gateway.send("d", target=carol)
    assert await queues["ONE"].silent() and await queues["TWO"].silent()
    gateway.answer(one)
    assert texts(await queues["ONE"].batch()) == ["c", "d"]


async def test_what_a_dead_node_was_sent_and_what_waited_for_it_goes_to_the_other_in_order(
    queues: dict[str, Queue],
) -> None:
    before = snapshot(ONE, TWO)
    (bob,), (carol,) = targets(before, ONE), targets(before, TWO)
    gateway = Gateway(before)
    gateway.send("a", target=bob)
    lost = await queues["ONE"].batch()
    gateway.send("b", target=bob)
    gateway.send("c", target=carol)
    other = await queues["TWO"].batch()
    gateway.lanes.follow(snapshot(TWO))
    gateway.send("d", target=bob)
    assert await queues["TWO"].silent()
    gateway.answer(other)
    again = await queues["TWO"].batch()
    assert texts(again) == ["a", "b", "d"]
    assert again.attempt > 0
    assert again.requests[0].uid == lost.requests[0].uid
    gateway.answer(lost)  # it was not dead: its row comes
    assert gateway.became == {"c": 0, "a": 0}
    gateway.answer(again, Answer(0, 0, 1001, b"", 1))
    assert gateway.order == ["c", "a", "b", "d"]


async def test_queries_of_a_dead_node_go_to_the_other_at_once(queues: dict[str, Queue]) -> None:
    before = snapshot(ONE, TWO)
    gateway = Gateway(before)
    gateway.ask("a")
    asked = before.node_for("set1", "alice", "pullMsg")
    assert asked is not None
    await queues[f"{asked.name}?"].batch()
    left = TWO if asked == ONE else ONE
    gateway.lanes.follow(snapshot(left))
    batch = await queues[f"{left.name}?"].batch()
    gateway.lanes.answered(batch.number, [Answer(0, 0)])
    assert gateway.became == {"a": 0}


async def test_a_message_whose_slot_has_gone_follows_it_ahead_of_later_ones(queues: dict[str, Queue]) -> None:
    gateway = Gateway(snapshot(ONE, FAR))
    gateway.send("a")
    gateway.answer(await queues["ONE"].batch(), Answer(0, ELSEWHERE))
    gateway.send("b")
    out = await queues["ONE"].batch()
    gateway.lanes.follow(snapshot(ONE, FAR, home="set2"))
    gateway.send("c")
    assert await queues["FAR"].silent()
    gateway.answer(out, Answer(0, ELSEWHERE))
    moved = await queues["FAR"].batch()
    assert texts(moved) == ["a", "b", "c"]
    assert moved.attempt > 0
    gateway.answer(moved)
    assert gateway.order == ["a", "b", "c"]


async def test_a_query_whose_slot_has_gone_follows_it_or_is_refused_in_time(queues: dict[str, Queue]) -> None:
    gateway = Gateway(snapshot(ONE, FAR))
    gateway.ask("a", "b")
    asked = await queues["ONE?"].batch()
    gateway.lanes.answered(asked.number, [Answer(0, ELSEWHERE), Answer(1, ELSEWHERE)])
    late = gateway.lanes._collected[1]
    late.since -= UNANSWERED + 1
    gateway.lanes.sweep()
    assert gateway.became == {"b": AckStatus.BUSY}
    gateway.lanes.follow(snapshot(ONE, FAR, home="set2"))
    moved = await queues["FAR?"].batch()
    assert texts(moved) == ["a"]
    gateway.lanes.answered(moved.number, [Answer(0, 0)])
    assert gateway.became == {"b": AckStatus.BUSY, "a": 0}


async def test_a_slot_that_nobody_has_taken_yet_is_asked_for_again_and_nobody_overtakes(
    queues: dict[str, Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_AGAIN", 0.0)
    gateway = Gateway(snapshot(ONE))
    gateway.send("a", "other")
    gateway.answer(await queues["ONE"].batch(), Answer(0, ELSEWHERE))
    assert await queues["ONE"].silent()
    gateway.send("b")
    gateway.answer(await queues["ONE"].batch(), Answer(0, ELSEWHERE))
    gateway.lanes.sweep()
    again = await queues["ONE"].batch()
    assert texts(again) == ["a", "b"]
    gateway.answer(again)
    assert gateway.became == {"other": 0, "a": 0, "b": 0}


async def test_what_waits_too_long_for_a_way_is_refused_and_not_sent_after_that(
    queues: dict[str, Queue],
) -> None:
    gateway = Gateway(snapshot(ONE, TWO))
    (bob,), (carol,) = targets(gateway.lanes.snapshot, ONE), targets(gateway.lanes.snapshot, TWO)
    gateway.send("young", target=carol)
    gateway.answer(await queues["TWO"].batch(), Answer(0, ELSEWHERE))
    gateway.send("old", target=bob)
    gateway.answer(await queues["ONE"].batch(), Answer(0, ELSEWHERE))
    gateway.age("old", UNANSWERED)
    gateway.lanes.sweep()
    assert gateway.became == {"old": AckStatus.BUSY}
    gateway.send("new", target=bob)
    assert texts(await queues["ONE"].batch()) == ["new"]
    assert texts(await queues["TWO"].batch()) == ["young"]


async def test_a_message_that_was_refused_while_it_waited_for_others_is_not_sent(
    queues: dict[str, Queue],
) -> None:
    gateway = Gateway(snapshot(ONE))
    gateway.send("a")
    out = await queues["ONE"].batch()
    gateway.lanes.follow(snapshot(ONE))
    gateway.send("late", "b")
    gateway.age("late", UNANSWERED)
    gateway.lanes.sweep()
    gateway.answer(out)
    assert texts(await queues["ONE"].batch()) == ["b"]


async def test_who_has_waited_for_others_is_heard_as_long_as_who_comes_now(
    queues: dict[str, Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_MAX", 1)
    gateway = Gateway(snapshot(ONE))
    gateway.send("a")
    out = await queues["ONE"].batch()
    gateway.lanes.follow(snapshot(replace(ONE, weight=0.0), TWO))
    gateway.send("b", "c")
    for text in "bc":
        gateway.age(text, UNHEARD)
    gateway.answer(out)
    gateway.lanes.sweep()
    await asyncio.sleep(0)  # the first of them leaves
    gateway.lanes.sweep()
    assert gateway.became == {"a": 0}
    gateway.answer(await queues["TWO"].batch())
    gateway.answer(await queues["TWO"].batch())
    assert gateway.order == ["a", "b", "c"]


async def test_a_change_that_does_not_concern_what_is_on_its_way_holds_nobody_up(
    queues: dict[str, Queue],
) -> None:
    gateway = Gateway(snapshot(ONE))
    gateway.send("a")
    out = await queues["ONE"].batch()
    gateway.lanes.follow(snapshot(ONE, replace(TWO, weight=0.0)))
    gateway.send("b")
    assert gateway.lanes._collected == []
    gateway.answer(out)
    gateway.answer(await queues["ONE"].batch())
    assert gateway.order == ["a", "b"]


async def test_a_batch_that_nobody_answers_is_given_up_and_the_next_one_goes(
    queues: dict[str, Queue],
) -> None:
    gateway = Gateway(snapshot(ONE))
    gateway.send("a")
    await queues["ONE"].batch()
    gateway.send("b")
    gateway.age("a", UNANSWERED)
    gateway.lanes.sweep()
    assert gateway.became == {"a": AckStatus.BUSY}
    assert texts(await queues["ONE"].batch()) == ["b"]


@pytest.mark.parametrize("road", ["lane", "collected"])
async def test_what_waits_is_bounded_in_number_and_bytes(
    road: str, queues: dict[str, Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    monkeypatch.setattr(module, "WAITING_BYTES", 10)
    gateway = Gateway(snapshot(ONE))
    gateway.send("a")
    out = await queues["ONE"].batch()
    to = "ONE"
    if road == "collected":
        to = "TWO"
        gateway.lanes.follow(snapshot(replace(ONE, weight=0.0), TWO))
    gateway.send("b", "long" * 3, "c", "d", "e")
    assert gateway.became == {"long" * 3: AckStatus.BUSY, "e": AckStatus.BUSY}
    gateway.answer(out)
    gateway.answer(await queues[to].batch())
    gateway.send("f", "g", "h")
    assert texts(await queues[to].batch()) == ["f", "g", "h"]


async def test_a_message_to_a_set_whose_log_is_not_followed_yet_is_refused(queues: dict[str, Queue]) -> None:
    gateway = Gateway(snapshot(ONE, FAR, home="set2"))
    gateway.lanes.opened.discard("set2")
    gateway.send("a")
    assert gateway.became == {"a": AckStatus.BUSY}
    assert await queues["FAR"].silent()
