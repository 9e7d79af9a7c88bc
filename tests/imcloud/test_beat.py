"""Several beats, real servers and nodes: one works, another takes over; it tells what became of others."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis
from django.db import connections
from django.utils import timezone

from apps.routing import heartbeats, presence, topology
from apps.routing.lease import connection_parameters
from apps.routing.models import HealthEvent, Node, State
from apps.routing.monitor import COMING_UP, PURGE_AFTER
from apps.routing.worker import CANARY
from tests.conftest import DATA
from tests.processes import Command, OwnRedis

TAKEOVER = 10.0  # s
QUEUE = "set1.beat"
WAITS, WORKS = "beat: waiting for the lease", "beat: working"
NODES = ("MSG_NODE1", "MSG_NODE2")

StartBeat = Callable[[str], Command]
StartNode = Callable[[str], Command]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    own = OwnRedis(tmp_path)
    yield own
    own.kill()


@pytest.fixture
def start(databases: None, own_redis: OwnRedis, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start a command with a SET of two nodes in the database; what was started is killed after the test."""
    topology.bootstrap(sets=1, nodes=len(NODES))
    started = []

    def start(log: str, *command: str) -> Command:
        started.append(Command(tmp_path / f"{log}.log", own_redis.environment, *command))
        return started[-1]

    yield start
    for command in started:
        command.kill()


@pytest.fixture
def start_beat(start: Callable[..., Command]) -> StartBeat:
    return lambda name: start(name, "beat")


@pytest.fixture
def start_node(start: Callable[..., Command], beats: Callable[[str], bytes]) -> StartNode:
    """Start a node and wait until it can serve."""

    def start_node(name: str) -> Command:
        before = beats(name)
        node = start(name, "node", name)
        node.until(lambda: beats(name) != before, 30)
        return node

    return start_node


@pytest.fixture
def state(own_redis: OwnRedis) -> redis.Redis:
    """The database of the test's Redis that processes tell their state in."""
    return redis.Redis(unix_socket_path=str(own_redis.socket))


@pytest.fixture
def beats(state: redis.Redis) -> Callable[[str], bytes]:
    """A node's last beat."""
    return lambda name: state.hget(heartbeats.NODES, name) or b""  # type: ignore[return-value]


def works(beat: Command) -> bool:
    """Whether the last that it said of itself is that it works."""
    log = beat.log
    return log.rfind(WORKS) > log.rfind(WAITS)


def sends(own_redis: OwnRedis) -> bool:
    """Whether timed work arrives."""
    own_redis.broker.delete(QUEUE)
    give_up_at = time.monotonic() + 3
    while not own_redis.broker.llen(QUEUE):
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.05)
    return True


def test_of_two_one_works_and_the_other_takes_over_when_it_is_killed(
    start_beat: StartBeat, own_redis: OwnRedis
) -> None:
    first = start_beat("first")
    first.until(lambda: works(first), 20)
    second = start_beat("second")
    second.until(lambda: WAITS in second.log, 20)
    assert sends(own_redis)
    assert not works(second)
    first.kill()
    second.until(lambda: works(second), TAKEOVER)
    assert sends(own_redis)


def test_it_ends_once_however_often_it_is_told_to(start_beat: StartBeat) -> None:
    first = start_beat("first")
    first.until(lambda: works(first), 20)
    second = start_beat("second")
    second.until(lambda: WAITS in second.log, 20)
    for beat in (second, first):
        for _ in range(1000):  # a launcher's death is told by each of its threads
            beat.process.send_signal(signal.SIGTERM)
        assert beat.process.wait(10) == 0


def test_another_takes_over_when_the_first_one_hangs_and_that_one_stops(start_beat: StartBeat) -> None:
    first = start_beat("first")
    first.until(lambda: works(first), 20)
    second = start_beat("second")
    second.until(lambda: WAITS in second.log, 20)
    first.process.send_signal(signal.SIGSTOP)
    second.until(lambda: works(second), TAKEOVER)
    first.process.send_signal(signal.SIGCONT)
    first.until(lambda: not works(first), 2)
    assert works(second)


def test_one_that_lost_its_session_stops_and_one_works_again(
    start_beat: StartBeat, own_redis: OwnRedis
) -> None:
    beat = start_beat("only")
    beat.until(lambda: works(beat), 20)
    with psycopg.connect(autocommit=True, **connection_parameters()) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        )
    beat.until(lambda: beat.log.count(WAITS) == 2, 3)
    beat.until(lambda: works(beat), TAKEOVER)
    assert sends(own_redis)


def test_a_broker_that_was_away_ends_nothing(start_beat: StartBeat, own_redis: OwnRedis) -> None:
    beat = start_beat("only")
    beat.until(lambda: works(beat), 20)
    own_redis.kill()
    time.sleep(3)
    assert works(beat)
    own_redis.start()
    assert sends(own_redis)
    assert beat.end() == 0


# --- what it tells


def story(name: str, kind: str = "node") -> list[str]:
    """What has been found about it, in order."""
    found = HealthEvent.objects.filter(kind=kind, name=name).order_by("at", "pk")
    return list(found.values_list("finding", flat=True))


def test_a_killed_node_is_told_to_be_down_and_back_once_also_when_another_beat_takes_over(
    start_beat: StartBeat, start_node: StartNode
) -> None:
    nodes = [start_node(name) for name in NODES]
    first = start_beat("first")
    first.until(lambda: works(first), 20)
    second = start_beat("second")
    second.until(lambda: WAITS in second.log, 20)
    time.sleep(3)
    nodes[0].kill()
    first.until(lambda: story(NODES[0]) == ["suspected", "down"], 20)
    first.kill()
    second.until(lambda: works(second), TAKEOVER)
    time.sleep(4)
    nodes[0] = start_node(NODES[0])
    second.until(lambda: story(NODES[0]) == ["suspected", "down", "recovered"], 20)
    assert story(NODES[1]) == []
    assert nodes[1].end() == 0
    second.until(lambda: story(NODES[1]) == ["down"], 5)
    assert HealthEvent.objects.get(name=NODES[1]).reason == "ended in order"
    assert story(NODES[0]) == ["suspected", "down", "recovered"]


def test_a_node_that_hangs_is_down_its_queue_is_emptied_and_it_comes_back_even_when_taken_out(
    start_beat: StartBeat, start_node: StartNode, own_redis: OwnRedis
) -> None:
    node, _ = (start_node(name) for name in NODES)
    beat = start_beat("beat")
    beat.until(lambda: works(beat), 20)
    time.sleep(3)
    pids = [node.process.pid, *workers(NODES[0])]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    queue = f"set1.{NODES[0]}.message"
    own_redis.put(queue, CANARY, b"", copies=3)
    beat.until(lambda: story(NODES[0]) == ["suspected", "down"], 20)
    assert own_redis.broker.llen(queue), "the worker had asked for one before it hung; the others lie there"
    beat.until(lambda: not own_redis.broker.llen(queue), PURGE_AFTER + 5)
    Node.objects.filter(name=NODES[0]).update(state=State.DOWN)
    time.sleep(3)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    beat.until(lambda: story(NODES[0]) == ["suspected", "down", "recovered"], 20)
    assert story(NODES[1]) == []


def test_a_worker_that_was_replaced_is_told_with_its_reason_and_time(
    start_beat: StartBeat, start_node: StartNode
) -> None:
    start_node(NODES[0])
    beat = start_beat("beat")
    beat.until(lambda: works(beat), 20)
    before = timezone.now()
    os.kill(workers(NODES[0])[0], signal.SIGKILL)
    worker = f"set1.{NODES[0]}.message.0"
    beat.until(lambda: story(worker, "worker") == ["down", "recovered"], 20)
    event = HealthEvent.objects.get(name=worker, finding="down")
    assert event.reason == "killed by SIGKILL"
    assert abs((event.at - before).total_seconds()) < 10
    beat.kill()
    next_one = start_beat("next one")
    next_one.until(lambda: works(next_one), TAKEOVER)
    time.sleep(3)
    assert story(worker, "worker") == ["down", "recovered"]
    assert story(NODES[0]) == []


def test_a_node_whose_workers_do_not_come_up_is_told_to_be_down_with_that_reason(
    start_beat: StartBeat, start_node: StartNode
) -> None:
    start_node(NODES[0])
    beat = start_beat("beat")
    beat.until(lambda: works(beat), 20)

    def down() -> bool:
        for pid in workers(NODES[0]):
            with suppress(ProcessLookupError):  # just reaped
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        return story(NODES[0]) == ["suspected", "down"]

    beat.until(down, 30)
    reasons = HealthEvent.objects.filter(name=NODES[0]).values_list("reason", flat=True)
    assert set(reasons) == {"has no message and no query worker that has come up"}
    beat.until(lambda: story(NODES[0]) == ["suspected", "down", "recovered"], 30)


def test_redis_away_for_five_seconds_lets_nobody_count_as_down(
    start_beat: StartBeat, start_node: StartNode, own_redis: OwnRedis, beats: Callable[[str], bytes]
) -> None:
    for name in NODES:
        start_node(name)
    beat = start_beat("beat")
    beat.until(lambda: works(beat), 20)
    time.sleep(3)
    own_redis.kill()
    time.sleep(5)
    own_redis.start()
    beat.until(lambda: all(map(beats, NODES)), 20)
    time.sleep(4)
    assert not HealthEvent.objects.filter(finding="down").exists()


def test_a_control_database_that_is_away_delays_what_is_told(
    start_beat: StartBeat, start_node: StartNode
) -> None:
    nodes = [start_node(name) for name in NODES]
    beat = start_beat("beat")
    beat.until(lambda: works(beat), 20)
    time.sleep(3)
    with ControlDatabaseAway() as away:
        nodes[0].kill()
        time.sleep(8)
        assert "node MSG_NODE1 down" in beat.log
    beat.until(lambda: story(NODES[0]) == ["suspected", "down"], TAKEOVER)
    at = list(HealthEvent.objects.filter(name=NODES[0]).values_list("at", flat=True))
    assert away.since < min(at) and max(at) < away.until
    assert story(NODES[1]) == []


def test_a_gateway_is_told_to_be_down_and_back_and_one_of_long_ago_is_not_mentioned(
    start_beat: StartBeat, state: redis.Redis
) -> None:
    state.zadd(presence.GATEWAYS, {"gateway.1": time.time() * 1000 - 60_000})
    beat = start_beat("beat")
    beat.until(lambda: works(beat), 20)
    with BeatingGateway(state, "gateway.2"):
        time.sleep(4)
        assert story("gateway.2", "gateway") == []
    beat.until(lambda: story("gateway.2", "gateway") == ["suspected", "down"], 20)
    with BeatingGateway(state, "gateway.2"):
        beat.until(lambda: story("gateway.2", "gateway") == ["suspected", "down", "recovered"], 5)
    assert story("gateway.1", "gateway") == []


def test_a_node_that_is_not_started_is_missed_when_it_had_the_time_to_come_up(start_beat: StartBeat) -> None:
    beat = start_beat("beat")
    beat.until(lambda: works(beat), 20)
    time.sleep(5)
    assert not HealthEvent.objects.exists()
    beat.until(lambda: story(NODES[0]) == story(NODES[1]) == ["suspected", "down"], COMING_UP + 10)


def workers(name: str) -> list[int]:
    """Pids of a node's workers, those for messages first."""
    return [worker["pid"] for worker in json.loads((DATA / f"node-{name}.json").read_text())["workers"]]


class BeatingGateway:
    """Beats in Redis as a gateway does, for as long as it is entered."""

    def __init__(self, state: redis.Redis, name: str) -> None:
        self._state = state
        self._name = name
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def _beat(self) -> None:
        while not self._left.wait(0.5):
            self._state.zadd(presence.GATEWAYS, {self._name: time.time_ns() // 1_000_000})

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._left.set()
        self._thread.join()


class ControlDatabaseAway:
    """PostgreSQL lets nobody into the control database for as long as this is entered."""

    def _let(self, anybody: bool) -> None:
        connections["default"].close()
        connections["default"].close_pool()  # type: ignore[attr-defined]
        parameters = connection_parameters()
        name = parameters["dbname"]
        with psycopg.connect(autocommit=True, **parameters | {"dbname": "postgres"}) as connection:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {anybody}')
            if not anybody:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
                )

    def __enter__(self) -> "ControlDatabaseAway":
        self._let(False)
        self.since = timezone.now()
        return self

    def __exit__(self, *error: object) -> None:
        self.until = timezone.now()
        self._let(True)
