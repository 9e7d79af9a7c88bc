"""The supervisor with real workers, Redis and PostgreSQL. One supervisor serves all tests, in their order."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psycopg
import pytest
from pytest_django.plugin import DjangoDbBlocker

from apps.routing import topology
from apps.routing.lease import connection_parameters
from apps.routing.models import AccessPoint, Cluster, Node, ServerSet
from apps.routing.worker import CANARY
from imcloud.config import Config
from tests.conftest import DATA
from tests.processes import Command, OwnRedis

# What processes see is committed by the module's fixture; this makes the databases.
pytestmark = pytest.mark.django_db(databases=["default", "set1"])
NODE = "MSG_NODE1"
MESSAGES = f"set1.{NODE}.message"
QUERIES = f"set1.{NODE}.query"


class RunningNode:
    """`manage.py node MSG_NODE1` with a Redis of its own: two message workers, one for queries."""

    def __init__(self) -> None:
        self.folder = DATA / "node"
        self.folder.mkdir()
        self.redis = OwnRedis(self.folder)
        self.start()

    def start(self) -> None:
        self.command = self.manage("node.log", NODE)
        self.command.until(lambda: len(self.workers()) == 3, 20)
        self.wait_until_each_serves(20)

    def manage(self, log: str, name: str) -> Command:
        return Command(self.folder / log, self.redis.environment, "node", name)

    def workers(self, kind: str = "") -> list[int]:
        """Pids, as the supervisor tells them."""
        try:
            state = json.loads((DATA / f"node-{NODE}.json").read_text())
        except FileNotFoundError:
            return []
        return [worker["pid"] for worker in state["workers"] if kind in ("", worker["kind"])]

    def wait_until_each_serves(self, seconds: float) -> None:
        """Until every worker has taken a task from its own queue, and the shared ones are empty."""
        queues = [MESSAGES, QUERIES, "set1.beat", f"{MESSAGES}.0", f"{MESSAGES}.1", f"{QUERIES}.0"]
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
            for model in (AccessPoint, Node, ServerSet, Cluster):
                model.objects.all().delete()


def test_an_unknown_node_is_refused_with_the_known_ones(node: RunningNode) -> None:
    stranger = node.manage("stranger.log", "MSG_NODE9")
    assert stranger.process.wait(20) == 1
    assert stranger.log.strip() == "CommandError: There is no node MSG_NODE9; the nodes are: MSG_NODE1."


def test_a_second_supervisor_of_a_node_is_refused(node: RunningNode) -> None:
    second = node.manage("second.log", NODE)
    assert second.process.wait(20) == 1
    assert "Node MSG_NODE1 is running already" in second.log


def test_a_killed_worker_is_replaced_and_named_in_the_log(node: RunningNode) -> None:
    before = node.workers()
    os.kill(before[0], signal.SIGKILL)
    node.command.until(lambda: before[0] not in node.workers() and len(node.workers()) == 3, 5)
    node.wait_until_each_serves(10)
    assert f"worker {MESSAGES}.0 (pid {before[0]}) died (killed by SIGKILL)" in node.command.log


def test_a_worker_that_lives_and_does_not_consume_is_replaced(node: RunningNode) -> None:
    stalled = node.workers("query")[0]
    os.kill(stalled, signal.SIGSTOP)
    node.command.until(lambda: stalled not in node.workers() and len(node.workers()) == 3, 20)
    node.wait_until_each_serves(10)
    assert f"worker {QUERIES}.0 (pid {stalled}) is connected but does not consume" in node.command.log


def test_workers_consume_again_after_redis_was_killed_and_came_back_empty(node: RunningNode) -> None:
    before = node.workers()
    node.redis.kill()
    time.sleep(5)
    node.redis.start()
    node.wait_until_each_serves(10)
    assert node.workers() == before


def test_a_supervisor_that_lost_its_session_takes_its_name_again(node: RunningNode) -> None:
    before = node.workers()
    holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    with psycopg.connect(autocommit=True, **connection_parameters()) as connection:
        old = connection.execute(holders).fetchall()
        connection.execute("SELECT pg_terminate_backend(%s)", old[0])
        node.command.until(lambda: connection.execute(holders).fetchall() not in ([], old), 10)
    assert node.workers() == before


def test_a_queue_whose_tasks_wait_gets_another_worker(node: RunningNode) -> None:
    def slow() -> bool:
        if node.redis.broker.llen(MESSAGES) < 3000:
            node.redis.put(MESSAGES, CANARY, b"", copies=3000)
        return len(node.workers("message")) > 2

    node.command.until(slow, 20)
    node.redis.broker.delete(MESSAGES)


def test_no_worker_outlives_a_killed_supervisor_and_the_next_one_starts(node: RunningNode) -> None:
    left = node.workers()
    node.command.kill()
    node.command.until(lambda: not any(map(alive, left)), 5)
    node.start()
    assert set(left).isdisjoint(node.workers())


def test_sigterm_ends_the_supervisor_and_its_workers(node: RunningNode) -> None:
    pids = node.workers()
    assert node.command.end() == 0
    assert not any(map(alive, pids))
    assert node.workers() == []


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in ("", "Z")
