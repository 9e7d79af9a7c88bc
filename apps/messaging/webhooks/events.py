"""What tenants' servers are to be told of users who come and go, and of chatrooms (SERVER_API 6.4, 6.5)."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgpack
import psycopg

from apps.accounts import webhooks
from apps.messaging import log
from apps.messaging.webhooks import deliveries
from apps.messaging.webhooks.deliveries import Hook, New, key_of
from apps.routing import presence
from apps.routing.envelope import Answer, Request
from apps.routing.protocol.packets import AckStatus
from apps.routing.session_news import OFFLINE, ONLINE, Event
from apps.routing.topology import home, slot

WITHIN = 2.0  # s that the database may be away
PAGE = 1000  # sessions that `reconcile` looks at together
NOTED = 60  # s that those which were missing at its last look are remembered

CREATED, JOINED, LEFT, DESTROYED = 0, 1, 2, 3  # `type` of a chatroom event
BY_CALL, BY_ITSELF, BLOCKED, TIME_OVER = 0, 1, 2, 3  # `status` of one


# --- users

_BEGIN = """
    INSERT INTO messaging_onlinesession (tenant, "user", slot, connection, since)
    VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
_END = """DELETE FROM messaging_onlinesession WHERE tenant = %s AND "user" = %s AND connection = %s"""


def sessions_changed(server_set: str, request: Request) -> Answer:
    """Asked by gateways (apps.routing.session_news): msgpack of [event, …]. It may be asked twice."""
    told = webhooks.table.current
    by_home: dict[str, list[Event]] = defaultdict(list)
    for event in msgpack.unpackb(request.payload, use_list=False):
        tenant, user, *_ = event
        if told.hooks(tenant).online_url:
            by_home[home(tenant, user)].append(event)
    stored = [_store(name, events) for name, events in by_home.items()]
    return Answer(0, 0 if all(stored) else AckStatus.BUSY)


def _store(server_set: str, events: Sequence[Event]) -> bool:
    """Store what is to be told of events, in their order; False when a user is another SET's by now."""

    def work(connection: psycopg.Connection[Any]) -> bool:
        slots = _held(connection)
        if not all(log.owns(slots, slot(str(tenant), user)) for tenant, user, *_ in events):
            return False
        deliveries.put(connection, [_session(event) for event in events])
        begun = [(t, u, slot(str(t), u), c, at) for t, u, status, c, _, _, at in events if status == ONLINE]
        ended = [(t, u, c) for t, u, status, c, *_ in events if status != ONLINE]
        with connection.cursor() as cursor:
            cursor.executemany(_BEGIN, begun)
            cursor.executemany(_END, ended)
        return True

    return log.of(server_set).run(work, within=WITHIN)


def _held(connection: psycopg.Connection[Any]) -> bytes:
    """The SET's slots, which stay here until the transaction ends."""
    found = connection.execute("SELECT slots FROM messaging_head FOR SHARE").fetchone()
    return bytes(found[0]) if found else b""


def _session(event: Event) -> New:
    tenant, user, status, connection, platform, address, at = event
    what: dict[str, Any] = {"userid": user, "status": str(status), "time": at, "sessionId": connection}
    if status == ONLINE:
        what["os"] = "Websocket" if platform == "Web" else platform
    if address:
        what["clientIp"] = address
    # Whoever ends it first says how: the gateway, or `reconcile`.
    uid = f"{connection}:{'on' if status == ONLINE else 'off'}"
    return New(tenant, Hook.ONLINE, user, key_of(tenant, Hook.ONLINE, user), uid, json.dumps(what))


_NEXT = """
    SELECT tenant, "user", connection FROM messaging_onlinesession
    WHERE (tenant, "user", connection) > (%s, %s, %s) ORDER BY tenant, "user", connection LIMIT %s"""
_DROP = """
    DELETE FROM messaging_onlinesession WHERE tenant <> ALL(%s::int8[])"""


def reconcile(server_set: str) -> None:
    """Timed: tell of connections that are gone, with their gateway perhaps. They are noted at one look, and
    count as gone at the next one.
    """
    if not presence.live_gateways():  # Redis has just been wiped: nobody knows
        return
    key = f"imcloud:missing-sessions:{server_set}"
    noted: Any = presence.client().get(key)
    before = set(map(tuple, msgpack.unpackb(noted))) if noted else set()
    missing: list[tuple[int, str, str]] = []
    last: tuple[int, str, str] = (0, "", "")
    while rows := log.of(server_set).read(_NEXT, (*last, PAGE)):
        here = _here({(tenant, user) for tenant, user, _ in rows})
        missing += [row for row in rows if row not in here]
        last = rows[-1]
    gone = [row for row in missing if row in before]
    _store(server_set, [(t, u, OFFLINE, c, "", "", log.now()) for t, u, c in gone])
    presence.client().set(key, msgpack.packb(missing), ex=NOTED)
    told = [tenant for tenant, its in webhooks.table.current.of.items() if its.online_url]
    log.of(server_set).run(lambda connection: connection.execute(_DROP, (told,)), within=WITHIN)


def _here(users: Iterable[tuple[int, str]]) -> set[tuple[int, str, str]]:
    """The connections of these users."""
    by_tenant: dict[int, list[str]] = defaultdict(list)
    for tenant, user in users:
        by_tenant[tenant].append(user)
    return {
        (tenant, user, session.connection)
        for tenant, names in by_tenant.items()
        for user, sessions in zip(names, presence.sessions(tenant, names), strict=True)
        for session in sessions
    }


# --- chatrooms


def tells_rooms(tenant: int) -> bool:
    """Whether the tenant's server is to be told of chatrooms."""
    return bool(webhooks.table.current.hooks(tenant).chatrooms_url)


def put_room(
    connection: psycopg.Connection[Any], tenant: int, room: str, kind: int, status: int, users: Sequence[str]
) -> None:
    """Store, in a transaction that holds the room's slot, what is to be told of it."""
    if tells_rooms(tenant):
        what = {"chatRoomId": room, "userIds": list(users), "status": status, "type": kind, "time": log.now()}
        key = key_of(tenant, Hook.CHATROOMS, room)
        new = New(tenant, Hook.CHATROOMS, room, key, uuid.uuid4().hex, json.dumps(what))
        deliveries.put(connection, [new])
