"""Discussions of v2 (PROTOCOL 4.8): groups that their members make and run themselves.

Messages of a discussion are messages of a group (methods.group) of another conversation type. Its id is made
so that its home is the SET of who makes it. Who comes and goes is a row of the log, as in any group.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from apps.messaging import chatrooms, exchange, group_quota, groups, log
from apps.messaging.issuing import new_uid
from apps.messaging.log import Elsewhere
from apps.messaging.methods.group import size_max
from apps.messaging.models import DISCUSSION
from apps.messaging.own_state import Refusal, answers, identifier, text
from apps.routing import hints
from apps.routing.envelope import ELSEWHERE, REPEATED, Hint, Request, feed_group, hint_message
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import home

NAME_MAX = 64  # characters
USERS_A_CALL = 100
FIRST = 10  # members that `dizInf` tells
WITHIN = 2.0  # s that the database may be away
REPEATED_WITHIN = 60_000  # ms after which no second try of a call comes
OPEN, CLOSED = 0, 1  # openStatus: whether members may invite

_READ = """
    SELECT name, owner, closed FROM messaging_group
    WHERE tenant = %(tenant)s AND "group" = %(group)s AND kind = %(kind)s"""
# What an earlier try of the call may have made: nobody was told its id, so nobody else has come to it.
_MADE = """
    SELECT "group" FROM messaging_group g
    WHERE tenant = %(tenant)s AND kind = %(kind)s AND owner = %(owner)s AND name = %(name)s
      AND size = 1 AND created > %(since)s AND "group" IN (
        SELECT "group" FROM messaging_membership
        WHERE tenant = %(tenant)s AND "user" = %(owner)s AND until IS NULL)
    ORDER BY created DESC LIMIT 1"""
_RENAME = """
    UPDATE messaging_group SET name = %(name)s
    WHERE tenant = %(tenant)s AND "group" = %(group)s AND kind = %(kind)s"""
_CLOSE = """
    UPDATE messaging_group SET closed = %(closed)s
    WHERE tenant = %(tenant)s AND "group" = %(group)s AND kind = %(kind)s"""


class Discussion(NamedTuple):
    name: str
    owner: str
    closed: bool
    members: list[str]  # those first who came first


def _find(server_set: str, request: Request) -> Discussion:
    """The one that is the target; Refusal for who is not in it, as if there were none."""
    found = log.of(server_set).read(_READ, _of(request))
    members = groups.members(server_set, request.tenant, request.target) if found else []
    if request.user not in members:
        raise Refusal(AckStatus.NOT_IN_DISCUSSION)
    name, owner, closed = found[0]
    return Discussion(name, owner, closed, members)


def _of(request: Request) -> dict[str, Any]:
    return {"tenant": request.tenant, "group": request.target, "kind": DISCUSSION}


@answers
def create(server_set: str, request: Request) -> im.CreateDiscussionOutput:
    """crDiz: with the one who makes it as its owner."""
    name = text(im.CreateDiscussionInput.FromString(request.payload).name, NAME_MAX)
    since = log.now() - REPEATED_WITHIN
    if request.options & REPEATED and (
        found := log.of(server_set).read(
            _MADE, _of(request) | {"owner": request.user, "name": name, "since": since}
        )
    ):
        return im.CreateDiscussionOutput(id=found[0][0])
    if group_quota.room(request.tenant) == 0:
        raise Refusal(AckStatus.DISCUSSION_CREATE)
    made = f"diz-{secrets.token_hex(8)}"
    while home(request.tenant, made) != server_set:
        made = f"diz-{secrets.token_hex(8)}"
    request = request._replace(target=made)
    _append(server_set, request, groups.JOIN, [request.user], lambda its: None, name=name, owner=request.user)
    return im.CreateDiscussionOutput(id=made)


@answers
def invite(server_set: str, request: Request) -> None:
    """invtDiz: by any member, or by the owner alone. Who is in it already need not come."""
    given = im.ChannelInvitationInput.FromString(request.payload).users
    users = list(dict.fromkeys(identifier(user) for user in given))
    if not 0 < len(users) <= USERS_A_CALL:
        raise ProtocolError(f"{len(users)} users in a call")
    most = size_max(request.tenant)

    def judge(its: groups.Found) -> None:
        if its.closed and request.user != its.owner:
            raise log.Refused(AckStatus.DISCUSSION_INVITE)
        if its.grows and its.size + its.grows > most:
            raise log.Refused(AckStatus.DISCUSSION_JOIN)

    _change(server_set, request, groups.JOIN, users, judge)


@answers
def evict(server_set: str, request: Request) -> None:
    """evctDiz: by the owner."""
    user = identifier(im.ChannelEvictionInput.FromString(request.payload).user)

    def judge(its: groups.Found) -> None:
        if request.user != its.owner:
            raise log.Refused(AckStatus.OPERATION_BLOCKED)

    _change(server_set, request, groups.QUIT, [user], judge)


@answers
def leave(server_set: str, request: Request) -> None:
    """quitDiz: with the last one the discussion goes."""
    im.LeaveChannelInput.FromString(request.payload)
    _change(server_set, request, groups.QUIT, [request.user], lambda its: None)


@answers
def rename(server_set: str, request: Request) -> None:
    """rename: by any member."""
    name = text(im.RenameChannelInput.FromString(request.payload).name, NAME_MAX)
    _find(server_set, request)
    _update(server_set, request, _RENAME, {"name": name})


@answers
def set_open(server_set: str, request: Request) -> None:
    """pdOpen: whether members may invite; by the owner."""
    status = im.ModifyPermissionInput.FromString(request.payload).openStatus
    if status not in (OPEN, CLOSED):
        raise ProtocolError("neither open nor closed")
    if request.user != _find(server_set, request).owner:
        raise Refusal(AckStatus.OPERATION_BLOCKED)
    _update(server_set, request, _CLOSE, {"closed": status == CLOSED})


@answers
def info(server_set: str, request: Request) -> im.ChannelInfoOutput:
    """dizInf, for its members."""
    im.ChannelInfoInput.FromString(request.payload)
    its = _find(server_set, request)
    return im.ChannelInfoOutput(
        type=DISCUSSION,  # type: ignore[arg-type]
        channelId=request.target,
        channelName=its.name,
        adminUserId=its.owner,
        firstTenUserIds=its.members[:FIRST],
        openStatus=CLOSED if its.closed else OPEN,
    )


def _update(server_set: str, request: Request, statement: Any, values: dict[str, Any]) -> None:
    def work(connection: psycopg.Connection[Any]) -> None:
        chatrooms.hold(connection, request.tenant, request.target)
        connection.execute(statement, _of(request) | values)

    try:
        log.of(server_set).run(work, within=WITHIN)
    except chatrooms.Refusal as refusal:
        raise Refusal(refusal.status) from None


def _change(server_set: str, request: Request, how: str, users: Sequence[str], judge: groups.Judge) -> None:
    """Have a member change it, if `judge` does not object."""
    _find(server_set, request)  # who is no member takes no lock from those who write

    def judged(its: groups.Found) -> None:
        if its.kind != DISCUSSION or not its.asked_by_member:
            raise log.Refused(AckStatus.NOT_IN_DISCUSSION)
        judge(its)

    _append(server_set, request, how, users, judged)


def _append(
    server_set: str,
    request: Request,
    how: str,
    users: Sequence[str],
    judge: groups.Judge,
    *,
    name: str = "",
    owner: str = "",
) -> None:
    """Append who comes or goes, and tell it."""
    entry = groups.entry(
        new_uid(DISCUSSION),
        request.tenant,
        request.target,
        how,
        users,
        judge,
        name=name,
        kind=DISCUSSION,
        owner=owner,
        asker=request.user,
    )
    try:
        appended = log.of(server_set).append([entry], within=WITHIN)
    except Elsewhere:
        raise Refusal(ELSEWHERE) from None
    except log.Denied as denied:
        raise Refusal(denied.statuses[0]) from None
    hint = Hint(server_set, appended.before, appended.upto, appended.rows)
    hints.tell(feed_group(server_set), hint_message(hint))
    exchange.wake(server_set, appended.upto, appended.exported)


METHODS = {
    "crDiz": create,
    "invtDiz": invite,
    "evctDiz": evict,
    "quitDiz": leave,
    "rename": rename,
    "pdOpen": set_open,
    "dizInf": info,
}
