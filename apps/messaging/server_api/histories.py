"""`/v3/message/…/query`: the history of one conversation, page by page.

A page begins at startTime and goes towards endTime: newest first when startTime is the later one. The next
page begins at the msgTime of the last message of the one before, without includeStart. Messages of one
moment are in one page, which may be longer by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apps.messaging import chatrooms, exchange, log
from apps.messaging.methods.history import visible
from apps.messaging.models import CHATROOM, DIRECTED, GROUP, HELD, PERSISTED, PRIVATE, RECALLED, TO_SELF
from apps.messaging.server_api.declarations import (
    LAST_MOMENT,
    Answer,
    Call,
    Param,
    endpoint,
    flag,
    identifier,
    integer,
    text,
)
from apps.messaging.server_api.homes import sets_of
from apps.messaging.server_api.messages import EXPANSION
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.topology import home

PAGE, PAGE_MAX = 20, 100  # messages

_PAGE = """
    SELECT uid, sent, sender, target, up FROM messaging_message
    WHERE tenant = %(tenant)s AND conversation = %(conversation)s AND sent BETWEEN %(low)s AND %(high)s
      AND {} ORDER BY sent {} FETCH FIRST (%(limit)s::int8) ROWS WITH TIES"""
_KEPT = f"""kind = %(kind)s AND target = %(peer)s
    AND flags & {PERSISTED | RECALLED | HELD | TO_SELF} = {PERSISTED}"""
# A directed message has its receivers' names in it as they are in `named`: others are not read.
_OF_USER = f"""{visible("%(kind)s", "%(peer)s")}
    AND (flags & {DIRECTED} = 0 OR sender = %(user)s OR position(%(named)s::bytea IN up) > 0)"""

# uid, sent, sender, target, up
Found = tuple[str, int, str, str, bytes]


def _page(call: Call, sets: Sequence[str], kind: int, which: str, since: int = 0, **more: Any) -> Answer:
    """A page of a conversation as `which` (SQL) has it in these SETs, without what is up to `since` (ms)."""
    tenant, peer = call.tenant.id, call["targetId"]
    start, end, including = call["startTime"], call["endTime"], call["includeStart"]
    backwards = start > end
    low, high = (end, start) if backwards else (start, end)
    if not including:
        low, high = (low, high - 1) if backwards else (low + 1, high)
    parameters = {
        "tenant": tenant,
        "kind": kind,
        "peer": peer,
        "conversation": log.conversation(tenant, kind, call["userId"] or "", peer),
        "low": max(low, since + 1),
        "high": high,
        "limit": call["pageSize"],
        **more,
    }
    sql: Any = _PAGE.format(which, "DESC" if backwards else "ASC")
    found: dict[str, Found] = {}  # a message may be in several SETs
    for server_set in sets:
        found |= {row[0]: row for row in log.of(server_set).read(sql, parameters)}
    rows = sorted(found.values(), key=lambda row: row[1], reverse=backwards)
    if len(rows) > call["pageSize"]:
        last = rows[call["pageSize"] - 1][1]
        rows = [row for row in rows if (row[1] >= last if backwards else row[1] <= last)]
    return {"data": [_shown(*row) for row in rows]}


def _shown(uid: str, sent: int, sender: str, target: str, up: bytes) -> dict[str, Any]:
    message = UpStreamMessage.FromString(up)
    return {
        "targetId": target,
        "fromUserId": sender,
        "messageUID": uid,
        "msgTime": sent,
        "objectName": message.classname,
        "content": message.content.decode(errors="replace"),
        "expansion": bool(message.sessionId & EXPANSION),
        "extraContent": message.extraContent,
        "busChannel": message.busChannel,
    }


WHOSE = Param("userId", identifier)
OF_A_CONVERSATION = (
    Param("targetId", identifier, required=True),
    Param("startTime", integer(0, LAST_MOMENT), required=True),
    Param("endTime", integer(0, LAST_MOMENT), required=True),
    Param("pageSize", integer(1, PAGE_MAX), default=PAGE),
    Param("includeStart", flag, default=False),
    Param("busChannel", text(64), default=""),
)
ANSWER = {
    "data": [
        {
            "targetId": "bob",
            "fromUserId": "alice",
            "messageUID": "5FGT-7VA9-G4DD-4V5P",
            "msgTime": 1700000000000,
            "objectName": "RC:TxtMsg",
            "content": '{"content":"hello"}',
            "expansion": False,
            "extraContent": "",
            "busChannel": "",
        }
    ]
}


@endpoint(
    "/v3/message/private/query", Param("userId", identifier, required=True), *OF_A_CONVERSATION, answer=ANSWER
)
def of_private(call: Call) -> Answer:
    """What a user finds in his conversation with another one."""
    return _of_user(call, PRIVATE)


@endpoint("/v3/message/group/query", WHOSE, *OF_A_CONVERSATION, answer=ANSWER)
def of_group(call: Call) -> Answer:
    """What a user finds in a group, or all that was said in it when no user is named."""
    if call["userId"] is not None:
        return _of_user(call, GROUP)
    first = home(call.tenant.id, call["targetId"])
    sets = sorted(sets_of(call.tenant), key=lambda name: name == first)  # the last one knows what it says now
    return _page(call, sets, GROUP, _KEPT)


@endpoint("/v3/message/chatroom/query", WHOSE, *OF_A_CONVERSATION, answer=ANSWER)
def of_chatroom(call: Call) -> Answer:
    """What was said in a chatroom, also in one that exists no more; it is the same for all users."""
    tenant, room = call.tenant.id, call["targetId"]
    server_set = home(tenant, room)
    return _page(call, [server_set], CHATROOM, _KEPT, chatrooms.cleaned(server_set, tenant, room))


def _of_user(call: Call, kind: int) -> Answer:
    server_set = home(call.tenant.id, call["userId"])
    exchange.freshen(server_set)  # what was sent a moment ago from another SET
    named = UpStreamMessage(toUserIds=[call["userId"]]).SerializePartialToString()
    return _page(call, [server_set], kind, _OF_USER, user=call["userId"], named=named)
