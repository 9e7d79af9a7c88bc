"""What a device reads of the log: its boxes (pullMsg, PROTOCOL 6.2) and one conversation (qryPMsg, 6.5)."""

from __future__ import annotations

from typing import Any

from apps.messaging import log
from apps.messaging.models import HIDDEN_FROM_SENDER, PERSISTED, PRIVATE
from apps.routing.envelope import Answer, Request
from apps.routing.protocol.im_pb2 import (
    DownStreamMessages,
    HistoryMsgInput,
    HistoryMsgOuput,
    SyncRequestMsg,
)
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.messages import RECEIVED, SENT, downstream, for_v2

PULL_PAGE = 200  # messages; the SDKs work with 100-200 a page (PROTOCOL 6.2)
PAGE_BYTES = 1 << 20  # of messages; a page ends with the one that passes it
HISTORY_PAGE_MAX = 100
ACKNOWLEDGING = 5  # the SDK generation that shows whatever it acknowledges
_NOW = 1 << 53  # later than every message: 64-bit values are read as doubles

# A page's rows, how many there were before it was cut by size, and nothing of those past the cut:
# octet_length does not read a large value.
_CUT = f"""
    SELECT * FROM (
      SELECT *, count(*) OVER () AS limited,
             sum(octet_length(up)) OVER (ORDER BY {{order}}) - octet_length(up) AS ahead
      FROM ({{rows}}) limited_rows) sized
    WHERE ahead < {PAGE_BYTES} ORDER BY {{order}}"""
LIMITED = 7  # the column of a row that says how many there were before the cut by size
_HEAD = "SELECT h.seq, m.* FROM messaging_head h LEFT JOIN LATERAL ({}) m ON true ORDER BY m.time"
_INBOX = f"""
    (SELECT uid, time, kind, sender, target, up, {RECEIVED} AS direction FROM messaging_message
     WHERE tenant = %(tenant)s AND target = %(user)s AND kind = {PRIVATE} AND time > %(inbox)s
       AND sender <> %(user)s
       -- What this device has acknowledged is not sent again: v5 is shown pushes without moving its syncTime.
       AND time > COALESCE((SELECT time FROM messaging_devicecursor WHERE tenant = %(tenant)s
                            AND "user" = %(user)s AND device = %(device)s), 0)
     ORDER BY time LIMIT %(limit)s)"""
_SENDBOX = f"""
    (SELECT uid, time, kind, sender, target, up, {SENT} AS direction FROM messaging_message
     WHERE tenant = %(tenant)s AND sender = %(user)s AND kind > 0 AND time > %(sendbox)s
       AND flags & {HIDDEN_FROM_SENDER} = 0 ORDER BY time LIMIT %(limit)s)"""
_PULL = _HEAD.format(_CUT.format(order="time", rows=_INBOX))
_PULL_BOTH = _HEAD.format(
    _CUT.format(
        order="time",
        rows=f"SELECT * FROM ({_INBOX} UNION ALL {_SENDBOX}) both_boxes ORDER BY time LIMIT %(limit)s",
    )
)
_HISTORY = f"""
    SELECT uid, time, kind, sender, target, up,
           CASE WHEN sender = %(user)s THEN {SENT} ELSE {RECEIVED} END AS direction
    FROM messaging_message
    WHERE tenant = %(tenant)s AND conversation = %(conversation)s AND kind > 0 AND {{}}
      AND flags & {PERSISTED} <> 0
      AND (sender = %(user)s AND target = %(peer)s AND flags & {HIDDEN_FROM_SENDER} = 0
           OR sender = %(peer)s AND target = %(user)s)
    ORDER BY time {{}} LIMIT %(limit)s"""
_OLDER = _CUT.format(order="time DESC", rows=_HISTORY.format("time < %(time)s", "DESC"))
_NEWER = _CUT.format(order="time", rows=_HISTORY.format("time > %(time)s", "ASC"))


def _shown(row: tuple[Any, ...], tenant: int, generation: int) -> bytes:
    uid, at, kind, sender, target, up, direction, *_ = row
    down = downstream(up, sender=sender, kind=kind, target=target, time=at, uid=uid, direction=direction)
    return for_v2(down) if generation == 2 else down


def pull(server_set: str, request: Request) -> Answer:
    """Everything of the user past the client's cursors, ascending, one page; the cursors are the client's."""
    wanted = SyncRequestMsg.FromString(request.payload)
    # v4 acknowledges even what it then drops, so only what it asks for is the truth. v5 shows all of it.
    acknowledging = request.generation == ACKNOWLEDGING
    inbox = max(wanted.syncTime, request.acknowledged if acknowledging else 0)
    parameters = {
        "tenant": request.tenant,
        "user": request.user,
        "device": request.device if acknowledging else "",
        "inbox": inbox,
        "sendbox": wanted.sendBoxSyncTime,
        "limit": PULL_PAGE + 1,
    }
    rows = log.of(server_set).read(_PULL_BOTH if wanted.isPullSend else _PULL, parameters)
    position = rows[0][0]
    found = [row[1:] for row in rows if row[1] is not None]
    page = found[:PULL_PAGE]
    finished = not page or page[0][LIMITED] == len(page)
    newest = page[-1][1] if page else 0
    reply = DownStreamMessages(
        # Never smaller than what the client has, and nothing later than what is in the reply (PROTOCOL 6.2).
        syncTime=max(wanted.syncTime, inbox, newest),
        finished=finished,
        broadcastSyncTime=max(wanted.broadcastSyncTime, 1),
    )
    payload = reply.SerializeToString() + _list_of(page, request)
    return Answer(0, 0, newest, payload, position, newest, finished)


def history(server_set: str, request: Request) -> Answer:
    """A page of a private conversation: order 0 newest first before `time`, order 1 oldest first after it."""
    wanted = HistoryMsgInput.FromString(request.payload)
    if not isinstance(wanted.targetId, str) or "\0" in wanted.targetId:  # not UTF-8: protobuf leaves bytes
        raise ProtocolError("a conversation id that is no text")
    count = min(max(wanted.count, 1), HISTORY_PAGE_MAX)
    parameters = {
        "tenant": request.tenant,
        "user": request.user,
        "peer": wanted.targetId,
        "conversation": log.conversation(request.tenant, PRIVATE, request.user, wanted.targetId),
        "time": wanted.time or (0 if wanted.order else _NOW),
        "limit": count + 1,
    }
    rows = log.of(server_set).read(_NEWER if wanted.order else _OLDER, parameters)
    page = rows[:count]
    more = bool(page) and page[0][LIMITED] > len(page)
    reply = HistoryMsgOuput(syncTime=page[-1][1] if page else wanted.time, hasMsg=int(more))
    return Answer(0, 0, 0, reply.SerializeToString() + _list_of(page, request))


def _list_of(page: list[tuple[Any, ...]], request: Request) -> bytes:
    """Field 1 (repeated DownStreamMessage) of both replies; a protobuf's fields may come in any order."""
    out = bytearray()
    for row in page:
        down = _shown(row, request.tenant, request.generation)
        out += b"\x0a"
        length = len(down)
        while length > 0x7F:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        out.append(length)
        out += down
    return bytes(out)
