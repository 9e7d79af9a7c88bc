"""Which slots are to move to which SET: what is refused, what a rebalance moves, and the record of it.

The moves themselves are the work of apps.messaging.slot_moves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.routing import set_database
from apps.routing.models import Cluster, ServerSet, Slot, SlotMove
from apps.routing.placement import SLOTS
from apps.routing.topology import share_out

ENDED = (SlotMove.Step.DONE, SlotMove.Step.CANCELLED)


def parse(text: str) -> list[int]:
    """The slots of "0-511,700"; ValidationError when it is not of that form."""
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
        if not found:
            raise ValidationError(f"Slots are written as 7, 0-99 or 0-99,700; {text!r} is none of these.")
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < SLOTS:
            raise ValidationError(f"{part.strip()} is no range of the slots 0 to {SLOTS - 1}.")
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def ranges(numbers: Iterable[int]) -> str:
    """Slots as an operator writes and reads them: 0-511, 700."""
    runs = [list(run) for _, run in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)


def plan_move(cluster: Cluster, numbers: Iterable[int], destination: ServerSet) -> list[SlotMove]:
    """The moves, not saved, that bring the slots to the SET; those that it has already need none.

    ValidationError with one sentence for each thing that is wrong.
    """
    return _plan(cluster, dict.fromkeys(numbers, destination))


def plan_rebalance(cluster: Cluster) -> list[SlotMove]:
    """The moves, not saved, after which each SET has the slots that its weight gives it.

    ValidationError with one sentence for each thing that is wrong.
    """
    targets = share_out(cluster, list(ServerSet.objects.filter(cluster=cluster).order_by("pk")))
    if not targets:
        raise ValidationError(f"No SET of cluster {cluster} has a weight above 0: none could take the slots.")
    return _plan(cluster, targets)


def _plan(cluster: Cluster, targets: dict[int, ServerSet]) -> list[SlotMove]:
    problems: list[str] = []
    if outside := [number for number in targets if not 0 <= number < SLOTS]:
        problems.append(f"The slots are 0 to {SLOTS - 1}; {ranges(outside)} is outside.")
    held = {slot.number: slot for slot in Slot.objects.filter(cluster=cluster).select_related("server_set")}
    if homeless := [number for number in targets if 0 <= number < SLOTS and number not in held]:
        problems.append(f"No SET of cluster {cluster} has the slots {ranges(homeless)} yet.")
    moves = [
        SlotMove(cluster=cluster, number=number, source=held[number].server_set, destination=destination)
        for number, destination in sorted(targets.items())
        if number in held and held[number].server_set_id != destination.pk
    ]
    moving = set(open_moves(cluster).values_list("number", flat=True))
    if already := moving.intersection(targets):
        problems.append(f"Slots that are being moved already: {ranges(already)}.")
    problems += [
        f"SET {destination} is of cluster {destination.cluster}, not of {cluster}."
        for destination in dict.fromkeys(targets.values())
        if destination.cluster_id != cluster.pk
    ]
    for destination in dict.fromkeys(move.destination for move in moves):
        try:
            set_database.check(destination.name, destination.database)
        except ValidationError as error:
            problems += error.messages
    if problems:
        raise ValidationError(problems)
    return moves


def open_moves(cluster: Cluster | None = None) -> QuerySet[SlotMove]:
    """Those that have not ended, in the order in which they are worked off."""
    moves = SlotMove.objects.exclude(step__in=ENDED).order_by("pk")
    return moves.filter(cluster=cluster) if cluster else moves


def ask(moves: Iterable[SlotMove], by: str) -> list[SlotMove]:
    """Have the nodes move them. ValidationError when somebody else was faster."""
    now = timezone.now()  # one time for all of them: it tells which were asked for together
    moves = list(moves)
    for move in moves:
        move.asked_by, move.created_at = by, now
    try:
        with transaction.atomic():
            return SlotMove.objects.bulk_create(moves)
    except IntegrityError:
        raise ValidationError("Somebody else has just had one of these slots moved.") from None


def cancel(cluster: Cluster | None = None, numbers: Iterable[int] | None = None) -> list[int]:
    """Take back the moves that are still copying, all or these slots'; the slots whose moves that were."""
    moves = open_moves(cluster).filter(step=SlotMove.Step.COPY)
    if numbers is not None:
        moves = moves.filter(number__in=list(numbers))
    cancelled = []
    for key, number in moves.values_list("pk", "number"):
        # One that takes its next step at this moment stays.
        still = SlotMove.objects.filter(pk=key, step=SlotMove.Step.COPY)
        if still.update(step=SlotMove.Step.CANCELLED, changed_at=timezone.now()):
            cancelled.append(number)
    return cancelled


def summary(moves: Iterable[SlotMove]) -> list[str]:
    """What they move, a line for each pair of SETs."""
    by_way: dict[tuple[str, str], list[int]] = {}
    for move in moves:
        by_way.setdefault((move.source.name, move.destination.name), []).append(move.number)
    return [
        f"{source} to {destination}, {len(numbers)} slot{'s' * (len(numbers) > 1)}: {ranges(numbers)}"
        for (source, destination), numbers in sorted(by_way.items())
    ]
