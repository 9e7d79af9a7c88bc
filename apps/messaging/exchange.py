"""Data exchange between SETs: each SET reads in the others' logs what its own users need.

A message is appended in its receiver's home SET. When its sender's home is another SET, the row is marked
`export`, and the sender's SET takes a copy of it for the sender's other devices and history: it reads the
origin's marked rows past its cursor and appends them under their uids, with the cursor in the same
transaction. It is woken right after the origin's commit; what a lost wake-up leaves, the timed run takes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from celery import current_app
from django.core.exceptions import ValidationError

from apps.messaging import changes, groups, log
from apps.messaging.log import Appended, Entry, Log, Unavailable
from apps.messaging.models import CHANGES, GROUPS, SYSTEM, TO_SELF, UNSEEN
from apps.routing import hints, metrics, placement
from apps.routing.envelope import Hint, feed_group, hint_message
from apps.routing.models import ServerSet
from apps.routing.topology import topology

logger = logging.getLogger(__name__)

EXCHANGE = "messaging.exchange"
PAGE = 500  # messages a transaction
PAGE_BYTES = 1 << 20  # of messages a transaction; it ends with the one that passes it
WAKE_EXPIRES = 5.0  # s that a wake-up is worth something: the timed run comes every second
IDLE_ROWS = 10_000  # of others that a cursor leaves behind it before it is moved for their sake alone
TIMES_KEPT = 7 * 24 * 3_600_000  # ms that an InboxTime is kept: so long is pulled what was sent to everybody
END = (1 << 63) - 1  # of a gap whose end is not known yet: a seq that no log reaches

_WAITING = """
    SELECT count(*), min(time) FROM messaging_message
    WHERE export AND seq > %s AND (sender_slot = ANY(%s) OR reach IS NOT NULL)"""
_CURSOR = f"""
    SELECT h.slots, COALESCE(c.seq, 0), EXISTS (SELECT FROM messaging_exchangegap WHERE upto < {END})
    FROM messaging_head h LEFT JOIN messaging_exchangecursor c ON c.origin = %s"""
_MOVE_CURSOR = """
    INSERT INTO messaging_exchangecursor (origin, seq) VALUES (%s, %s)
    ON CONFLICT (origin) DO UPDATE SET seq = EXCLUDED.seq"""
# The origin's head, and a page of what it has for these slots.
_EXPORTS = f"""
    SELECT h.seq, m.* FROM messaging_head h LEFT JOIN LATERAL (
      SELECT seq, uid, tenant, kind, sender, target, flags, method, up, sent, reach FROM (
        SELECT *, sum(octet_length(up)) OVER (ORDER BY seq) - octet_length(up) AS ahead FROM (
          SELECT * FROM messaging_message
          WHERE export AND seq > %s AND seq <= %s AND (sender_slot = ANY(%s) OR reach IS NOT NULL)
          ORDER BY seq LIMIT {PAGE}) limited_rows) sized
      WHERE ahead < {PAGE_BYTES}) m ON true ORDER BY m.seq"""
# A group's message may be here for other members before its sender is at home here. Each arm has an index.
_SENT_HERE = f"""
    UPDATE messaging_message SET sendbox = true
    WHERE (uid = ANY(%(uids)s::varchar[]) AND inbox OR uid = ANY(%(uids)s::varchar[]) AND NOT inbox)
      AND sender_slot = %(slot)s AND NOT sendbox AND flags & {UNSEEN} = 0"""
_HERE = """
    SELECT uid FROM messaging_message WHERE uid = ANY(%(uids)s::varchar[]) AND inbox
    UNION SELECT uid FROM messaging_message WHERE uid = ANY(%(uids)s::varchar[]) AND NOT inbox"""
_PUT_TIMES = """
    INSERT INTO messaging_inboxtime (slot, tenant, uid, time)
    SELECT %(slot)s::int2, * FROM unnest(%(tenants)s::int8[], %(uids)s::varchar[], %(times)s::int8[])
    ON CONFLICT DO NOTHING"""
NOTHING = Appended(0, 0, [], {})


def wake(origin: str, upto: int, exported: int) -> None:
    """Have the SETs of these slots (a mask) read what the origin has just committed. Never raises."""
    for destination in _sets_of(origin, exported) if exported else ():
        try:
            current_app.send_task(
                EXCHANGE,
                args=(destination, origin, upto),
                queue=f"{destination}.exchange",
                expires=WAKE_EXPIRES,
                retry=False,
                ignore_result=True,
            )
        except Exception as error:
            logger.warning("%s was not woken to read %s: %s", destination, origin, error)


def _sets_of(origin: str, exported: int) -> set[str]:
    snapshot = topology.current
    entry = snapshot.sets.get(origin)
    of_slot = snapshot.clusters.get(entry.cluster, ()) if entry else ()
    return {name for number, name in enumerate(of_slot) if exported >> number & 1} - {origin}


def origins(destination: str) -> list[str]:
    """The SETs whose logs a SET reads: the others of its cluster."""
    sets = topology.current.sets
    own = sets.get(destination)
    return [each.name for each in sets.values() if own and each.cluster == own.cluster and each is not own]


def freshen(destination: str) -> bool:
    """Take what the other SETs have by now: a user's history is to show what he was told is sent. False: one
    of them is away.
    """
    whole = True
    for origin in origins(destination):
        try:
            catch_up(destination, origin)
        except Unavailable as error:
            logger.warning("%s does not read %s: %s", destination, origin, error)
            whole = False
    return whole


def run(destination: str) -> None:
    """Read all other SETs, and what slots that came here have left open."""
    freshen(destination)
    fill_gaps(destination)


def measure() -> None:
    """Tell how much every SET has yet to take, and for how long. What cannot be asked stays as it was."""
    for destination in topology.current.sets:
        for origin in origins(destination):
            try:
                slots, cursor, _ = log.of(destination).read(_CURSOR, (origin,), within=0.0)[0]
                _passed[destination, origin] = slots, cursor
            except Unavailable:
                pass  # it takes nothing now: what its cursor was is where it stands
            slots, cursor = _passed.get((destination, origin), (b"", 0))
            try:
                numbers = [number for number in range(placement.SLOTS) if slots and log.owns(slots, number)]
                ((waiting, since),) = log.of(origin).read(_WAITING, (cursor, numbers), within=0.0)
            except Unavailable:
                continue
            metrics.EXCHANGE_WAITING.put(waiting, destination, origin)
            metrics.EXCHANGE_LAG.put((log.now() - since) / 1000 if waiting else 0.0, destination, origin)


_passed: dict[tuple[str, str], tuple[bytes, int]] = {}  # (destination, origin) -> slots and cursor


def check_removal(instance: ServerSet, **_: Any) -> None:
    """Whether a SET may go: the others have read all of it. ValidationError with those that have not."""
    reasons = []
    origin = instance.name
    for destination in origins(origin):
        reader, source = Log(destination), Log(origin)
        try:
            heads = reader.read(_CURSOR, (origin,), within=0.0)
            if not heads:  # it has no log yet
                continue
            slots, cursor, gaps = heads[0]
            numbers = [number for number in range(placement.SLOTS) if log.owns(slots, number)]
            ((waiting, _since),) = source.read(_WAITING, (cursor, numbers), within=0.0)
        except Unavailable:
            reasons.append(f"Whether SET {destination} has read all of SET {origin} cannot be found out now.")
        else:
            if waiting or gaps:
                reasons.append(f"SET {destination} has not read all of SET {origin} yet: try again soon.")
        finally:
            reader.close()
            source.close()
    if reasons:
        raise ValidationError(reasons)


class Page(NamedTuple):
    """What an origin's log has for some slots, next after a seq."""

    entries: list[Entry]
    upto: int  # seq up to which that is all
    whole: bool  # there is nothing more
    empty: bool  # nor was there anything that had to be looked at


def _copy(what: list[Any], at: int) -> Entry:
    uid, tenant, kind, sender, target, flags, method, up = what
    effect = groups.effect_of_copy(tenant, kind, target, method, up, at)
    if flags & CHANGES:
        effect = changes.effect(changes.Row(uid, tenant, kind, sender, target, method, up, at))
    return Entry(uid, tenant, kind, sender, target, flags, method, up, copy=True, sent=at, effect=effect)


def _read(origin: str, after: int, upto: int, slots: bytes) -> Page:
    numbers = [number for number in range(placement.SLOTS) if log.owns(slots, number)]
    rows = log.of(origin).read(_EXPORTS, (after, upto, numbers), within=0.0)
    found = [row[1:] for row in rows if row[1] is not None]
    size = sum(len(up) for *_, up, _, _ in found)
    whole = len(found) < PAGE and size < PAGE_BYTES
    entries = [
        _copy(what, at) for _, *what, at, reach in found if reach is None or log.mask(reach) & log.mask(slots)
    ]
    return Page(entries, min(rows[0][0], upto) if whole else found[-1][0], whole, not found)


def catch_up(destination: str, origin: str, upto: int = 0) -> int:
    """Take everything that the origin has for the destination; how many messages that was.

    `upto`: nothing is to be done when the cursor has passed it. Raises Unavailable.
    """
    taken = 0
    while True:
        slots, cursor, gaps = log.of(destination).read(_CURSOR, (origin,), within=0.0)[0]
        if upto and cursor >= upto:
            return taken
        if gaps:
            fill_gaps(destination)  # what their slots have sent comes before what they send now
        page = _read(origin, cursor, END, slots)
        if page.empty and page.upto - cursor < IDLE_ROWS:
            return taken
        if _take(destination, origin, page.entries, (cursor, page.upto), slots):
            taken += len(page.entries)
            if page.whole:
                return taken


def _take(destination: str, origin: str, entries: list[Entry], cursor: tuple[int, int], slots: bytes) -> bool:
    """Append the copies and move the cursor from the one place to the other; False if another reader did,
    or if the SET's slots are others than those that were read for.
    """

    def work(connection: psycopg.Connection[Any], *, look: bool) -> Appended | None:
        now = log.lock_head(connection)
        found = connection.execute(_CURSOR, (origin,)).fetchone()
        if now != slots or found is None or found[1] != cursor[0]:
            return None
        connection.execute(_MOVE_CURSOR, (origin, cursor[1]))
        return _append(connection, entries, look=look) if entries else NOTHING

    appended = _once(destination, work)
    if appended is not None:
        _tell(destination, appended)
        metrics.EXCHANGED.add(len(appended.rows), destination, origin)
    return appended is not None


def _append(connection: psycopg.Connection[Any], entries: list[Entry], *, look: bool) -> Appended:
    appended = log.append(connection, entries, look=look)
    changes.arrived(connection, [entry.uid for entry in entries])
    return appended


def _once(destination: str, work: Any) -> Any:
    """Run the transaction; when some of its copies are stored already, once more with a look at which."""
    try:
        return log.of(destination).run(lambda connection: work(connection, look=False), within=0.0)
    except psycopg.errors.UniqueViolation:
        return log.of(destination).run(lambda connection: work(connection, look=True), within=0.0)


def _tell(destination: str, appended: Appended) -> None:
    if appended.rows:
        hint = Hint(destination, appended.before, appended.upto, appended.rows)
        hints.tell(feed_group(destination), hint_message(hint))


def fill_gaps(destination: str) -> None:
    """Read what slots have left open that came from another SET; see ExchangeGap and slot_moves."""
    sql = f"SELECT id, origin, slot, after, upto FROM messaging_exchangegap WHERE upto < {END} ORDER BY id"
    for gap, origin, slot, after, upto in log.of(destination).read(sql, (), within=0.0):
        try:
            while after < upto:
                after = _fill(destination, gap, origin, slot, after, upto)
        except Unavailable as error:
            logger.warning("%s: a gap of slot %d is not filled: %s", destination, slot, error)


def _fill(destination: str, gap: int, origin: str, slot: int, after: int, upto: int) -> int:
    """Take one page of a gap, and return where the next one begins."""
    bit = (1 << slot).to_bytes(placement.SLOTS // 8, "little")
    page = _read(origin, after, upto, bit)
    of_groups = [e.uid for e in page.entries if e.kind in GROUPS and not e.flags & TO_SELF]
    to_all = [e.uid for e in page.entries if e.kind == SYSTEM and not e.target]
    of_many = {e.uid: e.tenant for e in page.entries if e.uid in {*of_groups, *to_all}}

    def work(connection: psycopg.Connection[Any], *, look: bool) -> Appended | None:
        if not log.owns(log.lock_head(connection), slot):
            return None  # the gap went on with the slot
        if page.whole:
            connection.execute("DELETE FROM messaging_exchangegap WHERE id = %s", (gap,))
        else:
            sql = "UPDATE messaging_exchangegap SET after = %s WHERE id = %s AND after < %s"
            connection.execute(sql, (page.upto, gap, page.upto))
        if of_groups:
            connection.execute(_SENT_HERE, {"uids": of_groups, "slot": slot})
        here = _give_time(connection, slot, of_many) if of_many else frozenset()
        entries = [entry for entry in page.entries if entry.uid not in here]
        return _append(connection, entries, look=look) if entries else None

    appended = _once(destination, work)
    if appended is not None:
        _tell(destination, appended)
    return upto if page.whole else page.upto


def _give_time(connection: psycopg.Connection[Any], slot: int, uids: Mapping[str, int]) -> frozenset[str]:
    """Those of the messages of many that this log has: they are its users' as they are, and a copy would be
    shown to them once more. For the users of the slot, who have not had them, they are of now.
    """
    here = {uid for (uid,) in connection.execute(_HERE, {"uids": list(uids)})}
    if not here:
        return frozenset()
    its = [uid for uid in uids if uid in here]
    advance = "UPDATE messaging_head SET time = GREATEST(time, %s) + %s RETURNING time"
    ((last,),) = connection.execute(advance, (log.now(), len(its))).fetchall()
    times = list(range(last - len(its) + 1, last + 1))
    parameters = {"slot": slot, "tenants": [uids[uid] for uid in its], "uids": its, "times": times}
    connection.execute(_PUT_TIMES, parameters)
    return frozenset(here)


def forget(server_set: str) -> None:
    """Timed: times that no device asks for any more."""
    sql = "DELETE FROM messaging_inboxtime WHERE time < %s"
    before = log.now() - TIMES_KEPT
    log.of(server_set).run(lambda connection: connection.execute(sql, (before,)), within=2.0)
