"""Who is online, as gateways announce it in Redis, and the ledger of what devices have not acknowledged.

Each gateway owns one hash, which it alone writes and which expires when it stops beating: a gateway that dies
takes its announcements with it, and nobody has to clean up. All of it are hints: wiped, it is whole again
after the gateways' next beat.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import redis

from apps.routing import redis_clients

GATEWAYS = "imcloud:gateways"  # sorted set: gateway -> ms of its last beat
BEAT = 1.0  # s
MISSED = 3.5  # s without a beat after which a gateway counts as down


def presence_key(gateway: str) -> str:
    """The hash of a gateway: "tenant/user" -> msgpack of its connections."""
    return f"imcloud:presence:{gateway}"


def load_key(gateway: str) -> str:
    """msgpack of a gateway's access point and its number of connections; expires after MISSED s."""
    return f"imcloud:load:{gateway}"


def ledger_key(server_set: str) -> str:
    """Sorted set "gateway/connection" -> ms at which its unacknowledged pushes are due for a notice."""
    return f"imcloud:ledger:{server_set}"


def user_field(tenant_id: int, user_id: str) -> str:
    return f"{tenant_id}/{user_id}"


@dataclass(frozen=True, slots=True)
class Session:
    """One connection of a user."""

    gateway: str
    connection: str
    platform: str  # the class of which a user has one connection at most
    sdk: str
    address: str
    since: int  # ms


@functools.cache
def client() -> redis.Redis:
    """This process's Redis client; its pool is safe for threads."""
    return redis_clients.client(socket_timeout=2, socket_connect_timeout=2)


def live_gateways() -> list[str]:
    """Gateways that have beaten lately."""
    now = time.time_ns() // 1_000_000
    names: list[bytes] = client().zrangebyscore(GATEWAYS, now - int(MISSED * 1000), "+inf")  # type: ignore[assignment]
    return [name.decode() for name in names]


def loads() -> dict[str, int]:
    """Access point -> connections of its live gateways; one without a live gateway is missing."""
    gateways = live_gateways()
    found: dict[str, int] = {}
    values: Any = client().mget(map(load_key, gateways)) if gateways else ()
    for value in values:
        if value is not None:
            access_point, connections = msgpack.unpackb(value)
            found[access_point] = found.get(access_point, 0) + connections
    return found


def sessions(tenant_id: int, user_ids: Sequence[str]) -> list[list[Session]]:
    """Each user's connections. Two round trips, whatever the number of users and gateways."""
    found: list[list[Session]] = [[] for _ in user_ids]
    gateways = live_gateways()
    if not gateways or not user_ids:
        return found
    fields = [user_field(tenant_id, user_id) for user_id in user_ids]
    with client().pipeline(transaction=False) as pipeline:
        for gateway in gateways:
            pipeline.hmget(presence_key(gateway), fields)
        for gateway, values in zip(gateways, pipeline.execute(), strict=True):
            for place, value in enumerate(values):
                if value is not None:
                    found[place] += [Session(gateway, *of) for of in msgpack.unpackb(value)]
    return found


def online(tenant_id: int, user_ids: Sequence[str]) -> list[bool]:
    """Whether each user has a connection."""
    return [bool(its) for its in sessions(tenant_id, user_ids)]
