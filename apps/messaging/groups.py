"""Groups: who is in them, in two tables that change with the rows of the log.

A group's home SET takes all of its messages and knows its members (Group, GroupMember). Each member's home
SET knows when he was in the group, by the times of the group's log (Membership): that is what he may read.
Coming and going are rows of the group's log, kind GROUP_CHANGE, in order with its messages; other SETs get
them as they get the messages, by exchange, and change their tables in the transaction that appends the copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import psycopg

from apps.messaging import log
from apps.messaging.log import Effect, Place
from apps.messaging.models import GROUP, GROUP_CHANGE
from apps.routing.placement import SLOTS
from apps.routing.topology import slot

JOIN, QUIT, DISMISS = "join", "quit", "dismiss"  # Message.method of a change; `up` is msgpack of the users

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


def effect(
    tenant: int,
    group: str,
    change: str,
    users: Sequence[str],
    name: str = "",
    *,
    kind: int = GROUP,
    owner: str = "",
) -> Effect:
    """What a change does in the group's home SET. `kind`, `owner`: of one that it makes."""
    number = slot(str(tenant), group)

    def work(connection: psycopg.Connection[Any], place: Place) -> None:
        parameters = _parameters(tenant, group, users, place, place.time) | {
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
        if change == DISMISS:
            connection.execute(_DISMISS, parameters)
            return
        counts = dict(connection.execute(_COUNT, parameters).fetchall())
        bits = sum(1 << of_user for of_user in counts).to_bytes(SLOTS // 8, "little")
        connection.execute(_SIZE, parameters | {"reach": bits, "size": sum(counts.values())})
        if change == QUIT:
            connection.execute(_INHERIT, parameters)

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
