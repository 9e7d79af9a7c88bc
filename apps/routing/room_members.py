"""Who is in which chatroom, in Redis. Nodes put members in and take them out; gateways announce them again.

All of it are hints. A gateway tells every `ANNOUNCED` s which users its connections have in which rooms: so a
wiped Redis is whole again soon, and a member of whom nobody has told for `GONE` s is out (a node's timed work
looks). Who comes back before that keeps the time at which he joined.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import redis

from apps.routing import presence

ANNOUNCED = 10  # s in which a gateway tells of all its members once
GONE = 30_000  # ms without a word of a member after which he is out (PROTOCOL 6.4)
RATE_KEPT = 5  # s that a second's count of messages is kept


class Member(NamedTuple):
    user: str
    joined: int  # ms


def members_key(tenant: int, room: str) -> str:
    """Sorted set: user -> ms at which he joined."""
    return f"imcloud:chatroom:{tenant}/{room}"


def told_key(server_set: str) -> str:
    """Sorted set: member of a room of this SET -> ms at which a gateway told of him last."""
    return f"imcloud:chatroom-told:{server_set}"


def active_key(server_set: str) -> str:
    """Sorted set: room of this SET -> ms at which it had a member or a message last."""
    return f"imcloud:chatroom-active:{server_set}"


def dropped_key(server_set: str) -> str:
    """Hash: room of this SET -> how many of its messages were dropped under load."""
    return f"imcloud:chatroom-dropped:{server_set}"


def _rate_key(tenant: int, room: str, second: int) -> str:
    return f"imcloud:chatroom-rate:{tenant}/{room}:{second}"


def room_field(tenant: int, room: str) -> str:
    return f"{tenant}\0{room}"  # ids are printable


def room_of(name: bytes) -> tuple[int, str]:
    tenant, room = name.decode().split("\0")
    return int(tenant), room


def member_field(tenant: int, room: str, user: str) -> str:
    return f"{tenant}\0{room}\0{user}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Announcement:
    """What a gateway tells of its members, collected by room and by SET; see `put`."""

    rooms: dict[tuple[int, str], dict[str, float]] = field(default_factory=dict)
    told: dict[str, list[str]] = field(default_factory=dict)
    active: dict[str, set[str]] = field(default_factory=dict)

    def add(self, server_set: str, tenant: int, room: str, user: str, joined: float) -> None:
        self.rooms.setdefault((tenant, room), {})[user] = joined
        self.told.setdefault(server_set, []).append(member_field(tenant, room, user))
        self.active.setdefault(server_set, set()).add(room_field(tenant, room))

    def put(self, pipeline: Any) -> None:
        """Add the commands to a pipeline, of an asynchronous client or not."""
        now = now_ms()
        for (tenant, room), its in self.rooms.items():
            pipeline.zadd(members_key(tenant, room), its, nx=True)
        for server_set, names in self.told.items():
            pipeline.zadd(told_key(server_set), dict.fromkeys(names, now))
        for server_set, names_of_rooms in self.active.items():
            pipeline.zadd(active_key(server_set), dict.fromkeys(names_of_rooms, now))


# What follows is for nodes. All of it raises redis.RedisError.


def join(server_set: str, tenant: int, room: str, user: str) -> tuple[int, int]:
    """Put a user in; when he joined, which is earlier than now if he was in, and how many are in now."""
    now = time.time_ns() / 1e6  # finer than ms: who comes first is listed first
    told = Announcement()
    told.add(server_set, tenant, room, user, now)
    with presence.client().pipeline(transaction=False) as pipeline:
        told.put(pipeline)
        pipeline.zscore(members_key(tenant, room), user)
        pipeline.zcard(members_key(tenant, room))
        *_, joined, count = pipeline.execute()
    return int(joined or now), count


def leave(server_set: str, tenant: int, room: str, users: Sequence[str]) -> None:
    """Take users out."""
    with presence.client().pipeline(transaction=False) as pipeline:
        pipeline.zrem(members_key(tenant, room), *users)
        pipeline.zrem(told_key(server_set), *(member_field(tenant, room, user) for user in users))
        pipeline.execute()


def forget_room(server_set: str, tenant: int, room: str) -> None:
    """The room has gone."""
    with presence.client().pipeline(transaction=False) as pipeline:
        pipeline.delete(members_key(tenant, room))
        pipeline.zrem(active_key(server_set), room_field(tenant, room))
        pipeline.hdel(dropped_key(server_set), room_field(tenant, room))
        pipeline.execute()


def are_members(tenant: int, room: str, users: Sequence[str]) -> list[bool]:
    """Whether each user is in the room."""
    scores: Any = presence.client().zmscore(members_key(tenant, room), list(users)) if users else []
    return [score is not None for score in scores]


def listed(tenant: int, room: str, count: int, *, newest_first: bool) -> tuple[int, list[Member]]:
    """How many are in the room, and so many of them by the time at which they joined."""
    key = members_key(tenant, room)
    with presence.client().pipeline(transaction=False) as pipeline:
        pipeline.zcard(key)
        pipeline.zrange(key, 0, count - 1, desc=newest_first, withscores=True)
        total, found = pipeline.execute()
    return total, [Member(user.decode(), int(joined)) for user, joined in found] if count else []


@dataclass(frozen=True, slots=True)
class Look:
    """What Redis knows of a batch of messages to rooms."""

    sent: Mapping[tuple[int, str], int]  # room -> its messages of this second, those of the batch included
    members: frozenset[tuple[int, str, str]]  # those of the users asked for that are in their room


def look(server_set: str, sent: Mapping[tuple[int, str], int], asked: Iterable[tuple[int, str, str]]) -> Look:
    """Count messages to rooms, and ask for members, in one round trip."""
    now, asked = now_ms(), list(asked)
    with presence.client().pipeline(transaction=False) as pipeline:
        for (tenant, room), number in sent.items():
            pipeline.incrby(_rate_key(tenant, room, now // 1000), number)
        for tenant, room in sent:
            pipeline.expire(_rate_key(tenant, room, now // 1000), RATE_KEPT)
        for tenant, room, user in asked:
            pipeline.zscore(members_key(tenant, room), user)
        if sent:
            pipeline.zadd(active_key(server_set), {room_field(*each): now for each in sent})
        found = pipeline.execute()
    scores = found[2 * len(sent) :]
    return Look(
        dict(zip(sent, found, strict=False)),
        frozenset(each for each, score in zip(asked, scores, strict=False) if score is not None),
    )


def count_entries(tenant: int, room: str, number: int) -> int:
    """Count changes of a room's entries; how many there are in this second, these included."""
    key = f"imcloud:chatroom-entries:{tenant}/{room}:{now_ms() // 1000}"
    with presence.client().pipeline(transaction=False) as pipeline:
        pipeline.incrby(key, number)
        pipeline.expire(key, RATE_KEPT)
        total: int = pipeline.execute()[0]
    return total


def dropped(server_set: str, numbers: Mapping[tuple[int, str], int]) -> None:
    """Count messages of rooms that were dropped."""
    with presence.client().pipeline(transaction=False) as pipeline:
        for room, number in numbers.items():
            pipeline.hincrby(dropped_key(server_set), room_field(*room), number)
        pipeline.execute()


def gone(server_set: str, most: int) -> list[tuple[int, str, str]]:
    """(tenant, room, user) of members of whom nobody has told for `GONE` ms."""
    names: Any = presence.client().zrangebyscore(
        told_key(server_set), "-inf", now_ms() - GONE, start=0, num=most
    )
    return [(int(tenant), room, user) for tenant, room, user in (name.decode().split("\0") for name in names)]


def note_told(server_set: str, members: Iterable[tuple[int, str, str]]) -> None:
    """Of these (tenant, room, user), whom nobody is known to have told of: their time begins now."""
    names = {member_field(*each): now_ms() for each in members}
    if names:
        presence.client().zadd(told_key(server_set), names, nx=True)


def take_out(server_set: str, members: Sequence[tuple[int, str, str]], *, stay: Sequence[bool]) -> None:
    """Take members out of their rooms; of those who `stay`, just forget that nobody tells of them."""
    with presence.client().pipeline(transaction=False) as pipeline:
        for (tenant, room, user), stays in zip(members, stay, strict=True):
            if not stays:
                pipeline.zrem(members_key(tenant, room), user)
        pipeline.zrem(told_key(server_set), *(member_field(*each) for each in members))
        pipeline.execute()


def last_active(server_set: str) -> dict[tuple[int, str], int]:
    """Room -> ms at which it had a member or a message last."""
    found: Any = presence.client().zrange(active_key(server_set), 0, -1, withscores=True)
    return {room_of(name): int(at) for name, at in found}


def note_active(server_set: str, rooms: Iterable[tuple[int, str]]) -> None:
    """These are not known to have been active: their time begins now."""
    names = {room_field(*room): now_ms() for room in rooms}
    if names:
        presence.client().zadd(active_key(server_set), names, nx=True)


def forget_active(server_set: str, rooms: Iterable[tuple[int, str]]) -> None:
    """These are rooms of another SET by now."""
    names = [room_field(*room) for room in rooms]
    if names:
        presence.client().zrem(active_key(server_set), *names)


def counts(server_set: str, rooms: Sequence[tuple[int, str]]) -> list[tuple[int, int]]:
    """(members, messages dropped) of each room: for the admin pages. Zeros when Redis does not answer."""
    try:
        with presence.client().pipeline(transaction=False) as pipeline:
            for tenant, room in rooms:
                pipeline.zcard(members_key(tenant, room))
                pipeline.hget(dropped_key(server_set), room_field(tenant, room))
            found = pipeline.execute()
    except redis.RedisError:
        return [(0, 0)] * len(rooms)
    return [(members, int(lost or 0)) for members, lost in zip(found[::2], found[1::2], strict=True)]
