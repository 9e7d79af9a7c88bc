"""`python -m bench`: one JSON line per case on stdout, progress on stderr.

Starts a server of its own unless --url names one. The load comes from this process; the server's processes
are others and are measured from /proc. What each figure means is written in docs/performance.md.
"""

import argparse
import asyncio
import gc
import json
import resource
import secrets
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import cost, stack
from bench.client import Client, websocket_url
from bench.ledger import Verdict
from bench.load import Pairs, Window, connect, disconnect
from bench.tokens import App

WARM_UP = 0.3  # of the measured seconds, at least one second
IDLE_WARM_UP_CLIENTS = (
    100  # connected before memory is first read, so that what is allocated once is not counted
)
IDLE_SETTLE_SECONDS = 5.0


@dataclass(frozen=True)
class Case:
    """A load of pairs with `outstanding` messages a sender, or idle connections when that is 0."""

    name: str
    users: int
    outstanding: int
    senders: int | None = None  # None = every user sends

    def quick(self) -> "Case":
        """The same with fewer users, which the output tells."""
        return Case(
            self.name, self.users if self.users <= 100 else self.users // 5, self.outstanding, self.senders
        )


CASES = (
    Case("single", users=2, outstanding=1, senders=1),
    Case("pairs-1", users=100, outstanding=1),
    Case("pairs-8", users=100, outstanding=8),
    Case("many", users=1000, outstanding=1),
    Case("idle", users=5000, outstanding=0),
)


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


class Bench:
    """The cases against one server; `server` is None when its processes are not ours to measure."""

    def __init__(self, app: App, server: stack.Stack | None, seconds: float):
        self._app = app
        self._server = server
        self._seconds = seconds

    async def run(self, case: Case) -> dict[str, Any]:
        """Run one case; returns its line."""
        progress(f"{case.name}: tokens for {case.users} users")
        prefix = f"bench-{secrets.token_hex(4)}"
        tokens = await asyncio.to_thread(self._app.tokens, [f"{prefix}-{n}" for n in range(case.users)])
        measured = await (self._load(case, tokens) if case.outstanding else self._idle(tokens))
        return {"case": case.name, "users": case.users, "outstanding": case.outstanding, **measured}

    async def _load(self, case: Case, tokens: dict[str, str]) -> dict[str, Any]:
        pairs = Pairs(self._app.url, self._app.key, tokens, senders=case.senders)
        await connect(pairs.clients, progress)
        gc.freeze()  # what is here stays: the collector of the load generator need not look at it again
        pairs.begin(case.outstanding)
        await asyncio.sleep(max(1.0, self._seconds * WARM_UP))
        progress(f"{case.name}: measuring {self._seconds:g} s")
        before = self._read()
        pairs.window.open = True
        await asyncio.sleep(self._seconds)
        pairs.window.open = False
        used = self._read().since(before)
        verdict = await pairs.finish()
        reconnects = sum(client.connections - 1 for client in pairs.clients)
        await disconnect(pairs.clients)
        gc.unfreeze()
        return speed(pairs.window, used) | faults(verdict) | {"reconnects": reconnects}

    async def _idle(self, tokens: dict[str, str]) -> dict[str, Any]:
        clients = [
            Client(websocket_url(self._app.url, self._app.key, token), user, _no_answer, _nothing_shown)
            for user, token in tokens.items()
        ]
        first = min(IDLE_WARM_UP_CLIENTS, len(clients) // 2)
        await connect(clients[:first], progress)
        await asyncio.sleep(1)
        empty = self._gateway_memory()
        began = time.perf_counter()
        await connect(clients[first:], progress)
        connecting = time.perf_counter() - began
        await asyncio.sleep(IDLE_SETTLE_SECONDS)
        full, before = self._gateway_memory(), self._read()
        await asyncio.sleep(self._seconds)
        used = self._read().since(before)
        online = sum(client.online for client in clients)
        await disconnect(clients)
        return {
            "seconds": round(used.clock, 2),
            "connected": online,
            "connects_per_second": round((len(clients) - first) / connecting),
            "gateway_bytes_per_connection": round((full - empty) / (len(clients) - first)) if full else None,
            "server_cpu_percent": {
                kind: round(seconds / used.clock * 100, 1) for kind, seconds in used.server.items()
            },
            "reconnects": sum(client.connections - 1 for client in clients),
        }

    def _read(self) -> Reading:
        server = cost.cpu_by_kind(cost.roots(self._server), cost.processes()) if self._server else {}
        return Reading(time.perf_counter(), cost.machine(), time.process_time(), server)

    def _gateway_memory(self) -> int:
        return cost.resident(self._server.describe()["pids"]["gateway"]) if self._server else 0


def _no_answer(context: Any, status: int, uid: str, sent_at: int) -> None:
    """Idle clients send nothing."""


def _nothing_shown(message: Any) -> None:
    """Idle clients are sent nothing."""


def speed(window: Window, used: Reading) -> dict[str, Any]:
    """The figures of a measured window; CPU in µs a message."""
    done = max(window.completed, 1)
    server = {kind: round(seconds / done * 1e6, 1) for kind, seconds in used.server.items()}
    elsewhere = used.machine - used.own - sum(used.server.values())
    return {
        "seconds": round(used.clock, 2),
        "messages_per_second": round(window.completed / used.clock),
        "ack_ms": percentiles(window.acks),
        "delivery_ms": percentiles(window.deliveries),
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


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "--case", action="append", choices=[case.name for case in CASES], help="only this one"
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="measured window of each case (default 10)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="2 s windows and a fifth of the many connections"
    )
    parser.add_argument("--output", type=Path, help="also append the lines to this file")
    parser.add_argument("--url", help="http://host:port of a running server, instead of an own one")
    parser.add_argument("--app-key", help="with --url")
    parser.add_argument("--app-secret", help="with --url")
    chosen = parser.parse_args()
    if chosen.url and not (chosen.app_key and chosen.app_secret):
        parser.error("--url needs --app-key and --app-secret")
    return chosen


@contextmanager
def target(chosen: argparse.Namespace) -> Iterator[tuple[App, stack.Stack | None]]:
    """The server to measure: the named one, or one of our own that lives as long as the block."""
    if chosen.url:
        yield App(chosen.url.rstrip("/"), chosen.app_key, chosen.app_secret), None
        return
    with tempfile.TemporaryDirectory(prefix="imcloud-bench-") as directory:
        progress("starting a server")
        with stack.running(Path(directory) / "var") as server:
            described = server.describe()
            yield App(described["url"], described["app_key"], described["app_secret"]), server


def main() -> int:
    """Run the chosen cases; exit status 1 when a message was lost, doubled or out of order."""
    chosen = arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # inherited by the server
    cases = [case for case in CASES if not chosen.case or case.name in chosen.case]
    wrong = 0
    with target(chosen) as (app, server):
        for case in cases:
            bench = Bench(app, server, 2.0 if chosen.quick else chosen.seconds)
            line = asyncio.run(bench.run(case.quick() if chosen.quick else case))
            wrong += sum(line.get(name, 0) for name in ("lost", "duplicated", "out_of_order"))
            text = json.dumps(line)
            print(text, flush=True)
            if chosen.output:
                with chosen.output.open("a") as file:
                    file.write(text + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
