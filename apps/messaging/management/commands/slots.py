"""`manage.py slots list|move|rebalance|cancel|resume`: which SET has which slots, and moving them."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from tqdm import tqdm  # type: ignore[import-untyped]

from apps.accounts import command_line
from apps.messaging import slot_moves
from apps.routing import slots
from apps.routing.models import Cluster, ServerSet, Slot, SlotMove
from apps.routing.topology import topology

LINE_EVERY = 1.0  # s between two lines where there is no terminal
PAUSE = 0.05  # s after a look at a move that another process works at, or that waits
FORM = "{:<16} {:<16} {:>6} {:>6}  {}"


class Command(BaseCommand):
    help = (
        "Shows which SET has which slots, and moves slots between SETs while their users chat. Ctrl-C leaves "
        "the rest of a move to the nodes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="the SETs with their weights and slots, and what is moving")
        move = actions.add_parser("move", help="give slots to a SET")
        move.add_argument("slots", metavar="FROM-TO", help="such as 0-99, 7, or 0-99,700")
        move.add_argument("set", metavar="SET", help="the SET that is to have them")
        rebalance = actions.add_parser("rebalance", help="give each SET the slots that its weight deserves")
        for each in (move, rebalance):
            each.add_argument("--dry-run", action="store_true", help="say what would move, and move nothing")
            each.add_argument("--detach", action="store_true", help="leave all of it to the nodes")
        cancel = actions.add_parser("cancel", help="take back moves that are still copying")
        cancel.add_argument("slots", nargs="?", metavar="FROM-TO", help="only those of these slots")
        resume = actions.add_parser("resume", help="go on with what is moving, and show how far it is")
        for each in (rebalance, cancel, resume):
            each.add_argument("--cluster", metavar="NAME", help="needed when there are several clusters")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        try:
            getattr(self, f"_{action}")(options)
        except ValidationError as error:
            raise CommandError("\n".join(error.messages)) from None

    def _list(self, options: dict[str, Any]) -> None:
        numbers: dict[int, list[int]] = {}
        for server_set, number in Slot.objects.values_list("server_set", "number"):
            numbers.setdefault(server_set, []).append(number)
        self.stdout.write(FORM.format("SET", "cluster", "weight", "slots", "which"))
        for each in ServerSet.objects.select_related("cluster").order_by("cluster", "pk"):
            its = numbers.get(each.pk, [])
            row = (each.name, each.cluster.name, f"{each.weight:g}", len(its), slots.ranges(its))
            self.stdout.write(FORM.format(*row).rstrip())
        for line in slots.summary(slots.open_moves().select_related("source", "destination")):
            self.stdout.write(f"moving: {line}")

    def _move(self, options: dict[str, Any]) -> None:
        name = options["set"]
        destination = ServerSet.objects.select_related("cluster").filter(name=name).first()
        if destination is None:
            known = ", ".join(ServerSet.objects.order_by("pk").values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no SET {name}; the SETs are: {known}.")
        numbers = slots.parse(options["slots"])
        self._carry_out(slots.plan_move(destination.cluster, numbers, destination), options)

    def _rebalance(self, options: dict[str, Any]) -> None:
        self._carry_out(slots.plan_rebalance(_cluster(options["cluster"])), options)

    def _cancel(self, options: dict[str, Any]) -> None:
        numbers = slots.parse(options["slots"]) if options["slots"] else None
        cluster = _cluster(options["cluster"])
        with transaction.atomic():
            cancelled = slots.cancel(cluster, numbers)
            if cancelled:
                message = f"Took back the moves of slots {slots.ranges(cancelled)}."
                command_line.log_change(cluster, message)
        self.stdout.write(f"taken back: {slots.ranges(cancelled) or 'none, no such move is still copying'}")

    def _resume(self, options: dict[str, Any]) -> None:
        moves = slots.open_moves(_cluster(options["cluster"])).select_related("source", "destination")
        self._work_off(list(moves))

    def _carry_out(self, moves: list[SlotMove], options: dict[str, Any]) -> None:
        for line in slots.summary(moves):
            self.stdout.write(line)
        if not moves:
            self.stdout.write("no slot has to move")
        elif options["dry_run"]:
            self.stdout.write("nothing was moved: this was a dry run")
        else:
            with transaction.atomic():
                asked = slots.ask(moves, command_line.who())
                message = f"Slots to move: {'; '.join(slots.summary(asked))}."
                command_line.log_change(asked[0].cluster, message)
            if options["detach"]:
                self.stdout.write(
                    "the nodes move them: `slots list` shows what is left, `slots resume` how far it is"
                )
            else:
                self._work_off(asked)

    def _work_off(self, moves: list[SlotMove]) -> None:
        """Move them one after the other, beside the nodes that do the same."""
        topology.start()  # it may take hours
        moved = 0
        try:
            with Progress(self, len(moves)) as progress:
                waiting = deque(moves)
                while waiting:
                    before = waiting.popleft()
                    move = slot_moves.step(before.pk)
                    if move.step in slots.ENDED:
                        moved += move.step == SlotMove.Step.DONE
                    else:
                        _put_back(waiting, before, move)
                    progress.show(len(waiting), move)
        except KeyboardInterrupt:
            raise CommandError(
                "the nodes move the rest: `slots resume` shows how far it is, `slots cancel` takes back what "
                "is still copying",
                returncode=130,
            ) from None
        finally:
            topology.stop()
        self.stdout.write(f"{moved} of {len(moves)} moved")


def _put_back(waiting: deque[SlotMove], before: SlotMove, move: SlotMove) -> None:
    """First what goes on; last what has to wait: for another process, a database, or everybody's notice."""
    if (move.step, move.copied) == (before.step, before.copied):
        waiting.append(move)
        time.sleep(PAUSE)
    elif move.step == SlotMove.Step.CLEAN and not move.copied:
        waiting.append(move)
    else:
        waiting.appendleft(move)


class Progress:
    """How far it is: a bar on a terminal, elsewhere a line a second."""

    def __init__(self, command: BaseCommand, total: int) -> None:
        self._write = command.stdout.write
        self._total = total
        self._bar = tqdm(total=total, unit="slot", disable=not command.stderr.isatty())
        self._line_at = 0.0
        self._log = logging.getLogger(slot_moves.__name__)

    def __enter__(self) -> Progress:
        self._level = self._log.level
        self._log.setLevel(logging.ERROR)  # what it would log is shown here
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        self._log.setLevel(self._level)

    def show(self, waiting: int, move: SlotMove) -> None:
        done = self._total - waiting
        text = f"{move}, {move.step}"
        if move.step not in slots.ENDED and move.head:
            text += f", {min(move.copied / move.head, 1.0):.0%} of the log"
        if move.problem:
            text += f"; it waits: {move.problem}"
        if not self._bar.disable:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(done - self._bar.n)
            self._bar.refresh()
        elif time.monotonic() - self._line_at >= LINE_EVERY or not waiting:
            self._line_at = time.monotonic()
            self._write(f"{done} of {self._total} slots; {text}")


def _cluster(name: str | None) -> Cluster:
    """The cluster of this name, or the only one."""
    clusters = {each.name: each for each in Cluster.objects.order_by("pk")}
    if name is None and len(clusters) == 1:
        return next(iter(clusters.values()))
    if name not in clusters:
        asked = "Say which cluster with --cluster" if name is None else f"There is no cluster {name}"
        raise CommandError(f"{asked}; the clusters are: {', '.join(clusters) or 'none yet'}.")
    return clusters[name]
