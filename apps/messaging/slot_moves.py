"""Slots on their way from one SET to another, while their users chat.

What belongs to a slot: the messages in its users' boxes, their devices' cursors and block lists. Messages
keep their uid and time, since devices go by these, and get the destination's seq.

    copy      page by page, while the source goes on taking messages for the slot
    catch up  the source's head gives the slot up, under the lock that all its writers take: from then on
              nothing is appended to the slot. What is left, a moment's worth, is copied.
    switch    the destination's head takes the slot, with a time that is not before the source's, and notes
              what neither SET has read of the logs (ExchangeGap). The slots table follows, and with it,
              within a second, every gateway: it sends there what it has held meanwhile, and has the slot's
              users pull there.
    clean     the source forgets the slot's messages

Each step can be repeated: whoever finds a move that is not done goes on with it where it is.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from django.apps import apps
from django.db import transaction
from django.db.models import AutoField, Model
from django.utils import timezone

from apps.messaging import changes, exchange, log
from apps.messaging.log import COLUMNS, Appended, Entry, Place, Unavailable
from apps.messaging.models import (
    CHANGES,
    GROUPS,
    MOVED,
    SLOT_GONE,
    SYSTEM,
    UNSEEN,
    EpochMark,
    ExchangeGap,
    InboxTime,
    ListCursor,
)
from apps.messaging.webhooks import routing
from apps.routing import hints, placement
from apps.routing.envelope import Hint, Row, feed_group, hint_message
from apps.routing.models import Slot, SlotMove
from apps.routing.topology import topology

logger = logging.getLogger(__name__)

Step = SlotMove.Step
OVER = (Step.DONE, Step.CANCELLED)
SCANNED = 20_000  # seq of the source that are looked at together
PAGE = 1_000  # messages copied in one transaction
CLOSE = 2_000  # seq behind the source's head at which the source gives the slot up
SETTLE = 1.5  # s from the switch to the clean-up: everybody has the new topology by then
WITHIN = 5.0  # s that a database may be away
BUDGET = 0.5  # s of work a call: pulls of the SET wait behind it


def hand_out() -> None:
    """Give the SETs of a new cluster the slots that the table says; one that works is left alone."""
    snapshot = topology.renew()
    for of_slot in snapshot.clusters.values():
        sets = sorted(set(of_slot))
        heads = [log.of(name).read("SELECT slots FROM messaging_head", (), within=WITHIN) for name in sets]
        if any(any(slots) for ((slots,),) in heads):
            continue
        for name in sets:
            slots = bytearray(placement.SLOTS // 8)
            for number, owner in enumerate(of_slot):
                if owner == name:
                    _give_bit(slots, number)
            _execute(name, [("UPDATE messaging_head SET slots = %(slots)s", {"slots": bytes(slots)})])


def run(destination: str) -> None:
    """Go on with the moves to a SET, one after the other, for `BUDGET` s."""
    give_up_at = time.monotonic() + BUDGET
    waiting = SlotMove.objects.filter(destination__name=destination).exclude(step__in=OVER)
    for pk in list(waiting.order_by("pk").values_list("pk", flat=True)):
        at = None
        while time.monotonic() < give_up_at and at != (at := step(pk).step):
            pass  # it gets ahead; the clean-up waits for its time


def step(pk: int) -> SlotMove:
    """Do a bounded piece of a move's work, and return how far it is. Somebody else's work is left to them."""
    with transaction.atomic():
        move = SlotMove.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=pk)
        one = move.select_related("source", "destination").first()
        if one is None or one.step in OVER:
            return SlotMove.objects.get(pk=pk)
        try:
            if not _WORK[Step(one.step)](one):
                return one
            one.problem = ""
        except (Unavailable, psycopg.Error) as error:
            one.problem = " ".join(str(error).split())[:512]
            logger.warning("%s waits in step %s: %s", one, one.step, one.problem)
        one.save()
        return one


def _copy(move: SlotMove) -> bool:
    give_up_at = time.monotonic() + BUDGET
    while time.monotonic() < give_up_at:
        head = log.of(move.source.name).read("SELECT seq FROM messaging_head", (), within=WITHIN)[0][0]
        _copy_page(move, head)
        if head - move.copied <= CLOSE:
            move.step = Step.CATCH_UP
            break
    return True


def _catch_up(move: SlotMove) -> bool:
    """The source gives the slot up; then the rest of it is copied."""
    _follow(move)  # the slot is nobody's until the switch: what may have to be waited for is waited for here

    def give_up(connection: psycopg.Connection[Any]) -> tuple[int, Appended | None]:
        slots = bytearray(log.lock_head(connection))
        head: int = connection.execute("SELECT seq FROM messaging_head").fetchone()[0]  # type: ignore[index]
        if not _take_bit(slots, move.number):
            return head, None
        connection.execute("UPDATE messaging_head SET slots = %s", (bytes(slots),))
        parameters = {"slot": move.number, "end": exchange.END, "head": head}
        sets = {"own": move.source.name, "others": exchange.origins(move.source.name)}
        connection.execute(_LEAVE_OPEN, parameters | sets)
        gone = Entry(uuid.uuid4().hex, 0, SLOT_GONE, "", "", 0, str(move.number), b"")
        return head, log.append(connection, [gone], look=False)

    head, gone = log.of(move.source.name).run(give_up, within=WITHIN)
    if gone is not None:
        _tell(move.source.name, gone.before, gone.upto, gone.rows)
    while move.copied < head:
        _copy_page(move, head)
    routing.catch_up(move.source.name)  # of what came with its slot, nobody else's server is told
    _copy_others(move)
    move.step = Step.SWITCH
    return True


def _follow(move: SlotMove) -> None:
    """Have the destination read all that the source has read: what is for many is not to come there only when
    those users of the slot are there who had it before.
    """
    name, sql = move.destination.name, "SELECT origin, seq FROM messaging_exchangecursor"
    passed = dict(log.of(name).read(sql, (), within=WITHIN))
    wanted = dict(log.of(move.source.name).read(sql, (), within=WITHIN)) | {move.source.name: exchange.END}
    for origin in exchange.origins(name):
        if passed.get(origin, 0) < wanted.get(origin, 0):
            exchange.catch_up(name, origin)


def _switch(move: SlotMove) -> bool:
    source, name = log.of(move.source.name), move.destination.name
    _follow(move)
    at = source.read("SELECT time FROM messaging_head", (), within=WITHIN)[0][0]
    gaps = source.read(_GAPS, (move.number,), within=WITHIN)
    if source.read(_HAS_GROUPS, (move.number,), within=WITHIN)[0][0]:
        # Whoever reads both logs must have all that a group has here before it has more of it there.
        for reader in exchange.origins(move.source.name):
            exchange.catch_up(reader, move.source.name)

    def take(connection: psycopg.Connection[Any]) -> None:
        slots = bytearray(log.lock_head(connection))
        if not _give_bit(slots, move.number):
            return  # an earlier try has done it
        sql = "UPDATE messaging_head SET slots = %s, time = GREATEST(time, %s) RETURNING seq"
        head: int = connection.execute(sql, (bytes(slots), at)).fetchone()[0]  # type: ignore[index]
        # How far this SET has read each log without looking for the slot; its own, to the end.
        passed = dict(connection.execute("SELECT origin, seq FROM messaging_exchangecursor").fetchall())
        passed[name] = head
        for origin, after, upto in gaps:
            ends = passed.get(origin, 0) if upto == exchange.END else upto
            if after < ends:
                connection.execute(_PUT_GAP, (origin, move.number, after, ends))

    log.of(name).run(take, within=WITHIN)
    exchange.fill_gaps(name)
    Slot.objects.filter(cluster=move.cluster_id, number=move.number).update(server_set=move.destination)
    move.step, move.head, move.copied = Step.CLEAN, move.copied, 0
    logger.info("%s: switched, %d messages copied", move, move.rows)
    return True


def _clean(move: SlotMove) -> bool:
    """The source forgets the slot. A message whose other side is the source's own stays for that."""
    if not move.copied and (timezone.now() - move.changed_at).total_seconds() < SETTLE:
        return False
    give_up_at = time.monotonic() + BUDGET
    while move.copied < move.head and time.monotonic() < give_up_at:
        range_ = {"slot": move.number, "after": move.copied, "upto": min(move.copied + SCANNED, move.head)}
        _execute(move.source.name, [(sql, range_) for sql in _FORGET])
        move.copied = range_["upto"]
    if move.copied >= move.head:
        forget = [f"DELETE FROM {model._meta.db_table} WHERE slot = %(slot)s" for model in _others()]
        _execute(move.source.name, [(sql, {"slot": move.number}) for sql in forget])
        move.step = Step.DONE
    return True


_WORK = {Step.COPY: _copy, Step.CATCH_UP: _catch_up, Step.SWITCH: _switch, Step.CLEAN: _clean}


def _take_bit(slots: bytearray, number: int) -> bool:
    """Clear a slot's bit; False when it was clear."""
    had = log.owns(bytes(slots), number)
    slots[number >> 3] &= ~(1 << (number & 7))
    return had


def _give_bit(slots: bytearray, number: int) -> bool:
    """Set a slot's bit; False when it was set."""
    had = log.owns(bytes(slots), number)
    slots[number >> 3] |= 1 << (number & 7)
    return not had


def _execute(server_set: str, statements: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    def work(connection: psycopg.Connection[Any]) -> None:
        for sql, parameters in statements:
            connection.execute(sql, parameters)

    log.of(server_set).run(work, within=WITHIN)


def _copy_page(move: SlotMove, head: int) -> None:
    """Copy what of the slot is in the next part of the source's log, up to its seq `head`."""
    upto = min(move.copied + SCANNED, head)
    range_ = {"slot": move.number, "after": move.copied, "upto": upto}
    rows = log.of(move.source.name).read(_PAGE, range_, within=WITHIN)
    if len(rows) == PAGE:
        upto = rows[-1][0]

    def put(connection: psycopg.Connection[Any]) -> tuple[int, int]:
        connection.execute(_STAGE)
        with connection.cursor().copy(f"COPY moved ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(log.TYPES)
            for row in rows:
                copy.write_row(row)
        sql = "UPDATE messaging_head SET seq = seq + %s RETURNING seq"
        last: int = connection.execute(sql, (len(rows),)).fetchone()[0]  # type: ignore[index]
        for statement in _SENT:
            connection.execute(statement, {"slot": move.number})
        # What is here already came with an earlier try, or was here when the slot was.
        connection.execute(_PUT, {"before": last - len(rows), "slot": move.number})
        connection.execute(_PUT_TIMES, {"slot": move.number, "since": log.now() - exchange.TIMES_KEPT})
        _change_again(connection, rows)
        return last - len(rows), last

    kind = COLUMNS.split(", ").index("kind")
    if any(row[kind] in (*GROUPS, SYSTEM) for row in rows):
        _follow(move)  # what is for the destination's own users too it takes by exchange, and shows them
    if rows:
        before, last = log.of(move.destination.name).run(put, within=WITHIN)
        # No rows in it: devices were shown them at the source, or will pull them. But seq goes on.
        _tell(move.destination.name, before, last)
    move.copied, move.head, move.rows = upto, head, move.rows + len(rows)


def _tell(server_set: str, before: int, upto: int, rows: Sequence[Row] = ()) -> None:
    hints.tell(feed_group(server_set), hint_message(Hint(server_set, before, upto, rows)))


def _change_again(connection: psycopg.Connection[Any], rows: list[Any]) -> None:
    """What these rows have changed at the source since an earlier page was copied is changed here."""
    columns = COLUMNS.split(", ")
    nowhere = Place(0, 0, bytes(placement.SLOTS // 8))  # of users' own state, which is copied by itself
    for row in rows:
        its = dict(zip(columns, row, strict=True))
        if its["flags"] & CHANGES:
            what = changes.Row._make([*(its[name] for name in changes.Row._fields[:-1]), its["sent"]])
            changes.effect(what)(connection, nowhere)
    changes.arrived(connection, [row[columns.index("uid")] for row in rows])


def _others() -> list[type[Model]]:
    """The tables besides the log whose rows belong to a slot."""
    return [
        model
        for model in apps.get_models()
        if getattr(model, "in_set", False) and any(field.name == "slot" for field in model._meta.fields)
    ]


def _copy_others(move: SlotMove) -> None:
    """Device cursors, block lists and the like: few, and all at once."""
    found = []
    for model in _others():
        if model in (ExchangeGap, ListCursor, InboxTime, EpochMark):
            continue  # the switch knows better; the list reads this log anew; see _PUT_TIMES
        columns = ", ".join(f'"{f.column}"' for f in model._meta.fields if not isinstance(f, AutoField))
        table = model._meta.db_table
        # In the order in which they were made: those that have an order keep it.
        sql = f"SELECT {columns} FROM {table} WHERE slot = %s ORDER BY {model._meta.pk.column}"  # type: ignore[union-attr]
        rows = log.of(move.source.name).read(sql, (move.number,), within=WITHIN)  # type: ignore[arg-type]
        found.append((table, columns, rows))
    at = log.of(move.source.name).read("SELECT time FROM messaging_head", (), within=WITHIN)[0][0]
    times = log.of(move.source.name).read(_TIMES, (move.number,), within=WITHIN)
    columns_of_times = [list(column) for column in zip(*times, strict=True)] or [[], [], []]

    def put(connection: psycopg.Connection[Any]) -> None:
        connection.execute(_PUT_ITS_TIMES, (move.number, *columns_of_times))
        for table, columns, rows in found:
            # What is here already is from an earlier try, or from when the slot was here before.
            connection.execute(f"DELETE FROM {table} WHERE slot = %s", (move.number,))
            with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        connection.execute(_ALL_HERE, {"slot": move.number, "at": at})

    log.of(move.destination.name).run(put, within=WITHIN)


_IN_SLOT = "seq > %(after)s AND seq <= %(upto)s AND (target_slot = %(slot)s OR sender_slot = %(slot)s)"
# Of groups, what the slot's users may read. What is for everybody goes along for the sake of its time.
_PAGE = f"""
    SELECT {COLUMNS} FROM messaging_message m
    WHERE seq > %(after)s AND seq <= %(upto)s AND (
      target_slot = %(slot)s AND inbox
      OR kind = {SYSTEM} AND target = '' OR sender_slot = %(slot)s AND (sendbox OR flags & {UNSEEN} <> 0)
      OR kind IN {GROUPS} AND EXISTS (
        SELECT 1 FROM messaging_membership g
        WHERE g.slot = %(slot)s AND g.tenant = m.tenant AND g."group" = m.target
          AND g.joined < m.sent AND m.sent < COALESCE(g.until, m.sent + 1)))
    ORDER BY seq LIMIT {PAGE}"""
_STAGE = "CREATE TEMPORARY TABLE IF NOT EXISTS moved (LIKE messaging_message) ON COMMIT DELETE ROWS"
# The slot's own side of each message; under which uid it is found tells `inbox`.
_PUT = f"""
    INSERT INTO messaging_message ({COLUMNS})
    SELECT %(before)s + row_number() OVER (ORDER BY seq),
           uid, time, sent, tenant, kind, sender, target, conversation, flags | {MOVED},
           target_slot = %(slot)s AND inbox, sender_slot = %(slot)s AND sendbox, false, NULL,
           target_slot, sender_slot, method, up
    FROM moved WHERE (kind NOT IN {GROUPS} OR NOT EXISTS (
      SELECT 1 FROM messaging_message m WHERE m.uid = moved.uid AND m.inbox))
      AND NOT (kind = {SYSTEM} AND target = '')
    ON CONFLICT DO NOTHING"""
# What is for many has the source's time for the users of the slot, where it is here with another one.
_PUT_TIMES = f"""
    INSERT INTO messaging_inboxtime (slot, tenant, uid, time)
    SELECT %(slot)s, tenant, uid, time FROM moved
    WHERE (kind IN {GROUPS} OR kind = {SYSTEM} AND target = '') AND time > %(since)s
      AND NOT EXISTS (
        SELECT FROM messaging_message m WHERE m.uid = moved.uid AND m.inbox AND m.time = moved.time)
      AND NOT EXISTS (
        SELECT FROM messaging_message m WHERE m.uid = moved.uid AND NOT m.inbox AND m.time = moved.time)
    ON CONFLICT DO NOTHING"""
# What had another time for them at the source has that one here.
_TIMES = "SELECT tenant, uid, time FROM messaging_inboxtime WHERE slot = %s"
_PUT_ITS_TIMES = """
    INSERT INTO messaging_inboxtime (slot, tenant, uid, time)
    SELECT %s::int2, * FROM unnest(%s::int8[], %s::varchar[], %s::int8[])
    ON CONFLICT (slot, uid) DO UPDATE SET time = EXCLUDED.time"""
# What a user of the slot has sent to a group may be here for its other members: from now on it is his too.
_SENT = tuple(
    f"""UPDATE messaging_message m SET sendbox = true FROM moved
        WHERE m.uid = moved.uid AND {which} AND NOT m.sendbox
          AND moved.kind IN {GROUPS} AND moved.sendbox AND moved.sender_slot = %(slot)s"""
    for which in ("m.inbox", "NOT m.inbox")  # each has an index of its own
)
# What he may read of groups that he has left is here by now, with the source's times or with this log's.
_ALL_HERE = """
    UPDATE messaging_membership SET until_here = GREATEST(h.time, %(at)s) + 1 FROM messaging_head h
    WHERE slot = %(slot)s AND until IS NOT NULL"""
# What another SET has not read yet stays, as it is found by its place here.
_FORGET: tuple[LiteralString, ...] = (
    f"""DELETE FROM messaging_message WHERE {_IN_SLOT} AND NOT export AND kind NOT IN {GROUPS}
        AND (NOT inbox OR target_slot = %(slot)s) AND (NOT sendbox OR sender_slot = %(slot)s)""",
    f"UPDATE messaging_message SET inbox = false WHERE {_IN_SLOT} AND NOT export AND target_slot = %(slot)s",
    f"UPDATE messaging_message SET sendbox = false WHERE {_IN_SLOT} AND sender_slot = %(slot)s AND sendbox",
)
# From here on the source passes over what other logs, and its own, have for the slot's senders.
_LEAVE_OPEN = """
    INSERT INTO messaging_exchangegap (origin, slot, after, upto)
    SELECT other, %(slot)s::int2, COALESCE(seq, 0), %(end)s::int8
    FROM unnest(%(others)s::varchar[]) other LEFT JOIN messaging_exchangecursor ON origin = other
    UNION ALL SELECT %(own)s, %(slot)s, %(head)s, %(end)s
    ON CONFLICT DO NOTHING"""
_HAS_GROUPS = "SELECT EXISTS (SELECT FROM messaging_group WHERE slot = %s)"
_GAPS = "SELECT origin, after, upto FROM messaging_exchangegap WHERE slot = %s"
_PUT_GAP = """
    INSERT INTO messaging_exchangegap (origin, slot, after, upto) VALUES (%s, %s, %s, %s)
    ON CONFLICT DO NOTHING"""
