"""What the server's processes have used, read from /proc: CPU seconds by kind of process, resident memory."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bench.stack import Stack

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def processes() -> dict[int, tuple[int, float]]:
    """pid -> (parent pid, CPU seconds used by it and by its children that have ended)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:  # ended in between
            continue
        values = stat[stat.rindex(")") + 2 :].split()  # the name before may contain spaces; 0 is the state
        found[int(entry.name)] = (int(values[1]), sum(map(int, values[11:15])) / _TICKS)
    return found


def cpu_by_kind(roots: Mapping[int, str], table: Mapping[int, tuple[int, float]]) -> dict[str, float]:
    """CPU seconds by kind; a process belongs to the nearest of `roots` (pid -> kind) at or above it."""
    used: dict[str, float] = defaultdict(float)
    for pid, kind in _kinds(roots, table):
        used[kind] += table[pid][1]
    return dict(used)


def memory_by_kind(roots: Mapping[int, str], table: Mapping[int, tuple[int, float]]) -> dict[str, int]:
    """Bytes of memory by kind, as of `cpu_by_kind`; what processes share is divided among them."""
    used: dict[str, int] = defaultdict(int)
    for pid, kind in _kinds(roots, table):
        with suppress(OSError):  # ended in between
            used[kind] += _proportional(pid)
    return dict(used)


def _kinds(roots: Mapping[int, str], table: Mapping[int, tuple[int, float]]) -> Iterator[tuple[int, str]]:
    for pid, (parent, _) in table.items():
        kind, above = roots.get(pid), parent
        while kind is None and above in table:
            kind, above = roots.get(above), table[above][0]
        if kind is not None:
            yield pid, kind


def _proportional(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def roots(stack: Stack) -> dict[int, str]:
    """pid -> kind of every process that the server names in run.json and node-NAME.json, and beside it."""
    named = {stack.process.pid: "run", **stack.beside}
    for name, pid in stack.describe()["pids"].items():
        named[pid] = "node supervisor" if name.startswith("node:") else name
    for node in stack.nodes():
        named |= {worker["pid"]: f"{worker['kind']} worker" for worker in node["workers"]}
    return named


def machine() -> float:
    """CPU seconds that all processors together have been busy with anything since the machine started."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS


def resident(pid: int) -> int:
    """Resident memory of one process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
