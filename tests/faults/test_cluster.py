"""Two SETs with two nodes each, three gateways: parts die, stand still, come and go while users of both chat.

Half of the messages cross from one SET to the other. Every user has a second device, which must show what the
first one has sent, once and in order.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

from apps.routing import heartbeats
from bench.homes import Homes
from bench.stack import Stack, running
from bench.tokens import App
from bench.traffic import Traffic
from tests.processes import gone

pytestmark = pytest.mark.faults

RATE = 60  # messages a second
# Homes of the users. Each writes to the three after it: half of these are of the other SET.
RING = (["set1"] * 4 + ["set2"] * 4) * 3
NODE = "MSG_NODE1"  # of set1
DEAD_SECONDS = 20.0
AWAY_SECONDS = 60.0  # a database
LATE_SECONDS = 2.0  # an answer while it is away
STILL_SECONDS = 1.5  # so short that no batch is sent again
MOVES = 20
STALL_SECONDS = 20.0  # within which everybody is reached again
TAKEN_OVER_SECONDS = 15.0
REPLACED_SECONDS = 90.0  # a silent worker; one that fell silent within a task is given 60 s
BACK_SECONDS = 20.0  # a few on an idle machine; a client tries again every 5 s
STARTED_SECONDS = 30.0
SETTLE_SECONDS = 20.0
LOOK_SECONDS = 0.1
TRIES = 8  # a busy machine may make somebody wait, too


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running server that the tests of this module may break; each leaves it working."""
    with running(tmp_path_factory.mktemp("cluster") / "var", SETS="2", NODES="2", GATEWAYS="3") as started:
        yield started


def homes_of(cluster: Stack) -> Homes:
    """Who is at home where, now."""
    described = cluster.describe()
    return Homes(described["database_url"], described["app_key"])


@asynccontextmanager
async def chatting(cluster: Stack, users: list[str] | None = None) -> AsyncIterator[Traffic]:
    """Users of both SETs who chat; at the end all that was acknowledged is everywhere, once and in order."""
    described = cluster.describe()
    async with Traffic(
        App(described["url"], described["app_key"], described["app_secret"]),
        users=users or homes_of(cluster).users(RING),
        rate=RATE,
        navigators=[*described["gateways"].values()],
        across_sets=True,
    ) as traffic:
        await traffic.flows(within=STALL_SECONDS)
        yield traffic
        await traffic.flows(within=STALL_SECONDS)
        verdict = await traffic.settle(SETTLE_SECONDS)
        print(traffic.books)
        assert verdict.faults == {}, traffic.describe()
        assert verdict.acknowledged > 0


async def until(condition: Callable[[], Any], seconds: float, failure: str) -> float:
    """The seconds that it took; AssertionError when it took more."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, failure
        await asyncio.sleep(LOOK_SECONDS)
    return time.monotonic() - began


@contextmanager
def standing_still(pids: Iterable[int]) -> Iterator[None]:
    """The processes are stopped, not dead: nothing closes."""
    with ExitStack() as stopped:
        for pid in pids:
            tell(pid, signal.SIGSTOP)
            stopped.callback(tell, pid, signal.SIGCONT)
        yield


def tell(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it was replaced
        os.kill(pid, number)


async def has_work(traffic: Traffic, cluster: Stack, node: str) -> bool:
    """Whether somebody waits when the node's message workers stand still for a moment."""
    began = time.monotonic()
    with standing_still(cluster.workers("message", node)):
        await asyncio.sleep(STILL_SECONDS)
    ended = time.monotonic()
    await asyncio.sleep(STILL_SECONDS / 2)
    return traffic.slowest(began, ended) > STILL_SECONDS * 0.8


async def comes_to_work(traffic: Traffic, cluster: Stack, node: str, *, works: bool = True) -> None:
    """Wait until the node has work, or has none."""
    for _ in range(TRIES):
        if await has_work(traffic, cluster, node) is works:
            return
    raise AssertionError(f"{node} {'gets no work' if works else 'goes on working'}: {traffic.describe()}")


async def beats(cluster: Stack, node: str) -> float:
    """Wait until the node tells that it can serve; the seconds that it took."""
    with redis.Redis.from_url(cluster.describe()["redis_url"]) as client:
        before = client.hget(heartbeats.NODES, node)
        quiet = (before, None, heartbeats.LEFT)
        return await until(
            lambda: client.hget(heartbeats.NODES, node) not in quiet, STARTED_SECONDS, f"{node} does not beat"
        )


def change(cluster: Stack, statement: LiteralString, *parameters: object) -> None:
    """One statement in the control database."""
    with psycopg.connect(cluster.describe()["database_url"], autocommit=True) as connection:
        connection.execute(statement, parameters)


def weigh(cluster: Stack, node: str, weight: float) -> None:
    change(cluster, "UPDATE routing_node SET weight = %s WHERE name = %s", weight, node)


def noticed(traffic: Traffic, since: float) -> str:
    """What users have noticed since then (monotonic s), in words."""
    return f"slowest {traffic.slowest(since):.2f} s, refused {dict(traffic.refusals(since))}"


def test_a_killed_node_is_replaced_by_its_peer_and_comes_back(cluster: Stack) -> None:
    async def scenario() -> None:
        async with chatting(cluster) as traffic:
            node = cluster.node(NODE)
            workers = [worker["pid"] for worker in node["workers"]]
            killed = time.monotonic()
            os.kill(node["pid"], signal.SIGKILL)
            stall = await traffic.reaches_everybody(STALL_SECONDS)
            await until(lambda: gone([node["pid"], *workers]), BACK_SECONDS, "workers outlive their node")
            await beats(cluster, NODE)
            print(f"everybody reached after {stall:.2f} s; {noticed(traffic, killed)}")
            await comes_to_work(traffic, cluster, NODE)

    asyncio.run(scenario())


def test_work_of_a_node_that_stands_still_goes_to_its_peer_and_nothing_twice(cluster: Stack) -> None:
    async def scenario() -> None:
        async with chatting(cluster) as traffic:
            stopped = time.monotonic()
            with standing_still([cluster.node(NODE)["pid"]]):  # first: it would replace its workers
                workers = cluster.workers("message", NODE) + cluster.workers("query", NODE)
                with standing_still(workers):
                    stall = await traffic.reaches_everybody(TAKEN_OVER_SECONDS)
                    await asyncio.sleep(stopped + DEAD_SECONDS - time.monotonic())
                    later = traffic.slowest(stopped + TAKEN_OVER_SECONDS)
            await beats(cluster, NODE)
            print(f"everybody reached after {stall:.2f} s; {noticed(traffic, stopped)}; later {later:.2f} s")
            await comes_to_work(traffic, cluster, NODE)

    asyncio.run(scenario())


def test_a_silent_worker_is_replaced(cluster: Stack) -> None:
    async def scenario() -> None:
        async with chatting(cluster) as traffic:
            stopped = time.monotonic()
            silent = cluster.workers("message", NODE)[0]
            with standing_still([silent]):
                stall = await traffic.reaches_everybody(STALL_SECONDS)
                replaced = await until(
                    lambda: silent not in cluster.workers("message", NODE), REPLACED_SECONDS, "not replaced"
                )
            await beats(cluster, NODE)
            print(f"everybody reached after {stall:.2f} s; {noticed(traffic, stopped)}")
            print(f"replaced after {replaced:.1f} s")
            await comes_to_work(traffic, cluster, NODE)

    asyncio.run(scenario())


def test_a_node_of_weight_0_has_no_work_and_a_change_of_weight_disconnects_nobody(cluster: Stack) -> None:
    async def scenario() -> None:
        async with chatting(cluster) as traffic:
            connections = [client.connections for client in traffic.clients]
            try:
                for weight in (0, 3):
                    changed = time.monotonic()
                    weigh(cluster, NODE, weight)
                    await traffic.reaches_everybody(STALL_SECONDS)
                    assert not traffic.refusals(changed)
                    await comes_to_work(traffic, cluster, NODE, works=weight > 0)
            finally:
                weigh(cluster, NODE, 1)
            assert [client.connections for client in traffic.clients] == connections
            assert all(client.online for client in traffic.clients)

    asyncio.run(scenario())


def test_a_node_is_added_and_taken_out_again(cluster: Stack, tmp_path: Path) -> None:
    new = "MSG_NODE9"

    async def scenario() -> None:
        async with chatting(cluster) as traffic:
            added = time.monotonic()
            file = tmp_path / "new.conf"
            exported = await asyncio.to_thread(cluster.manage, "nodes", "export", NODE)
            file.write_text(exported.replace(NODE, new))
            await asyncio.to_thread(cluster.manage, "nodes", "import", str(file))
            process = cluster.start("node", new)
            try:
                started = await beats(cluster, new)
                print(f"started in {started:.1f} s; {noticed(traffic, added)}")
                weigh(cluster, new, 3)
                await comes_to_work(traffic, cluster, new)
                weigh(cluster, new, 0)
                await comes_to_work(traffic, cluster, new, works=False)
                process.terminate()
                assert await asyncio.to_thread(process.wait, STARTED_SECONDS) == 0
            finally:
                process.kill()
                process.wait()
                of_node = "node_id = (SELECT id FROM routing_node WHERE name = %s)"
                change(cluster, f"DELETE FROM routing_actor WHERE {of_node}", new)
                change(cluster, "DELETE FROM routing_node WHERE name = %s", new)

    asyncio.run(scenario())


def test_clients_of_a_killed_gateway_are_back_through_navigation(cluster: Stack) -> None:
    async def scenario() -> None:
        async with chatting(cluster) as traffic:
            victims = [client for client in traffic.clients if client.session.startswith("gateway-2.")]
            lost = {client.session for client in victims}
            assert 0 < len(victims) < len(traffic.clients)
            os.kill(cluster.describe()["pids"]["gateway-2"], signal.SIGKILL)
            back = await until(
                lambda: all(client.ready.is_set() and client.session not in lost for client in victims),
                BACK_SECONDS,
                f"not all of {len(victims)} clients are back: {traffic.describe()}",
            )
            print(f"{len(victims)} of {len(traffic.clients)} connections back after {back:.1f} s")

    asyncio.run(scenario())


@contextmanager
def database_away(cluster: Stack, server_set: str) -> Iterator[None]:
    """The SET's database ends all its sessions and takes no new ones."""
    described = cluster.describe()
    name = urlsplit(described["set_database_url"].format(set=server_set)).path.strip("/")
    allow = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
    with psycopg.connect(described["database_url"], autocommit=True) as connection:
        connection.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        try:
            yield
        finally:
            connection.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


def test_a_set_whose_database_was_away_catches_up_by_itself(cluster: Stack) -> None:
    """Its users go on writing to those of the other SET; only their own second devices wait."""

    async def scenario() -> None:
        homes = homes_of(cluster)
        async with chatting(cluster) as traffic:
            with database_away(cluster, "set2"):
                began = time.monotonic()
                await asyncio.sleep(AWAY_SECONDS)
                ended = time.monotonic()
            crossing = [
                answer
                for answer in traffic.answers
                if began < answer.sent < ended - LATE_SECONDS
                and (homes.of(answer.sender), homes.of(answer.receiver)) == ("set2", "set1")
            ]
            sent = RATE / 4 * (AWAY_SECONDS - LATE_SECONDS)
            assert {answer.status for answer in crossing} == {0}
            assert len(crossing) > 0.8 * sent, traffic.describe()
            slowest = max(answer.heard - answer.sent for answer in crossing)
            behind = await traffic.copies_arrive(STALL_SECONDS)
            print(f"{len(crossing)} of {sent:.0f} crossed meanwhile, slowest {slowest:.2f} s")
            print(f"copies there {behind:.2f} s after the database")
            await traffic.reaches_everybody(STALL_SECONDS)

    asyncio.run(scenario())


MOVE_SECONDS = 15  # of one move, on a loaded machine
MOVE_OFTEN = """
from django.core.management import call_command
for turn in range({moves}):
    call_command("slots", "move", "{slot}", ("set2", "set1")[turn % 2])
"""


def test_a_slot_moves_to_and_fro_while_its_users_chat(cluster: Stack) -> None:
    async def scenario() -> None:
        homes = homes_of(cluster)
        users = homes.users(RING)
        users[:4] = homes.neighbours(users[0], 4)
        slot = homes.slot(users[0])
        async with chatting(cluster, users) as traffic:
            began = time.monotonic()
            # In one process: to start one takes longer than to move a slot.
            moves = MOVE_OFTEN.format(moves=MOVES, slot=slot)
            await asyncio.to_thread(cluster.manage, "shell", "-c", moves, seconds=MOVES * MOVE_SECONDS)
            assert homes_of(cluster).of(users[0]) == ("set2", "set1")[(MOVES - 1) % 2]
            print(f"{MOVES} moves in {time.monotonic() - began:.1f} s; {noticed(traffic, began)}")
            await traffic.reaches_everybody(STALL_SECONDS)

    asyncio.run(scenario())
