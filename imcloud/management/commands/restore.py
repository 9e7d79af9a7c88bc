"""`manage.py restore FOLDER`: databases as they were at a backup's moment."""

from __future__ import annotations

import contextlib
import shutil
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from imcloud.backups import BackupError, embedded_server, manifest, places, programs, restoring
from imcloud.backups.manifest import CONTROL, SET, Dump, Manifest
from imcloud.backups.progress import Progress
from imcloud.backups.restoring import Restore, Restored, Target
from imcloud.config import ConfigError, postgres
from imcloud.embedded import EmbeddedError


class Command(BaseCommand):
    help = (
        "Restores the control database and the logs of the SETs from a backup, while imcloud is stopped. "
        "Until all of it is there and checked, nothing changes. See docs/backup.md."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="of a backup")
        parser.add_argument("--set", dest="sets", metavar="NAME", action="append", help="only this SET's log")
        parser.add_argument("--control", action="store_true", help="only the control database")
        parser.add_argument(
            "--into",
            metavar="URL",
            help="have one database as it was, here, and leave imcloud's alone",
        )
        parser.add_argument(
            "--replace", action="store_true", help="also where there is a log; it is kept under another name"
        )

    def handle(
        self,
        *args: Any,
        folder: Path,
        sets: list[str] | None,
        control: bool,
        into: str | None,
        replace: bool,
        **options: Any,
    ) -> None:
        began = time.monotonic()
        folder = folder.absolute()
        try:
            doubts: list[str] = []
            backup = manifest.read(folder)
            dumps = restoring.chosen(backup, sets or [], control)
            place = _checked(into, dumps)
            restoring.check_version(dumps)
            self.stdout.write("comparing checksums")
            restoring.verify(folder, dumps)
            with contextlib.ExitStack() as stack:
                if not place:
                    stack.enter_context(embedded_server.running(settings.CONFIG, new=True))
                progress = stack.enter_context(Progress(self.stdout.write, bar=self.stderr.isatty()))
                progress.expected = sum(dump.total for dump in dumps)
                restore = Restore(folder, replace=replace, progress=progress)
                stack.callback(restore.close)
                if place:
                    done = [self._copy(restore, Target(dumps[0], place))]
                else:
                    done, doubts = _Installation(restore, dumps).restore()
        except (BackupError, EmbeddedError) as error:
            raise CommandError(f"{error} Nothing was changed." if _final(error) else str(error)) from None
        except psycopg.Error as error:
            raise CommandError(f"A database failed: {programs.line(error)}.") from None
        except KeyboardInterrupt:
            raise CommandError("cut off", returncode=130) from None
        self._tell(backup, done, doubts, time.monotonic() - began, alone=bool(place))

    @staticmethod
    def _copy(restore: Restore, target: Target) -> Restored:
        restore.check(target)
        restore.make(target)
        return restore.switch(target, None)

    def _tell(
        self,
        backup: Manifest,
        done: Sequence[Restored],
        doubts: Sequence[str],
        seconds: float,
        *,
        alone: bool,
    ) -> None:
        say = self.stdout.write
        for each in done:
            dump = each.target.dump
            place = f", up to seq {dump.seq} of epoch {dump.epoch}" if dump.kind == SET else ""
            say(f"{dump}: {dump.total:,} rows{place}, in the database {each.target.name}")
            if each.kept:
                say(f"  what was there is kept as {each.kept}: drop it when it is needed no more")
        if any(each.target.dump.kind == SET for each in done) and not alone:
            say(
                "These SETs have no standby now: what was one follows another log. Make them anew "
                "(`manage.py sets standby`)."
            )
        for doubt in doubts:
            say(f"To be looked at: {doubt}")
        lost = datetime.now(UTC) - backup.moment
        say(
            f"Restored in {seconds:.1f} s. Everything up to {backup.at} is there; what came since, "
            f"{lost.total_seconds():,.0f} s, is not."
        )


def _final(error: Exception) -> bool:
    return not getattr(error, "partly", False)


def _checked(into: str | None, dumps: Sequence[Dump]) -> str:
    if not into:
        return ""
    if len(dumps) != 1:
        raise BackupError("--into takes one database: say which with --set or --control.")
    try:
        return postgres(into)
    except (ValueError, ConfigError) as error:
        raise BackupError(f"--into {error}.") from None


class _Installation:
    """A restore that the installation is told of."""

    def __init__(self, restore: Restore, dumps: Sequence[Dump]) -> None:
        self._restore = restore
        self._control = next((dump for dump in dumps if dump.kind == CONTROL), None)
        self._sets = [dump for dump in dumps if dump.kind == SET]
        self._url = settings.CONFIG.control_database

    def restore(self) -> tuple[list[Restored], list[str]]:
        for connection in connections.all():  # ours count too
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]
        targets: list[Target] = []
        where = self._url
        if self._control:
            targets.append(self._make(Target(self._control, self._url)))
            where = targets[0].new_url
        with programs.connect(where) as control:
            known = places.records(control)
            names = [dump.name for dump in self._sets]
            if unknown := [name for name in names if name not in known]:
                raise BackupError(f"The control database knows no SET {unknown[0]}.")
            if not self._control:
                places.check_settled(control, names)
            made = [Target(dump, known[dump.name].url) for dump in self._sets]
            for target in made:
                self._restore.check(target)
            targets += [self._make(target) for target in made]
            doubts: list[str] = []
            if self._control:
                with control.transaction():
                    places.jump(control)
                    doubts = places.follow_heads(control, names)
            slots = {name: places.slots_of(control, known[name]) for name in names}
        done: list[Restored] = []
        try:
            # The control database last: as long as it is the old one, nobody writes to a restored SET.
            for target in sorted(targets, key=lambda each: each.dump.kind == CONTROL):
                switched = self._switch(target, known, slots, where)
                done.append(switched)
        except BackupError as error:
            if done:
                raise _partly(done, str(error)) from None
            raise
        return done, doubts

    def _make(self, target: Target) -> Target:
        self._restore.check(target)
        self._restore.make(target)
        if restoring.lacks(target.dump):
            restoring.bring_up_to_date(target)
        return target

    def _switch(
        self, target: Target, known: dict[str, places.Record], slots: dict[str, bytes], where: str
    ) -> Restored:
        if target.dump.kind == CONTROL:
            switched = self._restore.switch(target, None)
            shutil.rmtree(settings.DATA_DIR / "remembered", ignore_errors=True)  # it is of the other one
            return switched
        record = known[target.dump.name]
        last = places.last_known(record)
        numbers: list[int] = []
        begin: Callable[[psycopg.Connection[Any]], None] = lambda new: numbers.append(  # noqa: E731
            places.begin_epoch(new, record, slots[record.name], last)
        )
        switched = self._restore.switch(target, begin)
        with programs.connect(where) as control, control.transaction():
            places.note_epoch(control, record, numbers[0])
        return switched


def _partly(done: Sequence[Restored], why: str) -> BackupError:
    names = ", ".join(str(each.target.dump) for each in done)
    error = BackupError(f"{names} restored, the rest is not: {why} Restore it again with --replace.")
    error.partly = True  # type: ignore[attr-defined]
    return error
