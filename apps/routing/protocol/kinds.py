"""The kinds of packets, what each holds, and which a client may send when.

`header` is a packet's first byte: type (4 bits), dup (0x08), QoS (0x06), retain (0x01). The rest of the
product imports all this from `packets`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

MAX_CONTENT = 128 * 1024  # bytes of a message's content: what the SDKs let an application send
# The content's surroundings: topic, target, push text, extra content … of one upstream message.
MAX_FRAME = MAX_CONTENT + 16 * 1024  # bytes of one packet from a client

# Connect.flags: which of the fields follow
HAS_APP_ID, HAS_TOKEN, HAS_WILL = 0x80, 0x40, 0x04
# ConnAck.flags of protocolVer=4: likewise
HAS_USER_ID, HAS_SESSION_ID, HAS_TIME, HAS_MESSAGE_ID = 0x01, 0x02, 0x04, 0x08


class ProtocolError(Exception):
    """The bytes are no packet, or no bytes can carry it. The text is for the log; it quotes no content."""


# Named tuples, because making one costs a third of a frozen dataclass. Each keeps its header byte, so that
# what was decoded encodes to the same bytes again, and packets of different types are never equal.


class Connect(NamedTuple):
    """CONNECT, the first packet of a native connection; on a WebSocket the URL says the same."""

    client_id: str
    app_id: str
    token: str
    keep_alive: int = 0  # s
    flags: int = HAS_APP_ID | HAS_TOKEN
    will_topic: str = ""
    will: str = ""
    protocol_id: str = "RCloud"
    version: int = 3
    header: int = 0x10


class ConnAck(NamedTuple):
    """CONNACK. A refusal is the status only. `flags` None: the plain layout, else that of protocolVer=4."""

    status: int
    user_id: str = ""
    session_id: str = ""
    time: int = 0  # ms: the server's clock, from which the SDK takes its offset
    flags: int | None = None
    message_id: int = 0  # protocolVer=4 only: where the client's own numbers start
    header: int = 0x20


class Publish(NamedTuple):
    """PUBLISH. Downstream with dup: a copy of what another device of the same user has sent."""

    topic: str
    target: str
    message_id: int
    payload: bytes
    seconds: int = 0  # downstream only: epoch s
    header: int = 0x32

    @property
    def qos(self) -> int:
        """Other than 0: the receiver answers with PUBACK."""
        return self.header >> 1 & 3

    @property
    def dup(self) -> bool:
        return bool(self.header & 0x08)

    @property
    def retain(self) -> bool:
        return bool(self.header & 0x01)


class PubAck(NamedTuple):
    """PUBACK. Upstream `message_id` alone travels; downstream all of it always does, also with an error."""

    message_id: int
    time: int = 0  # epoch ms
    status: int = 0
    uid: str = ""
    header: int = 0x40


class Query(NamedTuple):
    """QUERY: a request that gets exactly one QUERYACK."""

    topic: str
    target: str
    message_id: int
    payload: bytes
    header: int = 0x50


class QueryAck(NamedTuple):
    """QUERYACK, the answer to a QUERY."""

    message_id: int
    seconds: int  # epoch s
    status: int
    payload: bytes
    header: int = 0x60

    @property
    def qos(self) -> int:
        """Other than 0: the client answers with QUERYCON."""
        return self.header >> 1 & 3


class QueryCon(NamedTuple):
    """QUERYCON: the client has the QUERYACK of this number."""

    message_id: int
    header: int = 0x70


class PingReq(NamedTuple):
    """PINGREQ, to be answered at once."""

    header: int = 0xC0


class PingResp(NamedTuple):
    """PINGRESP."""

    header: int = 0xD0


class Disconnect(NamedTuple):
    """DISCONNECT, the same in both directions."""

    status: int
    header: int = 0xE0


Upstream = Connect | Publish | PubAck | Query | QueryCon | PingReq | Disconnect
Downstream = ConnAck | Publish | PubAck | QueryAck | PingResp | Disconnect


class State(Enum):
    """Where a connection stands, as its server sees it. A WebSocket begins OPEN: its URL was its CONNECT."""

    OPENING = 1
    OPEN = 2
    CLOSED = 3  # refused, kicked or gone: what still comes is not looked at


# What a client may send when, and the state after it. What is not listed is a ProtocolError.
MAY_SEND: Mapping[State, Mapping[type, State]] = MappingProxyType(
    {
        State.OPENING: {Connect: State.OPEN},
        State.OPEN: {
            **dict.fromkeys((Publish, PubAck, Query, QueryCon, PingReq), State.OPEN),
            Disconnect: State.CLOSED,
        },
        State.CLOSED: {},
    }
)
