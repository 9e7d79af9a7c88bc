"""Who leaves chatrooms, by himself or not, and when rooms end."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from apps.messaging import chatroom_entries, chatrooms, log
from apps.messaging.models import Chatroom
from apps.messaging.webhooks import events
from apps.routing import room_members
from apps.routing.topology import home

logger = logging.getLogger(__name__)

GONE_A_TURN = 1000  # members that one turn of the timed work takes out


def leave(server_set: str, tenant: int, room: str, users: Sequence[str], why: int = events.BY_CALL) -> None:
    """Users are out of a room, and what is to go with them."""
    chatrooms.note_members(server_set, tenant, room, events.LEFT, why, users)
    room_members.leave(server_set, tenant, room, users)
    chatroom_entries.owners_left(server_set, tenant, room, users)


def block(server_set: str, tenant: int, room: str, users: Sequence[str], until: int) -> None:
    """Users may not enter a room, and are out of it."""
    chatrooms.restrict(server_set, tenant, room, chatrooms.Kind.BLOCKED, users, until)
    leave(server_set, tenant, room, users, events.BLOCKED)
    chatrooms.tell(tenant, room, removed=list(users))


def sweep_members(server_set: str) -> None:
    """Timed: take out members whose connection went a while ago."""
    gone = room_members.gone(server_set, GONE_A_TURN)
    known = dict(zip(gone, chatrooms.look_up(server_set, gone), strict=True))
    moved = [each for each, its in known.items() if its is None]
    _hand_over(moved)
    for tenant, room, user in moved:
        if home(tenant, room) == server_set:  # the topology will say in a moment where it went
            del known[tenant, room, user]
    # Of a room that has moved, another SET's members are told of.
    stay = [its is None or its.has(chatrooms.Kind.KEPT) for its in known.values()]
    left: dict[tuple[int, str], list[str]] = defaultdict(list)
    for (tenant, room, user), stays in zip(known, stay, strict=True):
        if not stays:
            left[tenant, room].append(user)
    for (tenant, room), users in left.items():
        if known[tenant, room, users[0]] is not None:
            chatrooms.note_members(server_set, tenant, room, events.LEFT, events.BY_ITSELF, users)
    if known:
        room_members.take_out(server_set, list(known), stay=stay)
    for (tenant, room), users in left.items():
        chatroom_entries.owners_left(server_set, tenant, room, users)


def _hand_over(members: Sequence[tuple[int, str, str]]) -> None:
    """Their rooms have moved: whose connection went before a gateway told the new SET, that one takes out."""
    homes: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for tenant, room, user in members:
        homes[home(tenant, room)].append((tenant, room, user))
    for name, its in homes.items():
        room_members.note_told(name, its)


def sweep_rooms(server_set: str) -> None:
    """Timed: destroy rooms whose time is over, and tell again of those that are destroyed."""
    active = room_members.last_active(server_set)  # first: a room is made before it is active
    sql = "SELECT tenant, room, created, destroyed, destroy_after, kept FROM messaging_chatroom"
    rooms = {(tenant, room): its for tenant, room, *its in log.of(server_set).read(sql, ())}
    room_members.note_active(server_set, rooms.keys() - active.keys())
    now = log.now()
    for (tenant, room), (created, destroyed, destroy_after, kept) in rooms.items():
        begin = created if destroyed == Chatroom.Destroyed.AGED else active.get((tenant, room), now)
        if not kept and begin + destroy_after * 60_000 <= now:
            _destroy_by_itself(server_set, tenant, room)
    _forget_rooms(server_set, list(active.keys() - rooms.keys()))
    # Who set them was there. If Redis has lost him and he is not told of again, he has left.
    room_members.note_told(server_set, chatroom_entries.owners(server_set))
    chatroom_entries.forget(server_set)


def _destroy_by_itself(server_set: str, tenant: int, room: str) -> None:
    try:
        chatrooms.destroy(server_set, tenant, room, chatrooms.DESTROYED_BY_ITSELF)
        logger.info("%s: chatroom %s of tenant %d was destroyed: its time is over", server_set, room, tenant)
    except chatrooms.Refusal:
        room_members.forget_active(server_set, [(tenant, room)])  # it has moved


def _forget_rooms(server_set: str, rooms: Sequence[tuple[int, str]]) -> None:
    """Gateways tell of rooms that are not there."""
    known = chatrooms.look_up(server_set, [(tenant, room, "") for tenant, room in rooms])
    moved = [each for each, its in zip(rooms, known, strict=True) if its is None]
    room_members.forget_active(server_set, moved)
    for (tenant, room), its in zip(rooms, known, strict=True):
        if its is not None and not its.created:
            room_members.forget_room(server_set, tenant, room)
            chatrooms.tell(tenant, room, destroyed=chatrooms.DESTROYED_BY_HAND)
