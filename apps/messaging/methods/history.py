"""One conversation, page by page (PROTOCOL 6.5), and what a user removes of it for himself (4.4).

What is removed is gone from histories and from the list of conversations. Pulls are not cut by it: a device's
cursors count every message of the inbox, and one that has not pulled yet is shown it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from apps.messaging import exchange, log, own_state
from apps.messaging.methods.pull import CUT, LIMITED, NOW, list_of
from apps.messaging.models import DISCUSSION, GROUP, GROUPS, PERSISTED, PRIVATE, RECALLED, SYSTEM
from apps.messaging.own_state import Refusal, answers, conversation_kind, identifier
from apps.routing.envelope import Answer, Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.messages import RECEIVED, SENT
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import slot

HISTORY_PAGE_MAX = 100  # messages
REMOVED_A_CALL = 100  # messages, or conversations, that a call removes
# Method -> kind of conversation.
HISTORY = {"qryPMsg": PRIVATE, "qryGMsg": GROUP, "qryDMsg": DISCUSSION, "qrySMsg": SYSTEM}
# The conversations that are not offered are empty: whatever is removed of them is gone.
CLEAN = {
    "cleanPMsg": PRIVATE,
    "cleanDMsg": DISCUSSION,
    "cleanGMsg": GROUP,
    "cleanCMsg": 5,
    "cleanSMsg": SYSTEM,
    "cleanMCMsg": 7,
    "cleanMPMsg": 8,
}

DIRECTION = f"CASE WHEN sender = %(user)s THEN {SENT} ELSE {RECEIVED} END AS direction"


def visible(kind: str, peer: str) -> str:
    """The condition that a row is in the history of %(user)s with a peer; both are SQL."""
    return f"""
      kind = {kind} AND kind > 0 AND flags & {PERSISTED | RECALLED} = {PERSISTED}
      AND (kind IN ({PRIVATE}, {SYSTEM}) AND (sender = %(user)s AND target = {peer} AND sendbox
                                              OR sender = {peer} AND target = %(user)s AND inbox)
           OR kind = {SYSTEM} AND sender = {peer} AND target = ''
           OR kind IN {GROUPS} AND target = {peer} AND (sender = %(user)s AND sendbox
             OR sender <> %(user)s AND EXISTS (
               SELECT 1 FROM messaging_membership g
               WHERE g.tenant = %(tenant)s AND g."user" = %(user)s AND g."group" = {peer}
                 AND g.joined < messaging_message.sent
                 AND messaging_message.sent < COALESCE(g.until, {NOW}))))
      AND sent > COALESCE((SELECT upto FROM messaging_cleanmark c
                           WHERE c.tenant = %(tenant)s AND c."user" = %(user)s
                             AND c.kind = {kind} AND c.target = {peer}), 0)
      AND NOT EXISTS (SELECT FROM messaging_removedmessage r WHERE r.tenant = %(tenant)s
                      AND r."user" = %(user)s AND r.uid = messaging_message.uid)"""


# Two sides of a conversation may have sent at one moment, in two SETs: a page does not part them.
_HISTORY = f"""
    SELECT uid, sent AS at, sent, kind, sender, target, up, {DIRECTION} FROM messaging_message
    WHERE tenant = %(tenant)s AND {{}} AND {visible("%(kind)s", "%(peer)s")}
    ORDER BY sent {{}} LIMIT %(limit)s"""


def _pages(conversation: str) -> tuple[str, str]:
    """The statements for order 0 and order 1."""
    older = _HISTORY.format(f"{conversation} AND sent < %(time)s", "DESC")
    newer = _HISTORY.format(f"{conversation} AND sent > %(time)s", "ASC")
    return CUT.format(order="at DESC", rows=older), CUT.format(order="at", rows=newer)


_ONE = _pages("conversation = %(conversation)s")
# What a system conversation's sender has sent to everybody is in it too.
_WITH_ALL = _pages("conversation IN (%(conversation)s, %(to_all)s)")
# The row of the message or its copy; each arm has an index of its own.
_OF_UIDS = f"""
    FROM messaging_message WHERE (uid = ANY(%(uids)s::varchar[]) AND inbox
                                  OR uid = ANY(%(uids)s::varchar[]) AND NOT inbox)
      AND tenant = %(tenant)s AND {visible("%(kind)s", "%(peer)s")}"""
_BY_UID = f"SELECT DISTINCT ON (uid) uid, sent AS at, sent, kind, sender, target, up, {DIRECTION} {_OF_UIDS}"
_REMOVE = f"""
    INSERT INTO messaging_removedmessage (tenant, "user", slot, uid)
    SELECT DISTINCT %(tenant)s::int8, %(user)s::varchar, %(slot)s::int2, uid {_OF_UIDS}
    ON CONFLICT DO NOTHING"""
_CLEAN = """
    INSERT INTO messaging_cleanmark (tenant, "user", slot, kind, target, upto)
    SELECT %(tenant)s::int8, %(user)s::varchar, %(slot)s::int2, kind, target, max(upto)
    FROM unnest(%(kinds)s::int2[], %(targets)s::varchar[], %(uptos)s::int8[]) AS w(kind, target, upto)
    GROUP BY kind, target
    ON CONFLICT (tenant, "user", kind, target) DO UPDATE SET upto = EXCLUDED.upto
    WHERE messaging_cleanmark.upto < EXCLUDED.upto"""

Mark = tuple[int, str, int]  # kind, target, ms up to which it is removed


def of_user(request: Request) -> dict[str, Any]:
    """The parameters that say whose it is."""
    number = slot(str(request.tenant), request.user)
    return {"tenant": request.tenant, "user": request.user, "slot": number}


def history(server_set: str, request: Request) -> Answer:
    """A page of a conversation: order 0 newest first before `time`, order 1 oldest first after it."""
    wanted = im.HistoryMsgInput.FromString(request.payload)
    kind, peer = HISTORY[request.method], own_state.text(wanted.targetId)
    count = min(max(wanted.count, 1), HISTORY_PAGE_MAX)
    parameters = of_user(request) | {
        "kind": kind,
        "peer": peer,
        "conversation": log.conversation(request.tenant, kind, request.user, peer),
        "to_all": log.conversation(request.tenant, kind, peer, ""),
        "time": wanted.time or (0 if wanted.order else NOW),
        "limit": count + 1,
    }
    exchange.freshen(server_set)
    statements = _WITH_ALL if kind == SYSTEM else _ONE
    rows = log.of(server_set).read(statements[int(wanted.order == 1)], parameters)  # type: ignore[arg-type]
    page = rows[:count]
    more = bool(page) and page[0][LIMITED] > len(page)
    reply = im.HistoryMsgOuput(syncTime=page[-1][1] if page else wanted.time, hasMsg=int(more))
    return Answer(0, 0, 0, reply.SerializeToString() + list_of(page, request))


def by_uid(server_set: str, request: Request) -> Answer:
    """qryMsg: these messages of a conversation, and which of them are not there."""
    wanted = im.MsgQuery.FromString(request.payload)
    uids = _uids([each.msgUID for each in wanted.query])
    parameters = of_user(request) | {
        "kind": wanted.type,
        "peer": own_state.text(wanted.targetId),
        "uids": uids,
    }
    rows = log.of(server_set).read(_BY_UID, parameters)
    found = {row[0] for row in rows}
    reply = im.MsgQueryAck(notExistMsgId=[uid for uid in uids if uid not in found])
    return Answer(0, 0, 0, reply.SerializeToString() + list_of(rows, request))


def _uids(given: Sequence[str]) -> list[str]:
    uids = list(dict.fromkeys(identifier(uid) for uid in given))
    if not 0 < len(uids) <= REMOVED_A_CALL:
        raise ProtocolError(f"{len(uids)} messages in a call")
    return uids


@answers
def remove(server_set: str, request: Request) -> None:
    """delMsg: of what is not in the user's history, nothing is kept."""
    wanted = im.DeleteMsgInput.FromString(request.payload)
    uids = _uids([each.msgId for each in wanted.msgs])
    peer = own_state.text(wanted.conversationId)
    parameters = of_user(request) | {"kind": wanted.type, "peer": peer, "uids": uids}
    own_state.change(server_set, request, lambda cursor: cursor.execute(_REMOVE, parameters))


@answers
def clean(server_set: str, request: Request) -> None:
    """cleanPMsg and the like: everything up to a time."""
    wanted = im.CleanHisMsgInput.FromString(request.payload)
    put_marks(server_set, request, [_mark(wanted, CLEAN[request.method])])


@answers
def clean_some(server_set: str, request: Request) -> None:
    """cleanMsgBatch: the same of several conversations, of all or of none."""
    wanted = im.CleanMsgBatchReq.FromString(request.payload)
    if not 0 < len(wanted.input) <= REMOVED_A_CALL:
        raise ProtocolError(f"{len(wanted.input)} conversations in a call")
    put_marks(server_set, request, [_mark(each, each.conversationType) for each in wanted.input])


def _mark(wanted: im.CleanHisMsgInput, kind: int) -> Mark:
    if wanted.dataTime < 0:
        raise ProtocolError("a time before all times")
    if wanted.dataTime > log.now() + log.SEEN_AHEAD:
        raise Refusal(AckStatus.STORAGE_OFF)
    return conversation_kind(kind), identifier(wanted.targetId), wanted.dataTime


def put_marks(server_set: str, request: Request, marks: Sequence[Mark]) -> None:
    """Remove these conversations' histories for the asker."""
    kinds, targets, uptos = zip(*marks, strict=True)
    columns = {"kinds": list(kinds), "targets": list(targets), "uptos": list(uptos)}

    def work(cursor: psycopg.Cursor[Any]) -> None:
        cursor.execute(_CLEAN, of_user(request) | columns)

    own_state.change(server_set, request, work)


METHODS = {
    **dict.fromkeys(HISTORY, history),
    "qryMsg": by_uid,
    "delMsg": remove,
    **dict.fromkeys(CLEAN, clean),
    "cleanMsgBatch": clean_some,
}
