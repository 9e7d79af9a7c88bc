"""Nodes of the database as node files say them, and the import of such files: all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction

from apps.routing.models import Actor, Node, ServerSet, State
from apps.routing.node_file import ActorSpec, NodeFileError, NodeSpec, Problem


@dataclass(frozen=True, slots=True)
class Stored:
    """A node of the database. Its state is operation, not configuration: files do not have it."""

    row: Node
    spec: NodeSpec


def stored_nodes(*, lock: bool = False) -> dict[str, Stored]:
    """All nodes by name, in the order of their names."""
    rows = Node.objects.select_related("server_set").prefetch_related("actors").order_by("name")
    if lock:
        rows = rows.select_for_update(of=("self",), no_key=True)
    return {row.name: Stored(row, _spec(row)) for row in rows}


def _spec(row: Node) -> NodeSpec:
    actors = sorted(row.actors.all(), key=lambda actor: actor.method)
    return NodeSpec(
        name=row.name,
        server_set=row.server_set.name,
        weight=row.weight,
        actors=tuple(
            ActorSpec(
                actor.method, actor.task, actor.min_concurrency, actor.max_concurrency, actor.is_message
            )
            for actor in actors
        ),
    )


@transaction.atomic
def import_nodes(specs: Sequence[NodeSpec], *, dry_run: bool = False) -> list[str]:
    """Make these nodes as the files say, and leave all others alone; what changes, one line each.

    NodeFileError, and nothing is changed, when one of them cannot be.
    """
    # Imports wait for each other here: each checks what the one before it left.
    locked = ServerSet.objects.select_for_update(no_key=True).order_by("pk")
    sets = {server_set.name: server_set for server_set in locked}
    before = stored_nodes(lock=True)
    problems = _duplicates(specs) + _set_problems(specs, sets, before)
    problems = problems or _unserved_problems(specs, before)
    if problems:
        raise NodeFileError(problems)
    changes: list[str] = []
    for spec in specs:
        known = before.get(spec.name)
        changed = _changes(known.spec if known else None, spec)
        if changed and not dry_run:
            _write(spec, known.row if known else None, sets[spec.server_set])
        changes += [f"{spec.name}: {change}" for change in changed]
    return changes


def _duplicates(specs: Iterable[NodeSpec]) -> list[Problem]:
    problems = []
    first: dict[str, NodeSpec] = {}
    for spec in specs:
        if spec.name in first:
            earlier = first[spec.name].problem("name", "")
            reason = f"node {spec.name} is defined twice, first at {earlier.file}:{earlier.line}"
            problems.append(spec.problem("name", reason))
        first.setdefault(spec.name, spec)
    return problems


def _set_problems(
    specs: Iterable[NodeSpec], sets: Mapping[str, ServerSet], before: Mapping[str, Stored]
) -> list[Problem]:
    problems = []
    names = ", ".join(sets) or "none yet"
    for spec in specs:
        if spec.server_set not in sets:
            reason = f"there is no SET {spec.server_set!r}; the SETs are: {names}"
            problems.append(spec.problem("set", reason))
        elif spec.name in before and before[spec.name].spec.server_set != spec.server_set:
            home = before[spec.name].spec.server_set
            reason = f"node {spec.name} belongs to SET {home} for life: its queues bear that name"
            problems.append(spec.problem("set", reason))
    return problems


def _unserved_problems(specs: Sequence[NodeSpec], before: Mapping[str, Stored]) -> list[Problem]:
    """One for each node whose change leaves its SET without a live node for a method that had one."""
    live = {name: node.spec for name, node in before.items() if node.row.state == State.UP}
    after = live | {spec.name: spec for spec in specs if spec.name in live or spec.name not in before}
    lost = _served(live.values()) - _served(after.values())
    problems = []
    for spec in specs:
        if own := lost & _served([live[spec.name]] if spec.name in live else []):
            methods = ", ".join(sorted(method for _, method in own))
            reason = f"SET {spec.server_set} would be left without a live node that serves {methods}"
            problems.append(spec.problem("actors" if spec.weight else "weight", reason))
    return problems


def _served(live: Iterable[NodeSpec]) -> set[tuple[str, str]]:
    """(SET, method) of all that they serve."""
    return {(spec.server_set, actor.method) for spec in live if spec.weight > 0 for actor in spec.actors}


def _changes(before: NodeSpec | None, after: NodeSpec) -> list[str]:
    if before is None:
        return [f"new in {after.server_set}, weight {after.weight:g}, {len(after.actors)} actors"]
    changes = []
    if before.weight != after.weight:
        changes.append(f"weight {before.weight:g} -> {after.weight:g}")
    old = {actor.method: actor for actor in before.actors}
    new = {actor.method: actor for actor in after.actors}
    for method in sorted(old.keys() | new.keys()):
        if method not in new:
            changes.append(f"no longer serves {method}")
        elif method not in old:
            changes.append(f"serves {_described(new[method])}")
        elif old[method] != new[method]:
            changes.append(f"serves {_described(new[method])}; before: {_described(old[method])}")
    return changes


def _described(actor: ActorSpec) -> str:
    kind = "message" if actor.is_message else "query"
    return f"{actor.method} as {kind} by {actor.task}, {actor.min_concurrency} to {actor.max_concurrency}"


def _write(spec: NodeSpec, row: Node | None, server_set: ServerSet) -> None:
    if row is None:
        row = Node(name=spec.name, server_set=server_set)
    row.weight = spec.weight
    row.save()
    row.actors.exclude(method__in=[actor.method for actor in spec.actors]).delete()
    Actor.objects.bulk_create(
        (
            Actor(
                node=row,
                method=actor.method,
                task=actor.task,
                min_concurrency=actor.min_concurrency,
                max_concurrency=actor.max_concurrency,
                is_message=actor.is_message,
            )
            for actor in spec.actors
        ),
        update_conflicts=True,
        unique_fields=("node", "method"),
        update_fields=("task", "min_concurrency", "max_concurrency", "is_message"),
    )
