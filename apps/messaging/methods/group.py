"""Groups: pgMsgP, the status form pgMsgS (PROTOCOL 4.1), and the changes that the server API asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from apps.messaging import groups, log
from apps.messaging.log import Entry
from apps.messaging.methods import Refused, Status, Verdict, changing
from apps.messaging.models import DIRECTED, GROUP, GROUP_CHANGE, TO_SELF
from apps.routing.envelope import FROM_SERVER, INCLUDE_SENDER, Request
from apps.routing.protocol.messages import is_status, parse_upstream
from apps.routing.protocol.packets import MAX_CONTENT, AckStatus, ProtocolError

SIZE_MAX = 3000  # members

_STANDING = """
    SELECT w.tenant, w.name, w.member, g.muted, m.muted_until, m.allowed
    FROM unnest(%s::int8[], %s::varchar[], %s::varchar[]) AS w(tenant, name, member)
    JOIN messaging_group g ON g.tenant = w.tenant AND g."group" = w.name
    LEFT JOIN messaging_groupmember m
      ON m.tenant = w.tenant AND m."group" = w.name AND m."user" = w.member"""


class Standing(NamedTuple):
    """A user in a group that exists. `muted_until` None: he is not in it."""

    muted: bool  # the group
    muted_until: int | None  # ms
    allowed: bool | None


def standings(server_set: str, asked: Sequence[tuple[int, str, str]]) -> dict[tuple[int, str, str], Standing]:
    """Of (tenant, group, user), for the groups that exist; in the groups' home SET, in one round trip."""
    wanted = list(set(asked))
    if not wanted:
        return {}
    columns = [list(column) for column in zip(*wanted, strict=True)]
    return {
        (tenant, group, user): Standing(*its)
        for tenant, group, user, *its in log.of(server_set).read(_STANDING, columns)
    }


def admit(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """Who may send: members, unless they or the group are muted; the server in anybody's name."""
    now = log.now()
    known = standings(server_set, [(r.tenant, r.target, r.user) for r in requests])
    verdicts = [_verdict(r, known.get((r.tenant, r.target, r.user)), now) for r in requests]
    return changing.judged(server_set, requests, verdicts)


def _verdict(request: Request, standing: Standing | None, now: int) -> Verdict:
    try:
        up = parse_upstream(request.payload)
    except ProtocolError:
        return Refused(AckStatus.MALFORMED)
    if len(up.content) > MAX_CONTENT:
        return Refused(AckStatus.TOO_BIG)
    special = changing.FLAGS.get(up.classname, 0)
    if (status := _refusal(request, standing, now)) and not (
        special & TO_SELF and status == AckStatus.GROUP_MUTED
    ):
        return Refused(status)
    if is_status(request.method, up.classname):
        return Status(GROUP)
    return Entry(
        uid=request.uid,
        tenant=request.tenant,
        kind=GROUP,
        sender=request.user,
        target=request.target,
        flags=up.sessionId & 3 | (DIRECTED if up.toUserIds else 0) | special,
        method=request.method,
        up=request.payload,
        seen=request.seen,
        hidden=bool(request.options & FROM_SERVER and not request.options & INCLUDE_SENDER),
    )


def _refusal(request: Request, standing: Standing | None, now: int) -> int:
    if standing is None:
        return AckStatus.NOT_IN_GROUP
    if request.options & FROM_SERVER:
        return 0
    if standing.muted_until is None:
        return AckStatus.NOT_IN_GROUP
    if standing.muted_until > now or (standing.muted and not standing.allowed):
        return AckStatus.GROUP_MUTED
    return 0


def change(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """`grpChange`, of the server API only: payload msgpack of [join | quit | dismiss, users, name].

    A group is made by the first who join it.
    """
    return [_change(server_set, request) for request in requests]


def _change(server_set: str, request: Request) -> Verdict:
    how, users, name = msgpack.unpackb(request.payload)
    present = groups.members(server_set, request.tenant, request.target)
    if how == groups.JOIN:
        users = [user for user in dict.fromkeys(users) if user not in present]
        if len(present) + len(users) > SIZE_MAX:
            return Refused(AckStatus.OPERATION_BLOCKED)
    elif how == groups.QUIT:
        users = [user for user in dict.fromkeys(users) if user in present]
    else:
        users = present
    fields: dict[str, Any] = {"tenant": request.tenant, "sender": "", "target": request.target}
    return Entry(
        uid=request.uid,
        kind=GROUP_CHANGE,
        flags=0,
        method=how,
        up=msgpack.packb(users),
        reach=groups.reach(request.tenant, users),
        effect=groups.effect(request.tenant, request.target, how, users, name)
        if users or how == groups.JOIN
        else None,
        **fields,
    )
