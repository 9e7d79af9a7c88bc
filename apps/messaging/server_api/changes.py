"""`/message/recall`, `/message/expansion/…`: what a tenant's server changes of messages that were sent.

A message that is not known is no error here: what was wanted of it is so.
"""

from __future__ import annotations

import json
from typing import Any

import msgpack

from apps.messaging import expansions
from apps.messaging.methods import recall
from apps.messaging.server_api.declarations import (
    INTERNAL,
    PARAMETER,
    Answer,
    Call,
    Param,
    Refused,
    described,
    endpoint,
    flag,
    identifier,
    integer,
    json_object,
    text,
)
from apps.messaging.server_api.homes import results_of_all_sets
from apps.messaging.server_api.messages import KEEP_LAST_MESSAGE, NO_PUSH, PERSISTED, committed
from apps.routing.envelope import FROM_SERVER, INCLUDE_SENDER, Request
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.messages import (
    CHATROOM,
    DISCUSSION,
    GROUP,
    PRIVATE,
    RECALL,
    SYSTEM,
    ULTRA_GROUP,
)
from apps.routing.protocol.status import AckStatus

EXTRA_MAX = 4096  # bytes
PAGE = 300  # values of a message
PAGES_MAX = 1 << 31
EXPANSION_MAX = 1 << 20  # bytes: the body's own limit
_UNKNOWN = frozenset((AckStatus.RECALL_PARAMETERS, AckStatus.EXPANSION_NOT_FOUND, AckStatus.NOT_IN_GROUP))
_WRONG = {
    AckStatus.EXPANSION_UNSUPPORTED: "The message was sent without expansion.",
    AckStatus.EXPANSION_FORMAT: f"The message would have more than {expansions.KEYS_MAX} keys.",
    AckStatus.EXPANSION_NOT_AUTHORISED: "The message is not of this conversation.",
}


async def _sent(request: Request) -> Answer:
    (reply,) = await committed([request])
    if reply.status in _WRONG:
        raise Refused(PARAMETER, _WRONG[AckStatus(reply.status)])
    if reply.status and reply.status not in _UNKNOWN:
        raise Refused(INTERNAL, "Not known to be done, please retry.")
    return {}


@endpoint(
    "/message/recall",
    Param("fromUserId", identifier, required=True),
    Param("conversationType", integer(1, 13), required=True),
    Param("targetId", identifier, required=True),
    Param("messageUID", identifier, required=True),
    Param("sentTime", integer(0, 1 << 53), required=True),
    Param("isAdmin", flag, default=False),
    Param("isDelete", flag, default=False),
    Param("disablePush", flag, default=False),
    Param("extra", text(EXTRA_MAX), default=""),
    Param("busChannel", text(64), default=""),
    Param("disableUpdateLastMsg", flag, default=False),
)
async def recall_message(call: Call) -> Answer:
    """Recall a message. Both sides, and all devices of the one in whose name it is done, are told."""
    if call["conversationType"] not in (PRIVATE, DISCUSSION, GROUP, CHATROOM, SYSTEM, ULTRA_GROUP):
        raise Refused(PARAMETER, "conversationType must be 1, 2, 3, 4, 6 or 10.")
    if call["conversationType"] not in (*recall.KINDS, SYSTEM):
        return {}  # nothing is sent in such conversations
    content: dict[str, Any] = {
        "conversationType": call["conversationType"],
        "targetId": call["targetId"],
        "messageUId": call["messageUID"],
        "sentTime": call["sentTime"],
        "isAdmin": call["isAdmin"],
        "isDelete": call["isDelete"],
        "channelId": call["busChannel"],
    }
    if call["extra"]:
        content["extra"] = call["extra"]
    message = UpStreamMessage(
        sessionId=PERSISTED | NO_PUSH * call["disablePush"],
        classname=recall.CLASS,
        content=json.dumps(content, ensure_ascii=False).encode(),
        busChannel=call["busChannel"],
        optionBits=KEEP_LAST_MESSAGE * call["disableUpdateLastMsg"],
    )
    sender, payload = (call.tenant.id, call["fromUserId"]), message.SerializeToString()
    if call["conversationType"] == SYSTEM:
        return await _sent(Request(*sender, "sysMsg", call["targetId"], payload, options=FROM_SERVER))
    return await _sent(Request(*sender, RECALL, call["targetId"], payload, options=FROM_SERVER))


OF_A_MESSAGE = (
    Param("msgUID", identifier, required=True),
    Param("userId", identifier, required=True),
    Param("conversationType", integer(1, 13), required=True),
    Param("targetId", identifier, required=True),
    Param("isSyncSender", flag, default=False),
)
_METHODS = {PRIVATE: "ppMsgP", GROUP: "pgMsgP"}


@described(type="string", contentMediaType="application/json")
def keys(given: str) -> list[str]:
    """A JSON array of keys."""
    try:
        found = json.loads(given)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(key, str) for key in found):
        raise ValueError("must be a JSON array of texts")
    return found


async def _expand(call: Call, content: bytes) -> Answer:
    """As if the user had sent it; connected clients of the conversation are told by the message itself."""
    if call["conversationType"] not in _METHODS:
        raise Refused(PARAMETER, "conversationType must be 1 or 3.")
    try:
        expansions.parse(content)
    except ProtocolError:
        limits = f"{expansions.KEYS_A_CALL} keys of 32 letters, digits or +=-_"
        raise Refused(
            PARAMETER, f"Takes 1 to {limits}, and values of {expansions.VALUE_MAX} characters."
        ) from None
    message = UpStreamMessage(sessionId=0, classname=expansions.CLASS, content=content)
    options = FROM_SERVER | INCLUDE_SENDER * call["isSyncSender"]
    sender, method = (call.tenant.id, call["userId"]), _METHODS[call["conversationType"]]
    payload = message.SerializeToString()
    return await _sent(Request(*sender, method, call["targetId"], payload, options=options))


@endpoint(
    "/message/expansion/set",
    *OF_A_MESSAGE,
    Param("extraKeyVal", json_object(EXPANSION_MAX), required=True),
)
async def set_expansion(call: Call) -> Answer:
    """Set values of a message that was sent with expansion."""
    return await _expand(call, expansions.content(call["msgUID"], put=call["extraKeyVal"]))


@endpoint("/message/expansion/delete", *OF_A_MESSAGE, Param("extraKey", keys, required=True))
async def delete_expansion(call: Call) -> Answer:
    """Delete values of a message. Keys that are not there need not be deleted."""
    return await _expand(call, expansions.content(call["msgUID"], delete=call["extraKey"]))


@endpoint(
    "/message/expansion/query",
    Param("msgUID", identifier, required=True),
    Param("pageNo", integer(1, PAGES_MAX), default=1),
    answer={"extraContent": {"<key>": {"v": "1", "ts": 1769860800000}}},
)
async def query_expansion(call: Call) -> Answer:
    """A message's values.

    By key; of an unknown message, nothing. The SET that had the message first knows best: a copy lags behind.
    """
    request = Request(call.tenant.id, "", "readExpansion", "", msgpack.packb(call["msgUID"]))
    known = [its for its in await results_of_all_sets(call, request) if its]
    firsts = [values for is_copy, values in known if not is_copy]
    found: list[dict[str, Any]] = firsts or [values for _, values in known]
    nothing: dict[str, Any] = {}
    newest = max(found, key=lambda values: max(map(_since, values.values()), default=0), default=nothing)
    page = sorted(newest.items())[(call["pageNo"] - 1) * PAGE : call["pageNo"] * PAGE]
    return {"extraContent": {key: {"v": its["v"], "ts": _since(its)} for key, its in page}}


def _since(its: dict[str, Any]) -> int:
    """ms; 0 of a value that the message was sent with."""
    at = its.get("ts", 0)
    return at if type(at) is int else 0
