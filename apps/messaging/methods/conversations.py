"""A user's conversations, newest first, each with its last message and what is unread (PROTOCOL 4.5).

The list is one more reader of the log, with a cursor: nothing is written when a message is sent. Whoever asks
for his list has the boxes read past the cursor, by conversation; what was found is kept (Conversation). Of a
group the newest message is one look into an index.

What is kept is a time that no message of the conversation is later than: the newest may have been recalled or
removed since. The message that is shown, and the order, are looked up when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import psycopg

from apps.messaging import exchange, log, own_state
from apps.messaging.methods.history import (
    CLEAN_MARK,
    DIRECTION,
    REMOVED_A_CALL,
    Mark,
    conversation_of,
    of_user,
    put_marks,
    visible,
    whole_moments,
)
from apps.messaging.methods.pull import NOW, shown
from apps.messaging.models import COUNTED, GROUPS, PERSISTED, PRIVATE, RECALLED, SYSTEM
from apps.messaging.own_state import answers, conversation_kind, identifier
from apps.routing.envelope import Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError

PAGE, PAGE_MAX = 50, 300  # conversations, when the client does not say how many; at most
READ_AT_ONCE = 50_000  # messages of each of a user's boxes that are looked at together
IDLE = 60_000  # ms of the log that a list's cursor leaves behind it before it is moved for their sake alone
UNREAD_MAX = 1000  # past it nobody counts
LOOKED_AT = 20_000  # newest messages that are looked at for those that are unread
NEWER = 1  # order: those that are newer than startTime

_KEPT = f"flags & {PERSISTED | RECALLED} = {PERSISTED}"
# The newest of a range of the log, by conversation, and the time before which there may be more of it.
_READ = f"""
    WITH read AS (
      (SELECT 1 AS box, kind, sender AS peer, sent, flags, time FROM messaging_message
       WHERE tenant = %(tenant)s AND target = %(user)s AND kind IN ({PRIVATE}, {SYSTEM}) AND inbox
         AND time > %(after)s AND time < %(before)s ORDER BY time DESC LIMIT %(at_once)s)
      UNION ALL
      (SELECT 2, kind, sender, sent, flags, time FROM messaging_message
       WHERE tenant = %(tenant)s AND kind = {SYSTEM} AND target = ''
         AND time > %(after)s AND time < %(before)s ORDER BY time DESC LIMIT %(at_once)s)
      UNION ALL
      (SELECT 3, kind, target, sent, flags, time FROM messaging_message
       WHERE tenant = %(tenant)s AND sender = %(user)s AND kind > 0 AND sendbox
         AND time > %(after)s AND time < %(before)s ORDER BY time DESC LIMIT %(at_once)s))
    SELECT h.time, c.cut, its.* FROM messaging_head h
    CROSS JOIN (SELECT COALESCE(max(lowest), 0) AS cut FROM (
      SELECT min(time) AS lowest FROM read GROUP BY box HAVING count(*) = %(at_once)s) full_boxes) c
    LEFT JOIN (SELECT kind, peer, max(sent) FROM read
               WHERE kind IN ({PRIVATE}, {SYSTEM}) AND peer <> '' AND {_KEPT}
                 AND NOT (box = 2 AND peer = %(user)s)
               GROUP BY kind, peer) its ON true"""
_CURSOR = 'SELECT time, low FROM messaging_listcursor WHERE tenant = %(tenant)s AND "user" = %(user)s'
_KEEP = """
    INSERT INTO messaging_conversation (tenant, "user", slot, kind, target, newest)
    SELECT %(tenant)s::int8, %(user)s::varchar, %(slot)s::int2, kind, target, newest
    FROM unnest(%(kinds)s::int2[], %(targets)s::varchar[], %(newest)s::int8[]) AS w(kind, target, newest)
    ON CONFLICT (tenant, "user", kind, target) DO UPDATE SET newest = EXCLUDED.newest
    WHERE messaging_conversation.newest < EXCLUDED.newest"""
# Of two who read at one moment, one moves the cursor; what both have found is true.
_MOVE_CURSOR = """
    INSERT INTO messaging_listcursor (tenant, "user", slot, time, low)
    VALUES (%(tenant)s, %(user)s, %(slot)s, %(time)s, %(low)s)
    ON CONFLICT (tenant, "user") DO UPDATE SET time = EXCLUDED.time, low = EXCLUDED.low
    WHERE messaging_listcursor.time = %(time_was)s AND messaging_listcursor.low = %(low_was)s"""
_OF_GROUPS = f"""
    SELECT n.kind, g."group" AS target, max(n.sent) AS newest
    FROM messaging_membership g CROSS JOIN LATERAL (
      SELECT kind, sent FROM messaging_message
      WHERE tenant = %(tenant)s AND target = g."group" AND kind IN {GROUPS} AND time > g.joined
        AND time < COALESCE(g.until_here, {NOW}) AND sent > g.joined AND sent < COALESCE(g.until, {NOW})
        AND {_KEPT} ORDER BY time DESC LIMIT 1) n
    WHERE g.tenant = %(tenant)s AND g."user" = %(user)s GROUP BY n.kind, g."group" """
# Conversations by a time that their newest messages are not later than: what was recalled or removed since
# was one of them. The next of them after a place in that order.
_CANDIDATES = f"""
    SELECT l.kind, l.target, l.newest, COALESCE(c.removed, 0) FROM (
      SELECT kind, target, newest FROM messaging_conversation
      WHERE tenant = %(tenant)s AND "user" = %(user)s AND kind NOT IN {GROUPS}
      UNION ALL {_OF_GROUPS}) l
    LEFT JOIN messaging_conversation c ON c.tenant = %(tenant)s AND c."user" = %(user)s
      AND c.kind = l.kind AND c.target = l.target
    LEFT JOIN messaging_cleanmark m ON m.tenant = %(tenant)s AND m."user" = %(user)s
      AND m.kind = l.kind AND m.target = l.target
    WHERE l.newest > GREATEST(c.removed, m.upto, %(above)s)
      AND (%(of)s::int2[] IS NULL OR l.kind = ANY(%(of)s::int2[]))
      AND (l.newest, l.kind, l.target) < (%(newest)s, %(kind)s, %(target)s::varchar)
    ORDER BY l.newest DESC, l.kind DESC, l.target DESC LIMIT %(limit)s"""
_OF_EACH = """
    unnest(%(kinds)s::int2[], %(targets)s::varchar[], %(newest)s::int8[], %(removed)s::int8[],
           %(conversations)s::int8[], %(to_all)s::int8[])
      WITH ORDINALITY AS w(kind, peer, newest, removed, conversation, to_all, place)"""
_ITS = f"""
    FROM messaging_message WHERE tenant = %(tenant)s AND conversation = {{}}
      AND sent > w.removed AND sent <= w.newest AND {visible("w.kind", "w.peer")}"""
_NEWEST = f"""
    (SELECT uid, sent AS at, sent, kind, sender, target, up, {DIRECTION} {_ITS}
     ORDER BY sent DESC LIMIT 1)"""
_COUNTED = f"""
    (SELECT * FROM (SELECT flags, sender {_ITS} AND sent > COALESCE(r.time, 0)
                    ORDER BY sent DESC LIMIT {LOOKED_AT}) its
     WHERE sender <> %(user)s AND flags & {COUNTED} <> 0 LIMIT {UNREAD_MAX})"""
# to_all is what a conversation's sender has sent to everybody.
_TIMES = f"""
    SELECT w.place, max(m.at) FROM {_OF_EACH} CROSS JOIN LATERAL (
      {_NEWEST.format("w.conversation")} UNION ALL {_NEWEST.format("w.to_all")}) m GROUP BY w.place"""
# Of each, its newest message and how many are unread.
_DETAILS = f"""
    SELECT w.place, COALESCE(r.time, 0), u.unread, m.* FROM {_OF_EACH}
    LEFT JOIN messaging_conversationread r ON r.tenant = %(tenant)s AND r."user" = %(user)s
      AND r.kind = w.kind AND r.target = w.peer
    CROSS JOIN LATERAL (SELECT * FROM (
      {_NEWEST.format("w.conversation")} UNION ALL {_NEWEST.format("w.to_all")}) either
      ORDER BY at DESC LIMIT 1) m
    CROSS JOIN LATERAL (SELECT LEAST(count(*), {UNREAD_MAX}) AS unread FROM (
      {_COUNTED.format("w.conversation")} UNION ALL {_COUNTED.format("w.to_all")}) counted) u
    ORDER BY m.at DESC"""
_REMOVE = """
    INSERT INTO messaging_conversation (tenant, "user", slot, kind, target, removed)
    SELECT %(tenant)s::int8, %(user)s::varchar, %(slot)s::int2, kind, target, upto
    FROM unnest(%(kinds)s::int2[], %(targets)s::varchar[], %(uptos)s::int8[]) AS w(kind, target, upto)
    ON CONFLICT (tenant, "user", kind, target) DO UPDATE SET removed = EXCLUDED.removed
    WHERE messaging_conversation.removed < EXCLUDED.removed"""
_TAGGED = """
    SELECT kind, target, state FROM messaging_conversationstate
    WHERE tenant = %(tenant)s AND "user" = %(user)s AND target <> ''"""


class Listed(NamedTuple):
    kind: int
    target: str
    newest: int  # ms that none of its messages is later than, as users are shown them
    removed: int  # ms


class Read(NamedTuple):
    """What of the log the list has read. ms, of the log."""

    time: int  # up to here
    low: int  # from here on; 0: all of it


class Page(NamedTuple):
    listed: list[Listed]  # by their newest messages, `newest` being exact
    more: bool
    read: Read


def _freshen(server_set: str, request: Request) -> Read:
    """Have the user's list read the log to its end, or the newest of it, and the rest when it is wanted."""
    exchange.freshen(server_set)
    kept = log.of(server_set).read(_CURSOR, of_user(request))
    before = Read(*kept[0]) if kept else None
    return _read(server_set, request, before, after=before.time if before else 0)


def _read(server_set: str, request: Request, was: Read | None, *, after: int = 0, before: int = NOW) -> Read:
    """Read the newest part of this range, and keep what is found."""
    who = of_user(request)
    rows = log.of(server_set).read(_READ, who | {"after": after, "before": before, "at_once": READ_AT_ONCE})
    time, cut = rows[0][:2]
    found = [row[2:] for row in rows if row[2] is not None]
    # What is before a cut, or before what was read until now, is as good as not read.
    now = Read(time if before == NOW or was is None else was.time, cut or (was.low if after and was else 0))
    if found or was is None or now.low != was.low or now.time - was.time > IDLE:
        kinds, targets, newest = zip(*found, strict=True) if found else ((), (), ())
        parameters = who | {"kinds": list(kinds), "targets": list(targets), "newest": list(newest)}
        parameters |= now._asdict() | {f"{name}_was": value for name, value in (was or now)._asdict().items()}

        def work(cursor: psycopg.Cursor[Any]) -> None:
            cursor.execute(_KEEP, parameters)
            cursor.execute(_MOVE_CURSOR, parameters)

        own_state.change(server_set, request, work)
    return now


def _page(
    server_set: str, request: Request, read: Read, start: int, count: int, order: int, of: Iterable[int]
) -> Page:
    """Those that are asked for, without those that have no message."""
    newer = order == NEWER
    start = start or (0 if newer else NOW)
    kinds = sorted({conversation_kind(kind) for kind in of}) or None
    while True:
        found = _found(server_set, request, start, count, newer, kinds)
        page = whole_moments(found, count, attrgetter("newest"))
        # No message that the list has not read is as late as `low`.
        settled = read.low <= start if newer else len(found) > len(page) and page[-1].newest >= read.low
        if settled or not read.low:
            return Page(page, len(found) > len(page), read)
        read = _read(server_set, request, read, before=read.low)


def _found(
    server_set: str, request: Request, start: int, count: int, newer: bool, kinds: list[int] | None
) -> list[Listed]:
    """The first of them in this order: all that a page may hold, and one more, if there are."""
    parameters = of_user(request) | {"of": kinds, "above": start if newer else 0, "limit": count + 1}
    last = Listed(0, "", NOW, 0)
    found: list[Listed] = []
    while True:
        place = {"newest": last.newest, "kind": last.kind, "target": last.target}
        part = [Listed(*row) for row in log.of(server_set).read(_CANDIDATES, parameters | place)]
        exact = _exact(server_set, request, part)
        found += [each for each in exact if (each.newest > start if newer else each.newest < start)]
        found.sort(key=lambda each: (each.newest, each.kind, each.target), reverse=not newer)
        if len(part) < parameters["limit"]:
            return found
        last = part[-1]
        if not newer and len(found) > count and found[count].newest > last.newest:
            return found  # none of the others is newer
        parameters["limit"] = PAGE_MAX


def _exact(server_set: str, request: Request, candidates: Sequence[Listed]) -> list[Listed]:
    """Those that have a message, with its time."""
    if not candidates:
        return []
    rows = log.of(server_set).read(_TIMES, _columns(request, candidates))
    return [candidates[place - 1]._replace(newest=at) for place, at in rows]


def _columns(request: Request, listed: Sequence[Listed]) -> dict[str, Any]:
    kinds, targets, newest, removed = zip(*listed, strict=True)
    return of_user(request) | {
        "kinds": list(kinds),
        "targets": list(targets),
        "newest": list(newest),
        "removed": list(removed),
        "conversations": [conversation_of(request, each.kind, each.target) for each in listed],
        "to_all": [_to_all(request.tenant, each) for each in listed],
    }


def _to_all(tenant: int, listed: Listed) -> int | None:
    return log.conversation(tenant, SYSTEM, listed.target, "") if listed.kind == SYSTEM else None


def _reply(server_set: str, request: Request, listed: Sequence[Listed]) -> im.RelationsOutput:
    """What clients are shown of these conversations, newest first; of one without a message, nothing."""
    reply = im.RelationsOutput()
    if not listed:
        return reply
    for place, read, unread, *message in log.of(server_set).read(_DETAILS, _columns(request, listed)):
        reply.info.add(
            type=listed[place - 1].kind,  # type: ignore[arg-type]
            userId=listed[place - 1].target,
            msg=im.DownStreamMessage.FromString(shown(tuple(message), request.generation)),
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
    count = _count(wanted.count)
    page = _page(server_set, request, _freshen(server_set, request), 0, count, 0, ())
    return _reply(server_set, request, page.listed[:count])


@answers
def of_v4(server_set: str, request: Request) -> im.RelationsOutput:
    """qryRelationR of v4 and v5: a page before or after `startTime`."""
    wanted = im.RelationQryInput.FromString(request.payload)
    read = _freshen(server_set, request)
    count = _count(wanted.count)
    page = _page(server_set, request, read, wanted.startTime, count, wanted.order, wanted.channelType)
    reply = _reply(server_set, request, page.listed)
    reply.isFinished, reply.pullTime = not page.more, read.time
    return reply


@answers
def filtered(server_set: str, request: Request) -> im.RelationsOutput:
    """qryRelationFilter of v5: those under one of these tags. `pageToken`: where the page before ended."""
    wanted = im.RelationQryFilter.FromString(request.payload)
    read = _freshen(server_set, request)
    count = _count(wanted.count)
    token = own_state.text(wanted.pageToken, may_be_empty=True)
    start = int(token) if token.isdecimal() and len(token) < 17 else 0
    tags = {identifier(tag) for tag in wanted.tags}
    tagged = _tagged(server_set, request, tags)
    found: list[Listed] = []
    part = Page([], True, read)
    while part.more and len(found) <= count:
        part = _page(server_set, request, part.read, start, PAGE_MAX, wanted.order, wanted.type)
        found += [each for each in part.listed if not tags or (each.kind, each.target) in tagged]
        start = part.listed[-1].newest if part.listed else start
    its = whole_moments(found, count, attrgetter("newest"))
    reply = _reply(server_set, request, its)
    reply.isFinished, reply.pullTime = not part.more and len(its) == len(found), read.time
    reply.pageToken = "" if reply.isFinished else str(its[-1].newest)
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
    its = sorted({(conversation_kind(kind), identifier(target)) for kind, target in which})
    put_marks(
        server_set,
        request,
        [Mark(kind, target, NOW) for kind, target in its],
        where=(_REMOVE, CLEAN_MARK) if messages else (_REMOVE,),
    )


METHODS = {
    "qryRelation": of_v2,
    "qryRelationR": of_v4,
    "qryRelationFilter": filtered,
    "delRelation": remove,
    "delRelationBatch": remove_some,
    "delSessions": remove_sessions,
}
