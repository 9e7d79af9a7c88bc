"""`/chatroom/…`: who may not send or enter, whose messages are kept under load, and which classes are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apps.messaging import log, tenant_rules
from apps.messaging.chatrooms import END, Kind
from apps.messaging.server_api.chatrooms import NOTICE, ROOM, manage
from apps.messaging.server_api.declarations import Answer, Call, Param, clock, endpoint, identifier, integer
from apps.messaging.server_api.messages import object_name
from apps.messaging.tenant_rules import Rule

MINUTES_MAX = 43200
KEPT_A_ROOM = 5
CLASSES_A_CALL = 20
A_MOMENT = 1_769_860_800_000  # ms, of examples

USERS = Param("userId", identifier, required=True, most=20)
MINUTES = Param("minute", integer(1, MINUTES_MAX), required=True)

Shown = Callable[[list[tuple[str, int]]], Answer]


def _until(call: Call) -> int:
    return log.now() + call["minute"] * 60_000 if "minute" in call.values else END


def with_times(found: list[tuple[str, int]]) -> Answer:
    return {"users": [{"userId": user, "time": clock(until)} for user, until in found]}


def by(name: str) -> Shown:
    """Their names alone, under this one."""
    return lambda found: {name: [each for each, _ in found]}


def _of_room(path: str, kind: int, who: str, shown: Shown, *params: Param, undo: str, listed: str) -> None:
    """Three endpoints about users of a room: have something hold, have it hold no longer, list for whom."""

    @endpoint(f"{path}/add", ROOM, *params, *NOTICE, summary=f"Add to the {who}.")
    async def add(call: Call) -> Answer:
        room, users = call["chatroomId"], call["userId"]
        if kind == Kind.BLOCKED:
            await manage(call, room, "block", users, _until(call))
        else:
            await manage(call, room, "restrict", kind, users, _until(call))
        return {}

    @endpoint(f"{path}/{undo}", ROOM, USERS, *NOTICE, summary=f"Take from the {who}.")
    async def remove(call: Call) -> Answer:
        await manage(call, call["chatroomId"], "release", kind, call["userId"])
        return {}

    @endpoint(f"{path}/{listed}", ROOM, answer=shown([("bob", A_MOMENT)]), summary=f"The {who}.")
    async def query(call: Call) -> Answer:
        found: list[Any] = await manage(call, call["chatroomId"], "restricted", kind)
        return shown([(user, until) for user, until in found])


def _everywhere(
    path: str, rule: int, what: str, shown: Shown, names: Param, *params: Param, undo: str
) -> None:
    """Three endpoints about users or classes in all rooms; known in all workers within a second."""

    @endpoint(f"{path}/add", names, *params, *NOTICE, summary=f"Add to the {what}.")
    def add(call: Call) -> Answer:
        tenant_rules.add(call.tenant.id, rule, call[names.name], _until(call))
        return {}

    @endpoint(f"{path}/{undo}", names, *NOTICE, summary=f"Take from the {what}.")
    def remove(call: Call) -> Answer:
        tenant_rules.remove(call.tenant.id, rule, call[names.name])
        return {}

    example = "bob" if names is USERS else "RC:TxtMsg"

    @endpoint(f"{path}/query", answer=shown([(example, A_MOMENT)]), summary=f"The {what}.")
    def query(call: Call) -> Answer:
        return shown(tenant_rules.listed(call.tenant.id, rule))


_of_room(
    "/chatroom/user/gag",
    Kind.MUTED,
    "users who are muted in a chatroom",
    with_times,
    USERS,
    MINUTES,
    undo="rollback",
    listed="list",
)
_of_room(
    "/chatroom/user/block",
    Kind.BLOCKED,
    "users who may not be in a chatroom",
    with_times,
    USERS,
    MINUTES,
    undo="rollback",
    listed="list",
)
_of_room(
    "/chatroom/user/ban/whitelist",
    Kind.EXEMPT,
    "users who may send while the chatroom is muted",
    by("userIds"),
    USERS,
    undo="rollback",
    listed="query",
)
_of_room(
    "/chatroom/user/whitelist",
    Kind.KEPT,
    "users whose messages are not dropped under load",
    by("users"),
    Param("userId", identifier, required=True, most=KEPT_A_ROOM),
    undo="remove",
    listed="query",
)
_everywhere(
    "/chatroom/user/ban",
    Rule.MUTED,
    "users who are muted in all chatrooms",
    with_times,
    USERS,
    MINUTES,
    undo="remove",
)
_everywhere(
    "/chatroom/whitelist",
    Rule.KEPT,
    "classes of messages that are not dropped under load",
    by("whitlistMsgType"),  # sic
    Param("objectnames", object_name, most=CLASSES_A_CALL),
    undo="delete",
)
_everywhere(
    "/chatroom/message/priority",
    Rule.LOW,
    "classes of messages that are dropped first under load",
    by("objectNames"),
    Param("objectName", object_name, required=True, most=CLASSES_A_CALL),
    undo="remove",
)
