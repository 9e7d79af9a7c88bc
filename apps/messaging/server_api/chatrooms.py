"""`/chatroom/…`: rooms, and who is in them.

All of it is done by a node of the room's SET: apps.messaging.methods.chatroom_operations has what there is.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgpack
from django.utils import timezone

from apps.messaging.methods.chatroom import MEMBERS_MAX
from apps.messaging.server_api.declarations import (
    INTERNAL,
    TIMEOUT,
    Answer,
    Call,
    MapParam,
    Param,
    Refused,
    endpoint,
    identifier,
    integer,
    text,
)
from apps.messaging.server_api.messages import PATIENCE, committed
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.process import submit
from apps.routing.topology import topology

ROOMS_A_CALL = 50
NAME_MAX = 256  # bytes: 64 characters of any script

ROOM = Param("chatroomId", identifier, required=True)
ROOMS = Param("chatroomId", identifier, required=True, most=ROOMS_A_CALL)


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
    return _results(await committed(requests))


async def in_all_sets(call: Call, operation: str, *arguments: Any) -> list[Any]:
    """Do something that is about no room in particular in each SET of the app's cluster."""
    request = Request(call.tenant.id, "", "manageChrm", "", msgpack.packb([operation, *arguments]))
    return await results_of_all_sets(call, request)


async def results_of_all_sets(call: Call, request: Request) -> list[Any]:
    """What each SET of the app's cluster answers. Raises Refused."""
    snapshot = topology.current
    of_cluster = dict.fromkeys(
        snapshot.clusters.get(call.tenant.cluster) or next(iter(snapshot.clusters.values()))
    )
    try:
        async with asyncio.timeout(PATIENCE):
            return _results(await asyncio.gather(*(submit(request, name) for name in of_cluster)))
    except TimeoutError:
        raise Refused(TIMEOUT, "Not known in time, please retry.") from None


def _results(replies: list[Any]) -> list[Any]:
    failed = sum(reply.status != 0 for reply in replies)
    if failed:
        raise Refused(INTERNAL, f"{failed} of {len(replies)} rooms could not be reached, please retry.")
    return [msgpack.unpackb(reply.payload) for reply in replies]


def clock(at: int) -> str:
    """ms as the API's older answers write times."""
    return timezone.localtime(datetime.fromtimestamp(at / 1000, UTC)).strftime("%Y-%m-%d %H:%M:%S")


@endpoint(
    "/chatroom/create",
    MapParam("chatroom", identifier, required=True, most=ROOMS_A_CALL, parse_value=text(NAME_MAX)),
)
async def create(call: Call) -> Answer:
    """Rooms that exist stay as they are."""
    await asyncio.gather(*(manage(call, room, "create", name) for room, name in call["chatroom"].items()))
    return {}


@endpoint("/chatroom/destroy", ROOMS)
async def destroy(call: Call) -> Answer:
    """Members are told. Rooms that do not exist need not be destroyed."""
    await manage_all(call, call["chatroomId"], "destroy")
    return {}


@endpoint("/chatroom/query", ROOMS)
async def query(call: Call) -> Answer:
    """Those of the rooms that exist."""
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
)
async def members(call: Call) -> Answer:
    """Order 1: those first who joined first; 2: who joined last. Of an unknown room, nobody."""
    total, found = await manage(call, call["chatroomId"], "members", call["count"], call["order"] == 2)
    return {"total": total, "users": [{"id": user, "time": clock(joined)} for user, joined in found]}
