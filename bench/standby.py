"""A SET with a standby database: what each durability costs, how replication keeps up and catches up.

The standby is a further database of the benchmark's own PostgreSQL server: one machine, so both logs are
written to one disk by one processor, and a round trip to the other site takes no time.
"""

import asyncio
import secrets
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench.stack import Stack
from bench.traffic import Traffic

SET = "set1"
NOTE = "the standby is in the same PostgreSQL server: disk and processors are shared"
WITHOUT, ASYNC, COVERED = "local_without_standby", "local", "standby"
TURNS = (
    WITHOUT,
    ASYNC,
    COVERED,
    COVERED,
    ASYNC,
    WITHOUT,
)  # a drift hits all alike
KNOWN_SECONDS = 2.0  # until all processes know a changed SET
LOOK_SECONDS = 0.5  # between two looks at the lag
CATCH_UP_LOOK_SECONDS = 0.1
FOLLOW_SECONDS = 120.0  # that a standby may take until it has everything
RATE = 1000  # messages a second, while the standby catches up
LINGER = 1.0  # s in which what was sent last is acknowledged

_POSITION = "SELECT seq FROM messaging_head"
_WAITING = """
    SELECT head.seq - %(position)s, (SELECT time FROM messaging_message WHERE seq > %(position)s
                                     ORDER BY seq LIMIT 1)
    FROM messaging_head head"""


class Standby:
    """The one of set1, on a server of the benchmark's own; once taken away it does not come back."""

    def __init__(self, server: Stack):
        self._server = server
        databases = str(server.describe()["set_database_url"])
        self.primary = databases.format(set=SET)
        self.url = databases.format(set=f"{SET}_standby_{secrets.token_hex(4)}")
        self._durability = WITHOUT

    async def be(self, durability: str) -> None:
        """Give the SET its standby or take it away, and have messages acknowledged like that."""
        if durability == WITHOUT:
            if self._durability != WITHOUT:
                await self._manage("sets", "durability", SET, "local")
                await self._manage("sets", "standby", SET, "--none")
        else:
            if self._durability == WITHOUT:
                await self._manage("sets", "standby", SET, self.url)
            await self._manage("sets", "durability", SET, durability)
        self._durability = durability
        await asyncio.sleep(KNOWN_SECONDS)
        if durability != WITHOUT:
            await asyncio.to_thread(self._follow)

    async def _manage(self, *command: str) -> None:
        await asyncio.to_thread(self._server.manage, *command)

    def _follow(self) -> None:
        deadline = time.monotonic() + FOLLOW_SECONDS
        while self.lag()[0]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the standby is {self.lag()[0]} messages behind")
            time.sleep(LOOK_SECONDS)

    def position(self) -> int:
        """seq up to which the standby has the log."""
        with psycopg.connect(self.url) as standby:
            ((position,),) = standby.execute(_POSITION)
        return int(position)

    def lag(self) -> tuple[int, float]:
        """Messages that the standby has not; age of the oldest of them in seconds."""
        position = self.position()
        with psycopg.connect(self.primary) as primary:
            ((waiting, since),) = primary.execute(_WAITING, {"position": position})
        return int(waiting), max(time.time() - since / 1000, 0.0) if since else 0.0

    @asynccontextmanager
    async def lags(self) -> AsyncIterator[list[tuple[int, float]]]:
        """What `lag` told, each LOOK_SECONDS, while the block runs."""
        seen: list[tuple[int, float]] = []

        async def look() -> None:
            while True:
                seen.append(await asyncio.to_thread(self.lag))
                await asyncio.sleep(LOOK_SECONDS)

        task = asyncio.create_task(look())
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @contextmanager
    def away(self) -> Iterator[None]:
        """While its database takes no connections."""
        name = str(conninfo_to_dict(self.url)["dbname"])
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        with psycopg.connect(self.url, dbname="postgres", autocommit=True) as admin:
            admin.execute(allow.format(sql.Identifier(name), False))
            try:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
                )
                yield
            finally:
                admin.execute(allow.format(sql.Identifier(name), True))


Load = Callable[[], Awaitable[dict[str, Any]]]  # a case's measured load: its line


async def compare(standby: Standby, loads: dict[str, Load]) -> dict[str, Any]:
    """The loads under each durability, twice, in turns; how `standby` compares with the others."""
    lines: dict[str, dict[str, list[dict[str, Any]]]] = {
        name: {each: [] for each in (WITHOUT, ASYNC, COVERED)} for name in loads
    }
    for durability in TURNS:
        await standby.be(durability)
        for name, load in loads.items():
            lines[name][durability].append(await load())
    found: dict[str, Any] = {"note": NOTE, "turns": len(TURNS)}
    for name, by_durability in lines.items():
        means = {durability: mean(measured) for durability, measured in by_durability.items()}
        found[name] = means | {f"{COVERED}_to_{other}": against(means, other) for other in (ASYNC, WITHOUT)}
    every = [line for by in lines.values() for measured in by.values() for line in measured]
    return found | summed(every)


def mean(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the figures of the same load, measured several times."""

    def of(value: Callable[[dict[str, Any]], float], digits: int) -> float:
        return round(sum(map(value, lines)) / len(lines), digits)

    return {
        "messages_per_second": round(of(lambda line: line["messages_per_second"], 0)),
        "ack_ms": {p: of(lambda line, p=p: line["ack_ms"][p], 2) for p in ("p50", "p99")},  # type: ignore[misc]
        "server_cpu_us": {
            kind: of(lambda line, kind=kind: line["server_cpu_us"].get(kind, 0.0), 1)  # type: ignore[misc]
            for kind in lines[0]["server_cpu_us"]
        },
        "load_generator_cpu_us": of(lambda line: line["load_generator_cpu_us"], 1),
        "other_cpu_percent": of(lambda line: line["other_cpu_percent"], 1),
    }


def against(means: dict[str, dict[str, Any]], other: str) -> dict[str, float]:
    """Durability `standby` beside another one: shares of throughput and CPU, ms more."""
    its, base = means[COVERED], means[other]
    return {
        "throughput": round(its["messages_per_second"] / max(base["messages_per_second"], 1), 3),
        "p50_ms_more": round(its["ack_ms"]["p50"] - base["ack_ms"]["p50"], 2),
        "p99_ms_more": round(its["ack_ms"]["p99"] - base["ack_ms"]["p99"], 2),
        "server_cpu": round(its["server_cpu_us"]["total"] / base["server_cpu_us"]["total"], 3),
    }


def summed(lines: list[dict[str, Any]]) -> dict[str, int]:
    """What went wrong in any of them."""
    counts = ("lost", "duplicated", "out_of_order", "refused", "unanswered")
    return {name: sum(line[name] for line in lines) for name in counts}


async def replicate(
    standby: Standby, load: Load, traffic: Traffic, fill: Callable[[], Awaitable[int]], seconds: float
) -> dict[str, Any]:
    """The lag under the load; then the standby is away while `fill` appends its rows, and catches up."""
    await standby.be(ASYNC)
    async with standby.lags() as lags:
        line = await load()
    found: dict[str, Any] = {
        "note": NOTE,
        **{name: line[name] for name in ("messages_per_second", "ack_ms", "server_cpu_us")},
        "lag_rows_at_most": max(rows for rows, _ in lags),
        "lag_seconds_at_most": round(max(age for _, age in lags), 2),
        "looks": len(lags),
    }
    async with traffic:
        await asyncio.sleep(LINGER)
        alone = time.monotonic()
        await asyncio.sleep(seconds)
        until_alone = time.monotonic()
        with standby.away():
            rows = await fill()
        began, (behind, _) = time.monotonic(), await asyncio.to_thread(standby.lag)
        took = await catch_up(standby)
        ended = time.monotonic()
        await asyncio.sleep(LINGER)
        verdict = await traffic.settle(10)
        found["catch_up"] = {
            "rows_appended": rows,
            "rows_behind": behind,
            "seconds": round(took, 2),
            "rows_per_second": round(behind / took),
            "messages_per_second": traffic.rate,
            "ack_ms": _times(traffic, began, ended),
            "ack_ms_before": _times(traffic, alone, until_alone),
        }
    counts = {"lost": verdict.missing, "duplicated": verdict.duplicates, "out_of_order": verdict.inversions}
    wrong = summed([line])
    return found | wrong | {name: wrong[name] + count for name, count in counts.items()}


async def catch_up(standby: Standby) -> float:
    """Seconds until the standby has what the log has by now."""
    began, position = time.monotonic(), await asyncio.to_thread(standby.position)
    target = position + (await asyncio.to_thread(standby.lag))[0]
    while await asyncio.to_thread(standby.position) < target:
        if time.monotonic() - began > FOLLOW_SECONDS:
            raise RuntimeError("the standby does not catch up")
        await asyncio.sleep(CATCH_UP_LOOK_SECONDS)
    return time.monotonic() - began


def _times(traffic: Traffic, began: float, ended: float) -> dict[str, float]:
    sent = [a for a in traffic.answers if began < a.sent < ended and not a.status]
    took = array("d", sorted(a.heard - a.sent for a in sent))
    return {
        name: round(took[min(len(took) - 1, int(len(took) * share))] * 1000, 2)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }
