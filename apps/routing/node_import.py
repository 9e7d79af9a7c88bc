"""Nodes of the database as node files say them, and the import of such files: all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction

from apps.accounts import command_line
from apps.routing import keeping
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

    It is in the admin pages' log as well. NodeFileError, and nothing is changed, when one of them cannot be.
    """
    keeping.lock()
    sets = {server_set.name: server_set for server_set in ServerSet.objects.order_by("pk")}
    before, served = stored_nodes(lock=True), keeping.served()
    if problems := _duplicates(specs) + _set_problems(specs, sets, before):
        raise NodeFileError(problems)
    changes: list[str] = []
    for spec in specs:
        known = before.get(spec.name)
        changed = _changes(known.spec if known else None, spec)
        if changed:
            row = _write(spec, known.row if known else None, sets[spec.server_set])
            log = command_line.log_change if known else command_line.log_addition
            log(row, f"Imported: {'; '.join(changed)}.")
        changes += [f"{spec.name}: {change}" for change in changed]
    if lost := served - keeping.served():
        raise NodeFileError(_unserved_problems(specs, before, lost))
    if dry_run:
        transaction.set_rollback(True)
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


def _unserved_problems(
    specs: Iterable[NodeSpec], before: Mapping[str, Stored], lost: keeping.Served
) -> list[Problem]:
    """One for each node that was live and served some of what is lost."""
    problems = []
    for spec in specs:
        known = before.get(spec.name)
        if known and known.row.state == State.UP and known.spec.weight > 0:
            methods = {actor.method for actor in known.spec.actors if (spec.server_set, actor.method) in lost}
            if methods:
                reason = keeping.left_without(spec.server_set, methods)
                problems.append(spec.problem("actors" if spec.weight else "weight", reason))
    return problems


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


def _write(spec: NodeSpec, row: Node | None, server_set: ServerSet) -> Node:
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
    return row
