"""`manageChrm`: what the server API does with a chatroom, at a node of the room's SET.

The payload is msgpack of [operation, arguments …], the answer's msgpack of what `OPERATIONS` says. A client
cannot name this method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from apps.messaging import chatroom_entries, chatroom_life, chatrooms
from apps.messaging.chatroom_entries import Setting
from apps.messaging.methods.chatroom import refusable
from apps.messaging.webhooks import events
from apps.routing import room_members
from apps.routing.envelope import Answer, Request


def _members(server_set: str, tenant: int, room: str, count: int, newest_first: bool) -> Any:
    """[how many there are, [[user, ms at which he joined], …]]"""
    chatrooms.facts(server_set, tenant, room, "")
    return room_members.listed(tenant, room, count, newest_first=newest_first)


def _are_members(server_set: str, tenant: int, room: str, users: list[str]) -> list[bool]:
    return room_members.are_members(tenant, room, users)


def _set_entries(
    server_set: str, tenant: int, room: str, user: str, values: dict[str, str | None], with_owner: bool
) -> dict[str, int]:
    """Set entries as a user, whoever has set them before; None removes one. The codes of keys that failed."""
    settings = [Setting(key, value, with_owner, overwrite=True, absent=True) for key, value in values.items()]
    return chatroom_entries.set_entries(server_set, tenant, room, user, settings).errors


def _entries(server_set: str, tenant: int, room: str, keys: list[str] | None) -> Any:
    """[[key, value, owner, status, ms of the change], …]"""
    chatrooms.facts(server_set, tenant, room, "")
    return chatroom_entries.entries(server_set, tenant, room, keys=keys)


def _join(server_set: str, tenant: int, room: str, users: list[str]) -> None:
    """Users are members without a connection: they are out again in half a minute, unless they are kept."""
    chatrooms.create(server_set, tenant, room)
    chatrooms.note_members(server_set, tenant, room, events.JOINED, events.BY_CALL, users)
    for user in users:
        room_members.join(server_set, tenant, room, user)


# name -> function of (SET, tenant, room, arguments …)
OPERATIONS: dict[str, Callable[..., Any]] = {
    "create": chatrooms.create,  # name, destroyed, destroy_after, muted
    "destroy": chatrooms.destroy,
    "change": chatrooms.change,  # {column: value}; whether the room exists
    "clean": chatrooms.clean,  # upto
    "info": chatrooms.info,  # {…} or None
    "named": lambda server_set, tenant, room, which: chatrooms.named(server_set, tenant, which),
    "members": _members,  # count, newest first
    "are_members": _are_members,  # users
    "join": _join,  # users
    "restrict": chatrooms.restrict,  # kind, users, until
    "release": chatrooms.release,  # kind, users
    "restricted": chatrooms.restricted,  # kind; [[user, until], …]
    "block": chatroom_life.block,  # users, until
    "set_entries": _set_entries,  # user, {key: value or None}, with owner
    "entries": _entries,  # keys or None
}


@refusable
def manage(server_set: str, request: Request) -> Answer:
    name, *arguments = msgpack.unpackb(request.payload)
    result = OPERATIONS[name](server_set, request.tenant, request.target, *arguments)
    return Answer(0, 0, 0, msgpack.packb(result))
