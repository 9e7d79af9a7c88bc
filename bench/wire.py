"""The client's end of a websocket, made for load: no task, future or timer per frame.

It knows the framing of RFC 6455 as far as a client of a binary protocol needs it (no extensions, no
fragments) and nothing of the packets inside. Frames are masked with the key 0: legal (5.3), and no work.
"""

import asyncio
import base64
import os
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

BINARY, CLOSE, PING, PONG = 0x82, 0x88, 0x89, 0x8A  # first byte of a whole frame: FIN and opcode
MASK = 0x80
NO_KEY = bytes(4)

# All wires of a process read into one buffer: the loop fills it and has it emptied before the next read.
_RECEIVED = bytearray(256 * 1024)
_VIEW = memoryview(_RECEIVED)


class HandshakeRefused(ConnectionError):
    """The server answered the upgrade with something other than 101; carries its first line."""


def frame(payload: bytes, first: int = BINARY) -> bytes:
    """One masked client frame around `payload`."""
    size = len(payload)
    if size < 126:
        return bytes((first, MASK | size)) + NO_KEY + payload
    if size < 65536:
        return bytes((first, MASK | 126)) + size.to_bytes(2) + NO_KEY + payload
    return bytes((first, MASK | 127)) + size.to_bytes(8) + NO_KEY + payload


class Wire(asyncio.BufferedProtocol):
    """One websocket connection. `on_packet` gets each binary payload, `on_closed` the end, once."""

    def __init__(self, url: SplitResult, on_packet: Callable[[bytes], None], on_closed: Callable[[], None]):
        self._url = url
        self._on_packet = on_packet
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._rest = b""  # the beginning of a frame whose end has not come yet
        self._upgraded = False
        self._closed = False
        self.transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.close_code: int | None = None  # of the server's close frame (RFC 6455 7.4)

    @classmethod
    async def open(
        cls, url: str, on_packet: Callable[[bytes], None], on_closed: Callable[[], None]
    ) -> "Wire":
        """Connect and upgrade; OSError when not. The caller sets the time limit."""
        parts = urlsplit(url)
        _, wire = await asyncio.get_running_loop().create_connection(
            lambda: cls(parts, on_packet, on_closed), parts.hostname or "", parts.port or 80
        )
        try:
            await wire.opened
        except BaseException:
            wire.abort()
            raise
        return wire

    def send(self, payload: bytes) -> None:
        """Send one packet; what is sent during one turn of the loop leaves in one system call."""
        self.write(frame(payload))

    def write(self, data: bytes) -> None:
        """Send bytes as they are, framed by the caller."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def pause(self) -> None:
        """Read nothing from now on, as a client does that hangs."""
        if self.transport is not None:
            self.transport.pause_reading()

    def abort(self) -> None:
        """Close the TCP connection without a closing handshake, as a closed browser tab does."""
        if self.transport is not None:
            self.transport.abort()

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._closed

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self.transport is not None and not self._closed:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        path = self._url.path + ("?" + self._url.query if self._url.query else "")
        transport.write(
            f"GET {path} HTTP/1.1\r\nHost: {self._url.netloc}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def get_buffer(self, sizehint: int) -> memoryview:
        return _VIEW

    def buffer_updated(self, nbytes: int) -> None:
        if self._rest:
            data = memoryview(self._rest + _VIEW[:nbytes])
            self._rest = b""
        else:
            data = _VIEW[:nbytes]
        if not self._upgraded:
            data = data[self._upgrade(bytes(data)) :]
        if self._upgraded:
            self._read_frames(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        if not self.opened.done():
            self.opened.set_exception(HandshakeRefused("closed during the upgrade"))
        self._on_closed()

    # Incoming

    def _upgrade(self, data: bytes) -> int:
        """Read the server's answer to the upgrade; return where the frames begin."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._rest = data
            return len(data)
        status = data.split(b"\r\n", 1)[0].decode("latin-1")
        if status.split()[1:2] != ["101"]:
            if not self.opened.done():
                self.opened.set_exception(HandshakeRefused(status))
            self.abort()
            return len(data)
        self._upgraded = True
        self.opened.set_result(None)
        return end + 4

    def _read_frames(self, data: memoryview) -> None:
        position, size = 0, len(data)
        while size - position >= 2:
            first, length, start = data[position], data[position + 1], position + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                if start > size:
                    break
                length = int.from_bytes(data[position + 2 : start])
            end = start + length
            if end > size:
                break
            if first == BINARY:
                self._on_packet(bytes(data[start:end]))
            else:
                self._control(first, bytes(data[start:end]))
            position = end
        if position < size:
            self._rest = bytes(data[position:])

    def _control(self, first: int, payload: bytes) -> None:
        if first == PING:
            self.write(frame(payload, PONG))
        elif first == CLOSE:
            self.close_code = int.from_bytes(payload[:2]) if len(payload) >= 2 else 1005
            if self.transport is not None:
                self.transport.write(frame(payload[:2], CLOSE))
                self.transport.close()
        elif first != PONG:  # a text frame or a fragment: not of this protocol
            self.abort()
