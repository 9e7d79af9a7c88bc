"""The drill of docs/disaster-recovery.md, line by line, at two sites whose users chat meanwhile."""

import asyncio
import re
import shlex
import time
from collections.abc import Iterator

import pytest

from bench.stack import Stack, running
from bench.tokens import App
from bench.traffic import Traffic
from tests.conftest import ROOT
from tests.faults.test_cluster import homes_of

pytestmark = pytest.mark.faults

RATE = 60  # messages a second
RING = ["set1"] * 3 + ["set2"] * 3
BACK_SECONDS = 30.0
SETTLE_SECONDS = 30.0
CHAT_SECONDS = 1.0  # between two commands
# Users' own gateways die with site A; what comes back from its database is shown behind what was sent later.
LATE = {"inversions"}


def drill() -> list[list[str]]:
    """The commands of the page's drill, without `m`."""
    page = (ROOT / "docs" / "disaster-recovery.md").read_text()
    section = page.partition("## The drill")[2]
    lines = re.findall(r"^    m (.*)$", section, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("sites") / "var", SITES="2", NODES="2") as stack:
        yield stack


def test_the_drill_of_the_page_loses_nothing(sites: Stack) -> None:
    described = sites.describe()
    app = App(described["url"], described["app_key"], described["app_secret"])
    said: list[str] = []

    async def run(traffic: Traffic) -> None:
        for command in drill():
            began = time.monotonic()
            said.append(await asyncio.to_thread(sites.manage, *command))
            print(f"{time.monotonic() - began:5.1f} s  {' '.join(command)}\n{said[-1].rstrip()}")
            if command[1] in ("failover", "failback", "start") and "--dry-run" not in command:
                print(f"everybody is reached {await traffic.reaches_everybody(BACK_SECONDS):.1f} s later")
            await asyncio.sleep(CHAT_SECONDS)

    async def scenario() -> None:
        async with Traffic(
            app,
            users=homes_of(sites).users(RING),
            rate=RATE,
            navigators=[*described["gateways"].values()],
        ) as traffic:
            await traffic.flows(within=BACK_SECONDS)
            await run(traffic)
            await traffic.flows(within=BACK_SECONDS)
            verdict = await traffic.settle(SETTLE_SECONDS)
            print(traffic.books)
            assert verdict.faults.keys() <= LATE, traffic.describe()
            assert verdict.acknowledged > 0

    asyncio.run(scenario())
    assert len(said) > 10
    assert said[-1].count("they are equal") == 2, said[-1]
