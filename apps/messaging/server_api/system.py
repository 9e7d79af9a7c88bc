"""`/message/system/…`, `/message/…broadcast`: what a tenant's server sends to users, or to all of them."""

from __future__ import annotations

import json
import uuid

from apps.messaging import chatrooms, log
from apps.messaging.server_api.declarations import (
    INTERNAL,
    Answer,
    Call,
    Param,
    Refused,
    endpoint,
    flag,
    identifier,
    integer,
    text,
)
from apps.messaging.server_api.messages import (
    A_UID,
    KEEP_LAST_MESSAGE,
    MESSAGE,
    PERSISTED,
    PUSH_MAX,
    committed,
    object_name,
    to_users,
    uids,
    up_stream,
)
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.messages import SYSTEM
from apps.routing.protocol.status import AckStatus

SYSTEM_RECEIVERS_MAX = 100


@endpoint(
    "/message/system/publish",
    Param("toUserId", identifier, required=True, most=SYSTEM_RECEIVERS_MAX),
    *MESSAGE,
    answer=uids("userId", "bob"),
)
async def publish_system(call: Call) -> Answer:
    """Send users a notice of the system.

    Answered when every copy is committed. Clients show it in a conversation named by the sender.
    """
    payload = up_stream(call).SerializeToString()
    return await to_users(call, "sysMsg", [payload] * len(call["toUserId"]))


@endpoint("/message/broadcast", Param("os", object_name), *MESSAGE, answer={"messageUID": A_UID})
async def broadcast(call: Call) -> Answer:
    """Send a message to all users of the app, those offline too.

    Answered when it is committed; every SET takes a copy.
    """
    return await _to_all(call, "sysMsg", up_stream(call))


@endpoint("/message/online/broadcast", *MESSAGE, answer={"messageUID": A_UID})
async def broadcast_online(call: Call) -> Answer:
    """Send a message to all users of the app that are online now. It is not stored."""
    return await _to_all(call, "sysMsgS", up_stream(call))


@endpoint(
    "/message/broadcast/recall",
    Param("fromUserId", identifier, required=True),
    Param("messageUID", identifier, required=True),
    Param("sentTime", integer(0, 1 << 53), default=0),
    Param("isAdmin", flag, default=False),
    Param("isDelete", flag, default=False),
    Param("extra", text(PUSH_MAX), default=""),
    Param("disableUpdateLastMsg", flag, default=False),
)
async def recall_broadcast(call: Call) -> Answer:
    """Recall a broadcast.

    Of a message that is not known, or that somebody else has sent, nothing is recalled.
    """
    content = {
        "conversationType": SYSTEM,
        "targetId": call["fromUserId"],
        "messageUId": call["messageUID"],
        "sentTime": call["sentTime"],
        "isAdmin": call["isAdmin"],
        "isDelete": call["isDelete"],
        "extra": call["extra"],
    }
    message = UpStreamMessage(
        sessionId=PERSISTED,
        classname="RC:RcCmd",
        content=json.dumps(content, ensure_ascii=False).encode(),
        optionBits=KEEP_LAST_MESSAGE * call["disableUpdateLastMsg"],
    )
    await _to_all(call, "sysMsg", message)
    return {}


async def _to_all(call: Call, method: str, message: UpStreamMessage) -> Answer:
    payload = message.SerializeToString()
    request = Request(call.tenant.id, call["fromUserId"], method, "", payload, options=FROM_SERVER)
    (reply,) = await committed([request])
    if reply.status not in (AckStatus.OK, AckStatus.RECALL_PARAMETERS):
        raise Refused(INTERNAL, "Not known to be stored, please retry.")
    return {"messageUID": reply.uid}


@endpoint("/message/chatroom/broadcast", *MESSAGE)
def broadcast_in_chatrooms(call: Call) -> Answer:
    """Say something in all chatrooms.

    Shown to who is in a room now, once for each room. It is not stored, and no room lives longer by it.

    Gateways are told directly, in one message: they know who is where.
    """
    up = up_stream(call).SerializeToString()
    said = (uuid.uuid4().hex, log.now(), call["fromUserId"], up, call["isIncludeSender"])
    chatrooms.tell(call.tenant.id, "", said=said)
    return {}
