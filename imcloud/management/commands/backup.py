"""`manage.py backup FOLDER`: the control database and the logs of all SETs as of one moment."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from imcloud.backups import BackupError, embedded_server, taking
from imcloud.backups.manifest import CONTROL, SET, Manifest
from imcloud.backups.progress import Progress
from imcloud.backups.taking import Source
from imcloud.embedded import EmbeddedError

JOBS = 2


class Command(BaseCommand):
    help = (
        "Backs up the control database and the logs of all SETs, as of one moment, into a new folder. "
        "imcloud goes on meanwhile. See docs/backup.md."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="where to; it must not exist yet")
        parser.add_argument("--set", dest="sets", metavar="NAME", action="append", help="only this SET's log")
        parser.add_argument("--control", action="store_true", help="only the control database")
        parser.add_argument("--jobs", type=int, default=JOBS, help=f"dumps at a time (default {JOBS})")

    def handle(
        self, *args: Any, folder: Path, sets: list[str] | None, control: bool, jobs: int, **options: Any
    ) -> None:
        try:
            with embedded_server.running(settings.CONFIG, new=False):
                sources = self._sources(sets or [], control)
                with Progress(self.stdout.write, bar=self.stderr.isatty()) as progress:
                    url = settings.CONFIG.control_database
                    made = taking.take(folder.absolute(), sources, url, jobs, progress)
        except (BackupError, EmbeddedError) as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            reason = " ".join(str(error).split())
            raise CommandError(f"The control database cannot be read: {reason}") from None
        except KeyboardInterrupt:
            raise CommandError("cut off: nothing was kept", returncode=130) from None
        self._tell(folder, made)

    def _sources(self, sets: list[str], control: bool) -> list[Source]:
        """What is asked for: with neither choice, everything."""
        from apps.routing import databases
        from apps.routing.topology import topology

        known = topology.renew().sets
        if unknown := [name for name in sets if name not in known]:
            raise CommandError(
                f"There is no SET {unknown[0]}; the SETs are: {', '.join(known) or 'none yet'}."
            )
        chosen = list(dict.fromkeys(sets)) or ([] if control else list(known))
        found = [Source(SET, name, databases.url(name)) for name in chosen]
        if control or not sets:
            found.append(Source(CONTROL, CONTROL, settings.CONFIG.control_database))
        return found

    def _tell(self, folder: Path, made: Manifest) -> None:
        for dump in made.dumps:
            place = f", epoch {dump.epoch}, seq {dump.seq}" if dump.kind == SET else ""
            self.stdout.write(
                f"{dump}: {dump.total:,} rows{place}, {dump.bytes / 1e6:,.1f} MB, {dump.seconds:.1f} s"
            )
        size = sum(dump.bytes for dump in made.dumps)
        age = (datetime.now(UTC) - made.moment).total_seconds()
        self.stdout.write(
            f"{folder} holds everything up to {made.at}: {size / 1e6:,.1f} MB in {made.seconds:.1f} s. "
            f"A restore of it loses what came after that, {age:.1f} s by now."
        )
