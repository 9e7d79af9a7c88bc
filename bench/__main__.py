"""`python -m bench`: one JSON line per case on stdout, progress on stderr.

Starts servers of its own unless --url names one. The load comes from this process; the server's processes
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, groupby, islice
from pathlib import Path
from typing import Any

from bench import api, cost, disk, placement, quota, stack, standby
from bench.chatroom import Crowd
from bench.client import Client, websocket_url
from bench.exchange import behind
from bench.group import Group
from bench.homes import Homes
from bench.load import Pairs, number_of, sends_nothing
from bench.readers import PAGE, Returning, fill, pages, post_to, tenant_of
from bench.tokens import App
from bench.traffic import Traffic
from bench.window import (
    IDLE_WARM_UP_CLIENTS,
    WARM_UP,
    More,
    Reading,
    megabytes,
    of_fanout,
    of_idle,
    of_load,
    per_unit,
    percentiles,
    progress,
)

Closing = Callable[[int], dict[str, Any]]
CHATROOM_LONGER = 3  # times the seconds of the other cases


@dataclass(frozen=True)
class Case:
    """A load of pairs with `outstanding` messages a sender or at a `rate`; without both, idle connections."""

    name: str
    users: int
    outstanding: int
    senders: int | None = None  # None = every user sends
    homes: tuple[str, ...] = ()  # the SETs of the users, over and over; empty: one SET
    second_devices: bool = False  # of the senders
    rate: int = 0  # messages a second of all senders together, whatever comes back
    idle: int = 0  # further users, who are connected
    stored: int = 0  # messages that are in the log before …
    own: bool = False  # … in the users' own conversations, which their devices have seen
    room_rate: int = 0  # messages a second into a chatroom that all are in; the first one sends them
    group_rate: int = 0  # the same of a group
    rows: int = 0  # of a conversation whose history is read
    offline: int = 0  # messages that came to each while he was away
    api: bool = False  # calls of the server API: api.LOADS has which
    flood: int = 0  # messages a second that another app may send that sends as many as it can
    standby: bool = False  # the SET gets one
    away: int = 0  # rows that are appended while the standby is

    @property
    def sets(self) -> int:
        """How many SETs the server has."""
        return len(set(self.homes)) or 1

    def quick(self) -> "Case":
        """The same with fewer users, which the output tells."""
        return self if self.users <= 100 else replace(self, users=self.users // 5)


ACROSS = ("set1", "set2")  # the homes of a pair
HALF_ACROSS = (*ACROSS, "set1", "set1", *ACROSS, "set2", "set2")  # of four pairs
CASES = (
    Case("single", users=2, outstanding=1, senders=1),
    Case("pairs-1", users=100, outstanding=1),
    Case("pairs-8", users=100, outstanding=8),
    Case("open-500", users=100, outstanding=0, rate=500),
    Case("many", users=1000, outstanding=1),
    Case("idle", users=5000, outstanding=0),
    # 25 of its 50 pairs cross, 13 and 12 do not.
    Case("two-sets", users=100, outstanding=8, homes=HALF_ACROSS),
    Case("cross-idle", users=2, outstanding=1, senders=1, homes=ACROSS, second_devices=True),
    Case("chatroom", users=5001, outstanding=0, room_rate=20),
    Case("group", users=500, outstanding=0, group_rate=10),
    Case("history", users=2, outstanding=0, rows=1_000_000),
    Case("offline", users=1, outstanding=0, offline=1000),
    Case("reconnect", users=2000, outstanding=0, offline=3),
    *(Case(name, users=0, outstanding=load.connections, api=True) for name, load in api.LOADS.items()),
    Case("quota", users=20, outstanding=0, flood=500),
    Case("standby", users=100, outstanding=8, standby=True),
    Case("replication", users=100, outstanding=8, standby=True, away=300_000),
)


PLACEMENT = "placement"  # the case that needs no server
GATEWAY = "gateway"  # the kind of process that clients are connected to


class Bench:
    """The cases against one server; `server` is None when its processes are not ours to measure.

    `gateway` is the process id of the gateway at the app's URL when that is not the server's own one.
    `at_open` is called as the window of a load opens, and what it returns as that closes, with the number of
    its messages, for further figures.
    """

    def __init__(
        self,
        app: App,
        server: stack.Stack | None,
        seconds: float,
        gateway: int = 0,
        at_open: Callable[[], Closing] = lambda: lambda done: {},
    ):
        self._app = app
        self._server = server
        self._seconds = seconds
        self._gateway = gateway
        self._also_at_open = at_open

    async def run(self, case: Case) -> dict[str, Any]:
        """Run one case; returns its line."""
        if case.api:
            return {"case": case.name, "connections": case.outstanding} | await self._api(case)
        if case.standby:
            measured = await (self._replication(case) if case.away else self._standby(case))
            return {"case": case.name, "users": case.users, "outstanding": case.outstanding} | measured
        progress(f"{case.name}: tokens for {case.users} users")
        tokens = await asyncio.to_thread(self._app.tokens, self._users(case))
        if case.flood:
            measured = await self._quota(case)
        elif case.room_rate:
            measured = await self._chatroom(case, tokens)
        elif case.group_rate:
            measured = await self._group(case, tokens)
        elif case.rows:
            measured = await self._history(case, tokens)
        elif case.offline:
            measured = await self._returning(case, tokens)
        else:
            measured = await (
                self._load(case, tokens) if case.outstanding or case.rate else self._idle(tokens)
            )
        what = {"case": case.name, "sets": case.sets, "users": case.users, "outstanding": case.outstanding}
        return what | ({"rate": case.rate} if case.rate else {}) | measured

    def _users(self, case: Case) -> list[str]:
        if case.homes and self._server:
            wanted = islice(cycle(case.homes), case.users)
            return Homes(self._server.describe()["database_url"], self._app.key).users([*wanted])
        return _names(case.users + case.idle)

    async def _load(self, case: Case, tokens: dict[str, str]) -> dict[str, Any]:
        pairs = Pairs(
            self._app,
            dict(islice(tokens.items(), case.users)),
            senders=case.senders,
            second_devices=case.second_devices,
        )
        others = self._silent(dict(islice(tokens.items(), case.users, None)))
        if case.stored:
            progress(f"{case.name}: storing {case.stored} messages")
            seen = await asyncio.to_thread(self._store, case, list(tokens))
            for client in [*pairs.clients, *others]:
                client.received_until = client.sent_until = seen
        begin = partial(pairs.begin_at, case.rate) if case.rate else partial(pairs.begin, case.outstanding)
        more = partial(self._at_open, case, pairs)
        return await of_load(case.name, pairs, begin, self._seconds, self._read, more, others)

    def _store(self, case: Case, users: list[str]) -> int:
        """Messages as of the case; ms of the newest."""
        described = self._own_server().describe()
        talkers = users[: case.users] if case.own else _names(2)
        pairs = list(zip(talkers[::2], talkers[1::2], strict=True))
        tenant = tenant_of(described["database_url"], self._app.key)
        return fill(described["set_database_url"].format(set="set1"), tenant, pairs, case.stored)

    def _at_open(self, case: Case, pairs: Pairs) -> More:
        if not self._server:
            return dict
        server, sets = self._server, sorted(set(case.homes)) or ["set1"]
        before = disk.written(server, sets)
        also_at_close = self._also_at_open()

        def at_close() -> dict[str, Any]:
            done = max(pairs.window.completed, 1)
            also = also_at_close(done)
            grown = {name: size - before[name] for name, size in disk.written(server, sets).items()}
            more = {
                "disk_bytes": {name: round(size / done) for name, size in grown.items()},
                "server_memory_mb": megabytes(self._roots()),
            }
            if case.sets > 1:
                more["copies_behind"] = behind(server.describe()["set_database_url"], *ACROSS)
            return more | also

        return at_close

    async def _idle(self, tokens: dict[str, str]) -> dict[str, Any]:
        clients = self._silent(tokens)
        return await of_idle(GATEWAY, clients, self._seconds, self._read, self._gateway_memory)

    def _silent(self, tokens: dict[str, str]) -> list[Client]:
        return [
            Client(websocket_url(self._app.url, self._app.key, token), user, sends_nothing, _nothing_shown)
            for user, token in tokens.items()
        ]

    async def _chatroom(self, case: Case, tokens: dict[str, str]) -> dict[str, Any]:
        crowd = Crowd(self._app, tokens, f"room-{secrets.token_hex(4)}")
        await crowd.enter(IDLE_WARM_UP_CLIENTS, progress)
        first, empty, began = len(crowd.members), self._gateway_memory(), time.perf_counter()
        await crowd.enter(case.users, progress)
        entering = time.perf_counter() - began
        progress(f"{case.name}: measuring {self._seconds * CHATROOM_LONGER:g} s")
        gc.freeze()
        before = self._read()
        await crowd.talk(case.room_rate, self._seconds * CHATROOM_LONGER)
        await crowd.settle()
        used, full = self._read().since(before), self._gateway_memory()
        crowd.close()
        gc.unfreeze()
        done = max(crowd.deliveries, 1)
        members = len(crowd.members)
        return {
            "seconds": round(used.clock, 2),
            "members": members,
            "joins_per_second": round((members - first) / entering),
            "messages_per_second": case.room_rate,
            "deliveries_per_second": round(crowd.deliveries / used.clock),
            "last_member_ms": percentiles(crowd.last_member),
            **per_unit(used, done),
            "server_cpu_percent": {k: round(v / used.clock * 100, 1) for k, v in used.server.items()},
            "gateway_bytes_per_member": round((full - empty) / (members - first)) if full else None,
            **crowd.faults(),
        }

    async def _group(self, case: Case, tokens: dict[str, str]) -> dict[str, Any]:
        group = Group(self._app, tokens, f"group-{secrets.token_hex(4)}")
        await asyncio.to_thread(group.create)
        return await of_fanout(case.name, group, case.group_rate, self._seconds, self._read)

    async def _history(self, case: Case, tokens: dict[str, str]) -> dict[str, Any]:
        if not self._server:
            raise RuntimeError("the case writes into the database of a server of the benchmark's own")
        (one, token), (other, _) = tokens.items()
        described = self._server.describe()
        progress(f"{case.name}: making {case.rows} rows")
        tenant = await asyncio.to_thread(tenant_of, described["database_url"], self._app.key)
        database = described["set_database_url"].format(set="set1")
        newest = await asyncio.to_thread(fill, database, tenant, [(one, other)], case.rows)
        url = websocket_url(self._app.url, self._app.key, token)
        await pages(url, one, other, newest, case.rows, max(1.0, self._seconds * WARM_UP))
        progress(f"{case.name}: measuring {self._seconds:g} s")
        before = self._read()
        took = await pages(url, one, other, newest, case.rows, self._seconds)
        used = self._read().since(before)
        return {
            "seconds": round(used.clock, 2),
            "rows": case.rows,
            "page": PAGE,
            "pages_per_second": round(len(took) / used.clock),
            "page_ms": percentiles(took),
            **per_unit(used, len(took)),
        }

    async def _returning(self, case: Case, tokens: dict[str, str]) -> dict[str, Any]:
        users = Returning(self._app, tokens, number_of)
        numbers = range(case.offline)
        progress(f"{case.name}: sending {case.offline} messages to each of {case.users}")
        await asyncio.to_thread(post_to, self._app, f"sender-{secrets.token_hex(4)}", list(tokens), numbers)
        await users.come(numbers)  # all that is allocated once
        wholes, each = array("d"), array("d")
        before = self._read()
        for _ in range(max(3, 20 // case.users)):
            whole, took = await users.come(numbers)
            wholes.append(whole)
            each.extend(took)
        used = self._read().since(before)
        return {
            "seconds": round(used.clock, 2),
            "messages_each": case.offline,
            "all_ms": percentiles(wholes),
            "each_ms": percentiles(each),
            **per_unit(used, len(each)),
            **users.faults,
        }

    async def _api(self, case: Case) -> dict[str, Any]:
        load = api.LOADS[case.name]
        calls = api.requests(self._app, load.path, load.bodies())
        url = self._app.url
        await api.closed_loop(url, calls, load.connections, max(1.0, self._seconds * WARM_UP))
        progress(f"{case.name}: measuring twice {self._seconds:g} s")
        gc.freeze()
        before = self._read()
        most = await api.closed_loop(url, calls, load.connections, self._seconds)
        used = self._read().since(before)
        half = await api.at_rate(url, calls, load.rate, self._seconds)
        gc.unfreeze()
        done = max(len(most.times), 1)
        return {
            "seconds": round(used.clock, 2),
            "calls_per_second": round(len(most.times) / used.clock, 1),
            "messages_per_second": round(len(most.times) * load.messages / used.clock),
            "call_ms": percentiles(most.times),
            **per_unit(used, done),
            "calls_per_second_at_rate": load.rate,
            "call_ms_at_rate": percentiles(half.times),
            "refused": most.refused + half.refused,
            "why": most.last or half.last,
        }

    async def _quota(self, case: Case) -> dict[str, Any]:
        if not self._server:
            raise RuntimeError("the case makes an app, which a URL does not do")
        return await quota.measure(self._app, self._server, case.flood, self._seconds, progress)

    async def _standby(self, case: Case) -> dict[str, Any]:
        loads = {"pairs": case, "single": replace(case, users=2, outstanding=1, senders=1)}
        return await standby.compare(
            standby.Standby(self._own_server()),
            {name: partial(self._load_anew, each) for name, each in loads.items()},
        )

    async def _replication(self, case: Case) -> dict[str, Any]:
        server = self._own_server()
        its = standby.Standby(server)
        one, other = self._users(replace(case, users=2))

        async def append() -> int:
            tenant = await asyncio.to_thread(tenant_of, server.describe()["database_url"], self._app.key)
            await asyncio.to_thread(fill, its.primary, tenant, [(one, other)], case.away)
            return case.away

        traffic = Traffic(self._app, rate=standby.RATE)
        return await standby.replicate(its, partial(self._load_anew, case), traffic, append, self._seconds)

    async def _load_anew(self, case: Case) -> dict[str, Any]:
        """The load with users that nobody has written to."""
        return await self._load(case, await asyncio.to_thread(self._app.tokens, self._users(case)))

    def _own_server(self) -> stack.Stack:
        if not self._server:
            raise RuntimeError("the case changes a SET of a server of the benchmark's own")
        return self._server

    def _read(self) -> Reading:
        server = cost.cpu_by_kind(self._roots(), cost.processes())
        return Reading(time.perf_counter(), cost.machine(), time.process_time(), server)

    def _roots(self) -> dict[int, str]:
        if not self._server:
            return {}
        roots = cost.roots(self._server)
        if self._gateway:
            roots = {pid: "idle gateway" if kind == GATEWAY else kind for pid, kind in roots.items()}
            roots[self._gateway] = GATEWAY
        return roots

    def _gateway_memory(self) -> int:
        return next((cost.resident(pid) for pid, kind in self._roots().items() if kind == GATEWAY), 0)


def _names(number: int) -> list[str]:
    prefix = f"bench-{secrets.token_hex(4)}"
    return [f"{prefix}-{each}" for each in range(number)]


def _nothing_shown(message: Any) -> None:
    """Idle clients are sent nothing."""


def tell(line: dict[str, Any], output: Path | None) -> None:
    """A case's result, on stdout and at the end of the file."""
    text = json.dumps(line)
    print(text, flush=True)
    if output:
        with output.open("a") as file:
            file.write(text + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "--case", action="append", choices=[case.name for case in CASES] + [PLACEMENT], help="only this one"
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="measured window of each case (default 10)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="2 s windows and a fifth of the many connections"
    )
    parser.add_argument(
        "--nodes", type=int, default=1, help="of each SET of the benchmark's own server (default 1)"
    )
    parser.add_argument("--output", type=Path, help="also append the lines to this file")
    parser.add_argument("--url", help="http://host:port of a running server, instead of an own one")
    parser.add_argument("--app-key", help="with --url")
    parser.add_argument("--app-secret", help="with --url")
    chosen = parser.parse_args()
    if chosen.url and not (chosen.app_key and chosen.app_secret):
        parser.error("--url needs --app-key and --app-secret")
    chosen.cases = [case for case in CASES if not chosen.case or case.name in chosen.case]
    chosen.placement = not chosen.case or PLACEMENT in chosen.case
    if chosen.url:
        # Whose home is where is in the control database, which a URL does not open.
        own = [case for case in chosen.cases if case.sets > 1 or case.rows or case.flood or case.standby]
        chosen.cases = [case for case in chosen.cases if case not in own]
        if not (chosen.cases or chosen.placement):
            parser.error(f"{', '.join(case.name for case in own)}: only on a server of the benchmark's own")
    return chosen


@contextmanager
def target(chosen: argparse.Namespace, sets: int) -> Iterator[tuple[App, stack.Stack | None]]:
    """The server to measure: the named one, or one of our own that lives as long as the block."""
    if chosen.url:
        yield App(chosen.url.rstrip("/"), chosen.app_key, chosen.app_secret), None
        return
    with own_server(sets, chosen.nodes) as own:
        yield own


@contextmanager
def own_server(
    sets: int, nodes: int, gateways: int = 1, **settings: str
) -> Iterator[tuple[App, stack.Stack]]:
    """A server with fresh data, so many SETs, nodes of each, and gateways; it lives as long as the block.

    `settings` are as of `stack.running`.
    """
    with tempfile.TemporaryDirectory(prefix="imcloud-bench-") as directory:
        progress(f"starting a server with SETs: {sets}, nodes of each: {nodes}")
        sizes = {"SETS": str(sets), "NODES": str(nodes), "GATEWAYS": str(gateways)} | settings
        with stack.running(Path(directory) / "var", **sizes) as server:
            described = server.describe()
            yield App(described["url"], described["app_key"], described["app_secret"]), server


def allow_connections() -> None:
    """Let this process, and the servers that it starts, have as many open files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def broken(line: dict[str, Any]) -> int:
    """How many messages of a case were lost, doubled or out of order."""
    return sum(line.get(name, 0) for name in ("lost", "duplicated", "out_of_order"))


def main() -> int:
    """Run the chosen cases; exit status 1 when a message was lost, doubled or out of order."""
    chosen = arguments()
    allow_connections()
    wrong = 0
    seconds = 2.0 if chosen.quick else chosen.seconds
    if chosen.placement:
        tell(placement.measure(seconds), chosen.output)
    # A log that other cases have filled would have to be replicated first.
    for (sets, _), cases in groupby(chosen.cases, lambda case: (case.sets, case.standby)):
        with target(chosen, sets) as (app, server):
            bench = Bench(app, server, seconds)
            for case in cases:
                line = asyncio.run(bench.run(case.quick() if chosen.quick else case))
                wrong += broken(line)
                tell(line, chosen.output)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
