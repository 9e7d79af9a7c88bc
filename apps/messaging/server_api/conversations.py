"""`/conversation/…`: what a tenant's server sets of its users' conversations.

It is the same state that users set on their devices, changed in the same way: by a node of the user's home
SET. So his connected devices are told at once, whoever has changed it.
"""

from __future__ import annotations

from google.protobuf.message import Message

from apps.messaging import log
from apps.messaging.methods import conversation_states
from apps.messaging.methods.conversation_states import BLOCKED, LEVELS, ON_TOP, SILENT, STATES_MAX
from apps.messaging.server_api.chatrooms import manage
from apps.messaging.server_api.declarations import (
    INTERNAL,
    LAST_MOMENT,
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
    text,
)
from apps.messaging.server_api.messages import committed
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.messages import CHATROOM
from apps.routing.protocol.status import AckStatus

KINDS = (1, 2, 3, 4, 5, 6, 7, 8, 10)  # conversation types that the API knows
PUSH_LEVELS = (-1, 0, 1, 2, 4, 5)  # all · as by default · mentions · of him · of all · none

_WRONG = {
    AckStatus.OPERATION_BLOCKED: f"The user has set something for {STATES_MAX} conversations.",
    AckStatus.TOO_MANY_TAGS: "There would be too many tags.",
    AckStatus.MALFORMED: "The user has no such tag.",
}


@described(type="integer", enum=list(KINDS))
def conversation_type(given: str) -> int:
    found = integer(KINDS[0], KINDS[-1])(given)
    if found not in KINDS:
        raise ValueError("is no conversation type")
    return found


@described(type="integer", enum=list(PUSH_LEVELS))
def push_level(given: str) -> int | None:
    """None of a null that the Java SDK writes as text."""
    if given == "null":
        return None
    found = integer(PUSH_LEVELS[0], PUSH_LEVELS[-1])(given)
    if found not in PUSH_LEVELS:
        raise ValueError(f"must be one of {', '.join(map(str, PUSH_LEVELS))}")
    return found


async def as_user(call: Call, user: str, method: str, wanted: Message) -> None:
    """Have a node do what a device of the user may ask for. Raises Refused."""
    payload = wanted.SerializeToString()
    request = Request(call.tenant.id, user, method, user, payload, options=FROM_SERVER, generation=LEVELS)
    (reply,) = await committed([request])
    if reply.status in _WRONG:
        raise Refused(PARAMETER, _WRONG[AckStatus(reply.status)])
    if reply.status:
        raise Refused(INTERNAL, "Not known to be done, please retry.")


KIND = Param("conversationType", conversation_type, required=True)
USER = Param("requestId", identifier, required=True)
TARGET = Param("targetId", identifier, required=True)
CHANNEL = Param("busChannel", identifier, default="")


async def _set(call: Call, user: str, which: int, value: str, channel: str = "") -> Answer:
    state = im.SessionState(type=call["conversationType"], channelId=call["targetId"], busChannel=channel)
    state.stateItem.add(sessionStateType=which, value=value)
    await as_user(call, user, "setSeAtt", im.SessionStateModifyReq(version=0, state=[state]))
    return {}


# --- who is disturbed by what


@endpoint(
    "/conversation/notification/set",
    KIND,
    USER,
    TARGET,
    CHANNEL,
    Param("isMuted", flag, shown=True),
    Param("unpushLevel", push_level),
)
async def set_notification(call: Call) -> Answer:
    """Have a conversation disturb the user or not. A level that is given, and not 0, outdoes isMuted."""
    muted, level = call["isMuted"], call["unpushLevel"]
    if muted is None and level is None:
        raise Refused(PARAMETER, "isMuted or unpushLevel is required.")
    level = level or (BLOCKED if muted else 0)
    return await _set(call, call["requestId"], SILENT, str(level), call["busChannel"])


@endpoint(
    "/conversation/notification/get",
    KIND,
    USER,
    TARGET,
    CHANNEL,
    answer={"isMuted": 1, "unpushLevel": 5},
)
def notification(call: Call) -> Answer:
    """Whether a conversation disturbs the user; zeros where nothing was set."""
    level = _level(call, call["targetId"], call["busChannel"])
    return {"isMuted": int(level > 0), "unpushLevel": level}


@endpoint("/conversation/type/notification/set", KIND, USER, Param("unpushLevel", push_level, required=True))
async def set_type_notification(call: Call) -> Answer:
    """Have all conversations of a type disturb the user or not, unless one is set otherwise."""
    wanted = im.TypeUnpushInput(type=call["conversationType"], version=0, ignoreVersion=True)
    wanted.unpushLevel = call["unpushLevel"] or 0
    await as_user(call, call["requestId"], "setTypeUnpush", wanted)
    return {}


@endpoint("/conversation/type/notification/get", KIND, USER, answer={"isMuted": 2, "unpushLevel": 2})
def type_notification(call: Call) -> Answer:
    """The level of a type, under the documented name and under the name that it is set by."""
    level = _level(call, "", "")
    return {"isMuted": level, "unpushLevel": level}


def _level(call: Call, target: str, channel: str) -> int:
    key = (call["conversationType"], target, channel)
    item = conversation_states.stored(call.tenant.id, call["requestId"], key).get(SILENT)
    return int(item.value) if item else 0


@endpoint(
    "/conversation/top/set",
    Param("userId", identifier, required=True),
    KIND,
    TARGET,
    Param("setTop", flag, required=True),
)
async def set_top(call: Call) -> Answer:
    """Have a conversation stand on top of the user's list, or not."""
    return await _set(call, call["userId"], ON_TOP, str(int(call["setTop"])))


# --- history


@endpoint(
    "/conversation/message/history/clean",
    KIND,
    Param("fromUserId", identifier, required=True),
    TARGET,
    Param("msgTimestamp", integer(0, LAST_MOMENT)),
    Param("busChannel", text(64), default=""),
)
async def clean_history(call: Call) -> Answer:
    """Remove a conversation's history up to a time, or all of it: a chatroom's for all, others' for the user.

    Devices that have not pulled a message yet are shown it all the same.
    """
    kind, target, upto = call["conversationType"], call["targetId"], log.now()
    if call["msgTimestamp"] is not None:
        upto = min(upto, call["msgTimestamp"])
    if kind == CHATROOM:
        await manage(call, target, "clean", upto)
        return {}
    which = im.CleanHisMsgInput(conversationType=kind, targetId=target, dataTime=upto)
    await as_user(call, call["fromUserId"], "cleanMsgBatch", im.CleanMsgBatchReq(input=[which]))
    return {}
