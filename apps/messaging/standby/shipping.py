"""Replication: the standby database as a reader of its SET's log.

The standby's position is the seq of its own head. A pass locks that head, takes what the primary has past it
in one snapshot, and commits rows and position together: it may be cut off anywhere, and run by anybody at any
time. When it reaches the primary's head, it also brings every other row that has changed (see `journal`), as
of the same snapshot: the standby then is the primary of that moment. While it is farther behind, only the log
gets ahead, page by page.

Messages of a SET with the durability `standby` are acknowledged when a pass covers them: `cover` makes it, in
the worker that appended them, for all that were appended meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, LiteralString, NamedTuple

import psycopg
from django.db import DatabaseError
from django.utils import timezone
from psycopg import sql

from apps.messaging.standby import journal
from apps.messaging.standby.journal import Table
from apps.routing import databases
from apps.routing.envelope import first_seq
from apps.routing.models import HealthEvent, ServerSet
from apps.routing.topology import topology

logger = logging.getLogger(__name__)

PAGE = 20_000  # rows of the log in one transaction, while the standby is that far behind
NOTES = 50_000  # of changed rows, likewise
RETRY_PAUSE = 0.1  # s between tries while the standby is away
# The standby takes writes from nobody else: its database is read-only unless a session says otherwise.
WRITING = "-c default_transaction_read_only=off -c statement_timeout=30000"
STILL = 5.0  # s of nothing after which a worker's pass is given up for the others'
_PASSING = (
    f"{WRITING} -c idle_in_transaction_session_timeout={STILL * 1000:.0f} -c lock_timeout={STILL * 1000:.0f}"
)
# What was shipped is forgotten sometime: a note that a crash brings back is shipped again.
_READING = "-c default_transaction_read_only=off -c synchronous_commit=off"
_CONNECT: dict[str, Any] = {
    "connect_timeout": 2,
    "autocommit": True,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}


_HEAD = "SELECT seq, time, slots, epoch FROM messaging_head"


class StandbyAway(Exception):
    """The standby cannot be reached, or is not the one of this epoch (yet)."""


class Head(NamedTuple):
    """That of a database's log."""

    seq: int
    time: int  # ms
    slots: bytes
    epoch: int


class Shipped(NamedTuple):
    """What a pass has come to."""

    position: int  # seq up to which the standby has the log
    head: int  # seq of the primary's newest message as the pass saw it
    rows: int  # of the log, in this pass
    whole: bool  # everything else is there too


def head_of(connection: psycopg.Connection[Any]) -> Head:
    """RuntimeError when the database has no head: its tables were not made."""
    return _head(connection.execute(_HEAD).fetchone())


def _head(found: tuple[Any, ...] | None) -> Head:
    if found is None:
        raise RuntimeError("the head row is missing: run `manage.py sets migrate`")
    return Head(*found)


def connect(url: str, options: str = "") -> psycopg.Connection[Any]:
    """Raises psycopg.OperationalError, within 2 s when nobody answers."""
    return psycopg.connect(url, options=options, **_CONNECT)


class Shipper:
    """From one primary to its standby, over two connections of one thread."""

    def __init__(self, server_set: str) -> None:
        self.server_set = server_set
        self._place: tuple[str, str, int] = ("", "", 0)
        self._primary: psycopg.Connection[Any] | None = None
        self._standby: psycopg.Connection[Any] | None = None

    @property
    def epoch(self) -> int:
        """That of its last pass."""
        return self._place[2]

    def close(self) -> None:
        for connection in (self._primary, self._standby):
            if connection is not None:
                connection.close()
        self._primary = self._standby = None

    def _connections(self) -> tuple[psycopg.Connection[Any], psycopg.Connection[Any]]:
        entry = topology.current.sets[self.server_set]
        place = (databases.url(self.server_set), entry.standby, entry.epoch)
        if not entry.standby:
            raise StandbyAway(f"{self.server_set} has no standby")
        if place != self._place:
            self.close()
            self._place = place
        if self._standby is None or self._standby.closed:
            try:
                self._standby = _of_pass(connect(entry.standby, _PASSING))
            except psycopg.OperationalError as error:
                raise StandbyAway(f"the standby cannot be reached: {error}") from error
        if self._primary is None or self._primary.closed:
            self._primary = _of_pass(connect(place[0], _READING))
        return self._primary, self._standby

    def position(self) -> int:
        """seq up to which the standby has the log. Raises StandbyAway, psycopg.OperationalError."""
        with self._failing():
            standby = self._connections()[1]
            with self._of_standby():
                return self._in_epoch(standby.execute(_HEAD).fetchone()).seq

    def ship(self, upto: int = 0) -> Shipped:
        """One pass; none when the standby has all up to seq `upto` already.

        Raises StandbyAway, and psycopg.OperationalError when it is the primary that fails.
        """
        with self._failing():
            primary, standby = self._connections()
            with self._of_standby(), _begun(standby, f"BEGIN; {_HEAD} FOR UPDATE") as (locked,):
                at = self._in_epoch(locked[0] if locked else None)
                if upto and at.seq >= upto:
                    return Shipped(at.seq, at.seq, 0, False)
                shipped, notes = _ship(primary, standby, at)
            if notes:
                journal.forget(primary, notes)
            return shipped

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()  # whatever is begun there is to go
            raise

    @contextmanager
    def _of_standby(self) -> Iterator[None]:
        """An error is the standby's, unless it is the primary's connection that broke."""
        try:
            yield
        except psycopg.Error as error:
            if self._primary is not None and self._primary.broken:
                raise
            if isinstance(error, psycopg.errors.LockNotAvailable) and self._standby is not None:
                self._standby.rollback()
                databases.end_still(self._standby, STILL)
            raise StandbyAway(f"the standby fails: {error}") from error

    def _in_epoch(self, found: tuple[Any, ...] | None) -> Head:
        epoch = self._place[2]
        if found is None or found[3] != epoch:
            raise StandbyAway(f"the standby is not in epoch {epoch}: it has to follow first")
        return Head(*found)


def _of_pass(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Several statements go in one round trip."""
    connection.cursor_factory = psycopg.ClientCursor
    return connection


@contextmanager
def _begun(connection: psycopg.Connection[Any], queries: str) -> Iterator[list[list[tuple[Any, ...]]]]:
    """A transaction from its BEGIN on: what these queries find. It is rolled back unless it has ended."""
    cursor = connection.execute(queries)  # type: ignore[arg-type]  # of ours
    found = []
    while cursor.nextset():
        found.append(cursor.fetchall())
    yield found
    connection.rollback()


def _ship(
    primary: psycopg.Connection[Any], standby: psycopg.Connection[Any], at: Head
) -> tuple[Shipped, list[int]]:
    """Ends the standby's transaction."""
    noted = journal.NOTED.format(near=at.seq + PAGE, limit=NOTES)
    with _begun(primary, f"BEGIN ISOLATION LEVEL REPEATABLE READ; {_HEAD}; {noted}") as (heads, found):
        head = _head(heads[0] if heads else None)
        if head.epoch != at.epoch or head.seq < at.seq:
            raise StandbyAway(f"the standby, at {at.seq}, is not one of this primary, at {head.seq}")
        upto, near = head.seq, head.seq - at.seq <= PAGE
        if not near:
            query = """SELECT max(seq), count(*) FROM (
                         SELECT seq FROM messaging_message WHERE seq > %s ORDER BY seq LIMIT %s) page"""
            ((last, number),) = primary.execute(query, (at.seq, PAGE)).fetchall()
            upto = last if number == PAGE else head.seq
        rows = _copy_log(primary, standby, at.seq, upto) if upto > at.seq else 0
        notes, changed = journal.by_table(found)
        for name, keys in changed.items():
            if (table := journal.tables().get(name)) is not None:
                copy_rows(primary, standby, table, list(keys))
    if near:
        query = "UPDATE messaging_head SET seq = %s, time = %s, slots = %s; COMMIT"
        standby.execute(query, (head.seq, head.time, head.slots))
    else:
        query = """UPDATE messaging_head SET seq = %(upto)s, time = GREATEST(time, (
                     SELECT max(time) FROM messaging_message WHERE seq > %(after)s AND seq <= %(upto)s));
                   COMMIT"""
        standby.execute(query, {"upto": upto, "after": at.seq})
    return Shipped(upto, head.seq, rows, near and len(notes) < NOTES), notes


def _copy_log(
    primary: psycopg.Connection[Any], standby: psycopg.Connection[Any], after: int, upto: int
) -> int:
    query = "SELECT {columns} FROM {table} WHERE seq > %s AND seq <= %s ORDER BY seq"
    return _copy(primary, standby, journal.log_table(), query, (after, upto))


def copy_rows(
    source: psycopg.Connection[Any], destination: psycopg.Connection[Any], table: Table, keys: Sequence[str]
) -> int:
    """Have the rows of these keys in the destination as they are in the source, gone ones too."""
    query = "DELETE FROM {table} WHERE {key} = ANY(%s::text[]::{type}[])"
    destination.execute(_text(query, table), (list(keys),))
    query = "SELECT {columns} FROM {table} WHERE {key} = ANY(%s::text[]::{type}[]) ORDER BY {key}"
    return _copy(source, destination, table, query, (list(keys),))


def _copy(
    source: psycopg.Connection[Any],
    destination: psycopg.Connection[Any],
    table: Table,
    query: LiteralString,
    parameters: Sequence[Any],
) -> int:
    """Rows go from socket to socket as they are; nothing of them is read here. Their number."""
    out = _text(f"COPY ({query}) TO STDOUT (FORMAT BINARY)", table)
    into = _text("COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)", table)
    with source.cursor() as reader, destination.cursor() as writer:
        with reader.copy(out, parameters) as rows, writer.copy(into) as copied:
            for block in rows:
                copied.write(block)
        return writer.rowcount


@cache
def _text(query: LiteralString, table: Table) -> sql.SQL:
    """The query for this table; there are few, and passes are many."""
    return sql.SQL(sql.SQL(query).format(**table.parts).as_string())  # type: ignore[arg-type]  # of ours


# --- by worker


_of_thread = threading.local()


def of(server_set: str) -> Shipper:
    """This thread's."""
    shippers: dict[str, Shipper] = _of_thread.__dict__
    if server_set not in shippers:
        shippers[server_set] = Shipper(server_set)
    return shippers[server_set]


def cover(server_set: str, upto: int) -> bool:
    """Return when messages up to seq `upto` may be acknowledged.

    False: they may not. The SET has failed over since, and its new primary need not have them. Raises
    StandbyAway when the standby has to have them and does not for longer than the SET's patience.
    """
    began = time.monotonic()
    while True:
        entry = topology.current.sets.get(server_set)
        if entry is not None and upto < first_seq(entry.epoch):
            return False
        if entry is None or not entry.on_standby:
            return True
        try:
            while of(server_set).ship(upto).position < upto:
                pass
        except (StandbyAway, psycopg.OperationalError) as error:
            if time.monotonic() - began >= entry.patience:
                if not entry.degrades:
                    raise StandbyAway(str(error)) from error
                degrade(server_set, error)
            else:
                time.sleep(RETRY_PAUSE)
        else:
            return upto >= first_seq(of(server_set).epoch)


def covered(server_set: str) -> int | None:
    """seq up to which messages may be shown; None: up to the head. Raises StandbyAway."""
    entry = topology.current.sets.get(server_set)
    if entry is None or not entry.on_standby:
        return None
    try:
        return of(server_set).position()
    except psycopg.OperationalError as error:
        raise StandbyAway(str(error)) from error


def degrade(server_set: str, why: Exception) -> None:
    """Acknowledge without the standby from now on, until it has caught up.

    StandbyAway when that cannot be noted: the control database is away too.
    """
    try:
        its = ServerSet.objects.filter(name=server_set, degraded_at=None)
        changed = its.update(degraded_at=timezone.now())
    except DatabaseError as error:
        raise StandbyAway(f"{why}; {error}") from error
    if changed:
        logger.error("%s: messages are acknowledged without its standby: %s", server_set, why)
        reason = f"messages are acknowledged without it: {' '.join(str(why).split())}"
        HealthEvent.tell("standby", server_set, HealthEvent.Finding.DOWN, reason)
    topology.renew()


def restore(server_set: str) -> None:
    """The standby has caught up: messages wait for it again."""
    if ServerSet.objects.filter(name=server_set).exclude(degraded_at=None).update(degraded_at=None):
        logger.warning("%s: the standby has caught up, messages wait for it again", server_set)
        HealthEvent.tell("standby", server_set, HealthEvent.Finding.RECOVERED, "it has caught up")
