"""Two sites: one is stopped while clients chat, and comes back; Redis moves between them. Nothing is lost."""

import asyncio
import contextlib
import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil
import pytest
import redis
from django.core.management import CommandError, call_command

from bench.client import Client, websocket_url
from bench.homes import Homes
from bench.navigation import asked
from bench.stack import Stack, StackFailed, running
from bench.tokens import App
from bench.traffic import Traffic
from imcloud import sites
from tests.conftest import ROOT

pytestmark = pytest.mark.faults

A, B = "gateway", "gateway-2"
USERS, RATE = 8, 50
BACK_SECONDS = 30.0  # a few on an idle machine: Redis in about 4, clients try again every 5
SETTLE_SECONDS = 15.0
LOOK_SECONDS = 0.1
CHAT_SECONDS = 0.5  # between two lines of the drill


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running server with two sites."""
    with running(tmp_path_factory.mktemp("sites") / "var", SITES="2", NODES="1") as started:
        yield started


@pytest.fixture
def both(two: Stack) -> sites.Sites:
    found = sites.of(two.data)
    assert found is not None
    return found


def app_at(stack: Stack, gateway: str) -> App:
    described = stack.describe()
    return App(described["gateways"][gateway], described["app_key"], described["app_secret"])


def users(stack: Stack, home: str) -> list[str]:
    """New ones, whose messages are in this SET."""
    described = stack.describe()
    return Homes(described["database_url"], described["app_key"]).users([home] * USERS)


def navigators(stack: Stack) -> list[str]:
    return list(stack.describe()["gateways"].values())


def where(clients: list[Client]) -> set[str]:
    """The access points at which clients are ready."""
    return {client.session.rpartition(".")[0] for client in clients if client.ready.is_set()}


def master(both: sites.Sites) -> str:
    """Which Redis the Sentinel of no site calls the master."""
    with redis.Redis.from_url(both.url("sentinel")) as asked:
        address: Any = asked.sentinel_get_master_addr_by_name(sites.MASTER)
    return next(name for name in sites.REDIS if both.ports[name] == address[1])


async def until(condition: Callable[[], object], failure: str) -> None:
    give_up_at = time.monotonic() + BACK_SECONDS
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < give_up_at, failure
        await asyncio.sleep(LOOK_SECONDS)


async def chats(stack: Stack, gateway: str, user: str) -> Client:
    """A client that has just come to this gateway, whatever navigation says."""
    app = app_at(stack, gateway)
    token = (await asyncio.to_thread(app.tokens, [user]))[user]
    client = Client(websocket_url(app.url, app.key, token), user, lambda *_: None, lambda _: None)
    client.start()
    await until(client.ready.is_set, f"{user} is not at {gateway}")
    return client


def test_each_site_has_its_half_of_everything(two: Stack) -> None:
    described = two.describe()
    for site, gateway in (("a", A), ("b", B)):
        names = {name for name, at in described["sites"].items() if at == site}
        servers = {f"postgres-{site}", f"redis-{site}", f"sentinel-{site}"}
        nodes = {name for name in names if name.startswith("node:")}
        assert names == {*servers, gateway, f"beat-{site}", *nodes} and len(nodes) == 2
    assert described["pids"].keys() - described["sites"].keys() == {"postgres", "sentinel"}
    listed = two.manage("sites", "list").splitlines()
    heads = [number for number, line in enumerate(listed) if line.startswith(("a  up: ", "b  up: "))]
    assert "   primary database of set1" in listed[heads[0] : heads[1]]
    assert "   primary database of set2" in listed[heads[1] :]
    assert listed[-1] == "the master of Redis is redis-a"
    at = {line.split()[0]: line.split()[3] for line in two.manage("accesspoints", "list").splitlines()[1:]}
    assert at == {A: "a", B: "b"}
    ports = {address.rpartition(":")[2] for address in asked(two.url, described["app_key"], "")}
    assert ports == {url.rpartition(":")[2] for url in described["gateways"].values()}  # each with a backup


def test_a_redis_of_two_sites_asks_for_a_password(two: Stack, both: sites.Sites) -> None:
    for port in both.ports.values():
        with redis.Redis(port=port, retry=None) as stranger, pytest.raises(redis.AuthenticationError):  # type: ignore[arg-type]
            stranger.ping()
    commands = [" ".join(process.cmdline()) for process in psutil.process_iter() if _lives(process)]
    assert not [command for command in commands if both.password in command]


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.cmdline())
    return False


def test_an_unknown_site_and_one_that_is_so_already_are_refused(two: Stack) -> None:
    for words, said in (
        (("stop", "c"), "There is no site c; the sites are a and b."),
        (("start", "a"), "Site a is not stopped."),
    ):
        with pytest.raises(StackFailed, match=said):
            two.manage("sites", *words)


def test_without_a_run_of_two_sites_there_is_none_to_stop() -> None:
    with pytest.raises(CommandError, match=r"^No run with two sites is there on .*: make run SITES=2\.$"):
        call_command("sites", "stop", "a")


def test_messages_flow_through_the_new_master_when_redis_moves_and_when_it_dies(
    two: Stack, both: sites.Sites
) -> None:
    async def scenario() -> None:
        async with Traffic(app_at(two, A), users=USERS, rate=RATE, navigators=navigators(two)) as traffic:
            await traffic.flows(within=BACK_SECONDS)
            first = master(both)
            with redis.Redis.from_url(both.url("sentinel")) as witness:
                witness.sentinel_failover(sites.MASTER)  # the old master lives on, as a replica
            moved_at = time.monotonic()
            await until(lambda: master(both) != first, "the master does not move")
            second = master(both)
            await until(lambda: is_replica(both, first), "the old master does not follow the new one")
            await traffic.flows(within=BACK_SECONDS)
            moved = traffic.longest_gap(moved_at)
            with dying(two, second):
                died_at = time.monotonic()
                await until(lambda: master(both) == first, "nobody takes the dead master's place")
                await traffic.flows(within=BACK_SECONDS)
                died = traffic.longest_gap(died_at)
            verdict = await traffic.settle(SETTLE_SECONDS)
            print(f"longest gap when it moved {moved:.1f} s, when it died {died:.1f} s; {verdict}")
            assert verdict.faults == {}, traffic.describe()
            assert verdict.delivered == verdict.acknowledged > 0

    asyncio.run(scenario())


def is_replica(both: sites.Sites, name: str) -> bool:
    """Whether this Redis has all that the master has."""
    with redis.Redis.from_url(both.url(name)) as asked:
        told: Any = asked.info("replication")
    return bool(told.get("master_link_status") == "up")


@contextlib.contextmanager
def dying(stack: Stack, name: str) -> Iterator[None]:
    """kill -9, and nobody starts it again before the end: until then the launcher sleeps."""
    victim = stack.describe()["pids"][name]
    stack.process.send_signal(signal.SIGSTOP)
    try:
        os.kill(victim, signal.SIGKILL)
        yield
    finally:
        stack.process.send_signal(signal.SIGCONT)


def drill() -> list[list[str]]:
    """The commands of the drill in docs/disaster-recovery.md, without `m`."""
    section = (ROOT / "docs" / "disaster-recovery.md").read_text().partition("## The drill")[2]
    lines = re.findall(r"^    m (.*)$", section, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_the_documented_drill_loses_nothing(two: Stack) -> None:
    """Line by line, while users of both SETs chat, whose gateway dies with site A or does not."""
    at_a, at_b = users(two, "set1")[:3], users(two, "set2")[:3]
    said: list[str] = []

    async def run(traffic: Traffic) -> None:
        for command in drill():
            began = time.monotonic()
            said.append(await asyncio.to_thread(two.manage, *command))
            print(f"{time.monotonic() - began:5.1f} s  {' '.join(command)}\n{said[-1].rstrip()}")
            if command[:2] == ["sites", "stop"]:
                await until(
                    partial(reached, traffic, at_b, began), "nobody of set2 is reached without site a"
                )
            elif command[1] in ("failover", "failback", "start") and "--dry-run" not in command:
                print(f"everybody is reached {await traffic.reaches_everybody(BACK_SECONDS):.1f} s later")
            await asyncio.sleep(CHAT_SECONDS)

    async def scenario() -> None:
        async with Traffic(
            app_at(two, A), users=at_a + at_b, rate=RATE, navigators=navigators(two)
        ) as traffic:
            await traffic.flows(within=BACK_SECONDS)
            await run(traffic)
            await traffic.flows(within=BACK_SECONDS)
            verdict = await traffic.settle(SETTLE_SECONDS)
            print(traffic.books)
            # What comes back with an old primary is shown behind what was sent later.
            assert verdict.faults.keys() <= {"inversions"}, traffic.describe()
            assert verdict.delivered == verdict.acknowledged > 0

    asyncio.run(scenario())
    assert len(said) > 10
    assert said[-1].count("they are equal") == 2, said[-1]


def reached(traffic: Traffic, names: list[str], since: float) -> bool:
    """Whether somebody has sent something to each of them since then."""
    return set(names) <= {each.receiver for each in traffic.answers if each.sent > since and not each.status}
