"""A SET whose primary database is in a server of its own, which dies, while users chat; its standby is there.

set1's users write to one another, and to those of set2, who go on.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, LiteralString

import psycopg
import pytest

from bench.client import Client, websocket_url
from bench.load import connect, disconnect, sends_nothing
from bench.stack import Stack, environment, running
from bench.tokens import App
from bench.traffic import Traffic
from tests.conftest import ROOT
from tests.faults.test_cluster import homes_of
from tests.processes import OwnPostgres

pytestmark = [pytest.mark.faults, pytest.mark.drills]

RATE = 100  # messages a second
RING = ["set1"] * 4 + ["set2"] * 2
BACK_SECONDS = 15.0  # from the failover's begin to the first answers
STALL_SECONDS = 20.0
SETTLE_SECONDS = 30.0
FOLLOWS_SECONDS = 30.0
KEEPS_UP = 200  # messages that the standby may be behind
KILLS = 20
CUT_OFF_SECONDS = 60.0
CONVERGED_SECONDS = 10.0
LOOK_SECONDS = 0.3
LATE = ("inversions",)  # of `local`: what comes back from an old primary comes behind what was sent later


async def until(condition: Callable[[], Any], seconds: float, failure: str) -> None:
    """While users go on chatting; AssertionError when it is not so within the time."""
    give_up_at = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < give_up_at, failure
        await asyncio.sleep(LOOK_SECONDS)


class Site:
    """The stack, and the server of its own that set1's primary is in."""

    def __init__(self, stack: Stack, server: OwnPostgres) -> None:
        self.stack, self.server = stack, server

    def asked(self, query: LiteralString) -> tuple[Any, ...]:
        """One row of the control database. A command for it would take a second of a core."""
        with psycopg.connect(self.stack.describe()["database_url"]) as control:
            found = control.execute(query).fetchone()
        assert found is not None
        return found

    def let_fail_over(self, *, by_itself: bool) -> None:
        with psycopg.connect(self.stack.describe()["database_url"]) as control:
            control.execute(
                "UPDATE routing_serverset SET automatic_failover = %s, probes = 3 WHERE name = 'set1'",
                (by_itself,),
            )

    def is_degraded(self) -> bool:
        return self.asked("SELECT degraded_at FROM routing_serverset WHERE name = 'set1'") != (None,)

    def follows(self) -> bool:
        """The standby is the primary's, and keeps up."""
        primary, standby, epoch = self.asked(
            "SELECT database, standby, epoch FROM routing_serverset WHERE name = 'set1'"
        )
        under_way = "SELECT count(*) FROM routing_failover WHERE step NOT IN ('done', 'cancelled')"
        if not standby or self.asked(under_way) != (0,):
            return False
        primary = primary or self.stack.describe()["set_database_url"].format(set="set1")
        try:
            heads = [head(url) for url in (primary, standby)]
        except psycopg.Error:
            return False
        return all(its == epoch for _, its in heads) and heads[0][0] - heads[1][0] < KEEPS_UP

    def compare(self) -> int:
        """Rows that differ."""
        return int(json.loads(self.stack.manage("sets", "compare", "set1", "--json"))["wrong"])

    async def run(self, *command: str) -> str:
        return await asyncio.to_thread(self.stack.manage, *command)

    async def home(self) -> None:
        """The primary is in the server of its own again, with the standby in the stack's."""
        await until(self.follows, FOLLOWS_SECONDS, "the old primary does not follow")
        (primary,) = self.asked("SELECT database FROM routing_serverset WHERE name = 'set1'")
        if "/own/" not in primary:
            await self.run("sets", "failback", "set1")
            await until(self.follows, FOLLOWS_SECONDS, "the old primary does not follow")


def head(url: str) -> tuple[int, int]:
    """seq and epoch"""
    with psycopg.connect(url, connect_timeout=2) as connection:
        found = connection.execute("SELECT seq, epoch FROM messaging_head").fetchone()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("standby")
    server = OwnPostgres(folder / "own")
    try:
        with running(folder / "var", SETS="2", NODES="1") as stack:
            made = Site(stack, server)
            stack.manage("sets", "standby", "set1", server.url("set1_own"))
            asyncio.run(until(made.follows, FOLLOWS_SECONDS, "the standby does not follow"))
            stack.manage("sets", "failover", "set1", "--planned")
            asyncio.run(until(made.follows, FOLLOWS_SECONDS, "the old primary does not follow"))
            yield made
    finally:
        server.end()


@asynccontextmanager
async def chatting(site: Site, allowed: tuple[str, ...] = ()) -> AsyncIterator[Traffic]:
    described = site.stack.describe()
    async with Traffic(
        App(described["url"], described["app_key"], described["app_secret"]),
        users=homes_of(site.stack).users(RING),
        rate=RATE,
    ) as traffic:
        await traffic.flows(within=STALL_SECONDS)
        yield traffic
        await traffic.flows(within=STALL_SECONDS)
        verdict = await traffic.settle(SETTLE_SECONDS)
        print(traffic.books)
        assert {name: n for name, n in verdict.faults.items() if name not in allowed} == {}, (
            traffic.describe()
        )
        assert verdict.acknowledged > 0


def cut_off(site: Site) -> None:
    """Whoever writes to the standby loses the connection, in whatever it does."""
    with psycopg.connect(site.stack.describe()["set_database_url"].format(set="set1")) as standby:
        standby.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@asynccontextmanager
async def dying(site: Site, traffic: Traffic, *, automatic: bool = False) -> AsyncIterator[None]:
    """The primary is killed, the standby takes its place; the old one comes back after the body."""
    site.server.kill()
    began = time.monotonic()
    if not automatic:
        print(await site.run("sets", "failover", "set1"))
    await traffic.reaches_everybody(BACK_SECONDS)
    print(f"users of the SET are reached after {time.monotonic() - began:.1f} s, {automatic=}")
    assert time.monotonic() - began <= BACK_SECONDS
    yield
    site.server.start()
    await until(site.follows, FOLLOWS_SECONDS, "the old primary does not follow")
    old = psycopg.connect(site.server.url("set1_own"))
    with old, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        old.execute("UPDATE messaging_head SET seq = 0")


def test_with_standby_durability_a_dead_primary_is_not_missed(site: Site) -> None:
    async def scenario() -> None:
        await site.run("sets", "durability", "set1", "standby")
        await asyncio.sleep(2)  # then every process knows
        async with chatting(site) as traffic:
            async with dying(site, traffic):
                await asyncio.sleep(2)
            await site.home()
        await site.run("sets", "durability", "set1", "local")
        assert await asyncio.to_thread(site.compare) == 0

    asyncio.run(scenario())


def test_with_local_durability_what_was_missing_is_there_when_the_old_primary_is_back(site: Site) -> None:
    async def scenario() -> None:
        site.let_fail_over(by_itself=True)
        async with chatting(site, LATE) as traffic:
            await asyncio.sleep(2)  # then observers have looked
            async with dying(site, traffic, automatic=True):
                await asyncio.sleep(1)
            site.let_fail_over(by_itself=False)
            await site.run("sets", "confirm", "set1")
            await site.home()
        assert await asyncio.to_thread(site.compare) == 0

    asyncio.run(scenario())


@contextmanager
def going_on(site: Site, url: str, sender: str, receiver: str) -> Iterator[list[str]]:
    """A process of the other side appends until it is refused: the uids that it acknowledges."""
    acknowledged: list[str] = []
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.cut_off", "set1", url, sender, receiver],
        cwd=ROOT,
        env=environment(site.stack.data) | {"DJANGO_SETTINGS_MODULE": "imcloud.settings"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        acknowledged.append(process.stdout.readline().strip())
        yield acknowledged
        *others, last = process.stdout.read().splitlines()
        acknowledged += others
        assert last.startswith("refused:") and "read-only" in last, last
    finally:
        process.kill()
        process.wait()


async def shown_to(site: Site, user: str) -> list[str]:
    """The uids of all that a new device of the user is shown."""
    described = site.stack.describe()
    app = App(described["url"], described["app_key"], described["app_secret"])
    token = (await asyncio.to_thread(app.tokens, [user]))[user]
    uids: list[str] = []
    url = websocket_url(app.url, app.key, token)
    client = Client(url, user, sends_nothing, lambda message: uids.append(message.msgId))
    await connect([client])
    await disconnect([client])
    return uids


def test_two_sites_that_were_cut_off_from_each_other_and_both_went_on_have_one_log_again(site: Site) -> None:
    async def scenario() -> None:
        sender, receiver = homes_of(site.stack).users(["set1"] * 2)
        await site.home()
        async with chatting(site, LATE) as traffic:
            with ExitStack() as theirs:
                with site.server.apart() as url:
                    began = time.monotonic()
                    uids = theirs.enter_context(going_on(site, url("set1_own"), sender, receiver))
                    print(await site.run("sets", "failover", "set1"))
                    await traffic.reaches_everybody(BACK_SECONDS)
                    await asyncio.sleep(began + CUT_OFF_SECONDS - time.monotonic())
                healed = time.monotonic()
                await until(site.follows, CONVERGED_SECONDS, "they do not converge")
                print(f"converged {time.monotonic() - healed:.1f} s after they could see each other again")
            print(f"{len(uids)} messages were acknowledged by the side that was cut off")
            shown = await shown_to(site, receiver)
            assert len(shown) == len(set(shown))
            assert len(uids) > CUT_OFF_SECONDS and set(uids) <= set(shown)
            await site.home()
        assert await asyncio.to_thread(site.compare) == 0

    asyncio.run(scenario())


def test_replication_that_is_killed_again_and_again_brings_everything_once(site: Site) -> None:
    async def scenario() -> None:
        async with chatting(site):
            for turn in range(KILLS):
                if turn % 5 == 0:
                    for pid in site.stack.workers("replication"):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.to_thread(cut_off, site)
                await asyncio.sleep(random.uniform(0.1, 0.4))
            await until(site.follows, FOLLOWS_SECONDS, "the standby is behind")
        assert await asyncio.to_thread(site.compare) == 0

    asyncio.run(scenario())


def test_a_command_that_is_killed_is_gone_on_with(site: Site) -> None:
    async def scenario() -> None:
        async with chatting(site, LATE) as traffic:
            for wait in (1.0, 1.2):
                command = site.stack.start("sets", "failover", "set1", "--planned")
                await asyncio.sleep(wait)
                command.kill()
                command.wait()
                await until(site.follows, FOLLOWS_SECONDS, "it does not go on")
                await traffic.reaches_everybody(BACK_SECONDS)
            await site.home()
        assert await asyncio.to_thread(site.compare) == 0

    asyncio.run(scenario())


def test_a_standby_whose_disk_is_full_is_waited_for_or_not_as_was_asked(site: Site) -> None:
    """Its server may write no file any further: it fails again and again until there is room."""

    async def scenario() -> None:
        await site.home()
        await site.run("sets", "failover", "set1", "--planned")  # so that the standby is in the own server
        await until(site.follows, FOLLOWS_SECONDS, "the old primary does not follow")
        await site.run("sets", "durability", "set1", "standby", "--when-away", "degrade")
        async with chatting(site) as traffic:
            site.server.kill()
            site.server.start(file_size=1 << 20)
            await until(lambda: site.is_degraded(), STALL_SECONDS, "it still waits for its standby")
            await traffic.reaches_everybody(STALL_SECONDS)
            await asyncio.to_thread(site.server.kill)
            site.server.start()
            await until(lambda: not site.is_degraded(), FOLLOWS_SECONDS, "the standby is not back")
        await site.run("sets", "durability", "set1", "local")
        await site.home()
        assert await asyncio.to_thread(site.compare) == 0

    asyncio.run(scenario())
