"""The snapshot of the topology that every process routes by, and the router of SET tables."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import models, transaction

from apps.accounts.snapshot import Renewed
from apps.routing import placement
from apps.routing.models import AccessPoint, Actor, Cluster, Node, ServerSet, State

FIRST_ACCESS_POINT = "gateway"
DELIVER = "messaging.deliver"
ANSWER = "messaging.answer"
NOBODY = placement.Candidates(())

# What a new node serves. Message actors have two workers at least: when one dies, the other one takes the
# lane's next try without waiting for a process to start.
MESSAGE_METHODS = ("ppMsgP", "ppMsgN", "ppMsgS", "canary")
QUERY_METHODS = (
    "pullMsg",
    "qryPMsg",
    "readFeed",
    "ackCursor",
    "pullUS",
    "pullSeAtts",
    "qrySessionsAtt",
    "reportsdk",
    "pullEventChange",
    "pullModifyMsg",
    "qAppBot",
    "pullUserSub",
    "pullSubData",
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

    sets: tuple[str, ...]
    nodes: tuple[NodeEntry, ...]  # those that are up
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

    def set_of(self, app: str, resource: str) -> str:
        """The SET that holds the resource's slot."""
        if len(self.sets) == 1:
            return self.sets[0]
        return self.sets[placement.slot(app, resource) * len(self.sets) // placement.SLOTS]

    def node_for(self, server_set: str, resource: str, method: str) -> NodeEntry | None:
        """The SET's node that serves the method for this resource; None when no node does."""
        nodes, candidates = self._able.get((server_set, method), ({}, NOBODY))
        name = candidates.best(resource, method)
        return nodes[name] if name else None


def read_snapshot(previous: Snapshot | None) -> Snapshot:
    """Read the tables; the previous snapshot itself when nothing has changed."""
    actors = list(Actor.objects.values_list("node_id", "method", "is_message"))
    served: dict[int, set[str]] = {}
    for node_id, method, _ in actors:
        served.setdefault(node_id, set()).add(method)
    nodes = tuple(
        NodeEntry(node.name, node.server_set.name, node.weight, frozenset(served.get(node.pk, ())))
        for node in Node.objects.select_related("server_set").filter(state=State.UP).order_by("name")
    )
    snapshot = Snapshot(
        sets=tuple(ServerSet.objects.order_by("pk").values_list("name", flat=True)),
        nodes=nodes,
        messages=frozenset(method for _, method, is_message in actors if is_message),
        queries=frozenset(method for _, method, is_message in actors if not is_message),
    )
    return previous if previous == snapshot else snapshot


topology: Renewed[Snapshot] = Renewed("topology", read_snapshot, every=0.9)


@functools.cache
def set_database(server_set: str) -> str:
    """The alias in settings.DATABASES of a SET's log."""
    return str(settings.SET_DATABASES[server_set])


class SetRouter:
    """Models with `in_set` live in the SETs' databases, all others in the control database."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        return next(iter(settings.SET_DATABASES.values())) if getattr(model, "in_set", False) else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool:
        from django.apps import apps

        if model_name is None:
            return bool(hints.get("in_set", False)) == (db != "default")
        in_set = getattr(apps.get_model(app_label, model_name), "in_set", False)
        return bool(in_set) == (db != "default")


@transaction.atomic
def bootstrap() -> None:
    """Create the first cluster, SET, node and access point, once; an existing topology is left as it is."""
    if Cluster.objects.exists():
        return
    cluster = Cluster.objects.create(name="main")
    for name, alias in settings.SET_DATABASES.items():
        server_set = ServerSet.objects.create(cluster=cluster, name=name, database=alias)
        node = Node.objects.create(server_set=server_set, name=f"MSG_NODE{name.removeprefix('set')}")
        Actor.objects.bulk_create(
            Actor(node=node, method=m, task=DELIVER, min_concurrency=2, max_concurrency=4, is_message=True)
            for m in MESSAGE_METHODS
        )
        Actor.objects.bulk_create(Actor(node=node, method=m, task=ANSWER) for m in QUERY_METHODS)
    AccessPoint.objects.create(cluster=cluster, name=FIRST_ACCESS_POINT)
