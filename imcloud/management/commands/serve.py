"""`manage.py serve`: the web pages, the APIs and the gateway in one Daphne process."""

# First of all: it installs Twisted's asyncio reactor, and the first import of a reactor wins.
from daphne.server import Server  # isort:skip
from daphne import http_protocol  # isort:skip

import asyncio
import logging
import math
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from autobahn.twisted import websocket
from autobahn.websocket import protocol
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from twisted.internet import reactor

from apps.routing.protocol.packets import MAX_FRAME

logger = logging.getLogger(__name__)

BODY_KEPT = 3 << 20  # bytes: more than any path takes, so that what was cut is refused and not misread
BODY_MAX = 64 << 20  # bytes after which a caller is cut off
BACKLOG = 4096  # connections that wait to be accepted, when thousands of clients come back at once


def spare_colours() -> None:
    """Leave out the colours of Autobahn's debug lines: it makes them for every chunk, also when nobody logs.

    They were an eighth of the gateway's time.
    """
    for module in (protocol, websocket):
        for painter in ("hltype", "hlval"):
            setattr(module, painter, lambda value: value)


def unsent(protocol: Any) -> int:
    """Bytes that wait for a client which does not read them."""
    transport = protocol.transport
    return len(transport.dataBuffer) + int(transport._tempDataLen)


def framed(message: bytes) -> bytes:
    """One binary message as a server sends it: in one frame, not masked (RFC 6455 5.2)."""
    length = len(message)
    if length < 126:
        return bytes((0x82, length)) + message
    if length < 1 << 16:
        return b"\x82\x7e" + length.to_bytes(2) + message
    return b"\x82\x7f" + length.to_bytes(8) + message


def unmasked(data: bytes, key: bytes) -> bytes:
    """What a client has masked with the four bytes of the key (RFC 6455 5.3)."""
    size = len(data)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(pad, "little")).to_bytes(size, "little")


def receive(protocol: Any, take: Callable[[bytes], None], data: bytes) -> None:
    """Bytes from a client: `take` gets each message that came here in one frame and whole, which most do.

    What comes behind anything else, and that itself, is Autobahn's to judge.
    """
    at, size = 0, len(data)
    whole = not (protocol.data or protocol.current_frame or protocol.inside_message)
    while whole and size - at >= 6 and data[at] == 0x82 and protocol.state == protocol.STATE_OPEN:
        length, start = data[at + 1] - 0x80, at + 6
        if length == 126 and size - at >= 8:
            length, start = data[at + 2] << 8 | data[at + 3], at + 8
            whole = length >= 126
        else:
            whole = 0 <= length < 126
        end = start + length
        if not whole or end > size:
            break
        take(unmasked(data[start:end], data[start - 4 : start]))
        at = end
    if at < size:
        type(protocol).dataReceived(protocol, data[at:])


class Socket:
    """What the gateway may do with a client's socket besides ASGI; `apps.routing.gateway.WebSocket`.

    Autobahn's way of a message and Daphne's queue cost more than all that the gateway does with a message.
    What is written in one turn of the event loop goes to the system as one piece, before the loop has asked
    whether the socket takes it: nearly always it does.
    """

    __slots__ = ("_frames", "_protocol")
    _written: ClassVar[list["Socket"]] = []  # those with frames

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._frames: list[bytes] = []

    def write(self, message: bytes) -> None:
        if self._protocol.state == self._protocol.STATE_OPEN:
            if not self._frames:
                if not self._written:
                    asyncio.get_running_loop().call_soon(self._send_all)
                self._written.append(self)
            self._frames.append(framed(message))

    @classmethod
    def _send_all(cls) -> None:
        written = cls._written.copy()
        cls._written.clear()
        for socket in written:
            try:
                socket._send()
            except Exception:  # of one socket: the others' frames must go
                logger.exception("what was written to a client is not sent")

    def _send(self) -> None:
        data = b"".join(self._frames)
        self._frames.clear()
        transport, protocol = self._protocol.transport, self._protocol
        if protocol.state != protocol.STATE_OPEN:
            return
        if not unsent(protocol):
            try:
                data = data[transport.socket.send(data) :]
            except OSError:  # full; or broken, which the transport finds out
                pass
        if data:
            transport.write(data)

    def listen(self, take: Callable[[bytes], None]) -> None:
        queue = self._protocol.application_queue
        came = [queue.get_nowait() for _ in range(queue.qsize())]
        self._protocol.onMessage = lambda message, is_binary: take(message if is_binary else b"")
        self._protocol.dataReceived = partial(receive, self._protocol, take)
        transport = self._protocol.transport
        if transport in reactor._readers:
            # Twisted makes a log context around each look at a socket, which costs more than the look.
            loop = asyncio.get_running_loop()
            loop.add_reader(transport.fileno(), reactor._readOrWrite, transport, True)
        for event in came:
            if event["type"] == "websocket.receive":
                take(event.get("bytes") or b"")
            else:
                queue.put_nowait(event)

    def unsent(self) -> int:
        return unsent(self._protocol) + sum(map(len, self._frames))


class BoundedRequest(http_protocol.WebRequest):  # type: ignore[misc]
    """Daphne's request, which would keep a body of any size before it is looked at."""

    _received = 0

    def handleContentChunk(self, data: bytes) -> None:
        before, self._received = self._received, self._received + len(data)
        if self._received > BODY_MAX:
            self.channel.forceAbortClient()
        elif before < BODY_KEPT:
            super().handleContentChunk(data[: BODY_KEPT - before])


class GatewayServer(Server):  # type: ignore[misc]
    """Daphne, with a way around its coroutine per frame and a look at its buffers, which have no bound."""

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if scope["type"] == "websocket":
            scope["imcloud.socket"] = Socket(protocol)
        else:
            scope["imcloud.unsent"] = partial(unsent, protocol)
        return super().create_application(protocol, scope)


class Command(BaseCommand):
    help = "Serve web pages, APIs and client sockets on IMCLOUD_BIND and IMCLOUD_PORT."
    requires_system_checks = []  # `run` has made them; they take longer than everything else here

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("access_point", nargs="?", help="its name; default: IMCLOUD_ACCESS_POINT")

    def handle(self, *args: Any, access_point: str | None, **options: Any) -> None:
        from imcloud import asgi

        settings.ACCESS_POINT = access_point or settings.ACCESS_POINT
        spare_colours()
        http_protocol.WebRequest = BoundedRequest
        asgi.prepare()
        interface = settings.CONFIG.bind.replace(":", r"\:")
        server = GatewayServer(
            application=asgi.application,
            endpoints=[f"tcp:port={settings.CONFIG.port}:interface={interface}:backlog={BACKLOG}"],
            # Clients ping, and the gateway ends those that do not. -1: no connection is too old.
            websocket_timeout=-1,
            ping_interval=math.inf,
            websocket_max_message_size=MAX_FRAME,
            websocket_max_frame_size=MAX_FRAME,
            action_logger=None,
            server_name="",
        )
        reactor.callLater(0, self._open)  # type: ignore[arg-type]  # zope's stub
        server.run()
        if not server.listening_addresses:
            raise CommandError(f"cannot listen on {settings.CONFIG.bind} port {settings.CONFIG.port}")

    def _open(self) -> None:
        from imcloud.asgi import until_drained

        self._serving = asyncio.ensure_future(until_drained(reactor.stop))  # type: ignore[misc]  # zope's stub
