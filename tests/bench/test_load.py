"""What a benchmark counts as done."""

import asyncio
from typing import Any

import pytest

from bench.client import Client
from bench.homes import Homes
from bench.ledger import Books, Ledger
from bench.load import Loop, Pairs, Window, connect, disconnect, numbered, paced
from tests.conftest import WholeStack
from tests.messaging.server_api.live import app_of_its_own

CHAT_SECONDS = 2.0


async def test_a_message_between_two_sets_is_done_when_both_users_and_the_second_device_have_it(
    stack: WholeStack,
) -> None:
    app = await asyncio.to_thread(app_of_its_own, stack, "two sets")  # no broadcast of other tests comes
    homes = Homes(stack.describe()["database_url"], app.key)
    tokens = await asyncio.to_thread(app.tokens, homes.users(["set1", "set2"]))
    pairs = Pairs(app, tokens, senders=1, second_devices=True)
    pairs.window.open()
    await connect(pairs.clients)
    pairs.begin(1)
    await asyncio.sleep(CHAT_SECONDS)
    verdict = await pairs.finish()
    await disconnect(pairs.clients)
    done = pairs.window.completed
    assert done > 0
    assert len(pairs.window.acks) == len(pairs.window.deliveries) == len(pairs.window.copies) == done
    assert verdict.faults == {}
    assert verdict.delivered == verdict.acknowledged == 2 * done


class Clock:
    """Stands in for the module `time`, and for sleeping: nobody waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 100.0
        monkeypatch.setattr("bench.load.time", self)
        monkeypatch.setattr("bench.load.asyncio.sleep", self.sleep)

    def perf_counter(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_what_is_due_comes_at_its_time_and_ends_with_the_seconds(clock: Clock) -> None:
    came = [(due, clock.now) async for due in paced(4, seconds=1)]
    assert came == [(moment, moment) for moment in (100.0, 100.25, 100.5, 100.75)]


async def test_what_is_overdue_comes_at_once_and_none_is_left_out(clock: Clock) -> None:
    came = []
    async for due in paced(4, seconds=2):
        came.append((due, clock.now))
        if due == 100.25:
            clock.now += 1.0
    assert [due for due, _ in came] == [100.0 + number / 4 for number in range(8)]
    assert [now - due for due, now in came] == [0, 0, 0.75, 0.5, 0.25, 0, 0, 0]


class Sender(Client):
    """A client that is online when it is said to be, and remembers what it was to send."""

    def __init__(self, loop: Loop):
        super().__init__("", "alice", loop.answered, lambda message: None)
        self.online = True
        self.sent: list[int] = []
        loop.client = self

    def send(self, target: str, upstream: bytes, context: Any, method: str = "ppMsgP") -> bool:
        self.sent.append(context)
        return True


async def turns() -> None:
    """Let timers of no time come."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def window() -> Window:
    return Window(opened=101.0, closed=102.0)


@pytest.fixture
def loop(window: Window) -> Loop:
    return Loop(Books(received=Ledger()), window, "bob", numbered)


def test_a_message_at_a_rate_is_timed_from_when_it_was_due_if_that_was_in_the_window(
    loop: Loop, window: Window, clock: Clock
) -> None:
    sender = Sender(loop)
    for due, sent, through in ((100.9, 101.0, 101.5), (101.0, 101.25, 101.5), (101.75, 102.5, 103.0)):
        clock.now = sent
        loop.send_due(due)
        number = sender.sent[-1]
        clock.now = through
        loop.answered(number, 0, f"uid-{number}", 1)
        loop.shown(number)
    assert list(window.late) == [0.25, 0.75]
    assert list(window.acks) == list(window.deliveries) == [0.5, 1.25]
    assert (window.completed, sender.sent) == (2, [0, 1, 2])  # none is sent because another is through


async def test_a_message_that_is_due_while_its_sender_is_offline_is_sent_later(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.load.PAUSE_SECONDS", 0)
    sender = Sender(loop)
    sender.online = False
    loop.send_due(101.0)
    assert sender.sent == []
    sender.online = True
    await turns()
    assert sender.sent == [0]


async def test_a_refused_message_is_sent_again_by_a_closed_loop_only(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.load.PAUSE_SECONDS", 0)
    sender = Sender(loop)
    loop.next()
    loop.answered(0, 20607, "", 0)
    await turns()
    assert sender.sent == [0, 1]
    at_rate = Loop(Books(received=Ledger()), Window(), "bob", numbered)
    sender = Sender(at_rate)
    at_rate.send_due(101.0)
    at_rate.answered(0, 20607, "", 0)
    await turns()
    assert (sender.sent, at_rate.under_way) == ([0], 0)
