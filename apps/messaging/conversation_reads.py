"""Up to when a user has read each of his conversations: a table of his home SET (ConversationRead).

His devices tell each other, by rows of the log: `updRTime` and `updRRTime` (PROTOCOL 4.1), or a message of
the class RC:SRSMsg in the conversation (6.7). The table changes with these rows.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import psycopg
from google.protobuf.message import DecodeError

from apps.messaging import log
from apps.messaging.log import Place
from apps.routing.protocol.im_pb2 import SessionMsgReadInput, UpStreamMessage
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.topology import slot

METHODS = frozenset(("updRTime", "updRRTime"))
CLASS = "RC:SRSMsg"
INPUT_MAX = 1024  # bytes of a SessionMsgReadInput: two ids, a type and a time

_TAKE = """
    INSERT INTO messaging_conversationread (tenant, "user", slot, kind, target, time)
    VALUES (%s, %s, %s, %s, %s, LEAST(%s::int8, %s::int8))
    ON CONFLICT (tenant, "user", kind, target) DO UPDATE SET time = EXCLUDED.time
    WHERE messaging_conversationread.time < EXCLUDED.time"""


class Read(NamedTuple):
    kind: int
    target: str
    time: int  # ms


def told(payload: bytes) -> Read:
    """What an updRTime says. Raises ProtocolError."""
    try:
        said = SessionMsgReadInput.FromString(payload) if len(payload) <= INPUT_MAX else None
    except DecodeError:
        said = None
    if said is None or not isinstance(said.channelId, str) or not isinstance(said.busChannel, str):
        raise ProtocolError("a time of reading that cannot be read")
    if not said.HasField("type") or said.msgTime <= 0:
        raise ProtocolError("a time of reading that is none")
    if not 0 < len(said.channelId) <= 64 or not said.channelId.isprintable():
        raise ProtocolError("a time of reading of no conversation")
    return Read(said.type, said.channelId, said.msgTime)


def synced(kind: int, target: str, up: bytes) -> Read:
    """What a message of `CLASS` in that conversation says. Raises ProtocolError."""
    try:
        at = json.loads(UpStreamMessage.FromString(up).content.decode())["lastMessageSendTime"]
    except (DecodeError, ValueError, KeyError, TypeError, RecursionError):
        raise ProtocolError("a time of reading that cannot be read") from None
    if type(at) is not int or not 0 < at < 1 << 63:
        raise ProtocolError("a time of reading that is none")
    return Read(kind, target, at)


def take(connection: psycopg.Connection[Any], place: Place, tenant: int, user: str, read: Read) -> None:
    """Note it if the user is at home here. Nobody has read what is later than the log."""
    number = slot(str(tenant), user)
    if log.owns(place.slots, number):
        connection.execute(_TAKE, (tenant, user, number, *read[:2], read.time, place.time))
