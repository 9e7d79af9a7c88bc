"""One conversation, page by page (PROTOCOL 6.5), and what a user removes of it for himself (4.4).

What is removed is gone from histories and from the list of conversations. Pulls are not cut by it: a device's
cursors count every message of the inbox, and one that has not pulled yet is shown it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, LiteralString, NamedTuple, TypeVar

import psycopg

from apps.messaging import exchange, log, own_state
from apps.messaging.methods.pull import CUT, LIMITED, NOW, list_of
from apps.messaging.models import DIRECTED, DISCUSSION, GROUP, GROUPS, PERSISTED, PRIVATE, RECALLED, SYSTEM
from apps.messaging.own_state import Refusal, answers, conversation_kind, identifier
from apps.routing.envelope import Answer, Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.messages import RECEIVED, SENT
from apps.routing.protocol.packets import AckStatus
from apps.routing.topology import slot

T = TypeVar("T")

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
                      AND r."user" = %(user)s AND r.uid = messaging_message.uid)
      AND (flags & {DIRECTED} = 0 OR sender = %(user)s OR messaging_names(up, %(user)s))"""


# Two sides of a conversation may have sent at one moment, in two SETs: LIMIT alone would part them.
_HISTORY = f"""
    SELECT uid, sent AS at, sent, kind, sender, target, up, {DIRECTION} FROM messaging_message
    WHERE tenant = %(tenant)s AND {{}} AND {visible("%(kind)s", "%(peer)s")}
    ORDER BY sent {{}} FETCH FIRST %(limit)s ROWS WITH TIES"""
# Where the index is to begin: a group may have been there for long before its member, and go on after him.
_WHILE_MEMBER = f"""
    sent > (SELECT min(joined) FROM messaging_membership g
            WHERE g.tenant = %(tenant)s AND g."user" = %(user)s AND g."group" = %(peer)s)
    AND sent < (SELECT max(COALESCE(until, {NOW})) FROM messaging_membership g
                WHERE g.tenant = %(tenant)s AND g."user" = %(user)s AND g."group" = %(peer)s)"""


def _pages(conversation: str) -> tuple[str, str]:
    """The statements for order 0 and order 1."""
    older = _HISTORY.format(f"{conversation} AND sent < %(time)s", "DESC")
    newer = _HISTORY.format(f"{conversation} AND sent > %(time)s", "ASC")
    return CUT.format(order="at DESC", rows=older), CUT.format(order="at", rows=newer)


_OF_PRIVATE = _pages("conversation = %(conversation)s")
_OF_GROUP = _pages(f"conversation = %(conversation)s AND {_WHILE_MEMBER}")
# What a system conversation's sender has sent to everybody is in it too.
_OF_SYSTEM = _pages("conversation IN (%(conversation)s, %(to_all)s)")
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
_KNOWN = """
    SELECT uid FROM messaging_message WHERE uid = ANY(%(uids)s::varchar[]) AND inbox AND tenant = %(tenant)s
    UNION
    SELECT uid FROM messaging_message WHERE uid = ANY(%(uids)s::varchar[]) AND NOT inbox
      AND tenant = %(tenant)s"""
CLEAN_MARK = """
    INSERT INTO messaging_cleanmark (tenant, "user", slot, kind, target, upto)
    SELECT %(tenant)s::int8, %(user)s::varchar, %(slot)s::int2, kind, target, upto
    FROM unnest(%(kinds)s::int2[], %(targets)s::varchar[], %(uptos)s::int8[]) AS w(kind, target, upto)
    ON CONFLICT (tenant, "user", kind, target) DO UPDATE SET upto = EXCLUDED.upto
    WHERE messaging_cleanmark.upto < EXCLUDED.upto"""
# The newest message of each, whoever may see it. One that was sent before the removal, and is on its way,
# is not later than the clock; one that has a time ahead of the clock may be here already.
_ENDS = """
    SELECT w.place, (SELECT max(at) FROM (
      (SELECT sent AS at FROM messaging_message WHERE tenant = %(tenant)s AND kind > 0
         AND conversation = w.one ORDER BY sent DESC LIMIT 1)
      UNION ALL
      (SELECT sent FROM messaging_message WHERE tenant = %(tenant)s AND kind > 0
         AND conversation = w.to_all ORDER BY sent DESC LIMIT 1)) newest)
    FROM unnest(%(one)s::int8[], %(to_all)s::int8[]) WITH ORDINALITY AS w(one, to_all, place)"""


class Mark(NamedTuple):
    """What a user removes of a conversation."""

    kind: int
    target: str
    upto: int  # ms


def of_user(request: Request) -> dict[str, Any]:
    """The parameters that say whose it is."""
    number = slot(str(request.tenant), request.user)
    return {"tenant": request.tenant, "user": request.user, "slot": number}


def conversation_of(request: Request, kind: int, peer: str) -> int:
    """The hash of the asker's conversation with a peer."""
    return log.conversation(request.tenant, kind, request.user, peer)


def history(server_set: str, request: Request) -> Answer:
    """A page of a conversation: order 0 newest first before `time`, order 1 oldest first after it."""
    wanted = im.HistoryMsgInput.FromString(request.payload)
    kind, peer = HISTORY[request.method], own_state.text(wanted.targetId)
    count = min(max(wanted.count, 1), HISTORY_PAGE_MAX)
    parameters = of_user(request) | {
        "kind": kind,
        "peer": peer,
        "conversation": conversation_of(request, kind, peer),
        "to_all": log.conversation(request.tenant, kind, peer, ""),
        "time": wanted.time or (0 if wanted.order else NOW),
        "limit": count + 2,  # two of one moment, and one more
    }
    exchange.freshen(server_set)
    statements = _OF_SYSTEM if kind == SYSTEM else _OF_GROUP if kind in GROUPS else _OF_PRIVATE
    rows = log.of(server_set).read(statements[int(wanted.order == 1)], parameters)  # type: ignore[arg-type]
    page = whole_moments(rows, count, itemgetter(1))
    more = bool(page) and page[0][LIMITED] > len(page)
    reply = im.HistoryMsgOuput(syncTime=page[-1][1] if page else wanted.time, hasMsg=int(more))
    return Answer(0, 0, 0, reply.SerializeToString() + list_of(page, request))


def whole_moments(rows: Sequence[T], count: int, moment: Callable[[T], int]) -> list[T]:
    """The first of the rows, without those of a moment that has more: clients go on from a moment, not in it.

    More than `count` only when all up to there are of one moment.
    """
    end = min(count, len(rows))
    while 0 < end < len(rows) and moment(rows[end - 1]) == moment(rows[end]):
        end -= 1
    return list(rows[:end]) or [row for row in rows if moment(row) == moment(rows[0])]


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
    whole = exchange.freshen(server_set)  # what he has just sent is to be removed too

    def work(cursor: psycopg.Cursor[Any]) -> bool:
        cursor.execute(_REMOVE, parameters)
        cursor.execute(_KNOWN, {"tenant": request.tenant, "uids": uids})
        return len(cursor.fetchall()) == len(uids)

    if not own_state.change(server_set, request, work) and not whole:
        raise Refusal(AckStatus.BUSY)  # one of them may come from the SET that is away


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
    """0 is all that there is, as the SDKs document it."""
    if wanted.dataTime < 0:
        raise ProtocolError("a time before all times")
    if wanted.dataTime > log.now() + log.SEEN_AHEAD:
        raise Refusal(AckStatus.STORAGE_OFF)
    return Mark(conversation_kind(kind), identifier(wanted.targetId), wanted.dataTime or NOW)


def put_marks(
    server_set: str,
    request: Request,
    marks: Iterable[Mark],
    *,
    where: Sequence[LiteralString] = (CLEAN_MARK,),
) -> None:
    """Remove these conversations, for the asker, from his histories or his list. What is sent from now on
    is not removed with them, whatever time was named.
    """
    upto: dict[tuple[int, str], int] = {}
    for mark in marks:
        key = mark.kind, mark.target
        upto[key] = max(mark.upto, upto.get(key, 0))
    kinds, targets = zip(*upto, strict=True)
    hashes = {
        "tenant": request.tenant,
        "one": [conversation_of(request, *key) for key in upto],
        "to_all": [log.conversation(request.tenant, SYSTEM, target, "") for _, target in upto],
    }

    def work(cursor: psycopg.Cursor[Any]) -> None:
        now = log.now()
        cursor.execute(_ENDS, hashes)
        ends = [max(now, newest or 0) for _, newest in sorted(cursor.fetchall())]
        uptos = [min(end, at) for end, at in zip(ends, upto.values(), strict=True)]
        columns = {"kinds": list(kinds), "targets": list(targets), "uptos": uptos}
        for statement in where:
            cursor.execute(statement, of_user(request) | columns)

    own_state.change(server_set, request, work)


METHODS = {
    **dict.fromkeys(HISTORY, history),
    "qryMsg": by_uid,
    "delMsg": remove,
    **dict.fromkeys(CLEAN, clean),
    "cleanMsgBatch": clean_some,
}
