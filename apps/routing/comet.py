"""Long polling ("comet", PROTOCOL 2.3): a client's connection made of plain HTTP requests, for v2 and v4.

    GET  /websocket     is admitted as a websocket is, and begins a session: CONNACK is the answer
    GET  /pullmsg.js    waits for what the server has to say: an array of packets
    POST /websocket     brings one packet of the client

A session has a Connection like any other. What is written to that waits in the session's outbox for the poll
that is open, or for the next one. A session's id is a secret: it is all that its requests show.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any
from urllib.parse import unquote

from apps.routing.gateway import Handler, Refusal, admit
from apps.routing.process import Process, running
from apps.routing.protocol import json_form, packets
from apps.routing.protocol.packets import MAX_FRAME, AckStatus, ConnStatus, ProtocolError, QueryAck
from apps.routing.sessions import OUTBOX_MAX, Connection

logger = logging.getLogger(__name__)

PATHS = frozenset(("/websocket", "/pullmsg.js"))
HELD = 25.0  # s that a poll waits when there is nothing to say; v4 gives it up after 45
UNPOLLED = 10.0  # s without an open poll after which a session ends
ABORTED = 3.0  # s after its client broke the last one off: the page is gone, or will begin a new session
SESSIONS_MAX = 10_000  # of a process
OUTBOX_BYTES = 16 << 20  # of packets that wait for a poll, in characters
BODY_MAX = 2 * MAX_FRAME  # of a POST: as JSON a message is longer

_CORS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"Content-Type"),
    (b"access-control-max-age", b"86400"),
    (b"cache-control", b"no-store"),
    (b"content-type", b"application/json; charset=utf-8"),
)
NOTHING = "[]"

_sessions: dict[str, Session] = {}


class Failed(Exception):
    """The request is answered with this HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI application of one HTTP request to one of `PATHS`."""
    status, text = 200, ""
    try:
        match scope["method"], scope["path"]:
            case "OPTIONS", _:
                status = 204
            case "GET", "/websocket":
                text = await _begin(scope)
            case "GET", "/pullmsg.js":
                text = await _session(_parameters(scope)).poll(receive)
            case "POST", "/websocket":
                await _take(_parameters(scope), receive)
                text = NOTHING
            case _:
                raise Failed(405)
    except Failed as failed:
        status = failed.status
    body = text.encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*_CORS, length]})
    await send({"type": "http.response.body", "body": body})


async def _begin(scope: dict[str, Any]) -> str:
    process = await running()
    session = Session(process)
    try:
        if len(_sessions) >= SESSIONS_MAX:
            raise Refusal(ConnStatus.PLATFORM_UNAVAILABLE, f"{SESSIONS_MAX} sessions are polling")
        connection = admit(process, {**scope, "imcloud.socket": session}, session.close)
    except Refusal as refusal:
        refusal.note()
        return json_form.connack_refused(refusal.status)
    return session.begin(connection)


def _parameters(scope: dict[str, Any]) -> dict[str, str]:
    """What the URL says. v4 writes ids as they are: a plus sign is one, and no space."""
    pairs = (part.partition("=") for part in scope["query_string"].decode("latin-1").split("&"))
    return {name: unquote(value, errors="replace") for name, _, value in pairs}


def _session(parameters: dict[str, str]) -> Session:
    try:
        return _sessions[parameters.get("sessionid", "")]
    except KeyError:
        # Over, or of a gateway process that is gone: the SDK connects anew.
        raise Failed(403) from None


async def _take(parameters: dict[str, str], receive: Any) -> None:
    session = _session(parameters)
    body = await _body(receive)
    try:
        header, message_id = int(parameters["header"]) & 0xFF, int(parameters["messageid"])
    except (KeyError, ValueError):
        raise Failed(400) from None
    session.take(header, message_id, parameters.get("topic", ""), parameters.get("targetid", ""), body)


async def _body(receive: Any) -> bytes:
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Failed(400)
        body += event.get("body", b"")
        if len(body) > BODY_MAX:
            raise Failed(413)
        if not event.get("more_body", False):
            return body


async def _disconnected(receive: Any) -> None:
    """Return when the client has broken its request off."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Session:
    """One client that polls; the socket of its Connection (`sessions.Socket`)."""

    def __init__(self, process: Process) -> None:
        self.id = secrets.token_hex(16)
        self.connection: Connection
        self._process = process
        self._handler: Handler
        self._asked: dict[int, str] = {}  # messageId of a query without answer -> its topic
        self._outbox: list[str] = []
        self._size = 0  # characters in it
        self._poll: asyncio.Future[bool] | None = None  # the open one; its result: it takes the outbox
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def begin(self, connection: Connection) -> str:
        """Let it be found; the CONNACK."""
        self.connection = connection
        connection.polls = True
        self._handler = Handler(self._process, connection)
        _sessions[self.id] = self
        self._process.hub.add(connection)
        self._process.wake()
        self._end_after(UNPOLLED)
        return json_form.connack(connection.user, self.id, time.time_ns() // 1_000_000)

    # --- what is written to the connection

    def write(self, frame: bytes) -> None:
        """Put one packet into the outbox."""
        packet = packets.decode_downstream(frame)
        topic = self._asked.pop(packet.message_id, "") if isinstance(packet, QueryAck) else ""
        try:
            text = json_form.encode_downstream(packet, topic=topic, generation=self.connection.generation)
        except ProtocolError as error:
            logger.error("%s: a packet is not shown: %s", self.connection, error)
            return
        self._outbox.append(text)
        self._size += len(text)
        if len(self._outbox) > OUTBOX_MAX or self._size > OUTBOX_BYTES:
            logger.warning("%s: polls too slowly, dropped", self.connection)
            self.connection.close()
        self._end_poll(takes=True)

    def unsent(self) -> int:
        """Characters that no poll has fetched."""
        return self._size

    async def close(self, message: dict[str, Any]) -> None:
        """The connection's `send`, which is left with nothing but its close."""
        self.end()

    # --- what comes from the client

    def take(self, header: int, message_id: int, topic: str, target: str, body: bytes) -> None:
        """One packet; raises Failed for what is none."""
        if self.connection.ending or self._over:
            return
        try:
            packet = json_form.decode_upstream(header, message_id, topic, target, body)
            if isinstance(packet, packets.Query):
                self._asked[message_id] = topic
            self._handler.take(packet)
        except json_form.Unreadable as error:
            self._handler.refuse(error.packet, AckStatus.MALFORMED)
        except ProtocolError as error:
            logger.warning("%s: %s", self.connection, error)
            raise Failed(400) from error

    async def poll(self, receive: Any) -> str:
        """The outbox, as soon as there is something in it."""
        self._end_poll(takes=False)  # an older one: of two, the client reads the newer one's answer
        self.connection.heard_at = time.monotonic()
        takes = True
        if not self._outbox and not self._over:
            takes = await self._wait(receive)
        return self._fetched() if takes else NOTHING

    async def _wait(self, receive: Any) -> bool:
        """Hold a poll; whether it takes the outbox."""
        if self._timer is not None:
            self._timer.cancel()
        poll = self._poll = asyncio.get_running_loop().create_future()
        broken_off = asyncio.ensure_future(_disconnected(receive))
        left = ABORTED  # also when the server cancels the request
        try:
            await asyncio.wait((poll, broken_off), timeout=HELD, return_when=asyncio.FIRST_COMPLETED)
            if not broken_off.done():
                left = UNPOLLED
        finally:
            broken_off.cancel()
            if self._poll is poll:
                self._poll = None
                self._end_after(left)
        return not broken_off.done() and (not poll.done() or poll.result())

    def _end_poll(self, *, takes: bool) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(takes)

    def _fetched(self) -> str:
        text = f"[{','.join(self._outbox)}]"
        self._outbox.clear()
        self._size = 0
        if self._over:
            _sessions.pop(self.id, None)
        else:
            self._end_after(UNPOLLED)
        return text

    # --- its end

    def _end_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def end(self) -> None:
        """Its connection is over; what still waits may be fetched for a while, such as why."""
        if self._over:
            _sessions.pop(self.id, None)
            return
        self._over = True
        self.connection.closed = True
        self._process.hub.remove(self.connection)
        self._process.wake()
        self._end_poll(takes=True)
        if self._outbox:
            self._end_after(UNPOLLED)
        else:
            _sessions.pop(self.id, None)
