"""Taking a backup: one moment of all databases, dumped by pg_dump.

All snapshots are taken before the first dump begins, within milliseconds of each other, and looked at: no SET
may have read more of another's log than the backup has of it (a copy without its message, a member without
his group), and no slot may be on its way. Otherwise they are taken again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from imcloud.backups import BackupError, manifest, programs
from imcloud.backups.manifest import CONTROL, SET, Dump, Manifest
from imcloud.backups.progress import Part, Progress

CUTS = 20  # tries to have all databases as of one moment
CUT_PAUSE = 0.1  # s between them
COMPRESSION = 1  # of zlib: the higher ones take three times as long for a tenth less

TABLES = """
    SELECT relname, GREATEST(reltuples, 0)::int8 FROM pg_class
    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace ORDER BY relname"""
MIGRATIONS = "SELECT app || '.' || name FROM django_migrations ORDER BY 1"
_ON_THEIR_WAY = """
    SELECT (SELECT count(*) FROM routing_slotmove WHERE step NOT IN ('done', 'cancelled')),
           (SELECT count(*) FROM routing_failover WHERE step NOT IN ('rejoin', 'done', 'cancelled'))"""


@dataclass(frozen=True, slots=True)
class Source:
    """A database that is backed up."""

    kind: str  # CONTROL or SET
    name: str
    url: str

    @property
    def file(self) -> str:
        return "control.dump" if self.kind == CONTROL else f"set-{self.name}.dump"

    def __str__(self) -> str:
        return "the control database" if self.kind == CONTROL else f"SET {self.name}"


@dataclass(frozen=True, slots=True)
class Frozen:
    """A database as of the backup's moment, for as long as the session is open."""

    source: Source
    session: psycopg.Connection[Any]
    snapshot: str  # its name, for pg_dump
    epoch: int = 0
    seq: int = 0
    time: int = 0
    cursors: dict[str, int] | None = None  # SET -> seq up to which this one has read its log


def take(folder: Path, sources: Sequence[Source], control: str, jobs: int, progress: Progress) -> Manifest:
    """Back the sources up into the folder, which must not exist. BackupError leaves nothing.

    `control`: the URL of the control database, which tells whether slots are on their way.
    """
    began = time.monotonic()
    with ExitStack() as opened, building(folder) as part:
        sessions = [(each, opened.enter_context(programs.connect(each.url))) for each in sources]
        asked = opened.enter_context(programs.connect(control))
        tools = {each.name: programs.find("pg_dump", _major(session)) for each, session in sessions}
        at, cut = _freeze(sessions, asked)
        watched = [_part(each, opened) for each in cut]
        for each in watched:
            progress.add(each)
        dumping = _Dumping(part)
        with ThreadPoolExecutor(max(jobs, 1)) as workers:
            work = [
                workers.submit(dumping.dump, tools[each.source.name], each, watching)
                for each, watching in zip(cut, watched, strict=True)
            ]
            try:
                dumps = [each.result() for each in work]
            except BaseException:
                dumping.end()
                raise
        made = Manifest(at.isoformat(timespec="milliseconds"), round(time.monotonic() - began, 3), dumps)
        made.write(part)
    return made


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """FOLDER.part, which becomes the folder when all went well, and is gone when not."""
    part = folder.with_name(f"{folder.name}.part")
    if folder.exists() or folder.is_symlink():
        raise BackupError(f"{folder} exists already: a backup needs a folder of its own.")
    if not folder.parent.is_dir():
        raise BackupError(f"There is no folder {folder.parent} to put the backup into.")
    try:
        part.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(part, os.O_RDONLY)
    except OSError as error:
        raise BackupError(f"{part} cannot be made: {error.strerror}.") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"A backup into {folder} is running already.") from None
        for left in part.iterdir():  # of one that was cut off
            left.unlink()
        try:
            yield part
            part.rename(folder)
            manifest.sync_folder(folder.parent)
        except OSError as error:
            raise BackupError(f"{folder} cannot be written: {error.strerror or error}.") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
    finally:
        os.close(lock)


def _major(session: psycopg.Connection[Any]) -> int:
    return session.info.server_version // 10_000


def _freeze(
    sessions: Sequence[tuple[Source, psycopg.Connection[Any]]], asked: psycopg.Connection[Any]
) -> tuple[datetime, list[Frozen]]:
    reason = ""
    for attempt in range(CUTS):
        if attempt:
            time.sleep(CUT_PAUSE)
            for _, session in sessions:
                session.execute("ROLLBACK")
        _check_quiet(asked)
        at = datetime.now(UTC)
        for _, session in sessions:
            session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            session.execute("SELECT 1")  # the first query takes the snapshot
        cut = [_look(*each) for each in sessions]
        _check_quiet(asked)
        if not (reason := _ahead(cut)):
            return at, cut
    raise BackupError(f"The databases could not be had as of one moment: {reason}. Try again.")


def _check_quiet(asked: psycopg.Connection[Any]) -> None:
    try:
        ((moves, failovers),) = asked.execute(_ON_THEIR_WAY).fetchall()
    except psycopg.errors.UndefinedTable:
        raise BackupError(
            "The control database lacks tables of this version: run `manage.py migrate`."
        ) from None
    if moves:
        raise BackupError(
            f"{moves} slots are on their way between SETs, and in the logs of neither alone: "
            "back up when `manage.py slots list` shows none that moves."
        )
    if failovers:
        raise BackupError("A SET is failing over: back up when that is done (`manage.py sets list`).")


def _look(source: Source, session: psycopg.Connection[Any]) -> Frozen:
    try:
        ((snapshot,),) = session.execute("SELECT pg_export_snapshot()").fetchall()
        if source.kind == CONTROL:
            return Frozen(source, session, snapshot)
        heads = session.execute("SELECT epoch, seq, time FROM messaging_head").fetchall()
        cursors = dict(session.execute("SELECT origin, seq FROM messaging_exchangecursor").fetchall())
    except psycopg.Error as error:
        raise BackupError(f"{source} cannot be read: {programs.line(error)}.") from None
    if not heads:
        raise BackupError(f"{source} has no log: run `manage.py sets migrate`.")
    epoch, seq, at = heads[0]
    return Frozen(source, session, snapshot, epoch, seq, at, cursors)


def _ahead(cut: Sequence[Frozen]) -> str:
    """Which SET has read more of another than there is of that; empty when none."""
    heads = {each.source.name: each.seq for each in cut if each.source.kind == SET}
    for each in cut:
        for origin, cursor in (each.cursors or {}).items():
            if cursor > heads.get(origin, cursor):
                return f"{each.source} has read {origin} up to {cursor}, past {heads[origin]}"
    return ""


def _part(each: Frozen, opened: ExitStack) -> Part:
    rows = dict(each.session.execute(TABLES).fetchall())
    watcher = opened.enter_context(programs.connect(each.source.url))
    return Part(each.source.name, rows, watcher, str(conninfo_to_dict(each.source.url)["dbname"]))


class _Dumping:
    """The dumps that are being written into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[programs.Running] = []
        self._ended = False

    def end(self) -> None:
        """Of all of them."""
        self._ended = True
        for each in self._running:
            each.end()

    def dump(self, program: str, frozen: Frozen, part: Part) -> Dump:
        if self._ended:
            raise BackupError("The backup was given up.")
        began = time.monotonic()
        source, file = frozen.source, self._folder / frozen.source.file
        part.at = "begins"
        arguments = ["--format=custom", f"--compress={COMPRESSION}", f"--snapshot={frozen.snapshot}"]
        running = programs.Running(program, source.url, [*arguments, f"--file={file}"], part.hear)
        self._running.append(running)
        try:
            migrations = [name for (name,) in frozen.session.execute(MIGRATIONS)]
            for table in list(part.rows):
                count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
                ((part.rows[table],),) = frozen.session.execute(count).fetchall()
            running.finish()
        except psycopg.Error as error:
            raise BackupError(f"{source} cannot be read: {programs.line(error)}.") from None
        finally:
            running.end()
        part.close()
        part.at = "checksum"
        _sync(file)
        size, checksum = file.stat().st_size, manifest.digest(file)
        _thaw(frozen)
        part.at = ""
        return Dump(
            source.kind, source.name, source.file, size, checksum, round(time.monotonic() - began, 3),
            _major(frozen.session), migrations, dict(part.rows), frozen.epoch, frozen.seq, frozen.time,
        )  # fmt: skip


def _thaw(frozen: Frozen) -> None:
    """What the snapshot has kept goes: above all, a version of the head's row for each append since."""
    frozen.session.execute("ROLLBACK")
    if frozen.source.kind == SET:
        with suppress(psycopg.Error):  # autovacuum will do it
            frozen.session.execute("VACUUM (TRUNCATE FALSE) messaging_head")


def _sync(file: Path) -> None:
    with open(file, "rb") as written:
        os.fsync(written.fileno())
