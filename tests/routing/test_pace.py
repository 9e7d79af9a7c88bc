"""A client that sends or asks faster than it may: what is past the limit is refused, and nothing else."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts import webhooks
from apps.accounts.directory import Directory
from apps.accounts.snapshot import Renewed
from apps.routing import gateway, methods, pace, rooms
from apps.routing import process as process_module
from apps.routing import topology as topology_module
from apps.routing.gateway import IN_FLIGHT_MAX, Handler
from apps.routing.placement import SLOTS
from apps.routing.process import Process
from apps.routing.protocol import packets
from apps.routing.protocol.packets import AckStatus, PubAck, Publish, Query, QueryAck
from apps.routing.sessions import Connection
from apps.routing.topology import NodeEntry, SetEntry, Snapshot
from imcloud.config import read

MESSAGES, QUERIES = frozenset(methods.MESSAGES), frozenset(methods.QUERIES)
SNAPSHOT = Snapshot(
    1,
    {"main": ("set1",) * SLOTS},
    {"set1": SetEntry("set1", "main", "")},
    (NodeEntry("ONE", "set1", 1.0, MESSAGES | QUERIES),),
    MESSAGES,
    QUERIES,
)


class Clock:
    """The time of the buckets, in ns. It stands still unless a test lets it go on."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += round(seconds * pace.SECOND)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic_ns", clock)
    return clock


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, redis_client: object) -> Any:
    """Makes a gateway's process. Its one node answers nothing: what is taken stays in flight."""
    for module in (topology_module, process_module):
        monkeypatch.setattr(module, "directory", Renewed("directory", lambda _: Directory()))
    for module in (gateway, process_module):
        monkeypatch.setattr(module, "topology", Renewed("topology", lambda _: SNAPSHOT))
    monkeypatch.setattr(webhooks, "table", Renewed("webhooks", lambda _: webhooks.Table()))

    def make() -> Process:
        made = Process(1, "here")
        made.lanes.opened.add("set1")
        return made

    return make


class Client:
    """One connection: what it has sent and asked, and the codes that it was refused with."""

    def __init__(self, process: Process, user: str = "alice") -> None:
        self.packets: list[Any] = []
        self.connection = Connection(
            id=f"c-{user}", tenant=1, app_key="k", user=user, home="set1", send=self._take
        )
        process.hub.add(self.connection)
        self._handler = Handler(process, self.connection)
        self._number = 0

    async def _take(self, message: dict[str, Any]) -> None:
        self.packets.append(packets.decode_downstream(message["bytes"]))

    def send(self, number: int = 1, method: str = "ppMsgP", header: int = 0x32) -> None:
        for _ in range(number):
            self._number += 1
            self._handler.take(Publish(method, "bob", self._number, b"x", header=header))

    def ask(self, number: int = 1, method: str = "qryPMsg") -> None:
        for _ in range(number):
            self._number += 1
            self._handler.take(Query(method, "alice", self._number, b""))

    @property
    def taken(self) -> int:
        return self.connection.in_flight

    @property
    def refused(self) -> list[tuple[type, int]]:
        return [(type(packet), packet.status) for packet in self.packets]


TOO_FAST, TOO_OFTEN = (PubAck, AckStatus.TOO_FAST), (QueryAck, AckStatus.BUSY)


@given(
    rate=st.integers(1, 1000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.integers(0, 3 * pace.SECOND), max_size=200),
)
def test_a_bucket_is_as_full_as_time_has_made_it(rate: int, burst: int, gaps: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(time, "monotonic_ns", clock)
        bucket, cost = pace.Bucket(rate, burst), pace.SECOND // rate
        level = cost * burst
        for gap in gaps:
            clock.now += gap
            level = min(level + gap, cost * burst)
            assert bucket.take() is (level >= cost)
            level -= cost if level >= cost else 0


@given(rate=st.integers(1, 1000), burst=st.integers(1, 50))
def test_the_whole_burst_passes_at_once_and_who_keeps_the_pace_is_never_refused(
    rate: int, burst: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(time, "monotonic_ns", clock)
        bucket = pace.Bucket(rate, burst)
        assert [bucket.take() for _ in range(burst + 1)] == [True] * burst + [False]
        for _ in range(100):
            clock.now += -(-pace.SECOND // rate)
            assert bucket.take()


async def test_who_sends_too_fast_is_told_so_and_may_send_again_later(
    process: Any, clock: Clock, settings: Any
) -> None:
    settings.MESSAGE_RATE, settings.MESSAGE_BURST = 5, 3
    mallory = Client(process(), "mallory")
    mallory.send(10)
    assert (mallory.taken, mallory.refused) == (3, [TOO_FAST] * 7)
    clock.pass_by(0.19)
    mallory.send()
    assert (mallory.taken, len(mallory.refused)) == (3, 8)
    clock.pass_by(0.01)
    mallory.send()
    assert (mallory.taken, len(mallory.refused)) == (4, 8)
    assert not mallory.connection.ending
    assert not mallory.connection.closed


async def test_one_who_sends_too_fast_takes_nothing_from_others(
    process: Any, clock: Clock, settings: Any
) -> None:
    settings.MESSAGE_RATE, settings.MESSAGE_BURST = 1, 3
    here = process()
    mallory, alice = Client(here, "mallory"), Client(here, "alice")
    mallory.send(10)
    alice.send(3)
    assert (alice.taken, alice.refused) == (3, [])


async def test_a_message_that_asks_for_no_answer_counts_too_and_is_dropped_without_one(
    process: Any, clock: Clock, settings: Any
) -> None:
    settings.MESSAGE_RATE, settings.MESSAGE_BURST = 1, 3
    mallory = Client(process())
    mallory.send(5, "ppMsgS", header=0x30)
    assert (mallory.taken, mallory.refused) == (3, [])
    mallory.send()
    assert (mallory.taken, mallory.refused) == (3, [TOO_FAST])


async def test_who_asks_too_often_is_told_so_and_still_may_send(
    process: Any, clock: Clock, settings: Any
) -> None:
    settings.QUERY_RATE, settings.QUERY_BURST = 1, 3
    mallory = Client(process())
    mallory.ask(5)
    assert (mallory.taken, mallory.refused) == (3, [TOO_OFTEN] * 2)
    mallory.send(5)
    assert (mallory.taken, len(mallory.refused)) == (8, 2)


@pytest.mark.parametrize("method", sorted(pace.PULLS - rooms.TOPICS))
async def test_a_pull_is_never_refused_for_the_pace(
    process: Any, clock: Clock, settings: Any, method: str
) -> None:
    settings.QUERY_RATE, settings.QUERY_BURST = 1, 1
    alice = Client(process())
    alice.ask(5)
    alice.ask(3, method)
    assert (alice.taken, alice.refused) == (4, [TOO_OFTEN] * 4)


async def test_what_is_refused_for_another_reason_uses_nothing_up(
    process: Any, clock: Clock, settings: Any
) -> None:
    settings.MESSAGE_RATE, settings.MESSAGE_BURST = 1, 2
    alice = Client(process())
    alice.send(5, "noSuchMethod")
    alice.send(2)
    assert (alice.taken, alice.refused) == (2, [(PubAck, AckStatus.NOT_SUPPORTED)] * 5)


async def test_by_default_nothing_is_limited_but_what_waits_for_its_answer(
    process: Any, clock: Clock
) -> None:
    alice, bob = Client(here := process(), "alice"), Client(here, "bob")
    alice.send(IN_FLIGHT_MAX + 1)
    bob.ask(IN_FLIGHT_MAX)
    assert (alice.taken, alice.refused) == (IN_FLIGHT_MAX, [TOO_FAST])
    assert (bob.taken, bob.refused) == (IN_FLIGHT_MAX, [])


def test_the_settings_are_the_operators() -> None:
    default = read({})
    assert (default.message_rate, default.query_rate) == (0, 0)
    given = read({"IMCLOUD_MESSAGE_RATE": "5", "IMCLOUD_QUERY_BURST": "7"})
    assert (given.message_rate, given.query_burst) == (5, 7)


def test_every_pull_is_a_method_that_there_is() -> None:
    assert methods.METHODS.keys() >= pace.PULLS
