"""`/chatroom/…`: rooms, and who is in them.

All of it is done by a node of the room's SET: apps.messaging.methods.chatroom_operations has what there is.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgpack

from apps.messaging.chatroom_entries import ENTRIES_MAX, WITH_OWNER
from apps.messaging.chatrooms import END, Kind
from apps.messaging.methods.chatroom import KEY, MEMBERS_MAX, VALUE_MAX
from apps.messaging.server_api.declarations import (
    PARAMETER,
    Answer,
    Call,
    MapParam,
    Param,
    Refused,
    clock,
    endpoint,
    flag,
    identifier,
    integer,
    json_object,
    text,
)
from apps.messaging.server_api.homes import results, results_of_all_sets
from apps.messaging.server_api.messages import committed
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol.status import AckStatus

ROOMS_A_CALL = 50
MEMBERS_A_CALL = 1000
EXEMPT_A_CALL = 20
ENTRIES_AT_FIRST, ENTRIES_A_CALL = 10, 20  # keys
ENTRY_BYTES = 128 * 1024
MUTED_PAGE = 50
NAME_MAX = 256  # bytes: 64 characters of any script

ROOM = Param("chatroomId", identifier, required=True)
ROOMS = Param("chatroomId", identifier, required=True, most=ROOMS_A_CALL)
# Of a message to the room about what was done, which is not sent: its members are told by their own refusals.
NOTICE = (Param("needNotify", flag, default=False), Param("extra", text(4096), default=""))


async def manage(call: Call, room: str, operation: str, *arguments: Any) -> Any:
    """Have a node of the room's SET do something with it; what that gives. Raises Refused."""
    (found,) = await manage_all(call, [room], operation, *arguments)
    return found


async def manage_all(call: Call, rooms: list[str], operation: str, *arguments: Any) -> list[Any]:
    """The same with several rooms."""
    payload = msgpack.packb([operation, *arguments])
    requests = [
        Request(call.tenant.id, "", "manageChrm", room, payload, options=FROM_SERVER) for room in rooms
    ]
    return results(await committed(requests))


async def manage_known(call: Call, room: str, operation: str, *arguments: Any) -> Any:
    """What it gives; None when there is no such room, which is no error here."""
    payload = msgpack.packb([operation, *arguments])
    request = Request(call.tenant.id, "", "manageChrm", room, payload, options=FROM_SERVER)
    (reply,) = await committed([request])
    return None if reply.status == AckStatus.CHATROOM_NOT_FOUND else results([reply])[0]


async def in_all_sets(call: Call, operation: str, *arguments: Any) -> list[Any]:
    """Do something that is about no room in particular in each SET of the app's cluster."""
    request = Request(call.tenant.id, "", "manageChrm", "", msgpack.packb([operation, *arguments]))
    return await results_of_all_sets(call, request)


@endpoint(
    "/chatroom/create",
    MapParam("chatroom", identifier, required=True, most=ROOMS_A_CALL, parse_value=text(NAME_MAX)),
)
async def create(call: Call) -> Answer:
    """Make chatrooms. Rooms that exist stay as they are."""
    await asyncio.gather(*(manage(call, room, "create", name) for room, name in call["chatroom"].items()))
    return {}


@endpoint("/chatroom/destroy", ROOMS)
async def destroy(call: Call) -> Answer:
    """Destroy chatrooms. Members are told. Rooms that do not exist need not be destroyed."""
    await manage_all(call, call["chatroomId"], "destroy")
    return {}


@endpoint(
    "/chatroom/query",
    ROOMS,
    answer={"chatRooms": [{"chrmId": "lobby", "name": "Lobby", "time": "2026-01-31 12:00:00"}]},
)
async def query(call: Call) -> Answer:
    """Those of these chatrooms that exist."""
    found = await manage_all(call, call["chatroomId"], "info")
    return {
        "chatRooms": [
            {"chrmId": room["room"], "name": room["name"], "time": clock(room["created"])}
            for room in found
            if room is not None
        ]
    }


@endpoint(
    "/chatroom/user/query",
    ROOM,
    Param("count", integer(1, MEMBERS_MAX), default=MEMBERS_MAX),
    Param("order", integer(1, 2), default=1),
    answer={"total": 1, "users": [{"id": "alice", "time": "2026-01-31 12:00:00"}]},
)
async def members(call: Call) -> Answer:
    """Who is in a chatroom, and since when.

    Order 1: those first who joined first; 2: who joined last. Of an unknown room, nobody.
    """
    total, found = await manage(call, call["chatroomId"], "members", call["count"], call["order"] == 2)
    return {"total": total, "users": [{"id": user, "time": clock(joined)} for user, joined in found]}


# --- one room: how it ends, who is in it


DESTROY_TYPE = Param("destroyType", integer(0, 1), default=0)
DESTROY_TIME = Param("destroyTime", integer(60, 10080), default=60)


@endpoint(
    "/chatroom/create_new",
    ROOM,
    DESTROY_TYPE,
    DESTROY_TIME,
    Param("isBan", flag, default=False),
    Param("whiteUserIds", identifier, most=EXEMPT_A_CALL),
    Param("entryOwnerId", identifier),
    Param("entryInfo", json_object(ENTRY_BYTES), default={}),
)
async def create_one(call: Call) -> Answer:
    """Make one chatroom, with rules and first entries.

    One that exists stays as it is, but for what is added to it.
    """
    room, policy = call["chatroomId"], (call["destroyType"], call["destroyTime"])
    if call["entryInfo"] and not call["entryOwnerId"]:
        raise Refused(PARAMETER, "entryInfo needs entryOwnerId.")
    if len(call["entryInfo"]) > ENTRIES_AT_FIRST:
        raise Refused(PARAMETER, f"entryInfo takes {ENTRIES_AT_FIRST} keys at most.")
    await manage(call, room, "create", "", *policy, call["isBan"])
    if call["whiteUserIds"]:
        await manage(call, room, "restrict", Kind.EXEMPT, call["whiteUserIds"], END)
    if call["entryInfo"]:
        await put_entries(call, room, call["entryOwnerId"], call["entryInfo"], with_owner=False)
    return {}


@endpoint(
    "/chatroom/destroy/set",
    ROOM,
    Param("destroyType", integer(0, 1), required=True),
    Param("destroyTime", integer(60, 10080), required=True),
)
async def set_destroyed(call: Call) -> Answer:
    """Say when a chatroom ends by itself.

    0: so many minutes after the last was said; 1: so many after it was made.
    """
    policy = {"destroyed": call["destroyType"], "destroy_after": call["destroyTime"]}
    await manage(call, call["chatroomId"], "change", policy)
    return {}


@endpoint(
    "/chatroom/get",
    ROOM,
    answer={
        "chatroomId": "lobby",
        "createTime": 1769860800000,
        "memberCount": 1,
        "destroyType": 0,
        "destroyTime": 60,
        "ban": False,
    },
)
async def get(call: Call) -> Answer:
    """A chatroom's rules and number of members. Of an unknown room, zeros."""
    room = await manage(call, call["chatroomId"], "info") or {}
    return {
        "chatroomId": call["chatroomId"],
        "createTime": room.get("created", 0),
        "memberCount": room.get("members", 0),
        "destroyType": room.get("destroyed", 0),
        "destroyTime": room.get("destroy_after", 0),
        "ban": room.get("muted", False),
    }


@endpoint("/chatroom/user/exist", ROOM, Param("userId", identifier, required=True), answer={"isInChrm": True})
async def is_member(call: Call) -> Answer:
    """Whether a user is in a chatroom."""
    (found,) = await manage(call, call["chatroomId"], "are_members", [call["userId"]])
    return {"isInChrm": found}


@endpoint(
    "/chatroom/users/exist",
    ROOM,
    Param("userId", identifier, required=True, most=MEMBERS_A_CALL),
    answer={"result": [{"userId": "alice", "isInChrm": 1}]},
)
async def are_members(call: Call) -> Answer:
    """Which of these users are in a chatroom."""
    found = await manage(call, call["chatroomId"], "are_members", call["userId"])
    users = zip(call["userId"], found, strict=True)
    return {"result": [{"userId": user, "isInChrm": int(is_in)} for user, is_in in users]}


@endpoint("/chatroom/join", ROOM, Param("userId", identifier, required=True, most=MEMBERS_A_CALL))
async def join(call: Call) -> Answer:
    """Put users into a chatroom.

    Without a connection they are out again in half a minute, unless they are kept.
    """
    await manage(call, call["chatroomId"], "join", call["userId"])
    return {}


# --- how a room is kept, and what it shows


def _switch(path: str, column: str, value: bool, summary: str) -> None:
    @endpoint(path, ROOM, *NOTICE, summary=summary)
    async def switch(call: Call) -> Answer:
        await manage(call, call["chatroomId"], "change", {column: value})
        return {}


_switch("/chatroom/ban/add", "muted", True, "Mute a whole chatroom.")
_switch("/chatroom/ban/rollback", "muted", False, "Let everybody in a chatroom send again.")
_switch("/chatroom/message/stopDistribution", "held", True, "Deliver no messages of a chatroom.")
_switch("/chatroom/message/resumeDistribution", "held", False, "Deliver a chatroom's messages again.")
_switch("/chatroom/keepalive/add", "kept", True, "Keep a chatroom from ending by itself.")
_switch("/chatroom/keepalive/remove", "kept", False, "Let a chatroom end by itself again.")


async def _named(call: Call, which: str) -> list[str]:
    return sorted(room for rooms in await in_all_sets(call, "named", which) for room in rooms)


@endpoint("/chatroom/keepalive/query", answer={"chatroomIds": ["lobby"]})
async def kept(call: Call) -> Answer:
    """The chatrooms that do not end by themselves."""
    return {"chatroomIds": await _named(call, "kept")}


@endpoint(
    "/chatroom/ban/query",
    Param("page", integer(1, 1 << 20), default=1),
    Param("size", integer(1, MUTED_PAGE), default=MUTED_PAGE),
    answer={"chatroomIds": ["lobby"]},
)
async def muted(call: Call) -> Answer:
    """The chatrooms that are muted as a whole."""
    begin = (call["page"] - 1) * call["size"]
    return {"chatroomIds": (await _named(call, "muted"))[begin : begin + call["size"]]}


@endpoint("/chatroom/ban/check", ROOM, answer={"status": 1})
async def is_muted(call: Call) -> Answer:
    """Whether a chatroom is muted as a whole: 1 or 0."""
    room = await manage(call, call["chatroomId"], "info") or {}
    return {"status": int(room.get("muted", False))}


# --- its key-value store


async def put_entries(call: Call, room: str, owner: str, values: dict[str, Any], *, with_owner: bool) -> None:
    """Set them, None removes one; in an unknown room, nothing. Raises Refused."""
    for key, value in values.items():
        if not KEY.fullmatch(key) or len(str(value)) > VALUE_MAX:
            raise Refused(
                PARAMETER, f"A key has 1 to 128 letters, digits or +=-_, a value {VALUE_MAX} characters."
            )
    texts = {key: None if value is None else str(value) for key, value in values.items()}
    failed = await manage_known(call, room, "set_entries", owner, texts, with_owner) or {}
    if AckStatus.KV_FULL in failed.values():
        raise Refused(PARAMETER, f"The room would have more than {ENTRIES_MAX} keys.")


KEY_PARAM = Param("key", text(128), required=True)
# What the message of a change would be; the room's clients are told of the change itself.
KEY_NOTICE = (Param("objectName", text(64), default=""), Param("content", text(ENTRY_BYTES), default=""))
OWNER = Param("userId", identifier, required=True)


@endpoint(
    "/chatroom/entry/set",
    ROOM,
    OWNER,
    KEY_PARAM,
    Param("value", text(4 * VALUE_MAX), required=True),
    Param("autoDelete", flag, default=False),
    *KEY_NOTICE,
)
async def set_entry(call: Call) -> Answer:
    """Set one entry of a chatroom, whoever has set it before."""
    values = {call["key"]: call["value"]}
    await put_entries(call, call["chatroomId"], call["userId"], values, with_owner=call["autoDelete"])
    return {}


@endpoint(
    "/chatroom/entry/batch/set",
    ROOM,
    Param("autoDelete", flag, default=False),
    Param("entryOwnerId", identifier, required=True),
    Param("entryInfo", json_object(ENTRY_BYTES), required=True),
)
async def set_entries(call: Call) -> Answer:
    """Set several entries of a chatroom."""
    if len(call["entryInfo"]) > ENTRIES_A_CALL:
        raise Refused(PARAMETER, f"entryInfo takes {ENTRIES_A_CALL} keys at most.")
    room, owner = call["chatroomId"], call["entryOwnerId"]
    await put_entries(call, room, owner, call["entryInfo"], with_owner=call["autoDelete"])
    return {}


@endpoint("/chatroom/entry/remove", ROOM, OWNER, KEY_PARAM, *KEY_NOTICE)
async def remove_entry(call: Call) -> Answer:
    """Remove an entry of a chatroom."""
    await put_entries(call, call["chatroomId"], call["userId"], {call["key"]: None}, with_owner=False)
    return {}


@endpoint(
    "/chatroom/entry/query",
    ROOM,
    Param("keys", text(128), most=ENTRIES_MAX),
    answer={
        "keys": [
            {
                "key": "topic",
                "value": "Tea",
                "userId": "alice",
                "autoDelete": "0",
                "lastSetTime": "2026-01-31T12:00:00.000Z",
            }
        ]
    },
)
async def entries(call: Call) -> Answer:
    """A chatroom's entries. All of them, when no key is named."""
    found = await manage(call, call["chatroomId"], "entries", call["keys"] or None)
    return {
        "keys": [
            {
                "key": key,
                "value": value,
                "userId": owner,
                "autoDelete": str(status & WITH_OWNER),
                "lastSetTime": datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")[:-6]
                + "Z",
            }
            for key, value, owner, status, at in found
        ]
    }
