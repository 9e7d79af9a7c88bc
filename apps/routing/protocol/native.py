"""The native form of the protocol: packets on a plain TCP stream. Sans-I/O, like `packets`.

Each packet is `header, checksum, length, body`: the header byte and the body are those of the WebSocket form,
the length is that of the body (7 bits a byte, least significant first, the high bit means more), and the
checksum is the header XOR each byte of the length. A client begins with CONNECT: no URL says who it is.

What is public about this form comes from a talk, from the push channel of the Android SDK and from remains in
the Web SDK, not from the native SDKs' own channel: compatibility with those is not claimed.
"""

from __future__ import annotations

from apps.routing.protocol.kinds import MAX_FRAME, MAY_SEND, Downstream, ProtocolError, State, Upstream
from apps.routing.protocol.packets import (
    decode_downstream,
    decode_upstream,
    encode_downstream,
    encode_upstream,
)

SIGNATURE = bytes(7) + b"\xff"  # what the push channel sends; a receiver does not look at it
LENGTH_BYTES_MAX = 4
_SIGNED = frozenset((3, 5))  # PUBLISH and QUERY


class NativeConnection:
    """One side of a native connection: bytes in, packets out, and back. Holds at most one partial packet."""

    def __init__(self, *, server: bool = True, signature: bool = True, max_frame: int = MAX_FRAME) -> None:
        """`server`: this side receives what clients send. `max_frame`: bytes of one packet that it accepts.

        `signature`: upstream PUBLISH and QUERY carry 8 bytes before their fields. The push channel has them,
        and the Web SDK still reserves room for them, so they are expected unless told otherwise.
        """
        self.state = State.OPENING
        self._server = server
        self._signature = signature
        self._max_frame = max_frame
        self._buffer = bytearray()
        self._error: ProtocolError | None = None

    def receive(self, data: bytes) -> list[Upstream | Downstream]:
        """The packets that `data` completes, in order.

        Raises ProtocolError for a stream that cannot be read on, or a packet that the state does not allow;
        so does every later call. Packets before it in the same `data` are lost with it: nobody has
        acknowledged them. What follows a DISCONNECT is not looked at.
        """
        if self._error is not None:
            raise self._error
        packets: list[Upstream | Downstream] = []
        try:
            if self.state is not State.CLOSED:
                self._buffer += data
                start = self._read_packets(packets)
                del self._buffer[:start]
        except ProtocolError as error:
            self._error = error
            self.state = State.CLOSED
            self._buffer.clear()
            raise
        return packets

    def _read_packets(self, packets: list[Upstream | Downstream]) -> int:
        """Append every whole packet of the buffer; return where the first partial one begins."""
        start = 0
        while (body := self._body(start)) is not None:
            begin, end = body
            header = self._buffer[start]
            if self._server and self._signature and header >> 4 in _SIGNED:
                if end - begin < len(SIGNATURE):
                    raise ProtocolError("a packet that is too short for its signature")
                begin += len(SIGNATURE)
            packet = self._decode(bytes((header,)) + self._buffer[begin:end])
            packets.append(packet)
            if self.state is State.CLOSED:
                return len(self._buffer)
            start = end
        return start

    def _body(self, start: int) -> tuple[int, int] | None:
        """Where the body of the packet at `start` begins and ends; None while it is not all here."""
        buffer = self._buffer
        length = 0
        for at in range(start + 2, min(len(buffer), start + 2 + LENGTH_BYTES_MAX)):
            length |= (buffer[at] & 0x7F) << 7 * (at - start - 2)
            if buffer[at] < 0x80:
                return self._checked(start, at + 1, length)
        if len(buffer) - start >= 2 + LENGTH_BYTES_MAX:
            raise ProtocolError(f"a length of more than {LENGTH_BYTES_MAX} bytes")
        return None

    def _checked(self, start: int, begin: int, length: int) -> tuple[int, int] | None:
        checksum = self._buffer[start]
        for byte in self._buffer[start + 2 : begin]:
            checksum ^= byte
        if checksum != self._buffer[start + 1]:
            raise ProtocolError("a checksum that does not fit")
        if length >= self._max_frame:  # the header byte belongs to the packet
            raise ProtocolError(f"a packet of {length + 1} bytes; {self._max_frame} are allowed")
        return (begin, begin + length) if len(self._buffer) >= begin + length else None

    def _decode(self, frame: bytes) -> Upstream | Downstream:
        if not self._server:
            return decode_downstream(frame)
        packet = decode_upstream(frame)
        state = MAY_SEND[self.state].get(type(packet))
        if state is None:
            raise ProtocolError(f"{type(packet).__name__} while {self.state.name}")
        self.state = state
        return packet

    def encode(self, packet: Upstream | Downstream) -> bytes:
        """The bytes of a packet that this side sends. Raises ProtocolError."""
        if self._server:
            return self.wrap(encode_downstream(packet))  # type: ignore[arg-type]
        return self.wrap(encode_upstream(packet))  # type: ignore[arg-type]

    def wrap(self, frame: bytes) -> bytes:
        """A packet in its WebSocket form, as this side sends it on a native connection."""
        signed = not self._server and self._signature and frame[0] >> 4 in _SIGNED
        body = SIGNATURE + frame[1:] if signed else frame[1:]
        length, rest = bytearray(), len(body)
        while rest > 0x7F:
            length.append(rest & 0x7F | 0x80)
            rest >>= 7
        length.append(rest)
        if len(length) > LENGTH_BYTES_MAX:
            raise ProtocolError(f"a packet of {len(frame)} bytes; its length has {LENGTH_BYTES_MAX} bytes")
        checksum = frame[0]
        for byte in length:
            checksum ^= byte
        return bytes((frame[0], checksum)) + length + body
