"""`/message/chatroom/broadcast`: what a tenant's server says in all of its chatrooms at once."""

from __future__ import annotations

import uuid

from apps.messaging import chatrooms, log
from apps.messaging.server_api.declarations import Answer, Call, endpoint
from apps.messaging.server_api.messages import MESSAGE, up_stream


@endpoint("/message/chatroom/broadcast", *MESSAGE)
def broadcast(call: Call) -> Answer:
    """Shown to who is in a room now, once for each room. It is not stored, and no room lives longer by it.

    Gateways are told directly, in one message: they know who is where.
    """
    up = up_stream(call).SerializeToString()
    said = (uuid.uuid4().hex, log.now(), call["fromUserId"], up, call["isIncludeSender"])
    chatrooms.tell(call.tenant.id, "", said=said)
    return {}
