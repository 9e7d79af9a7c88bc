"""A SET's log: append in commit order, read past a cursor.

All writers append under the lock on the head row, so `seq` order is commit order and a reader of
`seq > cursor` never misses a row that commits late. Both rise with the head row in one transaction: a reader
that sees head.seq sees every row up to it.

The head also says which slots the SET takes messages of. It is asked under the same lock, so a slot that
moves to another SET has its last message here before its first one there, whatever old snapshots say.

One `Log` belongs to one thread. Times are epoch ms.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, LiteralString, NamedTuple, TypeVar

import msgpack
import psycopg
from django.db import DatabaseError

from apps.messaging.models import (
    CANARY,
    CHATROOM,
    DIRECTED,
    GROUP_CHANGE,
    GROUPS,
    HELD,
    MENDED,
    MOVED,
    PRIVATE,
    READ_TIME,
    RECALLED,
    REPAIRED,
    REWORDED,
    SLOT_GONE,
    SYSTEM,
    TO_SELF,
    UNSEEN,
)
from apps.messaging.standby import shipping
from apps.routing import databases, metrics, placement
from apps.routing.envelope import Row
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.messages import RECALL, recalled
from apps.routing.protocol.status import AckStatus
from apps.routing.topology import slot, topology

logger = logging.getLogger(__name__)
T = TypeVar("T")

SEEN_AHEAD = 60_000  # ms that the clock of another SET may be ahead of this one's
RETRY_PAUSE = 0.1  # s between tries while the database is away
STILL = 1.0  # s of nothing after which a writer that others wait for loses the head's lock
NO_SLOT = -1  # of nobody: a canary's
_REPLACED = int(AckStatus.SENSITIVE_WORD_REPLACED)
_OF_MANY = frozenset((*GROUPS, GROUP_CHANGE))
# What a Row is made of, in the order of `row`.
ROW_COLUMNS = "seq, uid, time, sent, tenant, kind, sender, target, flags, inbox, sendbox, method, up"
COLUMNS = (
    "seq, uid, time, sent, tenant, kind, sender, target, conversation, flags, inbox, sendbox, export, reach,"
    " target_slot, sender_slot, method, up"
)
_COPY = f"COPY messaging_message ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
TYPES = (
    "int8", "varchar", "int8", "int8", "int8", "int2", "varchar", "varchar", "int8", "int2", "bool", "bool",
    "bool", "bytea", "int2", "int2", "varchar", "bytea",
)  # fmt: skip
_ADVANCE = """
    UPDATE messaging_head SET seq = seq + %s, time = GREATEST(time + 1, %s) + %s
    WHERE id = 1 AND epoch = current_setting('imcloud.epoch')::int8 RETURNING seq, time, slots"""
_LOCK = """
    SELECT slots FROM messaging_head
    WHERE id = 1 AND epoch = current_setting('imcloud.epoch')::int8 FOR UPDATE"""


class Unavailable(Exception):
    """The SET's database did not answer in time. Whether the batch was stored is not known: try it again."""


class Fenced(psycopg.OperationalError):
    """The head is of another epoch than this writer: the SET's log is in another database by now."""


class Elsewhere(Exception):
    """Slots of these entries, by index, belong to another SET."""

    def __init__(self, indexes: frozenset[int]) -> None:
        super().__init__(f"{len(indexes)} messages belong to another SET")
        self.indexes = indexes


class Refused(Exception):
    """An effect, which has changed nothing, refuses its entry with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Denied(Exception):
    """Effects of these entries, by index, have refused them with a status."""

    def __init__(self, statuses: dict[int, int]) -> None:
        super().__init__(f"{len(statuses)} messages are refused")
        self.statuses = statuses


class Place(NamedTuple):
    """Where an entry is going to be, in a SET that takes the messages of these slots."""

    seq: int
    time: int  # ms
    slots: bytes


class Content(NamedTuple):
    """What an effect has made of its entry: it has the head's lock, and whoever made the entry had not."""

    up: bytes
    reach: bytes


Effect = Callable[[psycopg.Connection[Any], Place], Content | None]


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
    hidden: bool = False  # the sender's devices are not shown it
    copy: bool = False  # of a message that is in the log of another SET …
    sent: int = 0  # … where this is its time, in ms
    reach: bytes | None = None  # the slots of those whom a change of a group concerns
    effect: Effect | None = None  # what changes with it, in its transaction

    @property
    def of_many(self) -> bool:
        """It is a group's, or for everybody: whose it is does not hang on its target's slot."""
        return self.kind in _OF_MANY or (self.kind == SYSTEM and not self.target)


def now() -> int:
    """ms"""
    return time.time_ns() // 1_000_000


@functools.lru_cache(maxsize=1 << 15)
def conversation(tenant: int, kind: int, one: str, other: str) -> int:
    """A signed 64-bit hash of a conversation; a private one is the same from both sides."""
    parts = sorted((one, other)) if kind in (PRIVATE, SYSTEM) else [other]
    return placement.digest(str(tenant), str(kind), *parts) - (1 << 63)


def mask(slots: bytes) -> int:
    """A head's or a group's bits as one number: bit n is slot n."""
    return int.from_bytes(slots, "little")


def owns(slots: bytes, number: int) -> bool:
    """Whether the head's bits say that the SET takes this slot's messages."""
    return number == NO_SLOT or bool(slots[number >> 3] & 1 << (number & 7))


def row(
    seq: int,
    uid: str,
    at: int,
    sent: int,
    tenant: int,
    kind: int,
    sender: str,
    target: str,
    flags: int,
    inbox: bool,
    sendbox: bool,
    method: str,
    up: bytes,
) -> Row:
    """A stored message (ROW_COLUMNS) as gateways show it."""
    shown = not flags & MOVED
    to: tuple[str, ...] = ()
    gone = ""
    if flags & (RECALLED | REPAIRED):
        # What is left of it is its place in the log, and that its sender is to have his acknowledgement. What
        # came from an old primary is pulled: some devices have been shown it there.
        kind, shown = CANARY, False
    if flags & TO_SELF:
        to = (sender,) if kind in GROUPS else ()  # whom a group's hub does not show it: he has sent it
    elif kind in (PRIVATE, SYSTEM) and inbox and shown and target and target != sender:
        to = (target,)
    elif kind == GROUP_CHANGE:
        to = tuple(msgpack.unpackb(up))
    elif kind in GROUPS and flags & DIRECTED:
        to = tuple(UpStreamMessage.FromString(up).toUserIds)
    elif kind == CHATROOM and inbox and shown:
        to = () if flags & HELD else (target,)
        if method == RECALL and (found := recalled(up)):
            gone = found.uid
    sync, status = sendbox and shown, _REPLACED if flags & REWORDED else 0
    return Row(seq, uid, at, sent, tenant, kind, sender, target, to, sync, method, up, gone, status)


def offsets(entries: Sequence[Entry]) -> list[int]:
    """ms after the batch's first time, so that times increase strictly within one inbox.

    A message of many may be in anybody's: it has a time of its own, and all that follow have later ones.
    """
    latest: dict[tuple[int, str], int] = {}
    floor = top = -1
    found = []
    for entry in entries:
        if entry.of_many:
            floor = offset = top + 1
        else:
            one, other = (entry.tenant, entry.sender), (entry.tenant, entry.target)
            offset = max(floor, latest.get(one, -1), latest.get(other, -1)) + 1
            latest[one] = latest[other] = offset
        top = max(top, offset)
        found.append(offset)
    return found


@dataclass(frozen=True, slots=True)
class Appended:
    """What a batch became: the log's range (before, upto] that it took, and its rows for the gateways."""

    before: int
    upto: int
    rows: list[Row]
    repeated: dict[str, tuple[int, int]]  # uid -> (seq, time) of those that an earlier try had stored
    exported: int = 0  # the mask of the slots whose SETs are to read these rows


class Began(NamedTuple):
    """The begin of an epoch, in ms. All zero: it is the first one."""

    before: int = 0  # the newest message of the log that it went on from
    time: int = 0  # all of its own are later


class Log:
    """The log of one SET over one connection, opened at first use and again after it broke."""

    def __init__(self, server_set: str) -> None:
        self.server_set = server_set
        self._connection: psycopg.Connection[Any] | None = None
        self._place = ("", 0)  # the URL and the epoch of the connection
        self._server = ""  # when the server began that it was to
        self._epoch = Began()
        metrics.APPEND_FAILURES.of(server_set)

    def run(self, work: Callable[[psycopg.Connection[Any]], T], *, within: float) -> T:
        """Run `work` in a transaction; again when the connection breaks, for `within` seconds at most.

        `work` must be safe to repeat: a commit whose answer was lost may have taken place.
        """

        def in_transaction(connection: psycopg.Connection[Any]) -> T:
            with connection.transaction():
                return work(connection)

        return self._repeat(in_transaction, within)

    def _repeat(self, work: Callable[[psycopg.Connection[Any]], T], within: float) -> T:
        deadline = time.monotonic() + within
        while True:
            try:
                return work(self._connect())
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self.close()
                if isinstance(error, psycopg.errors.LockNotAvailable):
                    self._end_still()
                if time.monotonic() >= deadline:
                    raise Unavailable(f"{self.server_set}: {error}") from error
                logger.warning("%s: database failed, trying again: %s", self.server_set, str(error).strip())
                time.sleep(RETRY_PAUSE)

    def _connect(self) -> psycopg.Connection[Any]:
        place = databases.place(self.server_set)
        if place != self._place:
            self.close()
        if self._connection is None or self._connection.closed:
            self._connection = self._open(place)
            self._place = place
        return self._connection

    def _open(self, place: tuple[str, int]) -> psycopg.Connection[Any]:
        url, epoch = place
        opened = psycopg.connect(
            url,
            connect_timeout=2,
            autocommit=True,
            prepare_threshold=0,
            # A worker that is stopped within a transaction would keep the head's lock from all others.
            options=f"-c statement_timeout=10000 -c idle_in_transaction_session_timeout={STILL * 1000:.0f}"
            # PostgreSQL would compile the reads of a log that it has no statistics of, for 10 ms each.
            f" -c lock_timeout=2000 -c jit=off -c imcloud.epoch={epoch}",
            # A peer that vanished without a word is noticed within 5 s.
            keepalives_idle=2,
            keepalives_interval=1,
            keepalives_count=3,
            tcp_user_timeout=5000,
        )
        ((server,),) = opened.execute("SELECT pg_postmaster_start_time()::text").fetchall()
        if databases.has_standby(self.server_set) and self._server not in ("", server):
            self._confirm(opened, place)
        self._server = server
        self._epoch = Began()
        if epoch > 1:
            query = "SELECT before, time FROM messaging_epoch WHERE number = %s"
            if found := opened.execute(query, (epoch,)).fetchone():
                self._epoch = Began(*found)
        return opened

    def began(self) -> Began:
        """When this epoch did. Raises Unavailable."""
        place = databases.place(self.server_set)
        if place[1] == 1 or place == self._place:
            return self._epoch if place[1] > 1 else Began()
        return self.run(lambda connection: self._epoch, within=2.0)

    def _confirm(self, opened: psycopg.Connection[Any], place: tuple[str, int]) -> None:
        """A server that was away is written to only when the topology, read now, says that it is the one."""
        try:
            topology.renew()
        except DatabaseError as error:
            opened.close()
            raise Fenced(f"the server has begun anew; where the log is cannot be asked: {error}") from error
        if databases.place(self.server_set) != place:
            opened.close()
            raise Fenced("the server has begun anew, and is the primary no more")

    def _end_still(self) -> None:
        with suppress(psycopg.OperationalError, psycopg.InterfaceError):
            databases.end_still(self._connect(), STILL)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def append(self, entries: Sequence[Entry], *, within: float) -> Appended:
        """Store the entries in this order, all or none; they are committed when this returns.

        Appending an entry twice stores it once and gives its first place. Raises Elsewhere when the target's
        slot of any is not this SET's, Denied when any is refused by its effect; then nothing is stored.
        """
        began = time.monotonic()
        try:
            appended = self._append(entries, within)
            while not shipping.cover(self.server_set, appended.upto):  # the SET has another log by now
                appended = self._append(entries, within)
        except shipping.StandbyAway as error:
            metrics.APPEND_FAILURES.add(1, self.server_set)
            raise Unavailable(f"{self.server_set}: {error}") from error
        except Unavailable:
            metrics.APPEND_FAILURES.add(1, self.server_set)
            raise
        metrics.APPEND.observe(time.monotonic() - began, self.server_set)
        metrics.APPEND_ROWS.observe(len(entries), self.server_set)
        metrics.REPEATED.add(len(appended.repeated), self.server_set)
        return appended

    def _append(self, entries: Sequence[Entry], within: float) -> Appended:
        try:
            return self.run(lambda connection: append(connection, entries, look=False), within=within)
        except psycopg.errors.UniqueViolation:
            return self.run(lambda connection: append(connection, entries, look=True), within=within)

    def unfit(self, entries: Sequence[Entry], *, within: float) -> frozenset[int]:
        """Those, by index, that the database cannot hold. Each is tried, and taken back."""
        found = set()
        for i, entry in enumerate(entries):
            try:
                self.run(lambda connection, e=entry: _try(connection, e), within=within)  # type: ignore[misc]
            except psycopg.DataError as error:
                what = (self.server_set, entry.uid, entry.tenant)
                logger.error("%s: message %s of tenant %d cannot be stored: %s", *what, error)
                found.add(i)
        return frozenset(found)

    def places(self, uids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(seq, time) of those of the uids that are stored."""
        return self.run(lambda connection: _places(connection, uids, copy=False), within=2.0)

    def read(
        self, sql: LiteralString, parameters: Sequence[Any] | Mapping[str, Any], *, within: float = 2.0
    ) -> list[Any]:
        """All rows of a query, which is a statement by itself: BEGIN and COMMIT would be round trips."""
        return self._repeat(lambda connection: connection.execute(sql, parameters).fetchall(), within)


def _try(connection: psycopg.Connection[Any], entry: Entry) -> None:
    with connection.transaction(force_rollback=True):
        append(connection, [entry], look=True)


def _places(
    connection: psycopg.Connection[Any], uids: Sequence[str], *, copy: bool
) -> dict[str, tuple[int, int]]:
    which = "NOT inbox" if copy else "inbox"
    sql = f"SELECT uid, seq, time FROM messaging_message WHERE uid = ANY(%s) AND {which}"
    return {uid: (seq, at) for uid, seq, at in connection.execute(sql, (list(uids),))}


def lock_head(connection: psycopg.Connection[Any]) -> bytes:
    """Have the head's lock until the transaction ends; the slots that the SET takes messages of."""
    found = connection.execute(_LOCK).fetchone()
    if found is None:
        raise Fenced("the head is of another epoch")
    slots: bytes = found[0]
    return slots


def append(connection: psycopg.Connection[Any], entries: Sequence[Entry], *, look: bool) -> Appended:
    """Store the entries within a transaction; `look`: some of them may be stored already.

    All of them are copies, or none is.
    """
    known: dict[str, tuple[int, int]] = {}
    if look:
        # The head's lock comes first: no other writer can store one of these between the look and the copy.
        lock_head(connection)
        known = _places(connection, [entry.uid for entry in entries], copy=entries[0].copy)
    new = [entry for entry in entries if entry.uid not in known]
    after = offsets(new)
    advanced = connection.execute(_ADVANCE, (len(new), _floor(new, after), max(after, default=0))).fetchone()
    if advanced is None:
        raise Fenced("the head is of another epoch")
    upto, last, slots = advanced
    first = last - max(after, default=0)
    homes = [_homes(entry) for entry in new]
    elsewhere = frozenset(
        entry.uid for entry, its in zip(new, homes, strict=True) if not _belongs(entry, its, slots)
    )
    if elsewhere:
        raise Elsewhere(frozenset(i for i, entry in enumerate(entries) if entry.uid in elsewhere))
    places = [Place(seq, first + offset, slots) for seq, offset in enumerate(after, upto - len(new) + 1)]
    new, reach, refused = _take_effect(connection, new, places)
    if refused:
        raise Denied({i: refused[entry.uid] for i, entry in enumerate(entries) if entry.uid in refused})
    rows: list[Row] = []
    exported = 0
    with connection.cursor().copy(_COPY) as copy:
        copy.set_types(TYPES)
        for e, (seq, at, _), (of_target, of_sender) in zip(new, places, homes, strict=True):
            inbox, unseen = not e.copy, bool(e.flags & UNSEEN)
            shown = not (e.hidden or unseen) and (e.kind > CANARY or e.kind == READ_TIME)
            sendbox = shown and owns(slots, of_sender)
            its_reach = None
            if e.of_many:
                its_reach = None if e.copy else e.reach or reach.get((e.tenant, e.target))
                far = mask(its_reach) & ~mask(slots) if its_reach else 0
                of_target = NO_SLOT  # its messages are its members', wherever its slot goes
            else:
                far = 1 << of_sender if (shown or unseen) and not owns(slots, of_sender) else 0
            exported |= far
            where = conversation(e.tenant, e.kind, e.sender, e.target)
            head = (seq, e.uid, at, e.sent or at, e.tenant, e.kind, e.sender, e.target)
            sides = (inbox, sendbox, far > 0, its_reach, of_target, of_sender)
            copy.write_row((*head, where, e.flags, *sides, e.method, e.up))
            rows.append(row(*head, e.flags, inbox, sendbox, e.method, e.up))
    return Appended(upto - len(new), upto, rows, known, exported)


def _floor(entries: Sequence[Entry], after: Sequence[int]) -> int:
    """ms that the time of the first entry must not be before."""
    if entries and entries[0].copy:
        # In a SET where nothing was stored since, they keep their times.
        return max(entry.sent - offset for entry, offset in zip(entries, after, strict=True))
    # What a sender has seen came from some SET's log; a clock far ahead must not drag this one along.
    seen = max((entry.seen for entry in entries), default=0)
    return max(now(), min(seen, now() + SEEN_AHEAD) + 1)


def _homes(entry: Entry) -> tuple[int, int]:
    """The slots of target and sender."""
    if entry.kind in (CANARY, SLOT_GONE, MENDED):
        return NO_SLOT, NO_SLOT
    app = str(entry.tenant)
    if entry.kind == SYSTEM and not entry.target:
        return NO_SLOT, slot(app, entry.sender)
    return slot(app, entry.target), slot(app, entry.sender)


def _belongs(entry: Entry, homes: tuple[int, int], slots: bytes) -> bool:
    """Whether the SET of these slots is to take it. A copy of many's is for whoever of them is here."""
    of_target, of_sender = homes
    if entry.copy:
        return entry.of_many or owns(slots, of_sender)
    return owns(slots, of_target)


def _take_effect(
    connection: psycopg.Connection[Any], entries: Sequence[Entry], places: Sequence[Place]
) -> tuple[list[Entry], dict[tuple[int, str], bytes], dict[str, int]]:
    """Have the entries' effects: the entries with what these made of them, the slots that each group reaches,
    before them or after, and the status of each uid that is refused.
    """
    groups = {(e.tenant, e.target) for e in entries if e.kind in GROUPS and not e.copy}
    reach = _reach(connection, groups)
    made: list[Entry] = []
    refused: dict[str, int] = {}
    for entry, place in zip(entries, places, strict=True):
        content = None
        if entry.effect is not None:
            try:
                content = entry.effect(connection, place)
            except Refused as refusal:
                refused[entry.uid] = refusal.status
        made.append(replace(entry, up=content.up, reach=content.reach) if content else entry)
    if groups and any(entry.effect is not None for entry in entries):
        for key, slots in _reach(connection, groups).items():
            before = reach.get(key, b"")
            reach[key] = (mask(before) | mask(slots)).to_bytes(len(slots), "little")
    return made, reach, refused


def _reach(
    connection: psycopg.Connection[Any], groups: Collection[tuple[int, str]]
) -> dict[tuple[int, str], bytes]:
    if not groups:
        return {}
    tenants, names = zip(*groups, strict=True)
    sql = """SELECT g.tenant, g."group", g.reach FROM messaging_group g
             JOIN unnest(%s::int8[], %s::varchar[]) AS w(tenant, name)
             ON g.tenant = w.tenant AND g."group" = w.name"""
    found = connection.execute(sql, (list(tenants), list(names)))
    return {(tenant, name): slots for tenant, name, slots in found}


_of_thread = threading.local()


def of(server_set: str) -> Log:
    """This thread's log of a SET: a Celery solo worker is one thread, the server API has a few."""
    logs: dict[str, Log] = _of_thread.__dict__
    if server_set not in logs:
        logs[server_set] = Log(server_set)
    return logs[server_set]
