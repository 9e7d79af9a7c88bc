"""The gateway: terminates client connections at `/websocket`. It knows packets, not what methods mean.

An ASGI application in a plain loop per connection; everything a packet leads to happens synchronously or goes
to a lane, so one connection's packets are handled in order.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs

from apps.accounts import tokens
from apps.accounts.directory import directory
from apps.routing import access_points, metrics, pace, rooms
from apps.routing.envelope import FROM_OLD_LOG, JOINED, SOURCE_OF, WANTS_GROUPS, Answer, Request
from apps.routing.lanes import Pending
from apps.routing.methods import METHODS
from apps.routing.metrics import traffic
from apps.routing.process import Process, running
from apps.routing.protocol import packets
from apps.routing.protocol.messages import generation
from apps.routing.protocol.packets import (
    AckStatus,
    ConnStatus,
    DisconnectStatus,
    ProtocolError,
    PubAck,
    Publish,
    Query,
    QueryCon,
)
from apps.routing.quotas import MESSAGES, quotas
from apps.routing.sessions import LINGER, Connection, Socket
from apps.routing.topology import topology

logger = logging.getLogger(__name__)

PULL = "pullMsg"
STORED = (AckStatus.OK, AckStatus.SENSITIVE_WORD_REPLACED)  # what a message is told that is in the log
IN_FLIGHT_MAX = 256  # unanswered publishes and queries a connection; past it they are refused as too fast

_STATUS = {
    # Expired is answered as incorrect: every SDK then asks its app for a new token (PROTOCOL 7.1).
    tokens.Reason.INCORRECT: ConnStatus.TOKEN_INCORRECT,
    tokens.Reason.EXPIRED: ConnStatus.TOKEN_INCORRECT,
    tokens.Reason.BLOCKED: ConnStatus.USER_BLOCKED,
    tokens.Reason.DEACTIVATED: ConnStatus.ACCOUNT_CANCELLED,
}

_connection_numbers = itertools.count(1)


class Refusal(Exception):
    """The connection gets this CONNACK status."""

    def __init__(self, status: ConnStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status

    def note(self) -> None:
        """Log and count it."""
        logger.info("connection refused with status %d: %s", self.status, self)
        metrics.CONNECTIONS_REFUSED.add(1, str(int(self.status)))


class WebSocket(Socket, Protocol):
    """What a server may offer besides ASGI, as `scope["imcloud.socket"]`."""

    def listen(self, take: Callable[[bytes], None]) -> None:
        """Hand each message to `take` as soon as it is here, first those that wait in ASGI's `receive`.

        A text message is handed on as b"". What `receive` then brings is the end of the connection.
        """


async def websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI application of one client connection."""
    process = await running()
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    try:
        connection = admit(process, scope, send)
    except Refusal as refusal:
        refusal.note()
        frame = packets.encode_connack_refused(refusal.status)
        traffic.sent[frame[0]] += 1
        await send({"type": "websocket.send", "bytes": frame})
        await asyncio.sleep(LINGER)
        await send({"type": "websocket.close"})
        return
    now, flagged = time.time_ns() // 1_000_000, query_of(scope).get("protocolVer") == "4"
    connection.write(packets.encode_connack(connection.user, connection.id, now, flagged=flagged))
    process.hub.add(connection)
    process.wake()
    try:
        await converse(process, connection, receive, scope.get("imcloud.socket"))
    finally:
        process.hub.remove(connection)
        process.wake()


async def converse(
    process: Process, connection: Connection, receive: Any, socket: WebSocket | None = None
) -> None:
    """Handle the connection's packets until it ends."""
    take = Handler(process, connection).take_frame
    if socket is not None:
        socket.listen(take)
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        take(event.get("bytes") or b"")


def query_of(scope: dict[str, Any]) -> dict[str, str]:
    """The parameters in the URL."""
    given = parse_qs(scope["query_string"].decode("latin-1"), errors="replace")
    return {name: values[0] for name, values in given.items()}


def admit(process: Process, scope: dict[str, Any], send: Any) -> Connection:
    """Judge the credentials in the URL (PROTOCOL 2.2); raises Refusal."""
    query = query_of(scope)
    app_key = query.get("appId", "")
    tenant = directory.current.by_key(app_key)
    if tenant is None:
        raise Refusal(ConnStatus.APP_ID_REJECTED, f"no tenant has app key {app_key[:64]!r}")
    if tenant.locked:
        raise Refusal(ConnStatus.APP_BLOCKED, f"tenant {tenant.id} is locked")
    try:
        claims = tokens.verify(tenant, query.get("token", ""), directory.current.user_restriction)
    except tokens.TokenRefused as refused:
        status = _STATUS[refused.reason]
        if status is ConnStatus.ACCOUNT_CANCELLED and generation(_name(query, "sdkVer", 16)) < 5:
            status = ConnStatus.USER_BLOCKED  # the nearest that they know: they stay away, too
        raise Refusal(status, f"tenant {tenant.id}: {refused}") from refused
    if not access_points.serves(process.access_point, tenant.cluster):
        raise Refusal(ConnStatus.REDIRECT, f"tenant {tenant.id} is served by cluster {tenant.cluster}")
    full = access_points.admission(process.access_point, len(process.hub.connections))
    if full:
        raise Refusal(full, f"access point {process.access_point} takes no more clients")
    platform = _name(query, "platform", 32) or "Web"
    if quotas.crowded(tenant) and not process.hub.has(tenant.id, claims.user_id, platform):
        # v2 throws at what it does not know.
        old = generation(_name(query, "sdkVer", 16)) == 2
        status = ConnStatus.PLATFORM_UNAVAILABLE if old else ConnStatus.LICENCE_COUNT
        raise Refusal(status, f"tenant {tenant.id} has all the connections that it may have")
    connection = Connection(
        id=f"{process.id}-{next(_connection_numbers)}",
        tenant=tenant.id,
        app_key=app_key,
        user=claims.user_id,
        home=process.lanes.snapshot.home(tenant.id, claims.user_id),
        send=send,
    )
    connection.issued = claims.issued_ms
    connection.platform = platform
    connection.device = _name(query, "deviceId", 64)
    connection.sdk = _name(query, "sdkVer", 16)
    connection.generation = generation(connection.sdk)
    connection.socket = scope.get("imcloud.socket")
    connection.source = SOURCE_OF.get(connection.platform, 0)
    connection.address, connection.port = (scope.get("client") or ("", 0))[:2]
    return connection


def _name(query: dict[str, str], name: str, length: int) -> str:
    """A parameter that goes into the database and logs: cut to its length, empty if it is no plain text."""
    value = query.get(name, "")[:length]
    return value if value.isprintable() else ""


class Handler:
    """What each packet of one connection leads to."""

    def __init__(self, process: Process, connection: Connection) -> None:
        self._process = process
        self._connection = connection
        self._messages, self._queries = pace.of_messages(), pace.of_queries()

    def take_frame(self, frame: bytes) -> None:
        """One frame of a connection, which ends with one that it may not send."""
        connection = self._connection
        if connection.ending or connection.closed:
            return
        try:
            self.take(packets.decode_upstream(frame))
        except ProtocolError as error:
            logger.warning("%s: %s", connection, error)
            connection.disconnect(DisconnectStatus.CLOSED_BY_SERVER)
        except Exception:
            logger.exception("%s: a packet failed", connection)
            connection.close()

    def take(self, packet: packets.Upstream) -> None:
        """One packet; raises ProtocolError for one that ends the connection."""
        connection = self._connection
        connection.heard_at = time.monotonic()
        traffic.received[packet.header] += 1
        kind = type(packet)
        if kind is Publish:
            # QoS 0 asks for no answer, whatever becomes of the message (PROTOCOL 3).
            resolve = self._published if packet.qos else self._taken  # type: ignore[union-attr]
            self._submit(packet, resolve)  # type: ignore[arg-type]
        elif kind is PubAck:
            connection.confirm(packet.message_id)  # type: ignore[union-attr]
        elif kind is Query:
            if packet.topic in rooms.TOPICS:  # type: ignore[union-attr]
                self._process.hub.rooms.ask(self, connection, packet)  # type: ignore[arg-type]
            else:
                answer = self._pulled if packet.topic == PULL else self._answered  # type: ignore[union-attr]
                self._submit(packet, answer)  # type: ignore[arg-type]
        elif kind is QueryCon:
            connection.confirm_query(packet.message_id)  # type: ignore[union-attr]
            self._process.hub.busy.add(connection)
        elif kind is packets.PingReq:
            connection.write(packets.PINGRESP)
        elif kind is packets.Disconnect:
            connection.logged_out = packet.status == DisconnectStatus.LOGOUT  # type: ignore[union-attr]
            connection.close()
        else:
            raise ProtocolError(f"{kind.__name__} is not for an open connection")

    def submit(self, packet: Query, resolve: Callable[[Answer], None], *, acknowledged: int = 0) -> bool:
        """Have a node answer a query of a chatroom; False when it was refused at once."""

        def answered(message_id: int, pending: Pending, answer: Answer) -> None:
            self._connection.in_flight -= 1
            resolve(answer)

        return self._submit(packet, answered, acknowledged)

    def reply(self, packet: Query, status: int, payload: bytes) -> None:
        """Answer a query of a chatroom."""
        if status:
            self._refuse_query(packet.message_id, status, payload)
        else:
            now = time.time_ns() // 1_000_000
            self._connection.write(packets.encode_queryack(packet.message_id, now, 0, payload, qos=0))

    def _submit(self, packet: Publish | Query, resolve: Any, acknowledged: int = 0) -> bool:
        """Put a request on its road; False when it was refused at once."""
        connection, snapshot = self._connection, topology.current
        known = snapshot.queries if isinstance(packet, Query) else snapshot.messages
        pending_id, target, method = packet.message_id, packet.target, METHODS.get(packet.topic)
        if method is not None and method.resource is not None:
            target = method.resource(packet.payload) or target
        request = Request(
            connection.tenant,
            connection.user,
            packet.topic,
            target,
            packet.payload,
            "",
            connection.source | (JOINED if target in connection.rooms else 0),
            connection.seen,
            connection.generation,
            acknowledged=acknowledged,
            connection=connection.id,
        )
        if packet.topic not in known or method is None:
            status = AckStatus.NOT_SUPPORTED
        elif connection.in_flight >= IN_FLIGHT_MAX:
            status = AckStatus.TOO_FAST
        elif too_often := self._too_often(packet):
            status = too_often
        else:
            connection.in_flight += 1
            if packet.topic == PULL:
                device = connection.device or connection.platform
                options = 0 if connection.groups is not None else WANTS_GROUPS
                options |= FROM_OLD_LOG if connection.from_old_log else 0
                request = request._replace(
                    device=device,
                    acknowledged=connection.cursor(),
                    options=options,
                    shown=connection.shown,
                    epoch=connection.epoch,
                )
                connection.pulls += 1
            server_set = "" if method.by_target else connection.home
            self._process.lanes.enter(
                request, lambda pending, answer: resolve(pending_id, pending, answer), connection, server_set
            )
            return True
        self.refuse(packet, status)
        return False

    def _too_often(self, packet: Publish | Query) -> AckStatus:
        """The code of a request past the pace of a connection, or of its tenant; OK within both."""
        if not isinstance(packet, Query):
            if self._messages is not None and not self._messages.take():
                return AckStatus.TOO_FAST
            tenant = self._connection.tenant
            rate = self._process.message_rates.get(tenant)
            late = rate is not None and quotas.take(tenant, MESSAGES, rate)
            return AckStatus.TOO_FAST if late else AckStatus.OK
        if packet.topic in pace.PULLS or self._queries is None or self._queries.take():
            return AckStatus.OK
        return AckStatus.BUSY

    def refuse(self, packet: Publish | Query, status: int) -> None:
        """Answer a request with this code and do nothing else."""
        if isinstance(packet, Query):
            self._refuse_query(packet.message_id, status)
        elif packet.qos:
            self._refuse_message(packet.message_id, status)

    def _refuse_message(self, message_id: int, status: int) -> None:
        metrics.refused(status, is_message=True)
        now = time.time_ns() // 1_000_000
        self._connection.write(packets.encode_puback(message_id, now, status, ""))

    def _refuse_query(self, message_id: int, status: int, payload: bytes = b"") -> None:
        metrics.refused(status, is_message=False)
        now = time.time_ns() // 1_000_000
        self._connection.write(packets.encode_queryack(message_id, now, status, payload, qos=0))

    def _published(self, message_id: int, pending: Pending, answer: Answer) -> None:
        connection = self._connection
        connection.in_flight -= 1
        if answer.status not in STORED:
            self._refuse_message(message_id, answer.status)
        else:
            connection.seen = max(connection.seen, answer.time)
            uid = pending.request.uid
            connection.write(packets.encode_puback(message_id, answer.time, answer.status, uid))

    def _taken(self, message_id: int, pending: Pending, answer: Answer) -> None:
        self._connection.in_flight -= 1

    def _answered(self, message_id: int, pending: Pending, answer: Answer) -> None:
        self._connection.in_flight -= 1
        if answer.status:
            self._refuse_query(message_id, answer.status, answer.payload)
        else:
            self._reply(message_id, answer, qos=0)

    def _reply(self, message_id: int, answer: Answer, *, qos: int) -> None:
        now = time.time_ns() // 1_000_000
        self._connection.write(packets.encode_queryack(message_id, now, 0, answer.payload, qos=qos))

    def _pulled(self, message_id: int, pending: Pending, answer: Answer) -> None:
        connection = self._connection
        connection.in_flight -= 1
        if answer.status == AckStatus.MALFORMED:
            connection.pulls -= 1
            self._refuse_query(message_id, answer.status)
        elif answer.status:
            # An SDK whose pull failed takes the next push for the next message and loses what lay between.
            logger.warning("%s: pull failed with %d, closed", connection, answer.status)
            metrics.refused(answer.status, is_message=False)
            connection.close()
        else:
            # Its own messages in the reply must have had their PUBACK, or the SDK shows them twice.
            home = pending.server_set
            self._process.when_covered(
                home, answer.position, lambda: self._reply_pull(message_id, answer, home)
            )

    def _reply_pull(self, message_id: int, answer: Answer, home: str) -> None:
        self._reply(message_id, answer, qos=1)  # confirmed by QUERYCON, which moves the device's cursor
        if home == self._connection.home:
            self._process.hub.learn_groups(self._connection, answer)
        self._connection.pull_answered(message_id, answer, home)
        self._process.hub.busy.add(self._connection)
