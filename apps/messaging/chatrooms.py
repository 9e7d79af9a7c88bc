"""Chatrooms that exist, and who may do what in them: tables of each room's home SET.

Who is in a room is in Redis (apps.routing.room_members), what was said in it in the log. All that is here
survives both a wiped Redis and a move of the room's slot. Each change is made in a transaction that holds the
slot where it is. What it means for members is told to gateways after the commit, and may be lost: a gateway
that goes on telling of a room which is not there is told again (chatroom_life).

Every function with a SET raises Refusal(ELSEWHERE) when the room's slot is another SET's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg

from apps.messaging import log
from apps.messaging.models import CHATROOM, Chatroom, ChatroomUser
from apps.messaging.webhooks import events
from apps.routing import hints, room_members
from apps.routing.envelope import ELSEWHERE
from apps.routing.topology import slot

END = 1 << 53  # ms: for ever; clients read 64-bit values as doubles
WITHIN = 2.0  # s that the database may be away
DESTROYED_BY_HAND, DESTROYED_BY_ITSELF = 0, 3  # NotifyMsg.destroyType

Kind = ChatroomUser.Kind


class Refusal(Exception):
    """The request gets this status (PROTOCOL 7.3)."""

    def __init__(self, status: int, payload: bytes = b"") -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.payload = payload


class Facts(NamedTuple):
    """A room and what holds for one user in it. `created` 0: there is no such room."""

    seq: int  # where the log ended …
    time: int  # … and its newest time, when this was read
    created: int
    muted: bool
    held: bool
    entries_time: int
    entries_floor: int
    kinds: int  # a bit for each Kind that holds for the user

    def has(self, kind: int) -> bool:
        return bool(self.kinds & 1 << kind)


_FACTS = """
    SELECT get_bit(h.slots, w.slot) = 1, h.seq, GREATEST(h.time, 1), COALESCE(c.created, 0),
           COALESCE(c.muted, false), COALESCE(c.held, false), COALESCE(c.entries_time, 0),
           COALESCE(c.entries_floor, 0),
           COALESCE((SELECT bit_or(1 << u.kind) FROM messaging_chatroomuser u
                     WHERE u.tenant = w.tenant AND u.room = w.room AND u."user" = w.member
                       AND u.until > %(now)s), 0)
    FROM unnest(%(tenants)s::int8[], %(rooms)s::varchar[], %(members)s::varchar[], %(slots)s::int4[])
         WITH ORDINALITY AS w(tenant, room, member, slot, place)
    CROSS JOIN messaging_head h
    LEFT JOIN messaging_chatroom c ON c.tenant = w.tenant AND c.room = w.room ORDER BY w.place"""


def look_up(server_set: str, asked: Sequence[tuple[int, str, str]]) -> list[Facts | None]:
    """The facts of each (tenant, room, user), in one round trip; None where the room is another SET's."""
    if not asked:
        return []
    tenants, rooms, members = (list(column) for column in zip(*asked, strict=True))
    parameters = {
        "now": log.now(),
        "tenants": tenants,
        "rooms": rooms,
        "members": members,
        "slots": [slot(str(tenant), room) for tenant, room in zip(tenants, rooms, strict=True)],
    }
    rows = log.of(server_set).read(_FACTS, parameters)
    return [Facts(*columns) if owned else None for owned, *columns in rows]


def facts(server_set: str, tenant: int, room: str, user: str) -> Facts:
    """The facts of one."""
    (found,) = look_up(server_set, [(tenant, room, user)])
    if found is None:
        raise Refusal(ELSEWHERE)
    return found


def tell(tenant: int, room: str, **news: Any) -> None:
    """Tell all gateways something of a room; see apps.routing.rooms.Rooms.told."""
    hints.tell(hints.EVERY_GATEWAY, {"type": "room", "tenant": tenant, "room": room, **news})


def hold(connection: psycopg.Connection[Any], tenant: int, room: str) -> int:
    """Have the room's slot stay here until the transaction ends; the log's newest time."""
    found = connection.execute("SELECT slots, GREATEST(time, 1) FROM messaging_head FOR SHARE").fetchone()
    slots, at = found or (b"", 0)
    if not log.owns(slots, slot(str(tenant), room)):
        raise Refusal(ELSEWHERE)
    return int(at)


def note_members(
    server_set: str, tenant: int, room: str, kind: int, status: int, users: Sequence[str]
) -> None:
    """Users are about to come or to leave: the tenant's server is to be told of those who do.

    Before, since who dies in between does it again: it is told twice rather than not at all.
    """
    if not (users and events.tells_rooms(tenant)):
        return
    there = room_members.are_members(tenant, room, users)
    concerned = [user for user, is_in in zip(users, there, strict=True) if is_in != (kind == events.JOINED)]

    def work(connection: psycopg.Connection[Any]) -> None:
        hold(connection, tenant, room)
        events.put_room(connection, tenant, room, kind, status, concerned)

    if concerned:
        log.of(server_set).run(work, within=WITHIN)


# --- rooms

_CREATE = """
    INSERT INTO messaging_chatroom (tenant, room, slot, name, created, destroyed, destroy_after, muted)
    VALUES (%(tenant)s, %(room)s, %(slot)s, %(name)s, %(created)s, %(destroyed)s, %(destroy_after)s,
            %(muted)s)
    ON CONFLICT (tenant, room) DO NOTHING"""
_INFO = """
    SELECT name, created, destroyed, destroy_after, kept, muted, held FROM messaging_chatroom
    WHERE tenant = %s AND room = %s"""
CHANGEABLE = frozenset(("destroyed", "destroy_after", "kept", "muted", "held"))


def create(
    server_set: str,
    tenant: int,
    room: str,
    name: str = "",
    destroyed: int = Chatroom.Destroyed.IDLE,
    destroy_after: int = 60,
    muted: bool = False,
) -> None:
    """Make a room; one that exists stays as it is."""

    def work(connection: psycopg.Connection[Any]) -> None:
        created = hold(connection, tenant, room)
        values = {"tenant": tenant, "room": room, "slot": slot(str(tenant), room), "name": name}
        values |= {"created": created, "destroyed": destroyed, "destroy_after": destroy_after, "muted": muted}
        if connection.execute(_CREATE, values).rowcount:
            events.put_room(connection, tenant, room, events.CREATED, events.BY_CALL, ())

    log.of(server_set).run(work, within=WITHIN)
    room_members.note_active(server_set, [(tenant, room)])


def destroy(server_set: str, tenant: int, room: str, how: int = DESTROYED_BY_HAND) -> None:
    """End a room and all that belongs to it; its members are told. What was said in it stays in the log."""

    def work(connection: psycopg.Connection[Any]) -> bool:
        hold(connection, tenant, room)
        # The room first: who changes its entries holds its row.
        sql = "DELETE FROM messaging_chatroom WHERE tenant = %s AND room = %s"
        existed = connection.execute(sql, (tenant, room)).rowcount > 0
        for table in ("messaging_chatroomuser", "messaging_chatroomentry"):
            connection.execute(f"DELETE FROM {table} WHERE tenant = %s AND room = %s", (tenant, room))
        if existed:
            status = events.TIME_OVER if how == DESTROYED_BY_ITSELF else events.BY_CALL
            events.put_room(connection, tenant, room, events.DESTROYED, status, ())
        return existed

    if log.of(server_set).run(work, within=WITHIN):
        room_members.forget_room(server_set, tenant, room)
        tell(tenant, room, destroyed=how)


def change(server_set: str, tenant: int, room: str, values: Mapping[str, Any]) -> bool:
    """Set columns of `CHANGEABLE`; False when there is no such room."""
    if not values.keys() <= CHANGEABLE:
        raise ValueError(f"of a chatroom, one cannot change {', '.join(values.keys() - CHANGEABLE)}")
    columns = ", ".join(f"{name} = %({name})s" for name in values)

    def work(connection: psycopg.Connection[Any]) -> bool:
        hold(connection, tenant, room)
        sql = f"UPDATE messaging_chatroom SET {columns} WHERE tenant = %(tenant)s AND room = %(room)s"
        return connection.execute(sql, {**values, "tenant": tenant, "room": room}).rowcount > 0

    return log.of(server_set).run(work, within=WITHIN)


def info(server_set: str, tenant: int, room: str) -> dict[str, Any] | None:
    """Everything about a room; None when there is no such."""
    facts(server_set, tenant, room, "")
    found = log.of(server_set).read(_INFO, (tenant, room))
    if not found:
        return None
    names = ("name", "created", "destroyed", "destroy_after", "kept", "muted", "held")
    total, _ = room_members.listed(tenant, room, 0, newest_first=False)
    return {"room": room, "members": total, **dict(zip(names, found[0], strict=True))}


def named(server_set: str, tenant: int, which: str) -> list[str]:
    """The tenant's rooms of this SET that are `kept` or `muted`, in order of their names."""
    if which not in ("kept", "muted"):
        raise ValueError(f"rooms are not listed by {which}")
    sql = f"SELECT room FROM messaging_chatroom WHERE tenant = %s AND {which} ORDER BY room"
    return [room for (room,) in log.of(server_set).read(sql, (tenant,))]


# --- what was said, and is not to be found any more

# Of all users: no user has the empty id.
_CLEAN = """
    INSERT INTO messaging_cleanmark (tenant, "user", slot, kind, target, upto)
    VALUES (%(tenant)s, '', %(slot)s, %(kind)s, %(room)s, LEAST(%(upto)s::int8, %(time)s::int8))
    ON CONFLICT (tenant, "user", kind, target) DO UPDATE SET upto = EXCLUDED.upto
    WHERE messaging_cleanmark.upto < EXCLUDED.upto"""
_CLEANED = """
    SELECT upto FROM messaging_cleanmark WHERE tenant = %s AND "user" = '' AND kind = %s AND target = %s"""


def clean(server_set: str, tenant: int, room: str, upto: int) -> None:
    """Remove the history of all rooms that have had this id, up to a time in ms."""

    def work(connection: psycopg.Connection[Any]) -> None:
        time = hold(connection, tenant, room)
        values = {"tenant": tenant, "room": room, "slot": slot(str(tenant), room)}
        connection.execute(_CLEAN, values | {"kind": CHATROOM, "upto": upto, "time": time})

    log.of(server_set).run(work, within=WITHIN)


def cleaned(server_set: str, tenant: int, room: str) -> int:
    """ms up to which the history was removed."""
    rows = log.of(server_set).read(_CLEANED, (tenant, CHATROOM, room))
    return int(rows[0][0]) if rows else 0


# --- what holds for users

_RESTRICT = """
    INSERT INTO messaging_chatroomuser (tenant, room, slot, kind, until, "user")
    SELECT %(tenant)s, %(room)s, %(slot)s, %(kind)s, %(until)s, * FROM unnest(%(users)s::varchar[])
    ON CONFLICT (tenant, room, "user", kind) DO UPDATE SET until = EXCLUDED.until"""


def restrict(
    server_set: str, tenant: int, room: str, kind: int, users: Sequence[str], until: int = END
) -> None:
    """Have something hold for users in a room, which need not exist."""

    def work(connection: psycopg.Connection[Any]) -> None:
        hold(connection, tenant, room)
        values = {"tenant": tenant, "room": room, "slot": slot(str(tenant), room)}
        values |= {"kind": kind, "until": until, "users": sorted(set(users))}
        connection.execute(_RESTRICT, values)

    log.of(server_set).run(work, within=WITHIN)


def release(server_set: str, tenant: int, room: str, kind: int, users: Sequence[str]) -> None:
    """Have it hold no longer."""

    def work(connection: psycopg.Connection[Any]) -> None:
        hold(connection, tenant, room)
        sql = """DELETE FROM messaging_chatroomuser
                 WHERE tenant = %s AND room = %s AND kind = %s AND "user" = ANY(%s)"""
        connection.execute(sql, (tenant, room, kind, list(users)))

    log.of(server_set).run(work, within=WITHIN)


def restricted(server_set: str, tenant: int, room: str, kind: int) -> list[tuple[str, int]]:
    """(user, until when in ms) of those for whom it holds."""
    facts(server_set, tenant, room, "")
    sql = """SELECT "user", until FROM messaging_chatroomuser
             WHERE tenant = %s AND room = %s AND kind = %s AND until > %s ORDER BY "user" """
    return [(user, until) for user, until in log.of(server_set).read(sql, (tenant, room, kind, log.now()))]
