"""`/message/private/modify`, `/message/group/modify`: other content for messages that were sent.

A message that is not known is no error here. Devices of v5 are told; others find it in histories.
"""

from __future__ import annotations

from collections.abc import Callable

from channels.db import database_sync_to_async

from apps.messaging import groups, modifications
from apps.messaging.server_api.declarations import (
    INTERNAL,
    PARAMETER,
    Answer,
    Call,
    Param,
    Refused,
    endpoint,
    identifier,
    text,
)
from apps.messaging.server_api.messages import CONTENT_MAX, committed, object_name
from apps.routing import hints
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.hints import Signal
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.status import AckStatus
from apps.routing.topology import home

MODIFIED = 12  # NotifyMsg.type

PARAMS = (
    Param("fromUserId", identifier, required=True),
    Param("msgUID", identifier, required=True),
    Param("objectName", object_name, default=""),
    Param("content", text(CONTENT_MAX), required=True),
)


@endpoint("/message/private/modify", Param("targetId", identifier, required=True), *PARAMS)
async def modify_private(call: Call) -> Answer:
    """Give a private message other content, in the name of its sender."""
    peer = call["targetId"]
    return await _modify(call, peer, lambda: [call["fromUserId"], peer])


@endpoint("/message/group/modify", Param("groupId", identifier, required=True), *PARAMS)
async def modify_group(call: Call) -> Answer:
    """Give a group's message other content, in the name of its sender."""
    tenant, group = call.tenant.id, call["groupId"]
    return await _modify(call, group, lambda: groups.members(home(tenant, group), tenant, group))


async def _modify(call: Call, target: str, readers: Callable[[], list[str]]) -> Answer:
    payload = modifications.modification(call["msgUID"], call["content"], call["objectName"])
    sender = (call.tenant.id, call["fromUserId"])
    request = Request(*sender, modifications.METHOD, target, payload, options=FROM_SERVER)
    (reply,) = await committed([request])
    if reply.status == AckStatus.NOT_MODIFIABLE:
        return {}
    if reply.status == AckStatus.MALFORMED:
        raise Refused(PARAMETER, "The message is another one's, or its class wants another content.")
    if reply.status:
        raise Refused(INTERNAL, "Not known to be done, please retry.")

    def tell() -> None:
        notice = im.NotifyMsg(type=MODIFIED, time=reply.time).SerializeToString()
        hints.signal([Signal(call.tenant.id, user, "s_cmd", notice) for user in readers()])

    await database_sync_to_async(tell, thread_sensitive=False)()
    return {}
