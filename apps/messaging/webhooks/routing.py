"""Message routing: the SET's log, read with a cursor, becomes what tenants' servers are told.

What a page of the log is to become is stored in the transaction that moves the cursor. Only rows that this
SET was the first to store are looked at: not the copies of an exchange, nor what came with its slot, which
the SET before has read (`slot_moves` sees to it). Senders wait for nothing of this.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import psycopg
from google.protobuf.message import DecodeError

from apps.accounts import webhooks
from apps.accounts.webhooks import Hooks
from apps.messaging import log
from apps.messaging.models import CHATROOM, DISCUSSION, GROUP, MOVED, PRIVATE, SYSTEM, TO_SELF
from apps.messaging.sensitive_words import sensitive_type
from apps.messaging.webhooks import deliveries
from apps.messaging.webhooks.deliveries import Hook, New
from apps.routing.envelope import SOURCE_OF, SOURCES, Request, source
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.messages import conversation_type

PAGE = 500  # messages a transaction
SCANNED = 20_000  # seq of the log that are looked at together
WITHIN = 2.0  # s that the database may be away

CHANNELS = {PRIVATE: "PERSON", DISCUSSION: "PERSONS", GROUP: "GROUP", CHATROOM: "TEMPGROUP", SYSTEM: "NOTIFY"}
SERVER = SOURCE_OF["Server"]
SOURCE_NAMES = {bits: "Websocket" if name == "Web" else name for name, bits in SOURCE_OF.items()}

_READ = """
    SELECT EXISTS (SELECT FROM messaging_webhookcursor c JOIN messaging_head h ON c.seq >= h.seq)"""
_CURSOR = """
    SELECT c.seq, h.seq FROM messaging_webhookcursor c CROSS JOIN messaging_head h FOR UPDATE OF c"""
# Rows of the log are in the order of their times.
_BEGIN = """
    INSERT INTO messaging_webhookcursor (id, seq)
    SELECT 1, COALESCE((SELECT seq FROM messaging_message WHERE time < %s ORDER BY seq DESC LIMIT 1), 0)
    ON CONFLICT DO NOTHING"""
_MOVE = "UPDATE messaging_webhookcursor SET seq = %s"
_ROWS = f"""
    SELECT seq, uid, sent, tenant, kind, sender, target, conversation, flags, up FROM messaging_message m
    JOIN unnest(%(tenants)s::int8[], %(since)s::int8[], %(unless)s::int2[]) AS w(tenant, since, unless)
      USING (tenant)
    WHERE seq > %(after)s AND seq <= %(upto)s AND inbox AND flags & {MOVED | TO_SELF} = 0
      AND kind = ANY(%(kinds)s::int2[]) AND target <> '' AND sent >= since
      AND (flags & {SOURCES}) <> unless
    ORDER BY seq LIMIT {PAGE}"""


def receivers() -> dict[int, Hooks]:
    """The tenants that are to be told of messages."""
    return {tenant: its for tenant, its in webhooks.table.current.of.items() if its.messages_url}


def route(of: log.Log) -> bool:
    """Read one page of the SET's log; whether there may be more. Raises Unavailable."""
    told = receivers()
    if not told:
        return False

    if of.read(_READ, (), within=0.0)[0][0]:
        return False

    def work(connection: psycopg.Connection[Any]) -> bool:
        found = connection.execute(_CURSOR).fetchone()
        if found is None:
            connection.execute(_BEGIN, (min(its.messages_since for its in told.values()),))
            found = connection.execute(_CURSOR).fetchone()
        after, head = found or (0, 0)
        if after >= head:
            return False
        upto = min(after + SCANNED, head)
        rows = connection.execute(_ROWS, _parameters(told) | {"after": after, "upto": upto}).fetchall()
        if len(rows) == PAGE:
            upto = rows[-1][0]
        deliveries.put(connection, [_new(*row[1:]) for row in rows])
        connection.execute(_MOVE, (upto,))
        return bool(upto < head)

    return of.run(work, within=0.0)


def catch_up(server_set: str) -> None:
    """Read all that there is by now, for whoever wants to be told by now. Raises Unavailable."""
    webhooks.table.renew()
    while route(log.of(server_set)):
        pass


def _parameters(told: Mapping[int, Hooks]) -> dict[str, Any]:
    return {
        "tenants": list(told),
        "since": [its.messages_since for its in told.values()],
        "unless": [-1 if its.from_server else SERVER for its in told.values()],
        "kinds": list(CHANNELS),
    }


def _new(
    uid: str, sent: int, tenant: int, kind: int, sender: str, target: str, key: int, flags: int, up: bytes
) -> New:
    return New(tenant, Hook.MESSAGES, target, key, uid, body(uid, sent, kind, sender, target, flags, up))


def body(uid: str, at: int, kind: int, sender: str, target: str, flags: int, up: bytes) -> str:
    """The form that a message is told in (SERVER_API 6.2)."""
    try:
        message = UpStreamMessage.FromString(up)
    except DecodeError:  # it was admitted by another version
        message = UpStreamMessage()
    fields = {
        "fromUserId": sender,
        "toUserId": target,
        "objectName": message.classname,
        "content": message.content,
        "channelType": CHANNELS[kind],
        "msgTimestamp": str(at),
        "msgUID": uid,
        "sensitiveType": str(sensitive_type(flags)),
        "source": SOURCE_NAMES.get(flags & SOURCES, ""),
    }
    if message.busChannel:
        fields["busChannel"] = message.busChannel
    if message.toUserIds:
        fields["groupUserIds"] = json.dumps(list(message.toUserIds))
    return urlencode(fields)


def status_messages(server_set: str, requests: Sequence[Request], at: int) -> None:
    """Of these messages, which no log has, store what is to be told. Raises Unavailable."""
    of = webhooks.table.current
    new = []
    for r in requests:
        its, kind = of.hooks(r.tenant), conversation_type(r.method)
        if not (its.messages_url and its.status_messages and r.target) or kind not in CHANNELS:
            continue
        bits = source(r.options)
        if bits != SERVER or its.from_server:
            key = log.conversation(r.tenant, kind, r.user, r.target)
            what = body(r.uid, at, kind, r.user, r.target, bits, r.payload)
            new.append(New(r.tenant, Hook.MESSAGES, r.target, key, r.uid, what))
    if new:
        log.of(server_set).run(lambda connection: deliveries.put(connection, new), within=WITHIN)
