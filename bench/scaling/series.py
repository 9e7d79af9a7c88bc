"""What is measured: the curves, their places, and the load of each place."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench.__main__ import HALF_ACROSS, Case

NODES, ONLINE, STORED = "nodes a SET", "users online", "messages stored before"  # the axes …
RATE, GATEWAYS = "messages a second, sent when they are due", "gateways"  # … and those that are not drawn
WITHIN = ("set1", "set1", "set2", "set2")  # the homes of two pairs


@dataclass(frozen=True)
class Point:
    """A place of a curve, and the load that is measured there."""

    x: int
    case: Case
    nodes: int = 1
    gateways: int = 1  # the users are all at the first one


@dataclass(frozen=True)
class Series:
    """A curve; `label` names it in the plot, `axis` says what x is."""

    name: str
    label: str
    axis: str
    points: tuple[Point, ...]


def _nodes(name: str, label: str, homes: tuple[str, ...]) -> Series:
    case = Case(name, users=100, outstanding=8, homes=homes)
    return Series(name, label, NODES, tuple(Point(nodes, case, nodes) for nodes in (1, 2, 4)))


def _online(name: str, label: str, cases: Iterable[Case]) -> Series:
    points = (Point(case.users + case.idle, replace(case, name=name)) for case in cases)
    return Series(name, label, ONLINE, tuple(points))


def _stored(name: str, label: str, own: bool) -> Series:
    case = Case(name, users=100, outstanding=8, own=own)
    return Series(
        name,
        label,
        STORED,
        tuple(Point(rows, replace(case, stored=rows)) for rows in (10_000, 100_000, 1_000_000)),
    )


_TEN = Case("", users=10, outstanding=8)

SERIES = (
    _nodes("one-set", "1 SET", ()),
    _nodes("two-sets-within", "2 SETs, no pair across", WITHIN),
    _nodes("two-sets-across", "2 SETs, half of the pairs across", HALF_ACROSS),
    _online("idle", "10 talk, 8 outstanding", (replace(_TEN, idle=n - 10) for n in (10, 100, 1000, 10_000))),
    _online("talking", "all talk, 1 outstanding", (Case("", n, 1) for n in (10, 100, 1000, 10_000))),
    _stored("stored-elsewhere", "of others", own=False),
    _stored("stored-own", "of those who talk", own=True),
    Series(
        "rate",
        "100 talk",
        RATE,
        tuple(Point(rate, Case("rate", 100, 0, rate=rate)) for rate in (100, 500, 2000, 4000, 8000)),
    ),
    Series(
        "gateways",
        "100 talk, 8 outstanding",
        GATEWAYS,
        tuple(Point(number, Case("gateways", 100, 8), gateways=number) for number in (1, 2, 4)),
    ),
)


@dataclass(frozen=True)
class Place:
    """What was measured at one place of a curve: the medians of all times, and the times themselves."""

    x: int
    rates: tuple[float, ...]  # messages a second
    costs: tuple[float, ...]  # CPU of the server, µs a message
    gateway: tuple[float, ...]  # the gateway's part of it

    @property
    def rate(self) -> float:
        return median(self.rates)

    @property
    def cost(self) -> float:
        return median(self.costs)

    @property
    def of_gateway(self) -> float:
        return median(self.gateway)


def parse(lines: Iterable[str]) -> dict[str, list[Place]]:
    """The curves that are in the data, by name, in the order of x; KeyError for a line of another kind."""
    found: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for line in filter(str.strip, lines):
        told = json.loads(line)
        found[told["series"]][told["x"]].append(told)
    return {name: [_place(x, times) for x, times in sorted(places.items())] for name, places in found.items()}


def _place(x: int, times: list[dict[str, Any]]) -> Place:
    costs = [each["server_cpu_us"] for each in times]
    return Place(
        x,
        tuple(each["messages_per_second"] for each in times),
        tuple(cost["total"] for cost in costs),
        tuple(cost["gateway"] for cost in costs),
    )
