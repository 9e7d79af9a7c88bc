"""One app's messages are timed: alone, and beside another app that sends all it can, limited or not."""

import asyncio
import json
import secrets
import time
from array import array
from collections.abc import Callable
from typing import Any

from bench.ledger import Verdict
from bench.load import Pairs, connect, disconnect
from bench.stack import Stack
from bench.tokens import App
from bench.traffic import Traffic

RATE = 100  # messages a second of the app that is timed
FLOODERS = 100  # users of the other one …
OUTSTANDING = 8  # … and messages of each under way; a refused one is sent again after 0.1 s
LINGER = 1.0  # s in which what was sent last is acknowledged
KNOWN_SECONDS = 2.0  # until all processes know a changed limit


async def measure(
    app: App, server: Stack, limit: int, seconds: float, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Acknowledgement times of the app in ms, and what the other one got through a second."""
    name = f"flood-{secrets.token_hex(4)}"
    made = json.loads(await asyncio.to_thread(server.manage, "createtenant", name))
    other = App(app.url, made["app_key"], made["app_secret"])
    found: dict[str, Any] = {"quota": limit, "messages_per_second": RATE}
    verdicts = []
    async with Traffic(app, rate=RATE) as traffic:
        await asyncio.sleep(1)
        progress(f"quota: measuring three times {seconds:g} s")
        found["alone_ack_ms"] = await _timed(traffic, seconds)
        for said, value in (("limited", str(limit)), ("unlimited", "none")):
            await asyncio.to_thread(server.manage, "limits", name, f"message_rate={value}")
            await asyncio.sleep(KNOWN_SECONDS)
            times, through, refused = await _beside_a_flood(traffic, other, seconds)
            found[f"{said}_ack_ms"] = times
            found[f"{said}_flood"] = {"stored_per_second": through, "refused_per_second": refused}
        verdicts.append(await traffic.settle(10))
    return found | _faults(verdicts[0])


async def _beside_a_flood(traffic: Traffic, other: App, seconds: float) -> tuple[Any, int, int]:
    names = [f"flood-{secrets.token_hex(4)}-{n}" for n in range(FLOODERS)]
    flood = Pairs(other, await asyncio.to_thread(other.tokens, names))
    await connect(flood.clients)
    flood.begin(OUTSTANDING)
    await asyncio.sleep(2)  # the bucket was full
    flood.window.open()
    refused = flood.books.verdict().refused
    times = await _timed(traffic, seconds)
    flood.window.close()
    refused = flood.books.verdict().refused - refused
    through = flood.window.completed
    await flood.finish()
    await disconnect(flood.clients)
    taken = seconds + LINGER
    return times, round(through / taken), round(refused / taken)


async def _timed(traffic: Traffic, seconds: float) -> dict[str, float]:
    began = time.monotonic()
    await asyncio.sleep(seconds)
    ended = time.monotonic()
    await asyncio.sleep(LINGER)
    sent = [a for a in traffic.answers if began < a.sent < ended and not a.status]
    took = array("d", sorted(a.heard - a.sent for a in sent))
    return {
        name: round(took[min(len(took) - 1, int(len(took) * share))] * 1000, 2)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def _faults(verdict: Verdict) -> dict[str, int]:
    return {
        "lost": verdict.missing,
        "duplicated": verdict.duplicates,
        "out_of_order": verdict.inversions,
        "refused": verdict.refused,
    }
