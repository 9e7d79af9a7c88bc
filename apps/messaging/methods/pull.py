"""What a device reads of the log: its boxes, past its cursors (pullMsg, PROTOCOL 6.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apps.messaging import epochs, log
from apps.messaging.models import GROUPS, PRIVATE, RECALLED, REPAIRED, SYSTEM, TO_SELF
from apps.routing.envelope import ELSEWHERE, WANTS_GROUPS, Answer, Request
from apps.routing.protocol.im_pb2 import (
    DownStreamMessages,
    SyncRequestMsg,
    UpStreamMessage,
)
from apps.routing.protocol.messages import RECEIVED, SENT, downstream, for_v2, in_list
from apps.routing.topology import slot

PULL_PAGE = 200  # messages; the SDKs work with 100-200 a page (PROTOCOL 6.2)
PAGE_BYTES = 1 << 20  # of messages; a page ends with the one that passes it
ACKNOWLEDGING = 5  # the SDK generation that shows whatever it acknowledges
TO_ALL_KEPT = 7 * 24 * 3_600_000  # ms that a message to everybody is pulled by who has not had it
_NOT_HIS = RECALLED | TO_SELF
# What came from an old primary is for those who had not come that far there; see apps.messaging.epochs.
_NEW_TO_IT = (
    f"(flags & {REPAIRED} = 0 OR sent > CASE WHEN seq < %(marked_from)s THEN %(earlier)s ELSE %(mark)s END)"
)
NOW = 1 << 53  # later than every message: 64-bit values are read as doubles

# What is read of a row: uid, at, sent, kind, sender, target, up, direction. `at` is what a page goes by.
Found = tuple[Any, ...]
# A page's rows, how many there were before it was cut by size, and nothing of those past the cut:
# octet_length does not read a large value.
CUT = f"""
    SELECT * FROM (
      SELECT *, count(*) OVER () AS limited,
             COALESCE(sum(octet_length(up)) OVER (ORDER BY {{order}}
               RANGE UNBOUNDED PRECEDING EXCLUDE GROUP), 0) AS ahead
      FROM ({{rows}}) limited_rows) sized
    WHERE ahead < {PAGE_BYTES} ORDER BY {{order}}"""
LIMITED = 8  # the column of a row that says how many there were before the cut by size
_HEAD = """
    SELECT h.seq, get_bit(h.slots, %(slot)s), m.* FROM messaging_head h LEFT JOIN LATERAL ({}) m ON true
    ORDER BY m.at"""
# What this device has acknowledged is not sent again: v5 is shown pushes without moving its syncTime.
_ACKNOWLEDGED = """COALESCE((SELECT time FROM messaging_devicecursor WHERE tenant = %(tenant)s
                     AND "user" = %(user)s AND device = %(device)s), 0)"""
# `at` is what a page goes by: in boxes the time in this log, the cursor of what was received; in histories
# the time that users are shown, which is what SDKs ask by.
_INBOX = f"""
    (SELECT uid, time AS at, sent, kind, sender, target, up, {RECEIVED} AS direction FROM messaging_message
     WHERE tenant = %(tenant)s AND target = %(user)s AND kind IN ({PRIVATE}, {SYSTEM}) AND inbox
       AND time > %(inbox)s AND time > {_ACKNOWLEDGED} AND sender <> %(user)s AND flags & {_NOT_HIS} = 0
       AND {_NEW_TO_IT}
     ORDER BY time LIMIT %(limit)s)"""
# What is for many has another time for the users of some slots.
_AT_ITS_TIME = """NOT EXISTS (SELECT FROM messaging_inboxtime t
                                WHERE t.slot = %(slot)s AND t.uid = messaging_message.uid)"""
# What was sent to everybody, for so long that a new user still gets it.
_TO_ALL = f"""
    (SELECT uid, time AS at, sent, kind, sender, target, up, {RECEIVED} AS direction FROM messaging_message
     WHERE tenant = %(tenant)s AND kind = {SYSTEM} AND target = '' AND time > %(since)s
       AND time > %(inbox)s AND time > {_ACKNOWLEDGED} AND sender <> %(user)s AND flags & {_NOT_HIS} = 0
       AND {_NEW_TO_IT} AND {_AT_ITS_TIME} ORDER BY time LIMIT %(limit)s)"""
# Of each group what was sent while the user was in it. No message is in a log before it is sent: `time` says
# where to look, `sent` what is his.
_GROUPS = f"""
    (SELECT m.uid, m.time AS at, m.sent, m.kind, m.sender, m.target, m.up, {RECEIVED} AS direction
     FROM messaging_membership g CROSS JOIN LATERAL (
       SELECT * FROM messaging_message
       WHERE tenant = %(tenant)s AND target = g."group" AND kind IN {GROUPS}
         AND time > GREATEST(%(inbox)s, g.joined, {_ACKNOWLEDGED}) AND time < COALESCE(g.until_here, {NOW})
         AND sent > g.joined AND sent < COALESCE(g.until, {NOW})
         AND sender <> %(user)s AND flags & {_NOT_HIS} = 0 AND {_NEW_TO_IT} AND {_AT_ITS_TIME}
       ORDER BY time LIMIT %(limit)s) m
     WHERE g.tenant = %(tenant)s AND g."user" = %(user)s ORDER BY m.time LIMIT %(limit)s)"""
_AT_ANOTHER_TIME = f"""
    (SELECT m.uid, t.time AS at, m.sent, m.kind, m.sender, m.target, m.up, {RECEIVED} AS direction
     FROM messaging_inboxtime t CROSS JOIN LATERAL (
       SELECT * FROM messaging_message WHERE uid = t.uid AND inbox
       UNION ALL SELECT * FROM messaging_message WHERE uid = t.uid AND NOT inbox LIMIT 1) m
     WHERE t.slot = %(slot)s AND t.tenant = %(tenant)s AND t.time > %(inbox)s AND t.time > {_ACKNOWLEDGED}
       AND m.sender <> %(user)s AND m.flags & {_NOT_HIS} = 0
       AND (m.kind = {SYSTEM} AND m.target = '' AND t.time > %(since)s
            OR m.kind IN {GROUPS} AND EXISTS (
              SELECT FROM messaging_membership g
              WHERE g.tenant = %(tenant)s AND g."user" = %(user)s AND g."group" = m.target
                AND g.joined < m.sent AND m.sent < COALESCE(g.until, {NOW})))
     ORDER BY t.time LIMIT %(limit)s)"""
# The device's cursor is a time in the log that took the message first. A copy from another SET may come after
# a later message of this one: it is found by its time in this log, later than all that was shown.
_SENDBOX = f"""
    (SELECT uid, time AS at, sent, kind, sender, target, up, {SENT} AS direction FROM messaging_message
     WHERE tenant = %(tenant)s AND sender = %(user)s AND kind > 0 AND sendbox
       AND time > LEAST(%(sendbox)s, %(shown)s) AND (sent > %(sendbox)s OR time > %(shown)s)
       AND flags & {RECALLED} = 0
       AND (flags & {REPAIRED} = 0
            OR sent > CASE WHEN seq < %(marked_from)s THEN %(sent_earlier)s ELSE %(sent_mark)s END)
     ORDER BY time LIMIT %(limit)s)"""
_RECEIVED = f"{_INBOX} UNION ALL {_TO_ALL} UNION ALL {_GROUPS} UNION ALL {_AT_ANOTHER_TIME}"
_IN_ORDER = "SELECT * FROM ({}) boxes ORDER BY at LIMIT %(limit)s"
_PULL = _HEAD.format(CUT.format(order="at", rows=_IN_ORDER.format(_RECEIVED)))
_PULL_BOTH = _HEAD.format(CUT.format(order="at", rows=_IN_ORDER.format(f"{_RECEIVED} UNION ALL {_SENDBOX}")))
_MINE = """
    SELECT h.seq, g."group" FROM messaging_head h LEFT JOIN messaging_membership g
    ON g.tenant = %(tenant)s AND g."user" = %(user)s AND g.until IS NULL"""


def shown_time(row: Found, generation: int) -> int:
    """The time that a device is shown. v2 makes its inbox's cursor of it."""
    at, sent, direction = row[1], row[2], row[7]
    return int(at if generation == 2 and direction == RECEIVED else sent)


def shown(row: Found, generation: int) -> bytes:
    """The DownStreamMessage of a row."""
    uid, _, _, kind, sender, target, up, direction, *_ = row
    at = shown_time(row, generation)
    down = downstream(up, sender=sender, kind=kind, target=target, time=at, uid=uid, direction=direction)
    return for_v2(down) if generation == 2 else down


def pull(server_set: str, request: Request) -> Answer:
    """Everything of the user past the client's cursors, ascending, one page; the cursors are the client's."""
    wanted = SyncRequestMsg.FromString(request.payload)
    # v4 acknowledges even what it then drops, so only what it asks for is the truth. v5 shows all of it.
    acknowledging = request.generation == ACKNOWLEDGING
    inbox = max(wanted.syncTime, request.acknowledged if acknowledging else 0)
    began = log.of(server_set).began()
    at = epochs.where(server_set, request, began, inbox, wanted.sendBoxSyncTime) if began.time else None
    parameters = {
        "tenant": request.tenant,
        "user": request.user,
        "slot": slot(str(request.tenant), request.user),
        "device": request.device if acknowledging and not (at and at.old) else "",
        "inbox": at.inbox if at else inbox,
        "sendbox": at.sendbox if at else wanted.sendBoxSyncTime,
        "shown": NOW if at and at.old else request.shown or NOW,
        "mark": at.mark if at else 0,
        "sent_mark": at.sent_mark if at else 0,
        "marked_from": at.since if at else 0,
        "earlier": at.earlier if at else 0,
        "sent_earlier": at.sent_earlier if at else 0,
        "since": log.now() - TO_ALL_KEPT,
        "limit": PULL_PAGE + 1,
    }
    # Groups first: who comes to one between the two reads is told so by the log, from `position` on.
    mine = log.of(server_set).read(_MINE, parameters) if request.options & WANTS_GROUPS else ()
    rows = log.of(server_set).read(_PULL_BOTH if wanted.isPullSend else _PULL, parameters)
    position, at_home, *_ = rows[0]
    if not at_home:
        return Answer(0, ELSEWHERE, 0)  # what is for many goes on here, and is shown to him there
    found = [row[2:] for row in rows if row[2] is not None]
    page = found[:PULL_PAGE]
    finished = not page or page[0][LIMITED] == len(page)
    newest = page[-1][1] if page else 0
    if at and at.marks:
        epochs.note(server_set, request, at, newest)
    reply = DownStreamMessages(
        # Never smaller than what the client has, and nothing later than what is in the reply (PROTOCOL 6.2).
        syncTime=max(wanted.syncTime, inbox, newest),
        finished=finished,
        broadcastSyncTime=max(wanted.broadcastSyncTime, 1),
    )
    # The times that SDKs are shown ascend in a reply (PROTOCOL 6.2), whatever order the log has them in.
    page.sort(key=lambda row: shown_time(row, request.generation))
    payload = reply.SerializeToString() + list_of(page, request)
    answer = Answer(0, 0, newest, payload, position, newest, finished)
    if mine:
        names = tuple(group for _, group in mine if group is not None)
        answer = answer._replace(groups=names, groups_at=mine[0][0])
    return answer


def is_for(row: Found, user: str) -> bool:
    """A group's message may be for some of its members only."""
    _, _, _, kind, sender, _, up, *_ = row
    if kind not in GROUPS or sender == user:
        return True
    to = UpStreamMessage.FromString(up).toUserIds
    return not to or user in to


def list_of(page: Sequence[Found], request: Request) -> bytes:
    """Field 1 (repeated DownStreamMessage) of a reply, without what is for other members of its group."""
    return b"".join(in_list(shown(row, request.generation)) for row in page if is_for(row, request.user))
