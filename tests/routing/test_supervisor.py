"""The supervisor with real workers, Redis and PostgreSQL. One supervisor serves all tests, in their order."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
import redis
from pytest_django.plugin import DjangoDbBlocker

from apps.routing import heartbeats, topology
from apps.routing.lease import connection_parameters
from apps.routing.models import AccessPoint, Cluster, Node, ServerSet, Slot
from apps.routing.worker import CANARY
from imcloud.config import Config
from tests.conftest import DATA
from tests.processes import Command, OwnRedis

# What processes see is committed by the module's fixture; this makes the databases.
pytestmark = pytest.mark.django_db(databases=["default", "set1", "set2"])
NODE = "MSG_NODE1"
MESSAGES = f"set1.{NODE}.message"
QUERIES = f"set1.{NODE}.query"
BACKLOG = 20_000  # canaries: two workers need some seconds for them


class RunningNode:
    """`manage.py node MSG_NODE1` with a Redis of its own: two message workers, two for queries."""

    def __init__(self) -> None:
        self.folder = DATA / "node"
        self.folder.mkdir()
        self.redis = OwnRedis(self.folder)
        self._state = redis.Redis(unix_socket_path=str(self.redis.socket), socket_timeout=1)
        self.start()

    def start(self) -> None:
        self.command = self.manage("node.log", NODE)
        self.command.until(lambda: len(self.workers()) == 4, 60)
        self.wait_until_each_serves(60)

    def manage(self, log: str, name: str) -> Command:
        return Command(self.folder / log, self.redis.environment, "node", name)

    def workers(self, kind: str = "") -> list[int]:
        """Pids, as the supervisor tells them."""
        try:
            state = json.loads((DATA / f"node-{NODE}.json").read_text())
        except FileNotFoundError:
            return []
        return [worker["pid"] for worker in state["workers"] if kind in ("", worker["kind"])]

    def zygote(self) -> int:
        """The pid of what its workers are forked from."""
        told: int = json.loads((DATA / f"node-{NODE}.json").read_text())["zygote"]
        return told

    def beat(self) -> bytes | None:
        """The last one."""
        return self._state.hget(heartbeats.NODES, NODE)  # type: ignore[return-value]

    def report(self) -> heartbeats.Report | None:
        return heartbeats.reports(self._state, [NODE]).get(NODE)

    @contextmanager
    def hanging_redis(self) -> Iterator[None]:
        pid = self._state.info("server")["process_id"]  # type: ignore[index]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def wait_for_beats(self, seconds: float) -> None:
        """Until it has beaten three times more."""
        for _ in range(3):
            before = self.beat()
            self.command.until(lambda before=before: self.beat() != before, seconds)  # type: ignore[misc]

    def wait_until_each_serves(self, seconds: float) -> None:
        """Until every worker has taken a task from its own queue, and the shared ones are empty."""
        queues = [MESSAGES, QUERIES, "set1.beat", f"{MESSAGES}.0", f"{MESSAGES}.1"]
        queues += [f"{QUERIES}.0", f"{QUERIES}.1"]
        for queue in queues:
            self.redis.put(queue, CANARY, b"")
        self.command.until(lambda: not any(map(self.redis.broker.llen, queues)), seconds)


@pytest.fixture(scope="module")
def node(servers: Config, django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[RunningNode]:
    with django_db_blocker.unblock():
        topology.bootstrap()
        running = RunningNode()
        try:
            yield running
        finally:
            running.command.kill()
            running.redis.kill()
            for model in (AccessPoint, Node, Slot, ServerSet, Cluster):
                model.objects.all().delete()


def test_an_unknown_node_is_refused_with_the_known_ones(node: RunningNode) -> None:
    stranger = node.manage("stranger.log", "MSG_NODE9")
    assert stranger.process.wait(60) == 1
    assert stranger.log.strip() == "CommandError: There is no node MSG_NODE9; the nodes are: MSG_NODE1."


def test_a_second_supervisor_of_a_node_is_refused_and_does_not_beat(node: RunningNode) -> None:
    node.wait_for_beats(20)
    pid = node.command.process.pid
    second = node.manage("second.log", NODE)
    while second.process.poll() is None:
        assert (node.beat() or b"").startswith(b"%d." % pid)
        time.sleep(0.05)
    assert second.process.wait() == 1
    assert "Node MSG_NODE1 is running already" in second.log
    assert (node.beat() or b"").startswith(b"%d." % pid)


def test_it_beats_and_reports_how_its_workers_are(node: RunningNode) -> None:
    node.wait_for_beats(20)
    report = node.report()
    assert report is not None
    assert (report["set"], report["pid"]) == ("set1", node.command.process.pid)
    for kind in ("message", "query"):
        its = report["kinds"][kind]
        assert (its["workers"], its["size"], its["tasks"]) == (2, 2, 0)
        assert 0 <= its["age"] < 5 and 0 <= its["canary"] < 5


def test_a_killed_worker_is_replaced_and_named_in_the_log(node: RunningNode) -> None:
    before = node.workers()
    os.kill(before[0], signal.SIGKILL)
    node.command.until(lambda: before[0] not in node.workers() and len(node.workers()) == 4, 30)
    node.wait_until_each_serves(30)
    assert f"worker {MESSAGES}.0 (pid {before[0]}) died (killed by SIGKILL)" in node.command.log
    node.wait_for_beats(20)
    report = node.report()
    assert report is not None
    ms, *fault = report["faults"][-1]
    assert fault == [f"{MESSAGES}.0", "killed by SIGKILL"]
    assert abs(time.time() - ms / 1000) < 60


def test_a_worker_that_lives_and_does_not_consume_is_replaced(node: RunningNode) -> None:
    stalled = node.workers("query")[0]
    os.kill(stalled, signal.SIGSTOP)
    node.command.until(lambda: stalled not in node.workers() and len(node.workers()) == 4, 60)
    node.wait_until_each_serves(30)
    assert f"worker {QUERIES}.0 (pid {stalled}) is connected but does not consume" in node.command.log


def test_a_redis_that_hangs_keeps_it_from_beating_and_not_from_replacing_workers(node: RunningNode) -> None:
    before = node.workers()
    with node.hanging_redis():
        os.kill(before[0], signal.SIGKILL)
        node.command.until(lambda: before[0] not in node.workers() and len(node.workers()) == 4, 60)
        node.command.until(lambda: "node MSG_NODE1 cannot beat" in node.command.log, 10)
    node.wait_for_beats(20)


def test_it_beats_only_while_each_kind_of_work_has_a_worker(node: RunningNode) -> None:
    beats = []

    def silent_for_long() -> bool:
        for pid in node.workers("message"):
            with suppress(ProcessLookupError):  # just reaped
                os.kill(pid, signal.SIGKILL)
        beats.append((time.monotonic(), node.beat()))
        return any(beat == beats[-1][1] and time.monotonic() - at > 3 for at, beat in beats)

    node.command.until(silent_for_long, 30)
    report = node.report()
    assert report is not None and report["kinds"]["message"]["workers"] == 0
    node.wait_for_beats(30)
    node.command.until(lambda: len(node.workers()) == 4, 60)
    node.wait_until_each_serves(60)


def check_same(node: RunningNode, before: list[int]) -> None:
    """None was started again; one that was more than the least may have gone meanwhile."""
    workers = node.workers()
    assert len(workers) >= 4
    assert set(workers) <= set(before)


def test_workers_consume_again_after_redis_was_killed_and_came_back_empty(node: RunningNode) -> None:
    before = node.workers()
    node.redis.kill()
    time.sleep(5)
    node.redis.start()
    node.wait_until_each_serves(30)
    check_same(node, before)


def test_a_supervisor_that_lost_its_session_takes_its_name_again(node: RunningNode) -> None:
    before = node.workers()
    holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    with psycopg.connect(autocommit=True, **connection_parameters()) as connection:
        old = connection.execute(holders).fetchall()
        connection.execute("SELECT pg_terminate_backend(%s)", old[0])
        node.command.until(lambda: connection.execute(holders).fetchall() not in ([], old), 10)
    check_same(node, before)


def test_a_queue_whose_tasks_wait_gets_another_worker(node: RunningNode) -> None:
    def slow() -> bool:
        if node.redis.broker.llen(MESSAGES) < BACKLOG:
            node.redis.put(MESSAGES, CANARY, b"", copies=BACKLOG)
        return len(node.workers("message")) > 2

    node.command.until(slow, 20)
    node.redis.broker.delete(MESSAGES)


def test_no_worker_outlives_a_killed_supervisor_and_the_next_one_starts(node: RunningNode) -> None:
    left = node.workers()
    node.command.kill()
    node.command.until(lambda: not any(map(alive, left)), 5)
    node.start()
    assert set(left).isdisjoint(node.workers())


def test_workers_that_all_die_again_and_again_are_replaced_by_the_same_zygote(node: RunningNode) -> None:
    zygote = node.zygote()
    for _ in range(4):
        before = node.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        node.command.until(lambda: set(before).isdisjoint(node.workers()) and len(node.workers()) >= 4, 30)  # noqa: B023
    node.wait_until_each_serves(30)
    assert node.zygote() == zygote


def test_a_node_whose_zygote_is_killed_ends_with_its_workers_and_says_why(node: RunningNode) -> None:
    left, zygote = node.workers(), node.zygote()
    os.kill(zygote, signal.SIGKILL)
    assert node.command.process.wait(20) == 1
    assert f"The process that starts workers (pid {zygote}) has ended." in node.command.log
    assert not any(map(alive, left))
    node.start()


def test_a_node_whose_zygote_hangs_ends_once_a_worker_is_missed(node: RunningNode) -> None:
    left, zygote = node.workers(), node.zygote()
    os.kill(zygote, signal.SIGSTOP)
    os.kill(left[0], signal.SIGKILL)
    assert node.command.process.wait(30) == 1
    # On a busy machine the queues ask for one more worker first.
    missed = rf"\(pid {zygote}\) (does not tell that pid {left[0]} has ended|does not answer: timed out)\."
    assert re.search(missed, node.command.log)
    node.command.until(lambda: not any(map(alive, [zygote, *left])), 5)
    node.start()


def test_sigterm_ends_the_supervisor_and_its_workers_and_others_are_told(node: RunningNode) -> None:
    pids = node.workers()
    assert node.command.end() == 0
    assert not any(map(alive, pids))
    assert node.workers() == []
    assert node.beat() == heartbeats.LEFT
    assert node.report() is None


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in ("", "Z")
