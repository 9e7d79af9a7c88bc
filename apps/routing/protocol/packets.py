"""The packets of the protocol, from bytes and to bytes. Sans-I/O: nothing here waits, reads or remembers.

A packet is the payload of one binary WebSocket message: a header byte, fields, and for some a protobuf body
that extends to the end. Integers are big-endian and unsigned; a string is a two-byte length and UTF-8. The
two directions lay out PUBLISH and PUBACK differently, hence `decode_upstream` (what clients send) and
`decode_downstream` (what servers send).

Decoding raises nothing but ProtocolError, whatever the bytes are, and allocates no more than the parts of the
packet. Every string that it returns can be encoded as UTF-8. Encoding raises ProtocolError for what has no
place in the packet: a string of more than 65,535 bytes, a number out of range, a lone surrogate.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from apps.routing.protocol.kinds import (
    HAS_APP_ID,
    HAS_MESSAGE_ID,
    HAS_SESSION_ID,
    HAS_TIME,
    HAS_TOKEN,
    HAS_USER_ID,
    HAS_WILL,
    MAX_CONTENT,
    MAX_FRAME,
    MAY_SEND,
    ConnAck,
    Connect,
    Disconnect,
    Downstream,
    PingReq,
    PingResp,
    ProtocolError,
    PubAck,
    Publish,
    Query,
    QueryAck,
    QueryCon,
    State,
    Upstream,
)
from apps.routing.protocol.status import AckStatus, ConnStatus, DisconnectStatus

__all__ = [
    "MAX_CONTENT", "MAX_FRAME", "MAY_SEND", "PINGREQ", "PINGRESP", "AckStatus", "ConnAck", "ConnStatus",
    "Connect", "Disconnect", "DisconnectStatus", "Downstream", "PingReq", "PingResp", "ProtocolError",
    "PubAck", "Publish", "Query", "QueryAck", "QueryCon", "State", "Upstream", "decode_downstream",
    "decode_upstream", "encode_connack", "encode_connack_refused", "encode_disconnect",
    "encode_downstream", "encode_notify", "encode_puback", "encode_push", "encode_queryack",
    "encode_sync", "encode_upstream",
]  # fmt: skip

PINGREQ: Final = b"\xc0"  # the whole packet
PINGRESP: Final = b"\xd0"


# --- Decoding. An index past the end raises IndexError, and so does the wrong number of bytes in `unpack`
# (struct.error): each decoder reads its last fixed field by index, which proves that all before it is there.

_U16, _U64 = struct.Struct(">H"), struct.Struct(">Q")
_PUBACK = struct.Struct(">BHIHHH")  # header, message id, seconds, status, milliseconds, bytes of the uid
_QUERYACK = struct.Struct(">BHIH")  # header, message id, seconds, status
_STATUS = struct.Struct(">BBB")  # header, reserved, status
_RECEIPT = struct.Struct(">BH")  # header, message id
_PUSH = struct.Struct(">BI")  # header, seconds

_KNOWN_TOPICS = {
    topic.encode(): topic
    for topic in (
        "ppMsgP", "ppMsgN", "ppMsgS", "pgMsgP", "pgMsgS", "chatMsg", "recallMsg", "pullMsg", "chrmPull",
        "pullUS", "pullSeAtts", "reportsdk", "qryPMsg", "qryGMsg", "qryRelationR", "joinChrm", "s_msg",
        "s_ntf", "s_cmd",
    )
}  # fmt: skip


def _text(raw: bytes) -> str:
    """UTF-8, or the CESU-8 that the SDKs make of astral characters; the result has no surrogates."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _string(frame: bytes, at: int) -> tuple[str, int]:
    """The string at `at`, and where it ends."""
    start = at + 2
    end = start + (frame[at] << 8 | frame[at + 1])
    if end > len(frame):
        raise IndexError
    return _text(frame[start:end]), end


def _fields(frame: bytes, at: int) -> tuple[str, str, int, bytes]:
    """Topic, target, message id and payload, as PUBLISH and QUERY hold them from `at` on."""
    start = at + 2
    middle = start + (frame[at] << 8 | frame[at + 1])
    end = middle + 2 + (frame[middle] << 8 | frame[middle + 1])
    message_id = frame[end] << 8 | frame[end + 1]
    raw = frame[start:middle]
    topic = _KNOWN_TOPICS.get(raw)
    return topic or _text(raw), _text(frame[middle + 2 : end]), message_id, frame[end + 2 :]


def _publish_up(frame: bytes) -> Publish:
    topic, target, message_id, payload = _fields(frame, 1)
    return Publish(topic, target, message_id, payload, 0, frame[0])


def _query(frame: bytes) -> Query:
    topic, target, message_id, payload = _fields(frame, 1)
    return Query(topic, target, message_id, payload, frame[0])


def _puback_up(frame: bytes) -> PubAck:
    header, message_id = _RECEIPT.unpack(frame)
    return PubAck(message_id, 0, 0, "", header)


def _querycon(frame: bytes) -> QueryCon:
    header, message_id = _RECEIPT.unpack(frame)
    return QueryCon(message_id, header)


def _disconnect(frame: bytes) -> Disconnect:
    header, reserved, status = _STATUS.unpack(frame)
    if reserved:
        raise ValueError
    return Disconnect(status, header)


def _alone(frame: bytes) -> int:
    (header,) = frame  # ValueError when more follows
    return header


def _connect(frame: bytes) -> Connect:
    protocol_id, at = _string(frame, 1)
    version, flags = frame[at], frame[at + 1]
    keep_alive = frame[at + 2] << 8 | frame[at + 3]
    client_id, at = _string(frame, at + 4)
    will_topic = will = app_id = token = ""
    if flags & HAS_WILL:
        will_topic, at = _string(frame, at)
        will, at = _string(frame, at)
    if flags & HAS_APP_ID:
        app_id, at = _string(frame, at)
    if flags & HAS_TOKEN:
        token, at = _string(frame, at)
    if at != len(frame):
        raise ValueError
    return Connect(
        client_id, app_id, token, keep_alive, flags, will_topic, will, protocol_id, version, frame[0]
    )


def _connack(frame: bytes, protocol_version: int) -> ConnAck:
    header, reserved, status = _STATUS.unpack_from(frame)
    at = 3
    if reserved or (status and len(frame) > at):
        raise ValueError
    if status:
        return ConnAck(status, header=header)
    flags = None
    shown = HAS_USER_ID | HAS_SESSION_ID | HAS_TIME
    if protocol_version == 4:
        flags = shown = frame[at]
        at += 1
    user_id = session_id = ""
    time = message_id = 0
    if shown & HAS_USER_ID:
        user_id, at = _string(frame, at)
    if shown & HAS_SESSION_ID:
        session_id, at = _string(frame, at)
    if shown & HAS_TIME:
        (time,), at = _U64.unpack_from(frame, at), at + 8
    if shown & HAS_MESSAGE_ID:
        (message_id,), at = _U16.unpack_from(frame, at), at + 2
    if at != len(frame):
        raise ValueError
    return ConnAck(status, user_id, session_id, time, flags, message_id, header)


def _publish_down(frame: bytes) -> Publish:
    header, seconds = _PUSH.unpack_from(frame)
    topic, target, message_id, payload = _fields(frame, 5)
    return Publish(topic, target, message_id, payload, seconds, header)


def _puback_down(frame: bytes) -> PubAck:
    header, message_id, seconds, status, milliseconds, length = _PUBACK.unpack_from(frame)
    if milliseconds > 999 or len(frame) != _PUBACK.size + length:
        raise ValueError
    return PubAck(message_id, seconds * 1000 + milliseconds, status, _text(frame[_PUBACK.size :]), header)


def _queryack(frame: bytes) -> QueryAck:
    header, message_id, seconds, status = _QUERYACK.unpack_from(frame)
    return QueryAck(message_id, seconds, status, frame[_QUERYACK.size :], header)


_UPSTREAM: Mapping[int, Callable[[bytes], Upstream]] = {
    1: _connect,
    3: _publish_up,
    4: _puback_up,
    5: _query,
    7: _querycon,
    12: lambda frame: PingReq(_alone(frame)),
    14: _disconnect,
}
_DOWNSTREAM: Mapping[int, Callable[[bytes], Downstream]] = {
    3: _publish_down,
    4: _puback_down,
    6: _queryack,
    13: lambda frame: PingResp(_alone(frame)),
    14: _disconnect,
}
_NAMES = {1: "CONNECT", 2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "QUERY", 6: "QUERYACK", 7: "QUERYCON"}
_NAMES |= {12: "PINGREQ", 13: "PINGRESP", 14: "DISCONNECT"}  # the others belong to nobody


def decode_upstream(frame: bytes) -> Upstream:
    """What a client sent, as one packet. Raises ProtocolError."""
    if len(frame) > MAX_FRAME:
        raise ProtocolError(f"a packet of {len(frame)} bytes; {MAX_FRAME} are allowed")
    try:
        return _UPSTREAM[frame[0] >> 4](frame)
    except (LookupError, ValueError, struct.error) as error:
        raise _malformed(frame, error) from error


def decode_downstream(frame: bytes, protocol_version: int = 3) -> Downstream:
    """What a server sent to a client that announced this protocolVer. Raises ProtocolError."""
    try:
        if frame[0] >> 4 == 2:
            return _connack(frame, protocol_version)
        return _DOWNSTREAM[frame[0] >> 4](frame)
    except (LookupError, ValueError, struct.error) as error:
        raise _malformed(frame, error) from error


def _malformed(frame: bytes, error: Exception) -> ProtocolError:
    if not frame:
        return ProtocolError("an empty packet")
    name = _NAMES.get(frame[0] >> 4, f"packet type {frame[0] >> 4}")
    if isinstance(error, KeyError):
        return ProtocolError(f"{name} is not sent in this direction")
    if isinstance(error, UnicodeError):
        return ProtocolError(f"{name} with a string that is not UTF-8")
    return ProtocolError(f"{name} of {len(frame)} bytes that is cut off, too long or out of range")


# --- Encoding


def _packed(text: str) -> bytes:
    raw = text.encode()
    return _U16.pack(len(raw)) + raw


_TOPICS = {topic: _packed(topic) for topic in _KNOWN_TOPICS.values()}


def _downward(header: int, seconds: int, topic: str, target: str, message_id: int, payload: bytes) -> bytes:
    try:
        to = target.encode()
        return b"".join((
            _PUSH.pack(header, seconds), _TOPICS.get(topic) or _packed(topic),
            _U16.pack(len(to)), to, _U16.pack(message_id), payload,
        ))  # fmt: skip
    except (UnicodeError, struct.error) as error:
        raise ProtocolError(f"a PUBLISH that cannot be encoded: {error}") from error


def encode_push(seconds: int, user: str, message_id: int, message: bytes, *, qos: int) -> bytes:
    """`s_msg`: a DownStreamMessage for one device of `user`. QoS 0 for status messages, else 1."""
    return _downward(0x31 | qos << 1, seconds, "s_msg", user, message_id, message)


def encode_notify(
    seconds: int, user: str, notice: bytes, *, topic: str = "s_ntf", message_id: int = 65535
) -> bytes:
    """`s_ntf` or `s_cmd`: a NotifyMsg; QoS 0, so its number means nothing."""
    return _downward(0x31, seconds, topic, user, message_id, notice)


def encode_sync(seconds: int, topic: str, target: str, message_id: int, message: bytes) -> bytes:
    """What another device of the user sent, as it was; shown once a PUBACK with the same number follows."""
    return _downward(0x3A, seconds, topic, target, message_id, message)


def encode_puback(message_id: int, time: int, status: int, uid: str, *, header: int = 0x40) -> bytes:
    """PUBACK of `time` in ms; `uid` empty unless status is 0."""
    try:
        raw = uid.encode()
        return _PUBACK.pack(header, message_id, time // 1000, status, time % 1000, len(raw)) + raw
    except (UnicodeError, struct.error) as error:
        raise ProtocolError(f"a PUBACK that cannot be encoded: {error}") from error


def encode_queryack(message_id: int, time: int, status: int, payload: bytes, *, qos: int) -> bytes:
    """QUERYACK of `time` in ms. With QoS 1 the client answers with QUERYCON."""
    try:
        return _QUERYACK.pack(0x60 | qos << 1, message_id, time // 1000, status) + payload
    except struct.error as error:
        raise ProtocolError(f"a QUERYACK that cannot be encoded: {error}") from error


def encode_connack(user_id: str, session_id: str, time: int, *, flagged: bool = False) -> bytes:
    """CONNACK of an accepted connection, `time` in ms; `flagged`: the client announced protocolVer=4."""
    flags = HAS_USER_ID | HAS_SESSION_ID | HAS_TIME | HAS_MESSAGE_ID if flagged else None
    return encode_downstream(ConnAck(ConnStatus.ACCEPTED, user_id, session_id, time, flags))


def encode_connack_refused(status: ConnStatus) -> bytes:
    """CONNACK of a refused connection."""
    return bytes((0x20, 0, status))


def encode_disconnect(status: DisconnectStatus) -> bytes:
    """DISCONNECT, either way."""
    return bytes((0xE0, 0, status))


def encode_upstream(packet: Upstream) -> bytes:
    """The bytes of a client's packet. Raises ProtocolError."""
    try:
        if isinstance(packet, Publish | Query):
            head = bytes((packet.header,)) + _packed(packet.topic) + _packed(packet.target)
            return head + _U16.pack(packet.message_id) + packet.payload
        if isinstance(packet, PubAck | QueryCon):
            return _RECEIPT.pack(packet.header, packet.message_id)
        if isinstance(packet, Disconnect):
            return _STATUS.pack(packet.header, 0, packet.status)
        if isinstance(packet, PingReq):
            return bytes((packet.header,))
        return _connect_bytes(packet)
    except (ValueError, struct.error) as error:
        raise ProtocolError(f"a {type(packet).__name__} that cannot be encoded: {error}") from error


def encode_downstream(packet: Downstream) -> bytes:
    """The bytes of a server's packet, header bits as given. Raises ProtocolError."""
    try:
        if isinstance(packet, Publish):
            return _downward(
                packet.header, packet.seconds, packet.topic, packet.target, packet.message_id, packet.payload
            )
        if isinstance(packet, PubAck):
            return encode_puback(
                packet.message_id, packet.time, packet.status, packet.uid, header=packet.header
            )
        if isinstance(packet, QueryAck):
            return (
                _QUERYACK.pack(packet.header, packet.message_id, packet.seconds, packet.status)
                + packet.payload
            )
        if isinstance(packet, Disconnect):
            return _STATUS.pack(packet.header, 0, packet.status)
        if isinstance(packet, PingResp):
            return bytes((packet.header,))
        return _connack_bytes(packet)
    except (ValueError, struct.error) as error:
        raise ProtocolError(f"a {type(packet).__name__} that cannot be encoded: {error}") from error


def _connect_bytes(packet: Connect) -> bytes:
    parts = [
        bytes((packet.header,)), _packed(packet.protocol_id), bytes((packet.version, packet.flags)),
        _U16.pack(packet.keep_alive), _packed(packet.client_id),
    ]  # fmt: skip
    if packet.flags & HAS_WILL:
        parts += (_packed(packet.will_topic), _packed(packet.will))
    if packet.flags & HAS_APP_ID:
        parts.append(_packed(packet.app_id))
    if packet.flags & HAS_TOKEN:
        parts.append(_packed(packet.token))
    return b"".join(parts)


def _connack_bytes(packet: ConnAck) -> bytes:
    head = _STATUS.pack(packet.header, 0, packet.status)
    if packet.status:
        return head
    if packet.flags is None:
        return head + _packed(packet.user_id) + _packed(packet.session_id) + _U64.pack(packet.time)
    parts = [head, bytes((packet.flags,))]
    if packet.flags & HAS_USER_ID:
        parts.append(_packed(packet.user_id))
    if packet.flags & HAS_SESSION_ID:
        parts.append(_packed(packet.session_id))
    if packet.flags & HAS_TIME:
        parts.append(_U64.pack(packet.time))
    if packet.flags & HAS_MESSAGE_ID:
        parts.append(_U16.pack(packet.message_id))
    return b"".join(parts)
