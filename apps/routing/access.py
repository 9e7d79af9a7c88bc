"""The access point strategy: which gateways a client is handed out, in which order. Pure functions.

1. Open ones only: their access point is up, has weight, a gateway process at it beats, and its limit is not
   reached.
2. Near ones first: of the client's region, and of its site within the region.
3. Of equally near ones, those first that carry at most (1 + SLACK) of the share that their weight gives them.
4. In the order of the weighted rendezvous hash of the user: the same user finds the same gateway, and users
   spread by weight. With rule 3 it is consistent hashing with bounded loads (Mirrokni, Thorup and
   Zadimoghaddam, 2016): knowledge of the load may be a second old without sending everybody the same way.

The first is the client's server, the others are its backups; one of them is at another site if there is one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from apps.routing import placement
from apps.routing.addresses import NOWHERE, Place

UP, DRAINING = "up", "draining"
HANDED_OUT = 4  # a server and its backups
SLACK = 0.25  # of the fair share of connections that an access point may have more than it
SLACK_MIN = 16  # connections; below it chance alone makes loads differ


@dataclass(frozen=True, slots=True)
class Point:
    """An access point as navigation sees it."""

    name: str
    address: str = ""
    site: str = ""
    region: str = ""
    weight: float = 1.0
    limit: int = 0  # connections; 0 = none
    state: str = UP
    cluster: str = ""


Loads = Mapping[str, int]  # access point -> connections; one that is missing does not beat


def is_open(point: Point, loads: Loads) -> bool:
    """Whether new clients may come."""
    return point.state == UP and point.weight > 0 and point.name in loads and not is_full(point, loads)


def is_full(point: Point, loads: Loads) -> bool:
    return 0 < point.limit <= loads.get(point.name, 0)


def elsewhere(points: Iterable[Point], loads: Loads, name: str) -> bool:
    """Whether clients of the access point could go to another one of its cluster."""
    points = tuple(points)
    own = next((point for point in points if point.name == name), None)
    return own is not None and any(
        is_open(point, loads) for point in points if point.name != name and point.cluster == own.cluster
    )


def handed_out(points: Iterable[Point], loads: Loads) -> list[Point]:
    """The open ones. Without any, those that serve best nevertheless: a client must be told something."""
    points = tuple(points)
    tiers: tuple[Callable[[Point], bool], ...] = (
        lambda point: is_open(point, loads),
        lambda point: point.state == UP and point.name in loads,  # full, or of weight 0
        lambda point: point.state == DRAINING and point.name in loads,
        lambda point: point.state == UP,  # nobody beats: Redis has just lost the beats
    )
    for fits in tiers:
        if found := [point for point in points if fits(point)]:
            return found
    return []


def distance(point: Point, place: Place) -> int:
    """0 near, 1 another site of the region, 2 another region of the site, 3 neither."""
    other_region = bool(place.region) and place.region != point.region
    other_site = bool(place.site) and place.site != point.site
    return 2 * other_region + other_site


def crowded(points: Sequence[Point], loads: Loads) -> set[str]:
    """Names of those of equally near points that have more than their share by weight allows."""
    connections = sum(loads.get(point.name, 0) for point in points)
    weight = sum(point.weight for point in points) or 1.0
    return {
        point.name
        for point in points
        if loads.get(point.name, 0) > (1 + SLACK) * connections * point.weight / weight + SLACK_MIN
    }


def order(points: Iterable[Point], loads: Loads, place: Place = NOWHERE, *user: str) -> list[Point]:
    """What the user at the place is handed out, the best first; empty only if nothing is up or draining."""
    candidates = handed_out(points, loads)
    if len(candidates) < 2:
        return candidates
    near: dict[int, list[Point]] = defaultdict(list)
    for point in candidates:
        near[distance(point, place)].append(point)
    by_name = {point.name: point for point in candidates}
    found: list[Point] = []
    for _, equally_near in sorted(near.items()):
        late = crowded(equally_near, loads)
        # Weight 0 is among them only when nothing else is left.
        ranked = placement.ranked(((point.name, point.weight or 1.0) for point in equally_near), *user)
        found += (by_name[name] for name in sorted(ranked, key=lambda name: name in late))
    return _with_another_site(found)


def _with_another_site(found: list[Point]) -> list[Point]:
    """The first HANDED_OUT, the last of them from another site if the others are all of one."""
    kept, rest = found[:HANDED_OUT], found[HANDED_OUT:]
    if all(point.site == kept[0].site for point in kept):
        other = next((point for point in rest if point.site != kept[0].site), None)
        if other is not None:
            kept[-1] = other
    return kept
