"""`python -m bench.peers`: imcloud and other servers under the same load, one after the other.

One JSON line per server and case on stdout and one of ratios at the end; progress and a table on stderr. What
is the same and what differs is written in docs/performance.md.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import cost, stack
from bench.__main__ import Bench, Case, allow_connections, broken, own_server, tell
from bench.load import sends_nothing
from bench.peers import database
from bench.peers.ejabberd import Ejabberd
from bench.peers.load import Pairs, Room, check, client, nothing_shown
from bench.peers.peer import Peer, install
from bench.peers.prosody import Prosody
from bench.window import Reading, megabytes, of_fanout, of_idle, of_load, progress

PEERS: dict[str, type[Peer]] = {each.name: each for each in (Ejabberd, Prosody)}
IMCLOUD = "imcloud"
CASES = (
    Case("pairs-1", users=100, outstanding=1),
    Case("pairs-8", users=100, outstanding=8),
    Case("idle", users=2000, outstanding=0),
    Case("group", users=500, outstanding=0, group_rate=10),
)
SPEEDS = ("messages_per_second", "deliveries_per_second")  # the last one that a line has is its speed

Line = dict[str, Any]


class PeerBench:
    """The cases against one peer."""

    def __init__(self, peer: Peer, seconds: float):
        self._peer = peer
        self._seconds = seconds

    def run(self, case: Case) -> Iterator[Line]:
        """Run one case; its lines: of pairs one with acknowledgements and one without."""
        if case.outstanding:
            for acknowledged in (True, False):
                yield self._pairs(case, acknowledged)
        else:
            yield self._group(case) if case.group_rate else self._idle(case)

    def _pairs(self, case: Case, acknowledged: bool) -> Line:
        pairs = Pairs(self._peer.port, self._users(case), acknowledged=acknowledged)
        before = self._peer.archived()
        measured = asyncio.run(
            of_load(
                case.name,
                pairs,
                partial(pairs.begin, case.outstanding),
                self._seconds,
                self._look,
                lambda: self._memory,
            )
        )
        if not acknowledged:
            del measured["ack_ms"]
        sent = pairs.books.verdict().attempted
        what = self._what(case) | {"outstanding": case.outstanding, "acknowledged": acknowledged}
        return what | measured | self._archive(before, 2 * sent)

    def _group(self, case: Case) -> Line:
        room = Room(self._peer.port, self._users(case), f"room-{secrets.token_hex(4)}")
        before = self._peer.archived()
        measured = asyncio.run(of_fanout(case.name, room, case.group_rate, self._seconds, self._look))
        check(room.clients)
        return self._what(case) | measured | self._archive(before, room.sent)

    def _idle(self, case: Case) -> Line:
        clients = [client(self._peer.port, user, sends_nothing, nothing_shown) for user in self._users(case)]
        measured = asyncio.run(
            of_idle(
                self._peer.name,
                clients,
                self._seconds,
                self._look,
                lambda: cost.resident(self._peer.process.pid),
            )
        )
        check(clients)
        return self._what(case) | measured

    def _users(self, case: Case) -> list[str]:
        prefix = f"bench-{secrets.token_hex(4)}"
        users = [f"{prefix}-{number}" for number in range(case.users)]
        self._peer.register(users)
        return users

    def _what(self, case: Case) -> Line:
        return {"case": case.name, "users": case.users}

    def _archive(self, before: int, expected: int) -> Line:
        return {"archived": self._peer.archived() - before, "archived_expected": expected}

    def _look(self) -> Reading:
        server = cost.cpu_by_kind(self._peer.roots(), cost.processes())
        return Reading(time.perf_counter(), cost.machine(), time.process_time(), server)

    def _memory(self) -> Line:
        return {"server_memory_mb": megabytes(self._peer.roots())}


@contextmanager
def of_imcloud(seconds: float) -> Iterator[Callable[[Case], Iterator[Line]]]:
    """What runs a case against a server of one SET with one node, as `make bench` does."""
    with own_server(sets=1, nodes=1) as (app, server):
        bench = Bench(app, server, seconds)

        def run(case: Case) -> Iterator[Line]:
            yield asyncio.run(bench.run(case))

        yield run


@contextmanager
def of_peer(kind: type[Peer], seconds: float) -> Iterator[Callable[[Case], Iterator[Line]]]:
    """The same against a peer with a database of its own."""
    with tempfile.TemporaryDirectory(prefix="imcloud-bench-") as folder:
        progress(f"starting {kind.name}")
        data = Path(folder) / "data"
        data.mkdir()
        with database.running(Path(folder) / "database") as its, (peer := kind(data, its)).running():
            yield PeerBench(peer, seconds).run


def speed(line: Line) -> float:
    """Messages, deliveries or nothing a second."""
    return next((float(line[name]) for name in reversed(SPEEDS) if name in line), 0.0)


def cpu(line: Line) -> float | None:
    """µs of all processes of the server and its database, of a message or delivery."""
    return line["server_cpu_us"]["total"] if line.get("server_cpu_us") else None


def idle_bytes(line: Line) -> int | None:
    """What an idle connection takes."""
    return next((line[name] for name in line if name.endswith("_bytes_per_connection")), None)


def ratios(lines: list[Line]) -> dict[str, dict[str, dict[str, float]]]:
    """Peer -> case -> imcloud's figure ÷ the better one of the peer's."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    own = {line["case"]: line for line in lines if line["server"] == IMCLOUD}
    for peer in dict.fromkeys(line["server"] for line in lines if line["server"] != IMCLOUD):
        cases = found.setdefault(peer, {})
        for case, line in own.items():
            its = [other for other in lines if (other["server"], other["case"]) == (peer, case)]
            if not its:
                continue
            figures: dict[str, tuple[float | None, list[float]]] = {
                "speed": (speed(line), [speed(each) for each in its]),
                "server_cpu_us": (cpu(line), [value for each in its if (value := cpu(each))]),
                "bytes_per_connection": (
                    idle_bytes(line),
                    [value for each in its if (value := idle_bytes(each))],
                ),
            }
            cases[case] = {
                name: round(mine / (max(others) if name == "speed" else min(others)), 3)
                for name, (mine, others) in figures.items()
                if mine and others
            }
    return found


def table(lines: list[Line]) -> str:
    """The lines side by side, for people."""
    titles = ("server", "case", "per s", "ack ms", "delivery ms", "CPU us", "load us", "memory MB", "idle B")
    rows = [titles]
    for line in lines:
        without = " no acks" if line.get("acknowledged") is False else ""
        shown = line.get("delivery_ms") or line.get("last_member_ms_at_most")
        memory = line.get("server_memory_mb") or {}
        apart = sum(size for kind, size in memory.items() if kind == database.POSTGRES)
        rows.append(
            (
                line["server"],
                line["case"] + without,
                f"{speed(line):,.0f}" if speed(line) else "",
                spread(line.get("ack_ms")),
                spread(shown),
                f"{cpu(line):,.1f}" if cpu(line) else "",
                f"{line['load_generator_cpu_us']:,.1f}" if "load_generator_cpu_us" in line else "",
                f"{sum(memory.values()) - apart:.0f} + {apart:.0f}" if memory else "",
                f"{idle_bytes(line):,}" if idle_bytes(line) else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    return "\n".join(
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows
    )


def spread(times: dict[str, float] | None) -> str:
    """p50 / p99."""
    return f"{times['p50']:.1f} / {times['p99']:.1f}" if times else ""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--peer", action="append", choices=[*PEERS], help="only beside this one")
    parser.add_argument("--alone", action="store_true", help="imcloud without a peer; nothing is installed")
    parser.add_argument(
        "--case", action="append", choices=[case.name for case in CASES], help="only this one"
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="measured window of each case (default 10)"
    )
    parser.add_argument("--output", type=Path, help="also append the lines to this file")
    chosen = parser.parse_args()
    chosen.peers = [] if chosen.alone else chosen.peer or [*PEERS]
    chosen.cases = [case for case in CASES if not chosen.case or case.name in chosen.case]
    return chosen


def main() -> int:
    """Measure; exit status 1 when a message was lost, doubled, out of order or not archived."""
    chosen = arguments()
    allow_connections()
    try:
        versions = {name: install(PEERS[name].packages) for name in chosen.peers}
    except stack.StackFailed as error:
        print(f"{error}\n--alone measures imcloud without it.", file=sys.stderr)
        return 2
    lines, wrong = [], 0
    servers = {IMCLOUD: of_imcloud(chosen.seconds)}
    servers |= {name: of_peer(PEERS[name], chosen.seconds) for name in chosen.peers}
    for name, server in servers.items():
        version = {"version": versions[name]} if name in versions else {}
        with server as run:
            for case in chosen.cases:
                for line in run(case):
                    lines.append({"server": name} | version | line)
                    tell(lines[-1], chosen.output)
                    wrong += broken(line)
                    wrong += line.get("archived") != line.get("archived_expected")
    if chosen.peers:
        tell({"imcloud_to_peer": ratios(lines)}, chosen.output)
    print(table(lines), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
