"""What the topology keeps: a method's last live node, SETs with slots, the last SET, clusters with tenants.

Each rule raises ValidationError with a sentence for every reason. A node is live here when it is to take
work: up, and of some weight. Whether it runs is its heartbeat's to tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from apps.accounts.models import Tenant
from apps.routing.models import Actor, Cluster, Node, ServerSet, Slot, SlotMove, State

Served = set[tuple[str, str]]  # (SET, method)
TENANTS_NAMED = 5


def served(*, without: Node | None = None) -> Served:
    """What the live nodes serve, or those but this one."""
    live = Actor.objects.filter(node__state=State.UP, node__weight__gt=0).exclude(node=without)
    return set(live.values_list("node__server_set__name", "method"))


def left_without(server_set: str, methods: Iterable[str]) -> str:
    return f"SET {server_set} would be left without a live node that serves {', '.join(sorted(methods))}"


def lock() -> None:
    """Wait for everybody else who does this. Whoever changes several nodes or actors does it first.

    Each change waits for the topology's row too (see its triggers): two that have begun could each hold rows
    that the other one needs.
    """
    list(ServerSet.objects.select_for_update(no_key=True).order_by("pk"))


@contextmanager
def all_served() -> Iterator[None]:
    """A transaction that is taken back if a SET that it leaves loses its last live node for a method."""
    with transaction.atomic():
        lock()
        before = served()
        yield
        _refuse(before - served())


def _refuse(lost: Served) -> None:
    methods: dict[str, list[str]] = {}
    for server_set, method in lost:
        methods.setdefault(server_set, []).append(method)
    left = ServerSet.objects.filter(name__in=methods).order_by("pk").values_list("name", flat=True)
    if reasons := [f"{left_without(name, methods[name])}." for name in left]:
        raise ValidationError(reasons)


def check_node(node: Node) -> None:
    """Whether the node may have the state and weight that it has."""
    if node.pk and (node.state != State.UP or node.weight == 0):
        _refuse(served() - served(without=node))


def check_set_removal(server_set: ServerSet) -> None:
    """Whether the SET may go."""
    reasons = []
    if not ServerSet.objects.exclude(pk=server_set.pk).exists():
        reasons.append(f"SET {server_set} is the last one.")
    if count := Slot.objects.filter(server_set=server_set).count():
        belong = "1 slot belongs" if count == 1 else f"{count} slots belong"
        reasons.append(f"{belong} to SET {server_set}: move them to other SETs first.")
    moves = SlotMove.objects.filter(Q(source=server_set) | Q(destination=server_set))
    if moves.exclude(step__in=(SlotMove.Step.DONE, SlotMove.Step.CANCELLED)).exists():
        reasons.append(f"Slots are on their way to or from SET {server_set}.")
    if reasons:
        raise ValidationError(reasons)


def check_cluster_removal(cluster: Cluster) -> None:
    """Whether the cluster may go. Its SETs and access points, while it has any, keep it by themselves."""
    names = list(Tenant.objects.filter(cluster=cluster.name).order_by("name").values_list("name", flat=True))
    if names:
        more = f" and {len(names) - TENANTS_NAMED} more" if len(names) > TENANTS_NAMED else ""
        tenants = ", ".join(names[:TENANTS_NAMED]) + more
        raise ValidationError(f"Cluster {cluster} serves tenants, for life: {tenants}.")
