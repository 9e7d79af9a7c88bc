"""`/message/…`: what a tenant's server sends in its users' names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from apps.accounts.directory import directory
from apps.messaging import expansions
from apps.messaging.server_api.declarations import (
    INTERNAL,
    PARAMETER,
    TIMEOUT,
    Answer,
    Call,
    Param,
    Refused,
    TooOften,
    described,
    endpoint,
    flag,
    identifier,
    integer,
    json_object,
    text,
)
from apps.routing.envelope import FROM_SERVER, INCLUDE_SENDER, VERIFY_BLACKLIST, Request
from apps.routing.lanes import Reply
from apps.routing.methods import INTERNAL as INTERNAL_METHODS
from apps.routing.methods import METHODS
from apps.routing.process import submit_all
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.messages import is_readable
from apps.routing.protocol.status import AckStatus
from apps.routing.quotas import MESSAGES, quotas

RECEIVERS_MAX = 1000
CONTENT_MAX = 128 * 1024  # bytes
OBJECT_NAME_MAX = 32  # characters
A_UID = "5FGT-7VA9-G4DD-4V5P"
PATIENCE = 25.0  # s; lanes give up before, unless this process has not found its log since it started
PUSH_MAX = 64 * 1024  # bytes of one push parameter; the contract bounds the whole body only

# Bits of an UpStreamMessage.
PERSISTED, COUNTED, NO_PUSH, EXPANSION = 0x01, 0x02, 0x20, 0x40  # sessionId
FORCE_PUSH_DETAIL = 8  # configFlag
KEEP_LAST_MESSAGE, NEEDS_RECEIPT = 1, 2  # optionBits


_SENT = frozenset(
    [name for name, method in METHODS.items() if method.is_message]
    + [name for name, method in INTERNAL_METHODS.items() if method.to_all]
)


@described(type="string", maxLength=OBJECT_NAME_MAX)
def object_name(name: str) -> str:
    if len(name) > OBJECT_NAME_MAX or not name.isprintable():
        raise ValueError(f"must be {OBJECT_NAME_MAX} printable characters at most")
    return name


def uids(name: str, target: str) -> Answer:
    """An example of the answer to a message."""
    return {"messageUIDs": [{name: target, "messageUID": A_UID}], "messageUID?": A_UID}


MESSAGE = (
    Param("fromUserId", identifier, required=True),
    Param("objectName", object_name, required=True),
    Param("content", text(CONTENT_MAX), required=True),
    Param("pushContent", text(PUSH_MAX), default=""),
    Param("pushData", text(PUSH_MAX), default=""),
    Param("pushExt", json_object(PUSH_MAX), default={}),
    Param("isIncludeSender", flag, default=False),
    Param("isPersisted", flag, default=True),
    Param("isCounted", flag, default=True),
    Param("expansion", flag, default=False),
    Param("extraContent", json_object(PUSH_MAX), default={}),
    Param("disablePush", flag, default=False),
    Param("busChannel", text(64), default=""),
    Param("disableUpdateLastMsg", flag, default=False),
    Param("needReadReceipt", flag, default=False),
    Param("verifyBlacklist", flag, default=False),
    # Nothing reads these three yet: there are no friend lists and no pushes to phones. Wrong values are
    # refused all the same, so that callers do not come to rely on them.
    Param("verifyFriend", flag),
    Param("contentAvailable", flag),
    Param("count", integer(-1, 2**31 - 1), about="Of pushes to phones; not looked at yet."),
)


MENTION = 0x04  # bit of sessionId
# What is documented to have no effect on messages that are for some members of a group only.
NOT_DIRECTED: dict[str, Any] = {"expansion": False, "extraContent": {}, "disablePush": False, "pushExt": {}}
GROUPS_MAX = 3  # groups a call
ROOMS_MAX = 10  # chatrooms a call


@endpoint(
    "/message/group/publish",
    Param("toGroupId", identifier, required=True, most=GROUPS_MAX),
    Param("toUserId", identifier, most=RECEIVERS_MAX),
    Param("isMentioned", flag, default=False),
    *MESSAGE,
    answer=uids("groupId", "friends"),
)
async def publish_group(call: Call) -> Answer:
    """Send a message to groups, or to some members of one.

    Answered when it is committed. `toUserId`: only these members of the one group are shown it.
    """
    targets = call["toGroupId"]
    if call["toUserId"]:
        if len(targets) > 1:
            raise Refused(PARAMETER, "With toUserId, toGroupId takes one group.")
        call = replace(call, values=call.values | NOT_DIRECTED)
    message = up_stream(call)
    message.sessionId |= MENTION * call["isMentioned"]
    message.toUserIds.extend(call["toUserId"])
    options = FROM_SERVER | (INCLUDE_SENDER * call["isIncludeSender"])
    payload = message.SerializeToString()
    sender = (call.tenant.id, call["fromUserId"])
    replies = await committed([Request(*sender, "pgMsgP", to, payload, options=options) for to in targets])
    return answer_of("groupId", targets, replies, no_such=AckStatus.NOT_IN_GROUP)


@endpoint(
    "/message/chatroom/publish",
    Param("toChatroomId", identifier, required=True, most=ROOMS_MAX),
    Param("priority", integer(1, 3)),  # rooms drop by class under load: /chatroom/message/priority
    *MESSAGE,
    answer=uids("chatroomId", "lobby"),
)
async def publish_chatroom(call: Call) -> Answer:
    """Send a message to chatrooms.

    Answered when it is committed; in an unknown room nobody sees it. The sender need not be in one.
    """
    targets, payload = call["toChatroomId"], up_stream(call).SerializeToString()
    sender, options = (
        (call.tenant.id, call["fromUserId"]),
        FROM_SERVER | (INCLUDE_SENDER * call["isIncludeSender"]),
    )
    replies = await committed([Request(*sender, "chatMsg", to, payload, options=options) for to in targets])
    # App servers look for each of the rooms in the answer.
    gone = AckStatus.CHATROOM_NOT_FOUND
    replies = [reply._replace(status=AckStatus.OK) if reply.status == gone else reply for reply in replies]
    return answer_of("chatroomId", targets, replies, no_such=gone)


@endpoint(
    "/message/discussion/publish",
    Param("toDiscussionId", identifier, required=True),
    *MESSAGE,
    answer=uids("discussionId", "talk"),
)
async def publish_discussion(call: Call) -> Answer:
    """Send a message to a discussion. Answered when it is committed."""
    to, options = call["toDiscussionId"], FROM_SERVER | (INCLUDE_SENDER * call["isIncludeSender"])
    payload = up_stream(call).SerializeToString()
    request = Request(call.tenant.id, call["fromUserId"], "pdMsgP", to, payload, options=options)
    return answer_of("discussionId", [to], await committed([request]), no_such=AckStatus.NOT_IN_DISCUSSION)


@endpoint(
    "/message/private/publish",
    Param("toUserId", identifier, required=True, most=RECEIVERS_MAX),
    *MESSAGE,
    answer=uids("userId", "bob"),
)
async def publish_private(call: Call) -> Answer:
    """Send a message to users.

    Answered when every copy is committed. Receivers whose blacklist was honoured are left out of it.
    """
    payload = up_stream(call).SerializeToString()
    receivers = call["toUserId"]
    options = FROM_SERVER
    if call["verifyBlacklist"]:
        options |= VERIFY_BLACKLIST
    if call["isIncludeSender"] and len(receivers) == 1:  # with several receivers it has no meaning
        options |= INCLUDE_SENDER
    requests = [
        Request(call.tenant.id, call["fromUserId"], "ppMsgP", receiver, payload, options=options)
        for receiver in receivers
    ]
    replies = await committed(requests)
    return answer_of("userId", receivers, replies, no_such=AckStatus.BLOCKED_BY_PEER)


async def to_users(call: Call, method: str, payloads: Sequence[bytes], options: int = FROM_SERVER) -> Answer:
    receivers = call["toUserId"]
    requests = [
        Request(call.tenant.id, call["fromUserId"], method, receiver, payload, options=options)
        for receiver, payload in zip(receivers, payloads, strict=True)
    ]
    return answer_of("userId", receivers, await committed(requests), no_such=AckStatus.BLOCKED_BY_PEER)


STATUS = (
    Param("fromUserId", identifier, required=True),
    Param("objectName", object_name, required=True),
    Param("content", text(CONTENT_MAX), required=True),
    Param("verifyBlacklist", flag, default=False),
    Param("isIncludeSender", flag, default=False),
    Param("busChannel", text(64), default=""),
)


def _status(call: Call) -> bytes:
    _check_readable(call)
    content = call["content"].encode()
    message = UpStreamMessage(sessionId=0, classname=call["objectName"], content=content)
    message.busChannel = call["busChannel"]
    return message.SerializeToString()


@endpoint(
    "/statusmessage/private/publish",
    Param("toUserId", identifier, required=True, most=RECEIVERS_MAX),
    *STATUS,
    answer=uids("userId", "bob"),
)
async def publish_private_status(call: Call) -> Answer:
    """Send users something that is shown to who is online and never stored, whatever its type.

    The sender's devices are not shown it.
    """
    options = FROM_SERVER | VERIFY_BLACKLIST * call["verifyBlacklist"]
    return await to_users(call, "ppMsgS", [_status(call)] * len(call["toUserId"]), options)


@endpoint(
    "/statusmessage/group/publish",
    Param("toGroupId", identifier, required=True, most=GROUPS_MAX),
    *STATUS,
    answer=uids("groupId", "friends"),
)
async def publish_group_status(call: Call) -> Answer:
    """Send groups something that is shown to members that are online and never stored, whatever its type."""
    sender, targets, payload = (call.tenant.id, call["fromUserId"]), call["toGroupId"], _status(call)
    replies = await committed(
        [Request(*sender, "pgMsgS", group, payload, options=FROM_SERVER) for group in targets]
    )
    return answer_of("groupId", targets, replies, no_such=AckStatus.NOT_IN_GROUP)


def answer_of(name: str, targets: Sequence[str], replies: Sequence[Reply], *, no_such: int) -> Answer:
    """The uids of what is stored. Who has the status `no_such` is left out; others are to be retried."""
    stored = [
        {name: target, "messageUID": reply.uid}
        for target, reply in zip(targets, replies, strict=True)
        if reply.status == AckStatus.OK
    ]
    failed = sum(reply.status not in (AckStatus.OK, no_such) for reply in replies)
    if failed:
        message = f"{failed} of {len(targets)} messages are not known to be stored, please retry."
        raise Refused(INTERNAL, message, messageUIDs=stored)  # these need no retry
    answer: Answer = {"messageUIDs": stored}
    if len(targets) == 1 and stored:
        answer["messageUID"] = stored[0]["messageUID"]
    return answer


async def committed(requests: Sequence[Request]) -> list[Reply]:
    """What became of them, when all are committed or refused. Raises Refused."""
    _take_from_quota(requests)
    try:
        async with asyncio.timeout(PATIENCE):
            return await submit_all(requests)
    except TimeoutError:
        raise Refused(TIMEOUT, "Not known to be stored in time, please retry.") from None


def _take_from_quota(requests: Sequence[Request]) -> None:
    """Messages count, each receiver's once; what else is asked of nodes does not."""
    sent = sum(request.method in _SENT for request in requests)
    rate = directory.current.message_rates.get(requests[0].tenant) if sent else None
    if rate is not None and (late := quotas.take(requests[0].tenant, MESSAGES, rate, sent)):
        raise TooOften("messages", late)


def up_stream(call: Call) -> UpStreamMessage:
    """The message as a client would have sent it. Raises Refused."""
    _check_readable(call)
    session = (PERSISTED * call["isPersisted"]) | (COUNTED * call["isCounted"])
    session |= (NO_PUSH * call["disablePush"]) | (EXPANSION * call["expansion"])
    message = UpStreamMessage(
        sessionId=session,
        classname=call["objectName"],
        content=call["content"].encode(),
        pushText=call["pushContent"],
        appData=call["pushData"],
        busChannel=call["busChannel"],
        optionBits=(KEEP_LAST_MESSAGE * call["disableUpdateLastMsg"])
        | (NEEDS_RECEIPT * call["needReadReceipt"]),
    )
    if call["expansion"] and call["extraContent"]:
        values = {key: {"v": str(value)} for key, value in call["extraContent"].items()}
        message.extraContent = json.dumps(values, ensure_ascii=False)
        if len(expansions.values(message.extraContent)) < len(values) or len(values) > expansions.KEYS_MAX:
            raise Refused(PARAMETER, f"extraContent {expansions.LIMITS}.")
    if call["pushExt"]:
        _set_push(message, call["pushExt"])
    return message


def _check_readable(call: Call) -> None:
    if not is_readable(call["objectName"], call["content"]):
        raise Refused(PARAMETER, "content must be a JSON object for objectNames that begin with RC:.")


def _set_push(message: UpStreamMessage, wanted: dict[str, Any]) -> None:
    message.pushExt.title = str(wanted.get("title", ""))
    message.pushExt.templateId = str(wanted.get("templateId", ""))
    message.pushExt.pushConfigs = json.dumps(wanted.get("pushConfigs", []), ensure_ascii=False)
    if str(wanted.get("forceShowPushContent", 0)) in ("1", "True"):
        message.configFlag = FORCE_PUSH_DETAIL
