"""Groups: pgMsgP, the status form pgMsgS (PROTOCOL 4.1), and the changes that the server API asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgpack

from apps.accounts.directory import directory
from apps.messaging import group_quota, groups, log
from apps.messaging.log import Entry
from apps.messaging.methods import Refused, Status, Verdict, changing, wording
from apps.messaging.models import DIRECTED, DISCUSSION, GROUP, TO_SELF, UNSEEN, GroupRule
from apps.messaging.tenant_rules import Rule as Rules
from apps.messaging.tenant_rules import rules
from apps.routing.envelope import FROM_SERVER, INCLUDE_SENDER, Request, source
from apps.routing.protocol.messages import conversation_type, is_status, parse_upstream
from apps.routing.protocol.packets import MAX_CONTENT, AckStatus, ProtocolError

Rule = GroupRule.Kind
DISCUSSION_METHODS = frozenset(("pdMsgP",))
SIZE_MAX = 3000  # members, of a tenant that is not known here

_RULE = """EXISTS (SELECT FROM messaging_grouprule r WHERE r.tenant = w.tenant AND r."group" = w.name
                    AND r."user" = {} AND r.kind = {} AND r.until > %s)"""
_STANDING = f"""
    SELECT w.tenant, w.name, w.member, g.kind, m."user" IS NOT NULL,
           {_RULE.format("w.member", Rule.MUTED)}, {_RULE.format("''", Rule.ALL_MUTED)},
           {_RULE.format("w.member", Rule.EXEMPT)}
    FROM unnest(%s::int8[], %s::varchar[], %s::varchar[]) AS w(tenant, name, member)
    JOIN messaging_group g ON g.tenant = w.tenant AND g."group" = w.name
    LEFT JOIN messaging_groupmember m
      ON m.tenant = w.tenant AND m."group" = w.name AND m."user" = w.member"""


class Standing(NamedTuple):
    """A user in a group that exists."""

    kind: int
    member: bool
    muted: bool
    all_muted: bool  # the group
    exempt: bool  # from that


def standings(server_set: str, asked: Sequence[tuple[int, str, str]]) -> dict[tuple[int, str, str], Standing]:
    """Of (tenant, group, user), for the groups that exist; in the groups' home SET, in one round trip."""
    wanted = list(set(asked))
    if not wanted:
        return {}
    now = log.now()
    columns = [now, now, now, *(list(column) for column in zip(*wanted, strict=True))]
    return {
        (tenant, group, user): Standing(*its)
        for tenant, group, user, *its in log.of(server_set).read(_STANDING, columns)
    }


def admit(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """Who may send: members, unless they or the group are muted; the server in anybody's name."""
    known = standings(server_set, [(r.tenant, r.target, r.user) for r in requests])
    verdicts = [_verdict(r, known.get((r.tenant, r.target, r.user))) for r in requests]
    return changing.judged(server_set, requests, wording.judged(requests, verdicts))


def _verdict(request: Request, standing: Standing | None) -> Verdict:
    try:
        up = parse_upstream(request.payload)
    except ProtocolError:
        return Refused(AckStatus.MALFORMED)
    if len(up.content) > MAX_CONTENT:
        return Refused(AckStatus.TOO_BIG)
    special = changing.FLAGS.get(up.classname, 0)
    if (status := _refusal(request, standing)) and not (
        special & TO_SELF and status == AckStatus.GROUP_MUTED
    ):
        return Refused(status)
    if is_status(request.method, up.classname):
        return Status(conversation_type(request.method))
    hidden = bool(request.options & FROM_SERVER and not request.options & INCLUDE_SENDER)
    return Entry(
        uid=request.uid,
        tenant=request.tenant,
        kind=conversation_type(request.method),
        sender=request.user,
        target=request.target,
        # Other SETs read it for their members, and its sender may be at home in one of them.
        flags=up.sessionId & 3
        | (DIRECTED if up.toUserIds else 0)
        | special
        | UNSEEN * hidden
        | source(request.options),
        method=request.method,
        up=request.payload,
        seen=request.seen,
        hidden=hidden,
    )


def _refusal(request: Request, standing: Standing | None) -> int:
    discussion = request.method in DISCUSSION_METHODS
    outside = AckStatus.NOT_IN_DISCUSSION if discussion else AckStatus.NOT_IN_GROUP
    if standing is None or standing.kind != (DISCUSSION if discussion else GROUP):
        return outside
    if request.options & FROM_SERVER:
        return 0
    if not standing.member:
        return outside
    if standing.muted or (standing.all_muted and not standing.exempt):
        return AckStatus.GROUP_MUTED
    return AckStatus.GROUP_MUTED if rules.current.hold(request.tenant, Rules.GROUP_MUTED, request.user) else 0


def size_max(tenant: int) -> int:
    """Members that a group of the tenant may have."""
    known = directory.current.by_id(tenant)
    return known.group_size if known else SIZE_MAX


def change(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """`grpChange`, of the server API only: payload msgpack of [join | quit | dismiss | depart, users, name].

    A group is made by the first who join it. What is a discussion is no group, except for who departs.
    """
    too_many = group_quota.past(server_set, requests)
    return [Refused(AckStatus.GROUP_ID_INVALID) if r.uid in too_many else _change(r) for r in requests]


def _change(request: Request) -> Verdict:
    how, users, name = msgpack.unpackb(request.payload)
    most = size_max(request.tenant)

    def judge(found: groups.Found) -> None:
        if found.kind == DISCUSSION and how != groups.DEPART:
            raise log.Refused(AckStatus.NOT_IN_GROUP)
        if found.grows and found.size + found.grows > most:
            raise log.Refused(AckStatus.OPERATION_BLOCKED)

    change = groups.QUIT if how == groups.DEPART else how
    return groups.entry(request.uid, request.tenant, request.target, change, users, judge, name=name)
