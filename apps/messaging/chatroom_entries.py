"""The key-value store of a chatroom (PROTOCOL 4.7, 6.4): rows of the room's home SET.

A removed entry stays for a while, marked so, for those who ask what has changed since they asked last.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg

from apps.messaging import chatrooms, log
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import slot

ENTRIES_MAX = 100  # of a room
WITH_OWNER, OVERWRITE, REMOVED = 1, 2, 4  # bits of an entry's status (PROTOCOL 4.7) …
ABSENT = 8  # … and one that no client is shown: set by the app's server, its owner need not be in the room
SHOWN = WITH_OWNER | OVERWRITE | REMOVED
REMEMBERED = 3_600_000  # ms that a removed entry is kept for those who ask what has changed


class Setting(NamedTuple):
    """What somebody wants a key to be. `value` None: it is to be removed."""

    key: str
    value: str | None
    with_owner: bool = False
    overwrite: bool = False  # also what somebody else has set
    absent: bool = False  # its owner need not be in the room


class StoredEntry(NamedTuple):
    key: str
    value: str
    owner: str
    status: int
    time: int


@dataclass(slots=True)
class Outcome:
    """What became of settings: each key is in one of these."""

    errors: dict[str, int] = field(default_factory=dict)  # key -> code
    times: dict[str, int] = field(default_factory=dict)  # key -> ms of the change
    appended: log.Appended | None = None  # the notice of it in the log


_ROOM_OF_ENTRIES = """
    SELECT entries_time, (SELECT count(*) FROM messaging_chatroomentry e
                          WHERE e.tenant = c.tenant AND e.room = c.room AND e.status & 4 = 0)
    FROM messaging_chatroom c WHERE tenant = %s AND room = %s FOR UPDATE OF c"""
_ENTRIES = """
    SELECT key, value, owner, status, time FROM messaging_chatroomentry
    WHERE tenant = %(tenant)s AND room = %(room)s
      AND (%(keys)s::varchar[] IS NULL OR key = ANY(%(keys)s)) AND time > %(since)s
      AND status & %(without)s = 0
    ORDER BY time, key"""
_PUT_ENTRIES = """
    INSERT INTO messaging_chatroomentry (tenant, room, slot, time, key, value, owner, status)
    SELECT %(tenant)s, %(room)s, %(slot)s, %(time)s, k, v, o, s
    FROM unnest(%(keys)s::varchar[], %(values)s::varchar[], %(owners)s::varchar[], %(states)s::int2[])
      AS w(k, v, o, s)
    ON CONFLICT (tenant, room, key) DO UPDATE
    SET value = EXCLUDED.value, owner = EXCLUDED.owner, status = EXCLUDED.status, time = EXCLUDED.time"""
_NOTE_ENTRIES = "UPDATE messaging_chatroom SET entries_time = %s WHERE tenant = %s AND room = %s"
_WITH_OWNERS = f"""
    SELECT key, owner FROM messaging_chatroomentry
    WHERE tenant = %s AND room = %s AND owner = ANY(%s) AND status & {WITH_OWNER | REMOVED} = {WITH_OWNER}"""
_OWNERS = f"""
    SELECT DISTINCT tenant, room, owner FROM messaging_chatroomentry
    WHERE status & {WITH_OWNER | REMOVED | ABSENT} = {WITH_OWNER}"""
_FORGET_ENTRIES = f"""
    WITH gone AS (
      DELETE FROM messaging_chatroomentry WHERE status & {REMOVED} <> 0 AND time < %s
      RETURNING tenant, room, time)
    UPDATE messaging_chatroom c SET entries_floor = GREATEST(c.entries_floor, g.newest)
    FROM (SELECT tenant, room, max(time) AS newest FROM gone GROUP BY tenant, room) g
    WHERE c.tenant = g.tenant AND c.room = g.room"""


def set_entries(
    server_set: str,
    tenant: int,
    room: str,
    user: str,
    settings: Sequence[Setting],
    *,
    notice: log.Entry | None = None,
    but: str = "",
    repeated: bool = False,
) -> Outcome:
    """Set and remove entries as a user; those that can be. The others are in the outcome's errors.

    `notice` goes into the log in the same transaction, unless nothing changes; `but`: the connection that
    needs no word of it; `repeated`: an earlier try may have done all of it.
    """

    def work(connection: psycopg.Connection[Any]) -> Outcome:
        if notice is not None:
            # The append takes it: never after the weaker lock of `hold`, or two would wait for each other.
            log.lock_head(connection)
        chatrooms.hold(connection, tenant, room)
        found = connection.execute(_ROOM_OF_ENTRIES, (tenant, room)).fetchone()
        if found is None:
            raise chatrooms.Refusal(AckStatus.CHATROOM_NOT_FOUND)
        newest, count = found
        asked = {"tenant": tenant, "room": room, "keys": [each.key for each in settings], "since": 0}
        rows = connection.execute(_ENTRIES, asked | {"without": 0}).fetchall()
        known = {row[0]: StoredEntry(*row) for row in rows}
        at = max(newest + 1, log.now())
        outcome, put = Outcome(), list[tuple[str, str, str, int]]()
        for each in {each.key: each for each in settings}.values():
            before = known.get(each.key)
            after = (each.key, each.value or "", user, _status(each))
            if repeated and before is not None and before[:4] == after:
                outcome.times[each.key] = before.time
            elif code := _refusal(each, before, user, count):
                outcome.errors[each.key] = code
            else:
                count += (each.value is not None) - (before is not None and not before.status & REMOVED)
                outcome.times[each.key] = at
                put.append(after)
        if put:
            _put(connection, tenant, room, at, put)
            if notice is not None:
                outcome.appended = log.append(connection, [notice], look=True)
        return outcome

    outcome = log.of(server_set).run(work, within=chatrooms.WITHIN)
    if outcome.times:
        chatrooms.tell(tenant, room, entries=max(outcome.times.values()), but=but)
    return outcome


def _status(setting: Setting) -> int:
    """As the setter said it: v4 does not take a value over another user's without the bit for that."""
    bits = WITH_OWNER * setting.with_owner | OVERWRITE * setting.overwrite | ABSENT * setting.absent
    return bits | REMOVED if setting.value is None else bits


def _refusal(setting: Setting, before: StoredEntry | None, user: str, count: int) -> int:
    """The code with which a setting is refused; 0 when it may be."""
    if before is None or before.status & REMOVED:
        if setting.value is None:
            return AckStatus.KV_NOT_FOUND
        return AckStatus.KV_FULL if count >= ENTRIES_MAX else 0
    return AckStatus.KV_NOT_OWNER if before.owner != user and not setting.overwrite else 0


def _put(
    connection: psycopg.Connection[Any],
    tenant: int,
    room: str,
    at: int,
    entries: Sequence[tuple[str, str, str, int]],
) -> None:
    keys, values, owners, states = (list(column) for column in zip(*entries, strict=True))
    parameters = {"tenant": tenant, "room": room, "slot": slot(str(tenant), room), "time": at}
    parameters |= {"keys": keys, "values": values, "owners": owners, "states": states}
    connection.execute(_PUT_ENTRIES, parameters)
    connection.execute(_NOTE_ENTRIES, (at, tenant, room))


def entries(
    server_set: str, tenant: int, room: str, *, keys: Collection[str] | None = None, since: int = 0
) -> list[StoredEntry]:
    """Those that changed after `since` (ms), removed ones among them; since 0, those that are there."""
    parameters = {"tenant": tenant, "room": room, "keys": None if keys is None else list(keys)}
    parameters |= {"since": since, "without": 0 if since else REMOVED}
    return [StoredEntry(*row) for row in log.of(server_set).read(_ENTRIES, parameters)]


def owners(server_set: str) -> list[tuple[int, str, str]]:
    """(tenant, room, user) of those whose entries go with them, and who were in the room to set them."""
    return [(tenant, room, user) for tenant, room, user in log.of(server_set).read(_OWNERS, ())]


def owners_left(server_set: str, tenant: int, room: str, users: Sequence[str]) -> None:
    """Remove the entries that go with these users."""
    if not log.of(server_set).read(_WITH_OWNERS, (tenant, room, list(users))):
        return

    def work(connection: psycopg.Connection[Any]) -> int:
        chatrooms.hold(connection, tenant, room)
        found = connection.execute(_ROOM_OF_ENTRIES, (tenant, room)).fetchone()
        left = connection.execute(_WITH_OWNERS, (tenant, room, list(users))).fetchall()
        if found is None or not left:
            return 0
        at = max(int(found[0]) + 1, log.now())
        _put(connection, tenant, room, at, [(key, "", owner, OVERWRITE | REMOVED) for key, owner in left])
        return at

    if at := log.of(server_set).run(work, within=chatrooms.WITHIN):
        chatrooms.tell(tenant, room, entries=at)


def forget(server_set: str) -> None:
    """Timed: removed entries are remembered for an hour."""
    before = log.now() - REMEMBERED
    log.of(server_set).run(
        lambda connection: connection.execute(_FORGET_ENTRIES, (before,)), within=chatrooms.WITHIN
    )
