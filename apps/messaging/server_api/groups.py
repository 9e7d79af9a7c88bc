"""`/group/…`: groups and their members."""

from __future__ import annotations

from collections.abc import Sequence

import msgpack

from apps.messaging import groups
from apps.messaging.server_api.declarations import (
    INTERNAL,
    Answer,
    Call,
    Param,
    Refused,
    endpoint,
    identifier,
    text,
)
from apps.messaging.server_api.messages import committed
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol.status import AckStatus
from apps.routing.topology import home

USERS_A_CALL = 1000
NAME_MAX = 256  # bytes: 64 characters of any script
GROUP_FULL = 405  # also the HTTP status

GROUP = Param("groupId", identifier, required=True)
USERS = Param("userId", identifier, required=True, most=USERS_A_CALL)


async def change(call: Call, how: str, users: Sequence[str], name: str = "") -> Answer:
    """Have the group's SET change it, in order with its messages."""
    payload = msgpack.packb([how, list(users), name])
    (reply,) = await committed(
        [Request(call.tenant.id, "", "grpChange", call["groupId"], payload, options=FROM_SERVER)]
    )
    if reply.status == AckStatus.OPERATION_BLOCKED:
        raise Refused(GROUP_FULL, "The group would have too many members.")
    if reply.status:
        raise Refused(INTERNAL, "Not known to be done, please retry.")
    return {}


@endpoint("/group/create", USERS, GROUP, Param("groupName", text(NAME_MAX), required=True))
async def create(call: Call) -> Answer:
    """A group that exists gets these members and this name."""
    return await change(call, groups.JOIN, call["userId"], call["groupName"])


@endpoint("/group/join", USERS, GROUP, Param("groupName", text(NAME_MAX), default=""))
async def join(call: Call) -> Answer:
    """A group that does not exist is made."""
    return await change(call, groups.JOIN, call["userId"], call["groupName"])


@endpoint("/group/quit", USERS, GROUP)
async def quit_group(call: Call) -> Answer:
    """Who is no member need not quit."""
    return await change(call, groups.QUIT, call["userId"])


@endpoint("/group/dismiss", Param("userId", identifier, required=True), GROUP)
async def dismiss(call: Call) -> Answer:
    """All members leave; what they were sent stays theirs."""
    return await change(call, groups.DISMISS, ())


@endpoint("/group/refresh", GROUP, Param("groupName", text(NAME_MAX), required=True))
async def refresh(call: Call) -> Answer:
    """A new name."""
    return await change(call, groups.JOIN, (), call["groupName"])


@endpoint("/group/user/query", GROUP)
def members(call: Call) -> Answer:
    """Those first who came first."""
    found = groups.members(home(call.tenant.id, call["groupId"]), call.tenant.id, call["groupId"])
    return {"id": call["groupId"], "users": [{"id": user} for user in found]}
