"""A SET's log: append in commit order, read past a cursor.

All writers append under the lock on the head row, so `seq` order is commit order and a reader of
`seq > cursor` never misses a row that commits late. Both rise with the head row in one transaction: a reader
that sees head.seq sees every row up to it.

One `Log` belongs to one thread. Times are epoch ms.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, TypeVar

import psycopg
from django.conf import settings

from apps.messaging.models import CANARY, HIDDEN_FROM_SENDER, PRIVATE
from apps.routing import metrics, placement
from apps.routing.envelope import Row
from apps.routing.topology import set_database

logger = logging.getLogger(__name__)
T = TypeVar("T")

SEEN_AHEAD = 60_000  # ms that the clock of another SET may be ahead of this one's
RETRY_PAUSE = 0.1  # s between tries while the database is away
_COLUMNS = "seq, uid, time, tenant, kind, sender, target, conversation, flags, method, up"
_COPY = f"COPY messaging_message ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_TYPES = ("int8", "varchar", "int8", "int8", "int2", "varchar", "varchar", "int8", "int2", "varchar", "bytea")
_ADVANCE = """
    UPDATE messaging_head SET seq = seq + %s, time = GREATEST(time + 1, %s) + %s
    WHERE id = 1 RETURNING seq, time"""


class Unavailable(Exception):
    """The SET's database did not answer in time. Whether the batch was stored is not known: try it again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message on its way into the log. `seen` is the highest time that its sender has been shown."""

    uid: str
    tenant: int
    kind: int
    sender: str
    target: str
    flags: int
    method: str
    up: bytes
    seen: int = 0

    @property
    def inboxes(self) -> tuple[tuple[int, str], ...]:
        """Whose messages this one must be later than: times increase strictly within one inbox."""
        return ((self.tenant, self.sender), (self.tenant, self.target))


def conversation(tenant: int, kind: int, one: str, other: str) -> int:
    """A signed 64-bit hash of a conversation; a private one is the same from both sides."""
    parts = sorted((one, other)) if kind == PRIVATE else [other]
    return placement.digest(str(tenant), str(kind), *parts) - (1 << 63)


def row(seq: int, at: int, entry: Entry) -> Row:
    """A stored message as gateways show it."""
    return Row(
        seq,
        entry.uid,
        at,
        entry.tenant,
        entry.kind,
        entry.sender,
        entry.target,
        (entry.target,) if entry.kind == PRIVATE and entry.target != entry.sender else (),
        entry.kind != CANARY and not entry.flags & HIDDEN_FROM_SENDER,
        entry.method,
        entry.up,
    )


def offsets(entries: Sequence[Entry]) -> list[int]:
    """ms after the batch's first time, so that no two messages of one inbox share a time."""
    latest: dict[tuple[int, str], int] = {}
    found = []
    for entry in entries:
        offset = max(latest.get(inbox, -1) for inbox in entry.inboxes) + 1
        for inbox in entry.inboxes:
            latest[inbox] = offset
        found.append(offset)
    return found


@dataclass(frozen=True, slots=True)
class Appended:
    """What a batch became: the log's range (before, upto] that it took, and each entry's (seq, time)."""

    before: int
    upto: int
    places: list[tuple[int, int]]
    repeated: frozenset[int]  # indexes of entries that an earlier try had stored


class Log:
    """The log of one SET over one connection, opened at first use and again after it broke."""

    def __init__(self, server_set: str) -> None:
        self.server_set = server_set
        self._connection: psycopg.Connection[Any] | None = None
        metrics.APPEND_FAILURES.of(server_set)

    def run(self, work: Callable[[psycopg.Connection[Any]], T], *, within: float) -> T:
        """Run `work` in a transaction; again when the connection breaks, for `within` seconds at most.

        `work` must be safe to repeat: a commit whose answer was lost may have taken place.
        """
        deadline = time.monotonic() + within
        while True:
            try:
                with self._connect().transaction():
                    return work(self._connect())
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self.close()
                if time.monotonic() >= deadline:
                    raise Unavailable(f"{self.server_set}: {error}") from error
                logger.warning("%s: database failed, trying again: %s", self.server_set, str(error).strip())
                time.sleep(RETRY_PAUSE)

    def _connect(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            database = settings.DATABASES[set_database(self.server_set)]
            self._connection = psycopg.connect(
                dbname=database["NAME"],
                user=database["USER"],
                password=database["PASSWORD"],
                host=database["HOST"],
                port=database["PORT"],
                connect_timeout=2,
                autocommit=True,
                prepare_threshold=0,
                options="-c statement_timeout=10000",
                # A peer that vanished without a word is noticed within 5 s.
                keepalives_idle=2,
                keepalives_interval=1,
                keepalives_count=3,
                tcp_user_timeout=5000,
            )
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def append(self, entries: Sequence[Entry], *, within: float) -> Appended:
        """Store the entries in this order and return their places once they are committed.

        Appending an entry twice stores it once and gives its first place.
        """
        began = time.monotonic()
        try:
            appended = self._append(entries, within)
        except Unavailable:
            metrics.APPEND_FAILURES.add(1, self.server_set)
            raise
        metrics.APPEND.observe(time.monotonic() - began, self.server_set)
        metrics.APPEND_ROWS.observe(len(entries), self.server_set)
        metrics.REPEATED.add(len(appended.repeated), self.server_set)
        return appended

    def _append(self, entries: Sequence[Entry], within: float) -> Appended:
        try:
            return self.run(lambda connection: _append(connection, entries, look=False), within=within)
        except psycopg.errors.UniqueViolation:
            return self.run(lambda connection: _append(connection, entries, look=True), within=within)

    def places(self, uids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(seq, time) of those of the uids that are stored."""
        return self.run(lambda connection: _places(connection, uids), within=2.0)

    def read(
        self, sql: LiteralString, parameters: Sequence[Any] | Mapping[str, Any], *, within: float = 2.0
    ) -> list[Any]:
        """All rows of a query."""
        return self.run(lambda connection: connection.execute(sql, parameters).fetchall(), within=within)


def _places(connection: psycopg.Connection[Any], uids: Sequence[str]) -> dict[str, tuple[int, int]]:
    sql = "SELECT uid, seq, time FROM messaging_message WHERE uid = ANY(%s)"
    return {uid: (seq, at) for uid, seq, at in connection.execute(sql, (list(uids),))}


def _append(connection: psycopg.Connection[Any], entries: Sequence[Entry], *, look: bool) -> Appended:
    known: dict[str, tuple[int, int]] = {}
    if look:
        # The head's lock comes first: no other writer can store one of these between the look and the copy.
        connection.execute("SELECT 1 FROM messaging_head WHERE id = 1 FOR UPDATE")
        known = _places(connection, [entry.uid for entry in entries])
    new = [entry for entry in entries if entry.uid not in known]
    after = offsets(new)
    now = time.time_ns() // 1_000_000
    # What a sender has seen came from some SET's log; a clock far ahead must not drag this one along.
    seen = min(max((entry.seen for entry in new), default=0), now + SEEN_AHEAD)
    floor = max(now, seen + 1)
    head = connection.execute(_ADVANCE, (len(new), floor, max(after, default=0))).fetchone()
    if head is None:
        raise RuntimeError("the SET's head row is missing: run `manage.py migrate` on its database")
    upto, first = head[0], head[1] - max(after, default=0)
    places = dict(known)
    with connection.cursor().copy(_COPY) as copy:
        copy.set_types(_TYPES)
        for seq, (entry, offset) in enumerate(zip(new, after, strict=True), upto - len(new) + 1):
            places[entry.uid] = (seq, first + offset)
            copy.write_row(_columns(entry, seq, first + offset))
    repeated = frozenset(i for i, entry in enumerate(entries) if entry.uid in known)
    return Appended(upto - len(new), upto, [places[entry.uid] for entry in entries], repeated)


def _columns(entry: Entry, seq: int, at: int) -> tuple[Any, ...]:
    where = conversation(entry.tenant, entry.kind, entry.sender, entry.target)
    return (
        seq,
        entry.uid,
        at,
        entry.tenant,
        entry.kind,
        entry.sender,
        entry.target,
        where,
        entry.flags,
        entry.method,
        entry.up,
    )


_LOGS: dict[str, Log] = {}


def of(server_set: str) -> Log:
    """This worker's log of a SET: a Celery solo worker is one thread, so one connection serves it."""
    if server_set not in _LOGS:
        _LOGS[server_set] = Log(server_set)
    return _LOGS[server_set]


def blocked_pairs(server_set: str, pairs: Iterable[tuple[int, str, str]]) -> set[tuple[int, str, str]]:
    """Those of the (tenant, owner, other) triples in which the owner has blocked the other."""
    wanted = list(set(pairs))
    if not wanted:
        return set()
    tenants, owners, others = zip(*wanted, strict=True)
    rows = of(server_set).read(
        """SELECT b.tenant_id, b.owner, b.blocked FROM accounts_blockentry b
           JOIN unnest(%s::int8[], %s::varchar[], %s::varchar[]) AS w(tenant, owner, blocked)
           ON b.tenant_id = w.tenant AND b.owner = w.owner AND b.blocked = w.blocked""",
        (list(tenants), list(owners), list(others)),
    )
    return set(rows)
