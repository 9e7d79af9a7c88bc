"""A user's conversations, newest first, each with its last message and what is unread (PROTOCOL 4.5).

The list is one more reader of the log, with a cursor: nothing is written when a message is sent. Whoever asks
for his list has the boxes read past the cursor, by conversation; what was found is kept (Conversation). Of a
group the newest message is one look into an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import psycopg

from apps.messaging import exchange, log, own_state
from apps.messaging.methods.history import DIRECTION, REMOVED_A_CALL, of_user, put_marks, visible
from apps.messaging.methods.pull import NOW, Found, is_for, shown
from apps.messaging.models import COUNTED, GROUPS, PERSISTED, PRIVATE, RECALLED, SYSTEM
from apps.messaging.own_state import answers, conversation_kind, identifier
from apps.routing.envelope import Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError

PAGE, PAGE_MAX = 50, 300  # conversations, when the client does not say how many; at most
UNREAD_MAX = 1000  # past it nobody counts
LOOKED_AT = 5  # newest messages of a group of which one may be for the user
NEWER = 1  # order: those that are newer than startTime

_KEPT = f"flags & {PERSISTED | RECALLED} = {PERSISTED}"
# What has come since the list was read.
_NEWS = f"""
    SELECT h.time, news.* FROM messaging_head h LEFT JOIN LATERAL (
      SELECT kind, peer, max(sent) FROM (
        SELECT kind, sender AS peer, sent FROM messaging_message
        WHERE tenant = %(tenant)s AND target = %(user)s AND kind IN ({PRIVATE}, {SYSTEM}) AND inbox
          AND time > %(since)s AND {_KEPT}
        UNION ALL
        SELECT kind, sender, sent FROM messaging_message
        WHERE tenant = %(tenant)s AND kind = {SYSTEM} AND target = '' AND time > %(since)s AND {_KEPT}
          AND sender <> %(user)s
        UNION ALL
        SELECT kind, target, sent FROM messaging_message
        WHERE tenant = %(tenant)s AND sender = %(user)s AND kind > 0 AND kind = {PRIVATE} AND sendbox
          AND time > %(since)s AND {_KEPT}) boxes
      GROUP BY kind, peer) news ON true"""
_SINCE = 'SELECT time FROM messaging_listcursor WHERE tenant = %(tenant)s AND "user" = %(user)s'
_KEEP = """
    INSERT INTO messaging_conversation (tenant, "user", slot, kind, target, newest)
    SELECT %(tenant)s::int8, %(user)s::varchar, %(slot)s::int2, kind, target, newest
    FROM unnest(%(kinds)s::int2[], %(targets)s::varchar[], %(newest)s::int8[]) AS w(kind, target, newest)
    ON CONFLICT (tenant, "user", kind, target) DO UPDATE SET newest = EXCLUDED.newest
    WHERE messaging_conversation.newest < EXCLUDED.newest"""
_READ_UP_TO = """
    INSERT INTO messaging_listcursor (tenant, "user", slot, time)
    VALUES (%(tenant)s, %(user)s, %(slot)s, %(time)s)
    ON CONFLICT (tenant, "user") DO UPDATE SET time = GREATEST(messaging_listcursor.time, EXCLUDED.time)"""
_OF_GROUPS = f"""
    SELECT n.kind, g."group" AS target, max(n.sent) AS newest
    FROM messaging_membership g CROSS JOIN LATERAL (
      SELECT kind, sent FROM messaging_message
      WHERE tenant = %(tenant)s AND target = g."group" AND kind IN {GROUPS} AND time > g.joined
        AND time < COALESCE(g.until_here, {NOW}) AND sent > g.joined AND sent < COALESCE(g.until, {NOW})
        AND {_KEPT} ORDER BY time DESC LIMIT 1) n
    WHERE g.tenant = %(tenant)s AND g."user" = %(user)s GROUP BY n.kind, g."group" """
_LIST = f"""
    SELECT l.kind, l.target, l.newest, COALESCE(c.removed, 0) FROM (
      SELECT kind, target, newest FROM messaging_conversation
      WHERE tenant = %(tenant)s AND "user" = %(user)s AND kind NOT IN {GROUPS}
      UNION ALL {_OF_GROUPS}) l
    LEFT JOIN messaging_conversation c ON c.tenant = %(tenant)s AND c."user" = %(user)s
      AND c.kind = l.kind AND c.target = l.target
    WHERE l.newest > COALESCE(c.removed, 0) AND (%(of)s::int2[] IS NULL OR l.kind = ANY(%(of)s::int2[]))
      AND {{}} ORDER BY l.newest {{}}, l.kind, l.target LIMIT %(limit)s"""
_OLDER = _LIST.format("l.newest < %(start)s", "DESC")
_NEWER = _LIST.format("l.newest > %(start)s", "")
_ITS = f"""
    FROM messaging_message WHERE tenant = %(tenant)s AND conversation = {{}}
      AND {visible("w.kind", "w.peer")}"""
_NEWEST = f"""
    (SELECT uid, sent AS at, sent, kind, sender, target, up, {DIRECTION} {_ITS} AND sent > w.removed
     ORDER BY sent DESC LIMIT {LOOKED_AT})"""
_UNREAD = f"""
    (SELECT 1 {_ITS} AND sent > GREATEST(w.removed, COALESCE(r.time, 0))
       AND sender <> %(user)s AND flags & {COUNTED} <> 0 LIMIT {UNREAD_MAX})"""
# Of each, its newest messages and how many are unread; to_all is what its sender has sent to everybody.
_DETAILS = f"""
    SELECT w.place, COALESCE(r.time, 0), u.unread, m.* FROM unnest(
      %(kinds)s::int2[], %(targets)s::varchar[], %(removed)s::int8[], %(conversations)s::int8[],
      %(to_all)s::int8[]) WITH ORDINALITY AS w(kind, peer, removed, conversation, to_all, place)
    LEFT JOIN messaging_conversationread r ON r.tenant = %(tenant)s AND r."user" = %(user)s
      AND r.kind = w.kind AND r.target = w.peer
    CROSS JOIN LATERAL (
      {_NEWEST.format("w.conversation")} UNION ALL {_NEWEST.format("w.to_all")}) m
    CROSS JOIN LATERAL (SELECT LEAST(count(*), {UNREAD_MAX}) AS unread FROM (
      {_UNREAD.format("w.conversation")} UNION ALL {_UNREAD.format("w.to_all")}) counted) u
    ORDER BY w.place, m.at DESC"""
# Whatever is stored by now has a time up to the head's.
_REMOVE = """
    INSERT INTO messaging_conversation (tenant, "user", slot, kind, target, removed)
    SELECT %(tenant)s::int8, %(user)s::varchar, %(slot)s::int2, kind, target, time
    FROM unnest(%(kinds)s::int2[], %(targets)s::varchar[]) AS w(kind, target), messaging_head
    ON CONFLICT (tenant, "user", kind, target) DO UPDATE SET removed = EXCLUDED.removed"""
_TAGGED = """
    SELECT kind, target, state FROM messaging_conversationstate
    WHERE tenant = %(tenant)s AND "user" = %(user)s AND target <> ''"""


class Listed(NamedTuple):
    kind: int
    target: str
    newest: int  # ms of a message, as users are shown it
    removed: int  # ms


def _freshen(server_set: str, request: Request) -> int:
    """Have the user's list read the log to its end; the time of the end, in ms."""
    exchange.freshen(server_set)
    who = of_user(request)
    since = log.of(server_set).read(_SINCE, who)
    rows = log.of(server_set).read(_NEWS, who | {"since": since[0][0] if since else 0})
    time, found = rows[0][0], [row[1:] for row in rows if row[1] is not None]
    if found or not since:
        kinds, targets, newest = zip(*found, strict=True) if found else ((), (), ())
        columns = {"kinds": list(kinds), "targets": list(targets), "newest": list(newest), "time": time}

        def work(cursor: psycopg.Cursor[Any]) -> None:
            cursor.execute(_KEEP, who | columns)
            cursor.execute(_READ_UP_TO, who | columns)

        own_state.change(server_set, request, work)
    return int(time)


def _page(
    server_set: str, request: Request, start: int, count: int, order: int, of: Iterable[int]
) -> list[Listed]:
    """One more than were asked for, if there are more."""
    parameters = of_user(request) | {
        "start": start or (0 if order == NEWER else NOW),
        "limit": count + 1,
        "of": sorted({conversation_kind(kind) for kind in of}) or None,
    }
    rows = log.of(server_set).read(_NEWER if order == NEWER else _OLDER, parameters)
    return [Listed(*row) for row in rows]


def _to_all(tenant: int, listed: Listed) -> int | None:
    return log.conversation(tenant, SYSTEM, listed.target, "") if listed.kind == SYSTEM else None


def _reply(server_set: str, request: Request, listed: Sequence[Listed]) -> im.RelationsOutput:
    """What clients are shown of these conversations, newest first; of one without a message, nothing."""
    reply = im.RelationsOutput()
    if not listed:
        return reply
    kinds, targets, _, removed = zip(*listed, strict=True)
    hashes = [log.conversation(request.tenant, each.kind, request.user, each.target) for each in listed]
    columns = {
        "kinds": list(kinds),
        "targets": list(targets),
        "removed": list(removed),
    }
    of_all = {"conversations": hashes, "to_all": [_to_all(request.tenant, each) for each in listed]}
    rows = log.of(server_set).read(_DETAILS, of_user(request) | columns | of_all)
    found: list[tuple[Found, Listed, int, int]] = []
    for place, its in groupby(rows, key=itemgetter(0)):
        for _, read, unread, *message in its:
            if is_for(tuple(message), request.user):
                found.append((tuple(message), listed[place - 1], read, unread))
                break
    for message, conversation, read, unread in sorted(found, key=lambda each: -each[0][1]):
        reply.info.add(
            type=conversation.kind,  # type: ignore[arg-type]
            userId=conversation.target,
            msg=im.DownStreamMessage.FromString(shown(message, request.generation)),
            readMsgTime=read,
            unreadCount=unread,
        )
    return reply


def _count(wanted: int) -> int:
    return min(wanted, PAGE_MAX) if wanted > 0 else PAGE


@answers
def of_v2(server_set: str, request: Request) -> im.RelationsOutput:
    """qryRelation: the newest ones."""
    wanted = im.RelationsInput.FromString(request.payload)
    _freshen(server_set, request)
    count = _count(wanted.count)
    return _reply(server_set, request, _page(server_set, request, 0, count, 0, ())[:count])


@answers
def of_v4(server_set: str, request: Request) -> im.RelationsOutput:
    """qryRelationR of v4 and v5: a page before or after `startTime`."""
    wanted = im.RelationQryInput.FromString(request.payload)
    time = _freshen(server_set, request)
    count = _count(wanted.count)
    page = _page(server_set, request, wanted.startTime, count, wanted.order, wanted.channelType)
    reply = _reply(server_set, request, page[:count])
    reply.isFinished, reply.pullTime = len(page) <= count, time
    return reply


@answers
def filtered(server_set: str, request: Request) -> im.RelationsOutput:
    """qryRelationFilter of v5: those under one of these tags. `pageToken`: where the page before ended."""
    wanted = im.RelationQryFilter.FromString(request.payload)
    time = _freshen(server_set, request)
    count = _count(wanted.count)
    token = own_state.text(wanted.pageToken, may_be_empty=True)
    start = int(token) if token.isdecimal() and len(token) < 17 else 0
    tags = {identifier(tag) for tag in wanted.tags}
    tagged = _tagged(server_set, request, tags)
    page: list[Listed] = []
    while True:
        part = _page(server_set, request, start, PAGE_MAX, wanted.order, wanted.type)
        page += [each for each in part[:PAGE_MAX] if not tags or (each.kind, each.target) in tagged]
        if len(part) <= PAGE_MAX or len(page) > count:
            break
        start = part[PAGE_MAX - 1].newest
    reply = _reply(server_set, request, page[:count])
    reply.isFinished, reply.pullTime = len(page) <= count, time
    reply.pageToken = "" if reply.isFinished else str(page[count - 1].newest)
    return reply


def _tagged(server_set: str, request: Request, tags: set[str]) -> set[tuple[int, str]]:
    if not tags:
        return set()
    rows = log.of(server_set).read(_TAGGED, of_user(request))
    return {
        (kind, target)
        for kind, target, state in rows
        for item in im.SessionState.FromString(state).stateItem
        if tags & {tag.tagId for tag in item.tags}
    }


@answers
def remove(server_set: str, request: Request) -> None:
    """delRelation: the one that is the target, of the type that the body says."""
    wanted = im.RelationsInput.FromString(request.payload)
    _remove(server_set, request, [(wanted.type, request.target)])


@answers
def remove_some(server_set: str, request: Request) -> None:
    """delRelationBatch, with their histories when the user wants it."""
    wanted = im.RelationDelBatchReq.FromString(request.payload)
    which = [(each.conversationType, each.conversationId) for each in wanted.relation]
    _remove(server_set, request, which, messages=wanted.cleanMsg)


@answers
def remove_sessions(server_set: str, request: Request) -> None:
    """delSessions."""
    wanted = im.DeleteSessionsInput.FromString(request.payload)
    _remove(server_set, request, [(each.type, each.channelId) for each in wanted.sessions])


def _remove(
    server_set: str, request: Request, which: Sequence[tuple[int, str]], *, messages: bool = False
) -> None:
    if not 0 < len(which) <= REMOVED_A_CALL:
        raise ProtocolError(f"{len(which)} conversations in a call")
    kinds, targets = zip(
        *sorted({(conversation_kind(kind), identifier(target)) for kind, target in which}), strict=True
    )
    columns = {"kinds": list(kinds), "targets": list(targets)}
    if messages:
        now = log.now()
        put_marks(
            server_set, request, [(kind, target, now) for kind, target in zip(kinds, targets, strict=True)]
        )
    own_state.change(server_set, request, lambda cursor: cursor.execute(_REMOVE, of_user(request) | columns))


METHODS = {
    "qryRelation": of_v2,
    "qryRelationR": of_v4,
    "qryRelationFilter": filtered,
    "delRelation": remove,
    "delRelationBatch": remove_some,
    "delSessions": remove_sessions,
}
