"""The packets of the protocol, from bytes and to bytes. Sans-I/O: nothing here waits, reads or remembers.

A packet is the payload of one binary WebSocket message: a header byte, fields, and for some a protobuf body that
extends to the end. The header byte holds the type (4 bits), dup (0x08), QoS (0x06) and retain (0x01). Integers are
big-endian and unsigned, a string is a two-byte length and UTF-8. The two directions lay out PUBLISH and PUBACK
differently, hence `decode_upstream` (client to server) and `decode_downstream`.

Whatever the bytes are, decoding raises nothing but ProtocolError, and allocates no more than the packet's parts.
Packets are named tuples because making one costs a seventh of a frozen dataclass; `header` is kept, so that a
decoded packet encodes to the same bytes again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from apps.routing.protocol.status import AckStatus, ConnStatus, DisconnectStatus

__all__ = [
    "AckStatus", "ConnAck", "ConnStatus", "Connect", "Disconnect", "DisconnectStatus", "Downstream", "MAX_CONTENT",
    "MAX_FRAME", "MAY_SEND", "PINGREQ", "PINGRESP", "Packet", "PingReq", "PingResp", "ProtocolError", "PubAck",
    "Publish", "Query", "QueryAck", "QueryCon", "State", "Upstream", "decode_downstream", "decode_upstream",
    "encode_connack", "encode_connack_refused", "encode_disconnect", "encode_notify", "encode_puback",
    "encode_push", "encode_queryack", "encode_sync",
]  # fmt: skip

MAX_CONTENT = 128 * 1024  # bytes of a message's content: what the SDKs let an application send
# The content's surroundings: topic, target, push text, extra content, reference … of one upstream message.
MAX_FRAME = MAX_CONTENT + 16 * 1024  # bytes of one packet from a client

CONNECT, CONNACK, PUBLISH, PUBACK, QUERY, QUERYACK, QUERYCON = 1, 2, 3, 4, 5, 6, 7
PING_REQ, PING_RESP, DISCONNECT = 12, 13, 14  # 8-11 and 15 belong to nobody
DUP, QOS1, RETAIN = 0x08, 0x02, 0x01  # bits of the header byte
_QOS = 0x06
PINGREQ, PINGRESP = b"\xc0", b"\xd0"  # the whole packets

# Connect.flags
HAS_APP_ID, HAS_TOKEN, HAS_WILL = 0x80, 0x40, 0x04
# ConnAck.flags, of protocolVer=4: which of the fields follow
HAS_USER_ID, HAS_SESSION_ID, HAS_TIMESTAMP, HAS_MESSAGE_ID = 0x01, 0x02, 0x04, 0x08

_U16, _U32, _U64 = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")
_PUBACK_UP = struct.Struct(">BH")
_PUBACK_DOWN = struct.Struct(">BHIHHH")  # header, message id, seconds, status, milliseconds, length of the uid
_QUERYACK = struct.Struct(">BHIH")  # header, message id, seconds, status
_STATUS = struct.Struct(">BBB")  # header, reserved, status

_KNOWN_TOPICS = {
    topic.encode(): topic
    for topic in (
        "ppMsgP", "ppMsgN", "ppMsgS", "pgMsgP", "pgMsgS", "chatMsg", "recallMsg", "pullMsg", "chrmPull", "pullUS",
        "pullSeAtts", "reportsdk", "qryPMsg", "qryGMsg", "qryRelationR", "joinChrm", "s_msg", "s_ntf", "s_cmd",
    )
}  # fmt: skip


class ProtocolError(Exception):
    """The other side sent bytes that are no packet, or a packet was asked for that no bytes can carry.

    The text says which and where; it is for the log, and never holds the bytes themselves.
    """


class Connect(NamedTuple):
    """CONNECT, first packet of a native connection; on a WebSocket the URL says the same."""

    client_id: str
    app_id: str
    token: str
    keep_alive: int = 0  # s
    flags: int = HAS_APP_ID | HAS_TOKEN
    will_topic: str = ""
    will: str = ""
    protocol_id: str = "RCloud"
    version: int = 3
    header: int = CONNECT << 4

    def encode_upstream(self) -> bytes:
        return _encode(_connect_parts, self)


class ConnAck(NamedTuple):
    """CONNACK. `flags` None: the plain layout; otherwise that of protocolVer=4. Refusals hold the status only."""

    status: int
    user_id: str = ""
    session_id: str = ""
    time: int = 0  # ms: the server's clock, from which the SDK takes its offset
    flags: int | None = None
    message_id: int = 0
    header: int = CONNACK << 4

    def encode_downstream(self) -> bytes:
        return _encode(_connack_parts, self)


class Publish(NamedTuple):
    """PUBLISH. Downstream with dup: a copy of what another device of the same user has sent."""

    topic: str
    target: str
    message_id: int
    payload: bytes
    seconds: int = 0  # downstream only
    header: int = PUBLISH << 4 | QOS1

    @property
    def qos(self) -> int:
        """Other than 0: the receiver answers with PUBACK."""
        return self.header >> 1 & 3

    @property
    def dup(self) -> bool:
        return bool(self.header & DUP)

    @property
    def retain(self) -> bool:
        return bool(self.header & RETAIN)

    def encode_upstream(self) -> bytes:
        return _encode(_request_parts, self)

    def encode_downstream(self) -> bytes:
        return _encode(_publish_parts, self)


class PubAck(NamedTuple):
    """PUBACK. Upstream only `message_id` travels. Downstream all of it always does, also with an error."""

    message_id: int
    time: int = 0  # ms
    status: int = 0
    uid: str = ""
    header: int = PUBACK << 4

    def encode_upstream(self) -> bytes:
        return _encode(_receipt_parts, self)

    def encode_downstream(self) -> bytes:
        return _encode(_puback_parts, self)


class Query(NamedTuple):
    """QUERY: a request that gets exactly one QUERYACK."""

    topic: str
    target: str
    message_id: int
    payload: bytes
    header: int = QUERY << 4

    def encode_upstream(self) -> bytes:
        return _encode(_request_parts, self)


class QueryAck(NamedTuple):
    """QUERYACK. With QoS 1 the client answers with QUERYCON."""

    message_id: int
    seconds: int
    status: int
    payload: bytes
    header: int = QUERYACK << 4

    @property
    def qos(self) -> int:
        return self.header >> 1 & 3

    def encode_downstream(self) -> bytes:
        return _encode(_queryack_parts, self)


class QueryCon(NamedTuple):
    """QUERYCON: the client has the QUERYACK of this number."""

    message_id: int
    header: int = QUERYCON << 4

    def encode_upstream(self) -> bytes:
        return _encode(_receipt_parts, self)


class PingReq(NamedTuple):
    """PINGREQ, to be answered at once."""

    header: int = PING_REQ << 4

    def encode_upstream(self) -> bytes:
        return _encode(_bare_parts, self)


class PingResp(NamedTuple):
    """PINGRESP."""

    header: int = PING_RESP << 4

    def encode_downstream(self) -> bytes:
        return _encode(_bare_parts, self)


class Disconnect(NamedTuple):
    """DISCONNECT, the same in both directions."""

    status: int
    header: int = DISCONNECT << 4

    def encode_upstream(self) -> bytes:
        return _encode(_disconnect_parts, self)

    encode_downstream = encode_upstream


Upstream = Connect | Publish | PubAck | Query | QueryCon | PingReq | Disconnect
Downstream = ConnAck | Publish | PubAck | QueryAck | PingResp | Disconnect
Packet = Upstream | Downstream


class State(Enum):
    """Where a connection stands, as the server sees it. A WebSocket begins OPEN: its URL was its CONNECT."""

    OPENING = 1
    OPEN = 2
    CLOSED = 3  # refused, kicked or gone: whatever still comes is not looked at


# What a client may send when, and the state after it. What is not listed is a ProtocolError.
MAY_SEND: Mapping[State, Mapping[type, State]] = MappingProxyType({
    State.OPENING: {Connect: State.OPEN},
    State.OPEN: {
        Publish: State.OPEN, PubAck: State.OPEN, Query: State.OPEN, QueryCon: State.OPEN, PingReq: State.OPEN,
        Disconnect: State.CLOSED,
    },
    State.CLOSED: {},
})  # fmt: skip
