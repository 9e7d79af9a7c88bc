"""Groups: who is in them, in two tables that change with the rows of the log.

A group's home SET takes all of its messages and knows its members (Group, GroupMember). Each member's home
SET knows when he was in the group, by the times of the group's log (Membership): that is what he may read.
Coming and going are rows of the group's log, kind GROUP_CHANGE, in order with its messages; other SETs get
them as they get the messages, by exchange, and change their tables in the transaction that appends the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgpack
import psycopg

from apps.messaging import log
from apps.messaging.log import Content, Effect, Entry, Place
from apps.messaging.models import DISCUSSION, GROUP, GROUP_CHANGE
from apps.routing.placement import SLOTS
from apps.routing.topology import slot

JOIN, QUIT, DISMISS = "join", "quit", "dismiss"  # Message.method of a change; `up` is msgpack of the users
DEPART = "depart"  # asked for only: to quit a group or discussion, whichever it is

_JOIN = """
    INSERT INTO messaging_groupmember (tenant, "group", "user", slot, user_slot, joined)
    SELECT %(tenant)s::int8, %(group)s::varchar, u, %(slot)s::int2, s, %(time)s::int8
    FROM unnest(%(users)s::varchar[], %(slots)s::int2[]) AS w(u, s) ON CONFLICT DO NOTHING"""
_BEGIN = """
    INSERT INTO messaging_membership (tenant, "user", "group", slot, joined)
    SELECT %(tenant)s::int8, u, %(group)s::varchar, s, %(time)s::int8
    FROM unnest(%(users)s::varchar[], %(slots)s::int2[]) AS w(u, s)
    WHERE s = ANY(%(own)s::int2[]) AND NOT EXISTS (
      SELECT 1 FROM messaging_membership m
      WHERE m.tenant = %(tenant)s::int8 AND m."user" = u AND m."group" = %(group)s::varchar
        AND m.until IS NULL) ON CONFLICT DO NOTHING"""
_QUIT = """
    DELETE FROM messaging_groupmember
    WHERE tenant = %(tenant)s::int8 AND "group" = %(group)s::varchar AND "user" = ANY(%(users)s::varchar[])"""
_END = """
    UPDATE messaging_membership SET until = %(time)s::int8, until_here = %(here)s::int8
    WHERE tenant = %(tenant)s::int8 AND "group" = %(group)s::varchar AND "user" = ANY(%(users)s::varchar[])
      AND until IS NULL AND joined < %(time)s::int8"""
_COUNT = """
    SELECT user_slot, count(*) FROM messaging_groupmember
    WHERE tenant = %(tenant)s::int8 AND "group" = %(group)s::varchar GROUP BY user_slot"""
_SIZE = """
    INSERT INTO messaging_group (tenant, "group", slot, name, created, reach, size, kind, owner)
    VALUES (%(tenant)s, %(group)s, %(slot)s, %(name)s::varchar, %(time)s, %(reach)s, %(size)s,
            %(kind)s, %(owner)s)
    ON CONFLICT (tenant, "group") DO UPDATE SET reach = EXCLUDED.reach, size = EXCLUDED.size,
      name = COALESCE(NULLIF(EXCLUDED.name, ''), messaging_group.name)"""
_DISMISS = 'DELETE FROM messaging_group WHERE tenant = %(tenant)s::int8 AND "group" = %(group)s::varchar'
# Who has been in a discussion for longest has it when its owner leaves.
_INHERIT = """
    UPDATE messaging_group g SET owner = COALESCE((
      SELECT m."user" FROM messaging_groupmember m
      WHERE m.tenant = g.tenant AND m."group" = g."group" ORDER BY m.joined, m."user" LIMIT 1), '')
    WHERE tenant = %(tenant)s::int8 AND "group" = %(group)s::varchar AND owner = ANY(%(users)s::varchar[])"""
_FIND = """
    SELECT kind, owner, closed, size, EXISTS (
      SELECT FROM messaging_groupmember m
      WHERE m.tenant = g.tenant AND m."group" = g."group" AND m."user" = %s)
    FROM messaging_group g WHERE tenant = %s AND "group" = %s"""
_PRESENT = """
    SELECT "user" FROM messaging_groupmember
    WHERE tenant = %s AND "group" = %s AND (%s OR "user" = ANY(%s::varchar[])) ORDER BY joined, "user" """
_MEMBERS = """
    SELECT "user" FROM messaging_groupmember WHERE tenant = %s AND "group" = %s ORDER BY joined, "user" """


def members(server_set: str, tenant: int, group: str) -> list[str]:
    """All members, those first who came first; in the group's home SET."""
    return [user for (user,) in log.of(server_set).read(_MEMBERS, (tenant, group))]


def reach(tenant: int, users: Sequence[str]) -> bytes:
    """The slots of these users, a bit for each."""
    bits = 0
    for user in users:
        bits |= 1 << slot(str(tenant), user)
    return bits.to_bytes(SLOTS // 8, "little")


class Found(NamedTuple):
    """A group as a change finds it."""

    kind: int  # 0: there is none
    owner: str
    closed: bool
    size: int
    asked_by_member: bool
    grows: int  # the members that the change adds


_NONE = (0, "", False, 0, False)
Judge = Callable[[Found], None]  # raises log.Refused


def entry(
    uid: str,
    tenant: int,
    group: str,
    change: str,
    users: Sequence[str],
    judge: Judge,
    *,
    name: str = "",
    kind: int = GROUP,
    owner: str = "",
    asker: str = "",
) -> Entry:
    """A change, for the log of the group's home SET. `kind`, `owner`: of a group that it makes."""
    return Entry(
        uid=uid,
        tenant=tenant,
        kind=GROUP_CHANGE,
        sender="",
        target=group,
        flags=0,
        method=change,
        up=b"",  # both are found out by the effect
        reach=b"",
        effect=_effect(tenant, group, change, users, judge, name=name, kind=kind, owner=owner, asker=asker),
    )


def _effect(
    tenant: int,
    group: str,
    change: str,
    users: Sequence[str],
    judge: Judge,
    *,
    name: str,
    kind: int,
    owner: str,
    asker: str,
) -> Effect:
    """Whether it may be, and whom it concerns, is found out as it is made, under the head's lock: of changes
    that are asked for at the same moment each finds what those before it have left.
    """
    number = slot(str(tenant), group)

    def work(connection: psycopg.Connection[Any], place: Place) -> Content:
        row = connection.execute(_FIND, (asker, tenant, group)).fetchone()
        everybody = (tenant, group, change == DISMISS, list(users))
        present = dict.fromkeys(user for (user,) in connection.execute(_PRESENT, everybody))
        absent = [user for user in dict.fromkeys(users) if user not in present]
        concerned = absent if change == JOIN else list(present)
        grows = len(concerned) if change == JOIN else 0
        found = Found._make((*(row or _NONE), grows))
        judge(found)
        content = Content(msgpack.packb(concerned), reach(tenant, concerned))
        if row is None and not concerned:
            return content
        parameters = _parameters(tenant, group, concerned, place, place.time) | {
            "slot": number,
            "name": name,
            "kind": kind,
            "owner": owner,
        }
        if change == JOIN:
            connection.execute(_JOIN, parameters)
            connection.execute(_BEGIN, parameters)
        else:
            connection.execute(_QUIT, parameters)
            connection.execute(_END, parameters)
        counts = dict(connection.execute(_COUNT, parameters).fetchall())
        if change == DISMISS or ((found.kind or kind) == DISCUSSION and not counts):
            connection.execute(_DISMISS, parameters)
            return content
        bits = sum(1 << of_user for of_user in counts).to_bytes(SLOTS // 8, "little")
        connection.execute(_SIZE, parameters | {"reach": bits, "size": sum(counts.values())})
        if change == QUIT:
            connection.execute(_INHERIT, parameters)
        return content

    return work


def effect_of_copy(tenant: int, kind: int, target: str, method: str, up: bytes, at: int) -> Effect | None:
    """What a row of another SET's log does in this one: a group's change, to members who are at home here.

    `at`: ms, of that log.
    """
    if kind != GROUP_CHANGE:
        return None

    def work(connection: psycopg.Connection[Any], place: Place) -> None:
        parameters = _parameters(tenant, target, msgpack.unpackb(up), place, at)
        connection.execute(_BEGIN if method == JOIN else _END, parameters)

    return work


def _parameters(tenant: int, group: str, users: Sequence[str], place: Place, at: int) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "group": group,
        "users": list(users),
        "slots": [slot(str(tenant), user) for user in users],
        "own": [number for number in range(SLOTS) if log.owns(place.slots, number)],
        "time": at,
        "here": place.time,
    }
