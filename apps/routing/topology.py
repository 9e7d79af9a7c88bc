"""The snapshot of the topology that every process routes by."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from apps.accounts import command_line
from apps.accounts.directory import directory
from apps.accounts.snapshot import Renewed
from apps.routing import methods, placement
from apps.routing.models import (
    AccessPoint,
    Actor,
    Cluster,
    Durability,
    Node,
    ServerSet,
    Slot,
    StandbyAway,
    State,
    Topology,
)

FIRST_ACCESS_POINT = "gateway"
FIRST_CLUSTER = "main"
DELIVER = "messaging.deliver"
ANSWER = "messaging.answer"
NOBODY = placement.Candidates(())


@dataclass(frozen=True, slots=True)
class SetEntry:
    """A SET as routing sees it."""

    name: str
    cluster: str
    database: str  # its URL; empty: as the setting says
    weight: float = 1.0
    standby: str = ""  # the URL of its second database; empty: none
    epoch: int = 1
    on_standby: bool = False  # messages are acknowledged when the standby has them
    degrades: bool = False  # … or without it, when it is away for
    patience: float = 5.0  # s
    fails_over: bool = False  # by itself, when observers hold its database to be gone


SET_FIELDS = (
    "name", "cluster__name", "database", "weight", "standby", "epoch", "durability", "degraded_at",
    "when_standby_away", "standby_patience", "automatic_failover",
)  # fmt: skip


def _entry(values: tuple[Any, ...]) -> SetEntry:
    durability, degraded_at, when_away, patience, automatic = values[6:]
    standby = values[4]
    return SetEntry(  # type: ignore[misc]  # of six values, the first fields
        *values[:6],
        on_standby=standby != "" and durability == Durability.STANDBY and degraded_at is None,
        degrades=when_away == StandbyAway.DEGRADE,
        patience=patience,
        fails_over=automatic and standby != "",
    )


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """A node as routing sees it."""

    name: str
    server_set: str
    weight: float
    methods: frozenset[str]

    def queue(self, is_message: bool) -> str:
        return f"{self.server_set}.{self.name}.{'message' if is_message else 'query'}"


@dataclass(frozen=True)
class Snapshot:
    """Immutable; swapped whole when the tables change."""

    version: int
    clusters: Mapping[str, tuple[str, ...]]  # cluster -> the SET of each slot; the first one comes first
    sets: Mapping[str, SetEntry]
    nodes: tuple[NodeEntry, ...]  # those that are to take work
    messages: frozenset[str]  # methods whose actors have is_message
    queries: frozenset[str]

    @functools.cached_property
    def _able(self) -> dict[tuple[str, str], tuple[dict[str, NodeEntry], placement.Candidates]]:
        """(SET, method) -> the nodes that serve it, by name and ready to be chosen from."""
        able: dict[tuple[str, str], dict[str, NodeEntry]] = {}
        for node in self.nodes:
            for method in node.methods:
                able.setdefault((node.server_set, method), {})[node.name] = node
        return {
            key: (nodes, placement.Candidates((node.name, node.weight) for node in nodes.values()))
            for key, nodes in able.items()
        }

    @functools.cached_property
    def _first(self) -> tuple[str, ...]:
        return next(iter(self.clusters.values()), ())

    def set_of(self, cluster: str, app: str, resource: str) -> str:
        """The SET that holds the resource's slot; empty when there is none yet."""
        slots = self.clusters.get(cluster, self._first)
        return slots[slot(app, resource)] if slots else ""

    def sets_of(self, cluster: str) -> list[str]:
        """The SETs of a tenant of this cluster."""
        return list(dict.fromkeys(self.clusters.get(cluster, self._first)))

    def home(self, tenant: int, resource: str) -> str:
        """The SET of a tenant's user, group or chatroom; empty when there is none yet."""
        entry = directory.current.by_id(tenant)
        return self.set_of(entry.cluster if entry else "", str(tenant), resource)

    def node_for(self, server_set: str, resource: str, method: str) -> NodeEntry | None:
        """The SET's node that serves the method for this resource; None when no node does."""
        nodes, candidates = self._able.get((server_set, method), ({}, NOBODY))
        name = candidates.best(resource, method)
        return nodes[name] if name else None

    def without(self, down: frozenset[str]) -> Snapshot:
        """The same without the nodes that are down.

        A method that no other node of its SET could serve stays with those that are down: work waits for the
        first of them that comes back.
        """
        gone = [node for node in self.nodes if node.name in down and node.weight > 0]
        if not gone:
            return self
        alive = {
            (n.server_set, m) for n in self.nodes if n.name not in down and n.weight > 0 for m in n.methods
        }
        kept = {n.name: frozenset(m for m in n.methods if (n.server_set, m) not in alive) for n in gone}
        nodes = tuple(
            replace(node, methods=kept[node.name]) if node.name in kept else node
            for node in self.nodes
            if kept.get(node.name, True)
        )
        return replace(self, nodes=nodes)


@functools.lru_cache(maxsize=1 << 15)
def slot(app: str, resource: str) -> int:
    """placement.slot; the users that are at a gateway come again and again."""
    return placement.slot(app, resource)


def home(tenant: int, resource: str) -> str:
    """The SET of a tenant's user, group or chatroom, by the newest snapshot."""
    return topology.current.home(tenant, resource)


def read_snapshot(previous: Snapshot | None) -> Snapshot:
    """Read the tables; one cheap query, and the previous snapshot itself, when nothing has changed."""
    version = _version()
    while previous is None or previous.version != version:
        found = _read(version)
        if (newer := _version()) == version:
            return found
        version = newer  # it changed while it was read
    return previous


def _version() -> int:
    return Topology.objects.values_list("version", flat=True).first() or 0


def _read(version: int) -> Snapshot:
    found = map(_entry, ServerSet.objects.order_by("pk").values_list(*SET_FIELDS))
    sets = {each.name: each for each in found}
    clusters: dict[str, list[str]] = {name: [] for name in _cluster_names()}
    slots = Slot.objects.order_by("cluster", "number").values_list("cluster__name", "server_set__name")
    for cluster, server_set in slots.iterator():
        clusters[cluster].append(server_set)
    actors = list(Actor.objects.values_list("node_id", "method", "is_message"))
    served: dict[int, set[str]] = {}
    for node_id, method, _ in actors:
        served.setdefault(node_id, set()).add(method)
    nodes = tuple(
        NodeEntry(node.name, node.server_set.name, node.weight, frozenset(served.get(node.pk, ())))
        for node in Node.objects.select_related("server_set").filter(state=State.UP).order_by("name")
    )
    return Snapshot(
        version=version,
        clusters={name: tuple(its) for name, its in clusters.items() if len(its) == placement.SLOTS},
        sets=sets,
        nodes=nodes,
        messages=frozenset(method for _, method, is_message in actors if is_message),
        queries=frozenset(method for _, method, is_message in actors if not is_message),
    )


def _cluster_names() -> list[str]:
    return list(Cluster.objects.order_by("pk").values_list("name", flat=True))


def cluster_for(app_key: str) -> str:
    """The cluster that a new tenant is pinned to, one that works; empty when there is none yet."""
    working = Cluster.objects.filter(slot__isnull=False).distinct().values_list("name", flat=True)
    return placement.cluster(working, app_key) or ""


topology: Renewed[Snapshot] = Renewed("topology", read_snapshot, every=0.5, kept=True)


def default_actors(node: Node, least: int = 1) -> list[Actor]:
    """What a new node serves: every method, with at least so many workers of each kind."""
    bounds: dict[str, Any] = {"min_concurrency": least, "max_concurrency": max(2 * least, 2)}
    return [
        *(Actor(node=node, method=m, task=DELIVER, is_message=True, **bounds) for m in methods.MESSAGES),
        *(Actor(node=node, method=m, task=ANSWER, **bounds) for m in methods.QUERIES),
    ]


def share_out(cluster: Cluster, sets: Sequence[ServerSet]) -> dict[int, ServerSet]:
    """slot -> the SET that it belongs to by weight; a SET that comes or goes moves only its own slots."""
    by_name = {each.name: each for each in sets}
    candidates = placement.Candidates((each.name, each.weight) for each in sets)
    found = {}
    for number in range(placement.SLOTS):
        if name := candidates.best("slot", cluster.name, str(number)):
            found[number] = by_name[name]
    return found


@transaction.atomic
def adopt_new_methods() -> None:
    """Have each SET serve the methods that this version brings: its nodes get those that none of them has."""
    for server_set in ServerSet.objects.all():
        nodes = list(Node.objects.filter(server_set=server_set))
        served = set(Actor.objects.filter(node__in=nodes).values_list("method", flat=True))
        for node in nodes if served else ():
            least = max(node.actors.values_list("min_concurrency", flat=True), default=1)
            new = [actor for actor in default_actors(node, least) if actor.method not in served]
            Actor.objects.bulk_create(new)
            if new:
                names = ", ".join(sorted(actor.method for actor in new))
                command_line.log_change(node, f"Serves what this version brings: {names}.")


@transaction.atomic
def bootstrap(
    sets: int = 1, nodes: int = 1, databases: Mapping[str, str] | None = None, site: str = "local"
) -> None:
    """Create the first cluster with its SETs, nodes and access point, once; what exists is left as it is.

    `databases` are the URLs of SETs' logs that are not where the setting says, `site` is the access point's.
    """
    if Cluster.objects.exists():
        return
    cluster = Cluster.objects.create(name=FIRST_CLUSTER)
    # With one node, one of two workers takes the lane's next try while the other one is started again.
    least = 2 if nodes == 1 else 1
    urls = databases or {}
    made = [
        ServerSet.objects.create(cluster=cluster, name=name, database=urls.get(name, ""))
        for name in (f"set{n}" for n in range(1, sets + 1))
    ]
    for number in range(sets * nodes):
        node = Node.objects.create(server_set=made[number // nodes], name=f"MSG_NODE{number + 1}")
        Actor.objects.bulk_create(default_actors(node, least))
    Slot.objects.bulk_create(
        Slot(cluster=cluster, number=number, server_set=server_set)
        for number, server_set in share_out(cluster, made).items()
    )
    AccessPoint.objects.create(cluster=cluster, name=FIRST_ACCESS_POINT, site=site)
