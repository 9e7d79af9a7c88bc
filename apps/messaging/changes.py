"""Rows of the log that change what was there before them: a recall, an expansion, other content, a time of
reading.

Such a row (flag CHANGES) is a message like others: it is stored, shown and copied to other SETs. What it does
beside, its effect, is done in the transaction that appends it, and again wherever it comes to: in each SET
that takes a copy of it, and in one that its slot moves to. Every effect may be done twice.

Where a change comes before its message (the two came from different logs), it waits in EarlyChange.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from apps.messaging import conversation_reads, expansions, log, modifications
from apps.messaging.log import Effect, Entry, Place, Unavailable
from apps.messaging.models import DIRECTED, RECALLED
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.messages import RECALL, recalled
from apps.routing.topology import home

logger = logging.getLogger(__name__)

KEPT = 7  # days that a change waits for its message: one that is not to come here is not missed

# Row and copy of a message, where its slots have met; each arm has an index of its own.
_EITHER = "(uid = %(uid)s AND inbox OR uid = %(uid)s AND NOT inbox) AND tenant = %(tenant)s"
_MARK = f"UPDATE messaging_message SET flags = flags | {RECALLED} WHERE {_EITHER}"
_READ = f"SELECT seq, up FROM messaging_message WHERE {_EITHER}"
_WRITE = "UPDATE messaging_message SET up = %s WHERE seq = %s"
_WAIT = """
    INSERT INTO messaging_earlychange (tenant, uid, by, method, up, at)
    VALUES (%(tenant)s, %(uid)s, %(by)s, %(method)s, %(up)s, %(at)s) ON CONFLICT DO NOTHING"""
_ARRIVED = "DELETE FROM messaging_earlychange WHERE uid = ANY(%s) RETURNING tenant, uid, by, method, up, at"
_FORGET = "DELETE FROM messaging_earlychange WHERE at < %s"


class Row(NamedTuple):
    """A row that changes something. `at`: ms, its time in the log that took it first; 0: this one."""

    uid: str
    tenant: int
    kind: int
    sender: str
    target: str
    method: str
    up: bytes
    at: int = 0


def effect(row: Row) -> Effect:
    """What the row does where it comes to."""

    def work(connection: psycopg.Connection[Any], place: Place) -> None:
        try:
            if uid := _changed(row):
                _change(connection, row._replace(at=row.at or place.time), uid)
            else:
                conversation_reads.take(connection, place, row.tenant, row.sender, _read_time(row))
        except ProtocolError as error:
            # It was let through by another version; the log must go on past it.
            logger.error("tenant %d, row %s changes nothing: %s", row.tenant, row.uid, error)

    return work


def _read_time(row: Row) -> conversation_reads.Read:
    if row.method in conversation_reads.METHODS:
        return conversation_reads.told(row.up)
    return conversation_reads.synced(row.kind, row.target, row.up)


def with_effect(entry: Entry) -> Row:
    """The row that an entry is going to be, for its effect."""
    e = entry
    return Row(e.uid, e.tenant, e.kind, e.sender, e.target, e.method, e.up, e.sent)


def _changed(row: Row) -> str:
    """The uid of the message that it changes; empty when it changes none."""
    if row.method in conversation_reads.METHODS:
        return ""
    if row.method == RECALL:
        found = recalled(row.up)
        if found is None:
            raise ProtocolError("a recall of nothing")
        return found.uid
    if row.method == modifications.METHOD:
        return modifications.modifies(row.up)
    up = UpStreamMessage.FromString(row.up)
    return expansions.parse(up.content).uid if up.classname == expansions.CLASS else ""


def _change(connection: psycopg.Connection[Any], row: Row, uid: str) -> None:
    """Change the message, or note that it is to be changed when it comes."""
    which = {"tenant": row.tenant, "uid": uid}
    if row.method == RECALL:
        found = connection.execute(_MARK, which).rowcount
    else:
        rows = connection.execute(_READ, which).fetchall()
        for seq, up in rows:
            connection.execute(_WRITE, (_changed_by(row, up), seq))
        found = len(rows)
    if not found:
        parameters = which | {"by": row.uid, "method": row.method, "up": row.up, "at": row.at}
        connection.execute(_WAIT, parameters)


def _changed_by(row: Row, up: bytes) -> bytes:
    """The message after what the row does to it."""
    if row.method == modifications.METHOD:
        return modifications.modified(up, row.up, row.at)
    return expansions.expanded(up, expansions.parse(UpStreamMessage.FromString(row.up).content), row.at)


def arrived(connection: psycopg.Connection[Any], uids: Sequence[str]) -> None:
    """These messages have come to this SET, in this transaction: do what has waited for them."""
    waited = connection.execute(_ARRIVED, (list(uids),)).fetchall()
    for tenant, uid, by, method, up, at in sorted(waited, key=lambda each: each[-1]):
        _change(connection, Row(by, tenant, 0, "", "", method, up, at), uid)


def forget(server_set: str) -> None:
    """Timed: changes whose message has not come."""
    before = log.now() - KEPT * 24 * 3_600_000
    log.of(server_set).run(lambda connection: connection.execute(_FORGET, (before,)), within=2.0)


# --- the message that is to be changed


class Original(NamedTuple):
    """A stored message. `up` is empty where it was not asked for, and the message is for all of its group."""

    kind: int
    sender: str
    target: str
    flags: int
    sent: int  # ms
    reach: bytes | None
    up: bytes
    copy: bool  # of what another SET has first


class Asked(NamedTuple):
    tenant: int
    uid: str
    user: str  # in whose home SET the message is too, if he may read it


_FIND = f"""
    SELECT m.tenant, m.uid, m.kind, m.sender, m.target, m.flags, m.sent, m.reach,
           CASE WHEN %(whole)s OR m.flags & {DIRECTED} <> 0 THEN m.up ELSE '' END, NOT m.inbox
    FROM unnest(%(tenants)s::int8[], %(uids)s::varchar[]) AS w(tenant, uid) CROSS JOIN LATERAL (
      SELECT * FROM messaging_message WHERE uid = w.uid AND tenant = w.tenant AND inbox
      UNION ALL
      SELECT * FROM messaging_message WHERE uid = w.uid AND tenant = w.tenant AND NOT inbox LIMIT 1) m
    WHERE m.kind > 0"""


def find(
    server_set: str, asked: Sequence[Asked], *, whole: bool = False
) -> dict[tuple[int, str], Original | None]:
    """(tenant, uid) -> the message; without those that are not known. None: that cannot be found out now.

    What is not here (a group has moved, a copy is still on its way) is looked for in the home of who asks.
    """
    found: dict[tuple[int, str], Original | None] = {}
    found |= _look(server_set, {(each.tenant, each.uid) for each in asked}, whole)
    farther: dict[str, set[tuple[int, str]]] = {}
    for each in asked:
        if (each.tenant, each.uid) not in found:
            farther.setdefault(home(each.tenant, each.user), set()).add((each.tenant, each.uid))
    for name in farther.keys() - {server_set}:
        try:
            found |= _look(name, farther[name], whole, within=0.0)
        except Unavailable:
            found |= dict.fromkeys(farther[name])
    return found


def _look(
    server_set: str, wanted: set[tuple[int, str]], whole: bool, within: float = 2.0
) -> dict[tuple[int, str], Original]:
    if not wanted:
        return {}
    tenants, uids = zip(*wanted, strict=True)
    parameters = {"tenants": list(tenants), "uids": list(uids), "whole": whole}
    rows = log.of(server_set).read(_FIND, parameters, within=within)
    return {(tenant, uid): Original(*its) for tenant, uid, *its in rows}


def told_to(original: Original) -> list[str]:
    """The members of its group that a directed message is for; none: it is for all."""
    return list(UpStreamMessage.FromString(original.up).toUserIds) if original.flags & DIRECTED else []
