"""What a device reads of the log: its boxes (pullMsg, PROTOCOL 6.2) and one conversation (qryPMsg, 6.5)."""

from __future__ import annotations

from typing import Any

from apps.messaging import exchange, log
from apps.messaging.models import GROUP, PERSISTED, PRIVATE, RECALLED, TO_SELF
from apps.routing.envelope import WANTS_GROUPS, Answer, Request
from apps.routing.protocol.im_pb2 import (
    DownStreamMessages,
    HistoryMsgInput,
    HistoryMsgOuput,
    SyncRequestMsg,
    UpStreamMessage,
)
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.messages import RECEIVED, SENT, downstream, for_v2

PULL_PAGE = 200  # messages; the SDKs work with 100-200 a page (PROTOCOL 6.2)
PAGE_BYTES = 1 << 20  # of messages; a page ends with the one that passes it
HISTORY_PAGE_MAX = 100
HISTORY = {"qryPMsg": PRIVATE, "qryGMsg": GROUP}
ACKNOWLEDGING = 5  # the SDK generation that shows whatever it acknowledges
_NOT_HIS = RECALLED | TO_SELF
_NOW = 1 << 53  # later than every message: 64-bit values are read as doubles

# A page's rows, how many there were before it was cut by size, and nothing of those past the cut:
# octet_length does not read a large value.
_CUT = f"""
    SELECT * FROM (
      SELECT *, count(*) OVER () AS limited,
             sum(octet_length(up)) OVER (ORDER BY {{order}}) - octet_length(up) AS ahead
      FROM ({{rows}}) limited_rows) sized
    WHERE ahead < {PAGE_BYTES} ORDER BY {{order}}"""
LIMITED = 8  # the column of a row that says how many there were before the cut by size
_HEAD = "SELECT h.seq, m.* FROM messaging_head h LEFT JOIN LATERAL ({}) m ON true ORDER BY m.at"
# What this device has acknowledged is not sent again: v5 is shown pushes without moving its syncTime.
_ACKNOWLEDGED = """COALESCE((SELECT time FROM messaging_devicecursor WHERE tenant = %(tenant)s
                     AND "user" = %(user)s AND device = %(device)s), 0)"""
# `at` is what a page goes by: of received messages their time in this log, which is the cursor of inboxes; of
# sent ones, and in histories, the time that users are shown, which is what SDKs ask by.
_INBOX = f"""
    (SELECT uid, time AS at, sent, kind, sender, target, up, {RECEIVED} AS direction FROM messaging_message
     WHERE tenant = %(tenant)s AND target = %(user)s AND kind = {PRIVATE} AND inbox
       AND time > %(inbox)s AND time > {_ACKNOWLEDGED} AND sender <> %(user)s AND flags & {_NOT_HIS} = 0
     ORDER BY time LIMIT %(limit)s)"""
# Of each group what was sent while the user was in it.
_GROUPS = f"""
    (SELECT m.uid, m.time AS at, m.sent, m.kind, m.sender, m.target, m.up, {RECEIVED} AS direction
     FROM messaging_membership g CROSS JOIN LATERAL (
       SELECT * FROM messaging_message
       WHERE tenant = %(tenant)s AND target = g."group" AND kind = {GROUP}
         AND time > GREATEST(%(inbox)s, g.joined, {_ACKNOWLEDGED}) AND time < COALESCE(g.until, {_NOW})
         AND sender <> %(user)s AND flags & {_NOT_HIS} = 0 ORDER BY time LIMIT %(limit)s) m
     WHERE g.tenant = %(tenant)s AND g."user" = %(user)s ORDER BY m.time LIMIT %(limit)s)"""
_SENDBOX = f"""
    (SELECT uid, sent AS at, sent, kind, sender, target, up, {SENT} AS direction FROM messaging_message
     WHERE tenant = %(tenant)s AND sender = %(user)s AND kind > 0 AND sendbox AND sent > %(sendbox)s
       AND flags & {RECALLED} = 0 ORDER BY sent LIMIT %(limit)s)"""
_RECEIVED = f"{_INBOX} UNION ALL {_GROUPS}"
_IN_ORDER = "SELECT * FROM ({}) boxes ORDER BY at LIMIT %(limit)s"
_PULL = _HEAD.format(_CUT.format(order="at", rows=_IN_ORDER.format(_RECEIVED)))
_PULL_BOTH = _HEAD.format(_CUT.format(order="at", rows=_IN_ORDER.format(f"{_RECEIVED} UNION ALL {_SENDBOX}")))
_MINE = """
    SELECT h.seq, g."group" FROM messaging_head h LEFT JOIN messaging_membership g
    ON g.tenant = %(tenant)s AND g."user" = %(user)s AND g.until IS NULL"""
# Two sides of a conversation may have sent at one moment, in two SETs: a page does not part them.
_HISTORY = f"""
    SELECT uid, sent AS at, sent, kind, sender, target, up,
           CASE WHEN sender = %(user)s THEN {SENT} ELSE {RECEIVED} END AS direction
    FROM messaging_message
    WHERE tenant = %(tenant)s AND conversation = %(conversation)s AND kind > 0 AND {{}}
      AND flags & {PERSISTED | RECALLED} = {PERSISTED}
      AND (kind = {PRIVATE} AND (sender = %(user)s AND target = %(peer)s AND sendbox
                                 OR sender = %(peer)s AND target = %(user)s AND inbox)
           OR kind = {GROUP} AND target = %(peer)s AND (sender = %(user)s AND sendbox OR sender <> %(user)s
              AND EXISTS (SELECT 1 FROM messaging_membership g
                          WHERE g.tenant = %(tenant)s AND g."user" = %(user)s AND g."group" = %(peer)s
                            AND g.joined < messaging_message.time
                            AND messaging_message.time < COALESCE(g.until, {_NOW}))))
    ORDER BY sent {{}} LIMIT %(limit)s"""
_OLDER = _CUT.format(order="at DESC", rows=_HISTORY.format("sent < %(time)s", "DESC"))
_NEWER = _CUT.format(order="at", rows=_HISTORY.format("sent > %(time)s", "ASC"))


def _shown(row: tuple[Any, ...], tenant: int, generation: int) -> bytes:
    uid, at, sent, kind, sender, target, up, direction, *_ = row
    # v2 makes its cursor of what it is shown.
    shown = at if generation == 2 else sent
    down = downstream(up, sender=sender, kind=kind, target=target, time=shown, uid=uid, direction=direction)
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
    # Groups first: who comes to one between the two reads is told so by the log, from `position` on.
    mine = log.of(server_set).read(_MINE, parameters) if request.options & WANTS_GROUPS else ()
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
    answer = Answer(0, 0, newest, payload, position, newest, finished)
    if mine:
        names = tuple(group for _, group in mine if group is not None)
        answer = answer._replace(groups=names, groups_at=mine[0][0])
    return answer


def history(server_set: str, request: Request) -> Answer:
    """A page of a conversation: order 0 newest first before `time`, order 1 oldest first after it."""
    wanted = HistoryMsgInput.FromString(request.payload)
    if not isinstance(wanted.targetId, str) or "\0" in wanted.targetId:  # not UTF-8: protobuf leaves bytes
        raise ProtocolError("a conversation id that is no text")
    count = min(max(wanted.count, 1), HISTORY_PAGE_MAX)
    parameters = {
        "tenant": request.tenant,
        "user": request.user,
        "peer": wanted.targetId,
        "conversation": log.conversation(
            request.tenant, HISTORY[request.method], request.user, wanted.targetId
        ),
        "time": wanted.time or (0 if wanted.order else _NOW),
        "limit": count + 1,
    }
    exchange.freshen(server_set)
    rows = log.of(server_set).read(_NEWER if wanted.order else _OLDER, parameters)
    page = rows[:count]
    more = bool(page) and page[0][LIMITED] > len(page)
    reply = HistoryMsgOuput(syncTime=page[-1][1] if page else wanted.time, hasMsg=int(more))
    return Answer(0, 0, 0, reply.SerializeToString() + _list_of(page, request))


def _is_for(row: tuple[Any, ...], user: str) -> bool:
    """A group's message may be for some of its members only."""
    _, _, _, kind, sender, _, up, *_ = row
    if kind != GROUP or sender == user:
        return True
    to = UpStreamMessage.FromString(up).toUserIds
    return not to or user in to


def _list_of(page: list[tuple[Any, ...]], request: Request) -> bytes:
    """Field 1 (repeated DownStreamMessage) of both replies; a protobuf's fields may come in any order."""
    out = bytearray()
    for row in page:
        if not _is_for(row, request.user):
            continue
        down = _shown(row, request.tenant, request.generation)
        out += b"\x0a"
        length = len(down)
        while length > 0x7F:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        out.append(length)
        out += down
    return bytes(out)
