"""The access points as this process knows them: table, networks and loads, each at most a second old.

What is decided from them is in apps.routing.access.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Count, Max
from redis import RedisError

from apps.accounts import command_line
from apps.accounts.snapshot import Renewed
from apps.routing import access, addresses, audit, keeping, presence
from apps.routing.access import Point
from apps.routing.addresses import Networks, Place
from apps.routing.models import AccessPoint, Cluster, NetworkRange
from apps.routing.protocol.status import ConnStatus
from apps.routing.topology import FIRST_ACCESS_POINT

logger = logging.getLogger(__name__)

EVERY = 0.9  # s: everybody follows a change within a second


class NoSuchAccessPoint(Exception):
    """The setting names one that is not in the table; the text is a sentence."""


@dataclass(frozen=True)
class Table:
    """Immutable; swapped whole when the tables change."""

    points: tuple[Point, ...]
    networks: Networks
    networks_version: tuple[object, ...]  # changes with every change of the networks
    clusters: tuple[str, ...] = ()  # the first one comes first

    def named(self, name: str) -> Point | None:
        return next((point for point in self.points if point.name == name), None)

    def serving(self, cluster: str) -> str:
        """The cluster that serves a tenant of this one: a tenant without a cluster is served by the first."""
        return cluster if cluster in self.clusters or not self.clusters else self.clusters[0]


def read_table(previous: Table | None) -> Table:
    """Read the tables; the networks, of which there may be many, only when they have changed."""
    points = tuple(
        Point(p.name, p.address, p.site, p.region, p.weight, p.connection_limit, p.state, p.cluster.name)
        for p in AccessPoint.objects.select_related("cluster").order_by("pk")
    )
    clusters = tuple(Cluster.objects.order_by("pk").values_list("name", flat=True))
    newest = NetworkRange.objects.aggregate(rows=Count("pk"), highest=Max("pk"), changed=Max("changed"))
    version = tuple(newest.values())
    if previous is not None and previous.networks_version == version:
        if (previous.points, previous.clusters) == (points, clusters):
            return previous
        return Table(points, previous.networks, version, clusters)
    rows = NetworkRange.objects.values_list("network", "region", "site")
    networks = Networks((addresses.network(text), Place(region, site)) for text, region, site in rows)
    return Table(points, networks, version, clusters)


def read_loads(previous: Mapping[str, int] | None) -> Mapping[str, int]:
    """Access point -> connections, live ones only. The last known when Redis is away."""
    try:
        return presence.loads()
    except RedisError:
        if previous is None:
            return {}
        raise


table: Renewed[Table] = Renewed("access points", read_table, EVERY, kept=True)
loads: Renewed[Mapping[str, int]] = Renewed("gateway loads", read_loads, EVERY)


def start() -> str:
    """Keep both new from now on; the name of the access point that this process is at.

    Raises NoSuchAccessPoint.
    """
    table.start()
    loads.start()
    with contextlib.suppress(DatabaseError):  # then it has what it is known to have been
        table.renew()
    loads.renew()
    return own()


def own() -> str:
    """Which access point this process is at: IMCLOUD_ACCESS_POINT, by default the first in the table."""
    names = [point.name for point in table.current.points]
    if not settings.ACCESS_POINT:
        return names[0] if names else FIRST_ACCESS_POINT
    if settings.ACCESS_POINT not in names:
        raise NoSuchAccessPoint(
            f"There is no access point {settings.ACCESS_POINT}; there are {', '.join(names) or 'none'}."
        )
    return str(settings.ACCESS_POINT)


def handed_out(host: str, client: str, cluster: str, *user: str) -> list[str]:
    """Where a client finds gateways, host:port each, the best first. No I/O.

    `host` is what its request named, `client` the text of its address, `cluster` that of its tenant, `user`
    what the order hangs on.
    """
    known = table.current
    place = known.networks.place(addresses.client_address(client))
    host = settings.PUBLIC_ADDRESS or host
    its_own = (point for point in known.points if point.cluster == known.serving(cluster))
    points = access.order(its_own, loads.current, place, *user)
    # Two addresses may turn out to be one, when a request came to a port that an access point names.
    return list(dict.fromkeys(addresses.completed(point.address, host) for point in points)) or [host]


def admission(name: str, connections: int) -> ConnStatus:
    """What a gateway at the access point with so many connections tells one that comes. No I/O."""
    point = table.current.named(name)
    if point is None:
        return ConnStatus.ACCEPTED
    full = 0 < point.limit <= connections
    if point.state == access.UP and not full:
        return ConnStatus.ACCEPTED
    if elsewhere(name):
        return ConnStatus.REDIRECT
    # There a redirect would lead the client here again at once, and again.
    stays = point.state == access.DRAINING and not full
    return ConnStatus.ACCEPTED if stays else ConnStatus.PLATFORM_UNAVAILABLE


def serves(name: str, cluster: str) -> bool:
    """Whether a tenant's clients may come to the access point; `cluster` is the tenant's. No I/O.

    To one that is not in the table everybody may: a gateway that has lost its row sends nobody away.
    """
    known = table.current
    point = known.named(name)
    return point is None or point.cluster == known.serving(cluster)


def elsewhere(name: str) -> bool:
    """Whether clients of the access point could go to another one. No I/O."""
    return access.elsewhere(table.current.points, loads.current, name)


@transaction.atomic
def change_state(point: AccessPoint, state: str) -> str:
    """Bring an access point up, let it drain, or take it out; the state that it had until now.

    ValidationError with the reason against it.
    """
    keeping.lock()  # of the last two that are up, only one may go
    point.refresh_from_db(fields=["state"])
    before, point.state = point.state, state
    point.full_clean()
    point.save(update_fields=["state"])
    return before


@transaction.atomic
def arrange(ports: Sequence[int], sites: Sequence[str] = ()) -> list[str]:
    """Have an access point for each gateway of this machine, by its port; their names, the first one first.

    `sites` says where each is, if they are not all at one site.

    What an operator has set is left: an address with a host, state, weight, limit, site, region.
    """
    names = [FIRST_ACCESS_POINT, *(f"{FIRST_ACCESS_POINT}-{n}" for n in range(2, len(ports) + 1))]
    ours = AccessPoint.objects.filter(
        name__regex=rf"\A{FIRST_ACCESS_POINT}(-[0-9]+)?\Z", address__regex="^(:|$)"
    )
    for left in ours.exclude(name__in=names):  # of a run with more gateways
        command_line.log_deletion(left)
        ours.filter(pk=left.pk).delete()  # whether others are up, too: theirs are made next
    cluster = Cluster.objects.order_by("pk")[0]
    known = {point.name: point for point in ours}
    for place, (name, port) in enumerate(zip(names, ports, strict=True)):
        address = f":{port}" if len(ports) > 1 else ""
        if (point := known.get(name)) is None:
            defaults = {"cluster": cluster, "address": address} | ({"site": sites[place]} if sites else {})
            made, is_new = AccessPoint.objects.get_or_create(name=name, defaults=defaults)
            if is_new:
                command_line.log_addition(made)
        elif point.address != address:
            command_line.log_change(point, audit.changed("Address", point.address, address))
            ours.filter(pk=point.pk).update(address=address)
    return names
