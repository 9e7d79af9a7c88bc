"""A measured window after a warm-up: of a load of pairs, or of idle connections; and its figures."""

import asyncio
import gc
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.group import Fanout
from bench.ledger import Verdict
from bench.load import Device, Loops, Window, connect, disconnect

WARM_UP = 0.3  # of the measured seconds, at least one second
IDLE_WARM_UP_CLIENTS = (
    100  # connected before memory is first read, so that what is allocated once is not counted
)
IDLE_SETTLE_SECONDS = 5.0


@dataclass(frozen=True)
class Reading:
    """A look at the clocks, in seconds; the difference of two tells what a window has cost."""

    clock: float
    machine: float  # CPU of everything
    own: float  # CPU of this process
    server: dict[str, float]  # CPU by kind of process; empty for a server that is not ours

    def since(self, before: "Reading") -> "Reading":
        """What has passed since `before`."""
        server = {kind: self.server[kind] - before.server.get(kind, 0.0) for kind in self.server}
        return Reading(
            self.clock - before.clock, self.machine - before.machine, self.own - before.own, server
        )


Look = Callable[[], Reading]


async def of_load(
    name: str,
    pairs: Loops,
    outstanding: int,
    seconds: float,
    look: Look,
    at_end: Callable[[], dict[str, Any]] = dict,
) -> dict[str, Any]:
    """Connect the pairs, have them send, and say what the window was; `at_end` is asked as it closes."""
    await connect(pairs.clients, progress)
    gc.freeze()  # what is here stays: the collector of the load generator need not look at it again
    pairs.begin(outstanding)
    await asyncio.sleep(max(1.0, seconds * WARM_UP))
    progress(f"{name}: measuring {seconds:g} s")
    before = look()
    pairs.window.open = True
    await asyncio.sleep(seconds)
    pairs.window.open = False
    used = look().since(before)
    more = at_end()
    verdict = await pairs.finish()
    reconnects = sum(client.connections - 1 for client in pairs.clients)
    await disconnect(pairs.clients)
    gc.unfreeze()
    return speed(pairs.window, used) | more | faults(verdict) | {"reconnects": reconnects}


async def of_idle(
    kind: str, clients: Sequence[Device], seconds: float, look: Look, memory: Callable[[], int]
) -> dict[str, Any]:
    """Connect clients that do nothing, and say what each costs; `memory`: bytes of the `kind` of process."""
    first = min(IDLE_WARM_UP_CLIENTS, len(clients) // 2)
    await connect(clients[:first], progress)
    await asyncio.sleep(1)
    empty = memory()
    began = time.perf_counter()
    await connect(clients[first:], progress)
    connecting = time.perf_counter() - began
    await asyncio.sleep(IDLE_SETTLE_SECONDS)
    full, before = memory(), look()
    await asyncio.sleep(seconds)
    used = look().since(before)
    online = sum(client.online for client in clients)
    await disconnect(clients)
    return {
        "seconds": round(used.clock, 2),
        "connected": online,
        "connects_per_second": round((len(clients) - first) / connecting),
        f"{kind}_bytes_per_connection": round((full - empty) / (len(clients) - first)) if full else None,
        "server_cpu_percent": {
            kind: round(seconds / used.clock * 100, 1) for kind, seconds in used.server.items()
        },
        "reconnects": sum(client.connections - 1 for client in clients),
    }


async def of_fanout(name: str, group: Fanout, rate: float, seconds: float, look: Look) -> dict[str, Any]:
    """Connect the members, have the first talk at the rate and then as fast as it goes: a window each."""
    await connect(group.clients, progress)
    progress(f"{name}: measuring twice {seconds:g} s")
    gc.freeze()
    await group.talk(rate, seconds)
    at_rate, group.last_member = percentiles(group.last_member), array("d")
    before, delivered = look(), group.deliveries
    await group.loop(seconds)
    used = look().since(before)
    await disconnect(group.clients)
    gc.unfreeze()
    done = max(group.deliveries - delivered, 1)
    return {
        "seconds": round(used.clock, 2),
        "members": len(group.clients),
        "messages_per_second": rate,
        "last_member_ms": at_rate,
        "deliveries_per_second": round(done / used.clock),
        "last_member_ms_at_most": percentiles(group.last_member),
        **per_unit(used, done),
        **group.faults(),
    }


def speed(window: Window, used: Reading) -> dict[str, Any]:
    """The figures of a measured window; CPU in µs a message."""
    return {
        "seconds": round(used.clock, 2),
        "messages_per_second": round(window.completed / used.clock),
        "ack_ms": percentiles(window.acks),
        "delivery_ms": percentiles(window.deliveries),
        **({"copy_ms": percentiles(window.copies)} if window.copies else {}),
        **per_unit(used, max(window.completed, 1)),
    }


def per_unit(used: Reading, done: int) -> dict[str, Any]:
    """CPU in µs of one delivery, page or return."""
    server = {kind: round(seconds / done * 1e6, 1) for kind, seconds in used.server.items()}
    elsewhere = used.machine - used.own - sum(used.server.values())
    return {
        "server_cpu_us": server | {"total": round(sum(server.values()), 1)} if server else None,
        "load_generator_cpu_us": round(used.own / done * 1e6, 1),
        "other_cpu_percent": round(elsewhere / used.clock * 100, 1) if server else None,
    }


def faults(verdict: Verdict) -> dict[str, Any]:
    """The counts of a case, warm-up and end included."""
    named = {"missing": "lost", "duplicates": "duplicated", "inversions": "out_of_order"}
    return {
        **{name: getattr(verdict, count) for count, name in named.items()},
        "refused": verdict.refused,
        "unanswered": verdict.unanswered,
        "other_faults": {name: count for name, count in verdict.faults.items() if name not in named},
    }


def percentiles(seconds: "array[float]") -> dict[str, float] | None:
    """p50 and p99 in ms; None without values."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def progress(text: str) -> None:
    """Tell the person who waits."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
