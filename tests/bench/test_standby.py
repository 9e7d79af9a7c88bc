"""What a benchmark of standbys compares, and what it calls behind."""

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bench import standby
from bench.readers import fill, tenant_of
from bench.stack import running
from bench.standby import ASYNC, COVERED, WITHOUT, Standby


def line(rate: int, p50: float, cpu: float, **counts: int) -> dict[str, Any]:
    nothing = dict.fromkeys(("lost", "duplicated", "out_of_order", "refused", "unanswered"), 0)
    return {
        "messages_per_second": rate,
        "ack_ms": {"p50": p50, "p99": 2 * p50},
        "server_cpu_us": {"postgres": cpu / 2, "total": cpu},
        "load_generator_cpu_us": 12.0,
        "other_cpu_percent": 1.0,
    } | nothing | counts  # fmt: skip


class Told(Standby):
    """It only writes down what it is told to be."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def be(self, durability: str) -> None:
        self.told.append(durability)


async def test_each_durability_is_measured_twice_and_compared_by_its_mean() -> None:
    of = {WITHOUT: [100, 120], ASYNC: [90, 110], COVERED: [70, 90]}
    told = Told()

    async def load() -> dict[str, Any]:
        rate = of[told.told[-1]].pop()
        return line(rate, p50=1000 / rate, cpu=20.0 if told.told[-1] == COVERED else 16.0, lost=rate == 70)

    found = await standby.compare(told, {"pairs": load})
    assert told.told == [WITHOUT, ASYNC, COVERED, COVERED, ASYNC, WITHOUT]
    assert not any(of.values())
    assert found["pairs"][ASYNC]["messages_per_second"] == 100
    assert found["pairs"]["standby_to_local"] == {
        "throughput": 0.8,
        "p50_ms_more": 2.6,  # 12.7 beside 10.1
        "p99_ms_more": 5.2,
        "server_cpu": 1.25,
    }
    assert found["pairs"]["standby_to_local_without_standby"]["throughput"] == round(80 / 110, 3)
    assert (found["lost"], found["duplicated"]) == (1, 0)


@pytest.mark.drills
async def test_a_standby_that_was_away_is_behind_until_it_has_caught_up(tmp_path: Path) -> None:
    with running(tmp_path / "var", SETS="1", NODES="1") as server:
        its, described = Standby(server), server.describe()
        await its.be(ASYNC)
        with its.away():
            with pytest.raises(psycopg.OperationalError):
                its.lag()
            tenant = tenant_of(described["database_url"], described["app_key"])
            await asyncio.to_thread(fill, its.primary, tenant, [("alice", "bob")], 2000)
        async with its.lags() as lags:
            await standby.catch_up(its)
            for _ in range(100):
                if lags and not lags[-1][0]:
                    break
                await asyncio.sleep(0.1)
        assert lags[-1] == (0, 0.0)
        assert its.lag() == (0, 0.0)
        assert its.position() >= 2000
        await its.be(COVERED)
        for _ in range(20):  # the SET's own timed work may have written a row at this moment
            (state,) = map(json.loads, server.manage("replication", "status", "--json").splitlines())
            if not state["rows"]:
                break
        assert (state["set"], state["durability"], state["rows"]) == ("set1", "standby", 0)
        await its.be(WITHOUT)
        assert "No SET has a standby" in server.manage("replication", "status")
