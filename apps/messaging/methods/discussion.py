"""Discussions of v2 (PROTOCOL 4.8): groups that their members make and run themselves.

Messages of a discussion are messages of a group (methods.group) of another conversation type. Its id is made
so that its home is the SET of who makes it. Who comes and goes is a row of the log, as in any group.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack
import psycopg

from apps.messaging import chatrooms, exchange, group_quota, groups, log
from apps.messaging.issuing import new_uid
from apps.messaging.log import Elsewhere, Entry
from apps.messaging.methods.group import size_max
from apps.messaging.models import DISCUSSION, GROUP_CHANGE
from apps.messaging.own_state import Refusal, answers, identifier, text
from apps.routing import hints
from apps.routing.envelope import ELSEWHERE, Hint, Request, feed_group, hint_message
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import home

NAME_MAX = 64  # characters
USERS_A_CALL = 100
FIRST = 10  # members that `dizInf` tells
WITHIN = 2.0  # s that the database may be away
OPEN, CLOSED = 0, 1  # openStatus: whether members may invite

_READ = """
    SELECT name, owner, closed FROM messaging_group
    WHERE tenant = %(tenant)s AND "group" = %(group)s AND kind = %(kind)s"""
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
    if group_quota.room(request.tenant) == 0:
        raise Refusal(AckStatus.DISCUSSION_CREATE)
    made = f"diz-{secrets.token_hex(8)}"
    while home(request.tenant, made) != server_set:
        made = f"diz-{secrets.token_hex(8)}"
    _change(
        server_set, request._replace(target=made), groups.JOIN, [request.user], name=name, owner=request.user
    )
    return im.CreateDiscussionOutput(id=made)


@answers
def invite(server_set: str, request: Request) -> None:
    """invtDiz: by any member, or by the owner alone. Who is in it already need not come."""
    given = im.ChannelInvitationInput.FromString(request.payload).users
    users = list(dict.fromkeys(identifier(user) for user in given))
    if not 0 < len(users) <= USERS_A_CALL:
        raise ProtocolError(f"{len(users)} users in a call")
    its = _find(server_set, request)
    if its.closed and request.user != its.owner:
        raise Refusal(AckStatus.DISCUSSION_INVITE)
    users = [user for user in users if user not in its.members]
    if len(its.members) + len(users) > size_max(request.tenant):
        raise Refusal(AckStatus.DISCUSSION_JOIN)
    if users:
        _change(server_set, request, groups.JOIN, users)


@answers
def evict(server_set: str, request: Request) -> None:
    """evctDiz: by the owner."""
    user = identifier(im.ChannelEvictionInput.FromString(request.payload).user)
    its = _find(server_set, request)
    if request.user != its.owner:
        raise Refusal(AckStatus.OPERATION_BLOCKED)
    if user in its.members:
        _change(server_set, request, groups.QUIT, [user])


@answers
def leave(server_set: str, request: Request) -> None:
    """quitDiz: with the last one the discussion goes."""
    im.LeaveChannelInput.FromString(request.payload)
    its = _find(server_set, request)
    how = groups.QUIT if len(its.members) > 1 else groups.DISMISS
    _change(server_set, request, how, [request.user])


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


def _change(
    server_set: str, request: Request, how: str, users: Sequence[str], *, name: str = "", owner: str = ""
) -> None:
    """Append who comes or goes, and tell it."""
    tenant, group = request.tenant, request.target
    entry = Entry(
        uid=new_uid(DISCUSSION),
        tenant=tenant,
        kind=GROUP_CHANGE,
        sender="",
        target=group,
        flags=0,
        method=how,
        up=msgpack.packb(list(users)),
        reach=groups.reach(tenant, users),
        effect=groups.effect(tenant, group, how, users, name, kind=DISCUSSION, owner=owner),
    )
    try:
        appended = log.of(server_set).append([entry], within=WITHIN)
    except Elsewhere:
        raise Refusal(ELSEWHERE) from None
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
