"""Restoring: each database is made beside the one that is there, checked, and takes its name at the end.

Until then nothing has happened: a failure leaves the old database as it was, and nothing of the new one. The
names change in one transaction of the server, and only while nobody is connected. The old database is kept
under another name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
from django.core.management import call_command
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from psycopg import sql

from apps.routing import databases
from imcloud.backups import BackupError, manifest, programs, taking
from imcloud.backups.manifest import CONTROL, SET, Dump, Manifest
from imcloud.backups.progress import Part, Progress
from imcloud.config import BASE_DIR, database_name, joined

RENAME_WITHIN = 10.0  # s that the last session may take to end
RENAME_PAUSE = 0.2  # s between tries
NAMED = 4  # sessions that are in the way, in the sentence that tells of them
NAME_MAX = 63  # bytes of a name in PostgreSQL
INDEX_JOBS = 2  # of pg_restore

_CONNECTED = """
    SELECT COALESCE(NULLIF(application_name, ''), 'a program') || ' (process ' || pid || COALESCE(' at '
      || host(client_addr), '') || ')' FROM pg_stat_activity
    WHERE datname = %s AND backend_type = 'client backend' ORDER BY pid"""
_EXISTS = "SELECT 1 FROM pg_database WHERE datname = %s"
_RENAME = sql.SQL("ALTER DATABASE {} RENAME TO {}")


def at(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    parts = urlsplit(url)
    return joined(parts.scheme, parts.netloc, f"/{quote(name, safe='')}", parts.query)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a dump goes."""

    dump: Dump
    url: str

    @property
    def name(self) -> str:
        return database_name(self.url)

    @property
    def new(self) -> str:
        """The database's name until it takes the other one's."""
        return _named(self.name, "_restoring")

    @property
    def new_url(self) -> str:
        return at(self.url, self.new)


def _named(name: str, suffix: str) -> str:
    return name.encode()[: NAME_MAX - len(suffix)].decode(errors="ignore") + suffix


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a dump."""

    target: Target
    kept: str  # the name of the database that was there; empty: none with a log was


class Restore:
    """One restore: `make` for each database, then `switch`; `close` takes away what was not switched."""

    def __init__(self, folder: Path, *, replace: bool, progress: Progress) -> None:
        self._folder = folder
        self._replace = replace
        self._progress = progress
        self._made: list[Target] = []
        self._opened = ExitStack()

    def close(self) -> None:
        """A database that did not take its name is dropped."""
        self._opened.close()
        for target in self._made:
            with programs.connect(target.url, dbname="postgres") as admin:
                admin.execute(_drop(target.new))
        self._made.clear()

    def check(self, target: Target) -> None:
        """Whether the target may be replaced now. BackupError with what is against it."""
        with programs.connect(target.url, dbname="postgres") as admin:
            if not admin.execute(_EXISTS, (target.name,)).fetchone():
                return
            if sessions := [text for (text,) in admin.execute(_CONNECTED, (target.name,))]:
                raise BackupError(_in_use(target, sessions))
        if not self._replace and (what := content(target)):
            raise BackupError(
                f"The database {target.name} has {what}. With --replace the backup takes its place, and it "
                "is kept under another name."
            )

    def make(self, target: Target) -> None:
        """Have the dump in a new database, equal to what was backed up, with the tables of this version."""
        dump = target.dump
        with programs.connect(target.url, dbname="postgres") as admin:
            server = admin.info.server_version // 10_000
            program = programs.find("pg_restore", max(server, dump.server))
            if sessions := [text for (text,) in admin.execute(_CONNECTED, (target.new,))]:
                raise BackupError(f"Another restore of {dump} is running: {', '.join(sessions)}.")
            admin.execute(_drop(target.new))  # of one that was cut off
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(target.new)))
        self._made.append(target)
        watcher = self._opened.enter_context(programs.connect(target.url, dbname="postgres"))
        part = Part(dump.name, dict(dump.rows), watcher, target.new)
        self._progress.add(part)
        part.at = "begins"
        arguments = ["--no-owner", "--no-privileges", "--exit-on-error", f"--jobs={INDEX_JOBS}"]
        running = programs.Running(
            program, target.new_url, [*arguments, str(self._folder / dump.file)], part.hear
        )
        try:
            running.finish()
        finally:
            running.end()
        part.close()
        part.at = "comparing"
        with programs.connect(target.new_url) as new:
            _compare(new, dump)
            new.execute("ANALYZE")
        part.at = ""

    def switch(self, target: Target, before: Callable[[psycopg.Connection[Any]], None] | None) -> Restored:
        """Give the new database its name. `before` works in it first, in a transaction."""
        if before is not None:
            with programs.connect(target.new_url) as new, new.transaction():
                before(new)
        had = content(target)
        stamp = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
        kept = _named(target.name, f"_before_{stamp}")
        with programs.connect(target.url, dbname="postgres") as admin:
            exists = admin.execute(_EXISTS, (target.name,)).fetchone() is not None
            give_up_at = time.monotonic() + RENAME_WITHIN
            while True:
                try:
                    with admin.transaction():
                        if exists:
                            admin.execute(_rename(target.name, kept))
                        admin.execute(_rename(target.new, target.name))
                    break
                except psycopg.errors.ObjectInUse:
                    if time.monotonic() >= give_up_at:
                        sessions = [
                            text
                            for name in (target.name, target.new)
                            for (text,) in admin.execute(_CONNECTED, (name,))
                        ]
                        raise BackupError(_in_use(target, sessions)) from None
                    time.sleep(RENAME_PAUSE)
            self._made.remove(target)
            if exists and not had:
                admin.execute(_drop(kept))
        return Restored(target, kept if exists and had else "")


def _drop(name: str) -> sql.Composed:
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))


def _rename(name: str, to: str) -> sql.Composed:
    return _RENAME.format(sql.Identifier(name), sql.Identifier(to))


def _in_use(target: Target, sessions: Sequence[str]) -> str:
    more = f" and {len(sessions) - NAMED} more" if len(sessions) > NAMED else ""
    names = ", ".join(sessions[:NAMED]) + more
    return f"The database {target.name} is in use by {names}: stop imcloud everywhere first."


def content(target: Target) -> str:
    """What the database that is there holds, in words; empty when it has nothing to lose or is not there."""
    with programs.connect(target.url, dbname="postgres") as admin:
        if not admin.execute(_EXISTS, (target.name,)).fetchone():
            return ""
    with programs.connect(target.url) as there:
        tables = dict(there.execute(taking.TABLES).fetchall())
        if "messaging_head" in tables:
            found = there.execute("SELECT seq FROM messaging_head").fetchone()
            return f"a log up to seq {found[0]}" if found and found[0] else ""
        if "accounts_tenant" in tables:
            ((number,),) = there.execute("SELECT count(*) FROM accounts_tenant").fetchall()
            return f"{number} tenants" if number else ""
        return f"{len(tables)} tables that are not imcloud's" if tables else ""


def _compare(new: psycopg.Connection[Any], dump: Dump) -> None:
    """BackupError unless each table has as many rows as it had, and the log ends where it did."""
    names = [name for name, _ in new.execute(taking.TABLES)]
    rows = {}
    for name in names:
        count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))
        ((rows[name],),) = new.execute(count).fetchall()
    if rows != dump.rows:
        wrong = sorted(name for name in {*rows, *dump.rows} if rows.get(name) != dump.rows.get(name))
        raise BackupError(f"The restored copy of {dump} is not equal to the original: {', '.join(wrong)}.")
    if dump.kind == SET:
        ((epoch, seq),) = new.execute("SELECT epoch, seq FROM messaging_head").fetchall()
        if (epoch, seq) != (dump.epoch, dump.seq):
            raise BackupError(f"The restored log of {dump} ends at {seq}, and the original at {dump.seq}.")


# --- versions


def check_version(dumps: Sequence[Dump]) -> None:
    """BackupError when a dump is of a version that this one does not know."""
    known = _known()
    for dump in dumps:
        if unknown := sorted(set(dump.migrations) - known):
            raise BackupError(
                f"The backup of {dump} was made by a newer imcloud, whose migration {unknown[0]} this one "
                "does not have: restore it with that version."
            )


def _known() -> set[str]:
    loader = MigrationLoader(None)
    return {f"{app}.{name}" for app, name in loader.disk_migrations}


def lacks(dump: Dump) -> list[str]:
    """Migrations that came after the backup."""
    return sorted(_known() - set(dump.migrations))


def bring_up_to_date(target: Target) -> None:
    """Run what the new database lacks. BackupError when a migration fails."""
    try:
        if target.dump.kind == SET:
            alias = databases.register("restoring", target.new_url)
            try:
                call_command("migrate", database=alias, verbosity=0, interactive=False, skip_checks=True)
            finally:
                connections[alias].close()
                connections[alias].close_pool()  # type: ignore[attr-defined]
            return
        # The control database is Django's default one, whose place is a setting.
        done = subprocess.run(
            [sys.executable, str(BASE_DIR / "manage.py"), "migrate", "--database=default", "--skip-checks"],
            env=os.environ | {"IMCLOUD_DATABASE_URL": target.new_url},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["it says nothing"])[-1])
    except Exception as error:
        raise BackupError(
            f"{target.dump} cannot be brought up to date: {' '.join(str(error).split())}"
        ) from None


def chosen(backup: Manifest, sets: Sequence[str], control: bool) -> list[Dump]:
    """The dumps that are asked for, the control database's first; with neither choice, all."""
    there = {dump.name: dump for dump in backup.dumps if dump.kind == SET}
    if unknown := [name for name in sets if name not in there]:
        names = ", ".join(there) or "none"
        raise BackupError(f"The backup has no SET {unknown[0]}; the SETs in it are: {names}.")
    if control and all(dump.kind != CONTROL for dump in backup.dumps):
        raise BackupError("The control database is not in this backup.")
    whole = not sets and not control
    found = [dump for dump in backup.dumps if dump.kind == CONTROL and (control or whole)]
    return found + [there[name] for name in (there if whole else dict.fromkeys(sets))]


def verify(folder: Path, dumps: Sequence[Dump]) -> None:
    for dump in dumps:
        manifest.verify(folder, dump)
