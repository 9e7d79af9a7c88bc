"""Chatrooms: chatMsg and its status form (PROTOCOL 4.1), coming, going, entries (4.7), what was said (6.4).

A room's messages are rows of its home SET's log, in nobody's send box. Everything here is served by that SET.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from functools import wraps
from typing import Any

import redis

from apps.messaging import chatroom_entries, chatroom_life, chatrooms, log
from apps.messaging.chatroom_entries import OVERWRITE, SHOWN, WITH_OWNER, Outcome, Setting
from apps.messaging.chatrooms import Facts, Kind, Refusal
from apps.messaging.issuing import new_uid
from apps.messaging.log import Entry
from apps.messaging.methods import AnswerQuery, Refused, Status, Verdict, wording
from apps.messaging.models import CHATROOM, HELD, PERSISTED, RECALLED
from apps.messaging.tenant_rules import Rule, rules
from apps.messaging.webhooks import events
from apps.routing import hints, metrics, room_members
from apps.routing.envelope import (
    ELSEWHERE,
    FROM_SERVER,
    JOINED,
    REPEATED,
    Answer,
    Hint,
    Request,
    feed_group,
    hint_message,
    source,
)
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol import uid
from apps.routing.protocol.messages import (
    RECEIVED,
    SENT,
    downstream,
    for_v2,
    in_list,
    is_status,
    parse_upstream,
)
from apps.routing.protocol.packets import MAX_CONTENT, AckStatus, ProtocolError
from apps.routing.room_ring import page_end
from apps.routing.topology import home

logger = logging.getLogger(__name__)

LATE = 1000  # ms from a client's sending to here: past it the queue is late, and low classes are dropped
LOW_MAX, NORMAL_MAX = 50, 200  # messages a second of a room past which they are dropped, low classes first
MESSAGE = "chatMsg"


# --- sending


def admit(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """Who may send: members that are not muted; the server in anybody's name. Under load, not everything."""
    known = chatrooms.look_up(server_set, [(r.tenant, r.target, r.user) for r in requests])
    verdicts = wording.judged(requests, [_verdict(r, its) for r, its in zip(requests, known, strict=True)])
    candidates = [i for i, verdict in enumerate(verdicts) if not isinstance(verdict, Refused)]
    sent = Counter((requests[i].tenant, requests[i].target) for i in candidates)
    unsure = [requests[i] for i in candidates if not requests[i].options & (JOINED | FROM_SERVER)]
    try:
        look = room_members.look(server_set, sent, [(r.tenant, r.target, r.user) for r in unsure])
    except redis.RedisError as error:
        logger.warning("members of chatrooms are not known: %s", error)
        return [v if isinstance(v, Refused) else Refused(AckStatus.BUSY) for v in verdicts]
    places = {room: look.sent[room] - number for room, number in sent.items()}  # of this second, by room
    dropped = Counter[tuple[int, str]]()
    for i in candidates:
        r, room = requests[i], (requests[i].tenant, requests[i].target)
        if not r.options & (JOINED | FROM_SERVER) and (*room, r.user) not in look.members:
            verdicts[i] = Refused(AckStatus.NOT_IN_CHATROOM)
            continue
        places[room] += 1
        if _is_dropped(r, known[i], places[room]):
            verdicts[i] = Refused(AckStatus.BUSY)
            dropped[room] += 1
    if dropped:
        _count(server_set, dropped)
    return verdicts


def _verdict(request: Request, its: Facts | None) -> Verdict:
    if its is None:
        return Refused(ELSEWHERE)
    try:
        up = parse_upstream(request.payload)
    except ProtocolError:
        return Refused(AckStatus.MALFORMED)
    if len(up.content) > MAX_CONTENT:
        return Refused(AckStatus.TOO_BIG)
    if status := _refusal(request, its):
        return Refused(status)
    if is_status(request.method, up.classname):
        return Status(CHATROOM)
    return _entry(request, request.uid, up.sessionId & 3 | HELD * its.held, request.payload)


def _entry(request: Request, uid: str, flags: int, up: bytes) -> Entry:
    return Entry(
        uid=uid,
        tenant=request.tenant,
        kind=CHATROOM,
        sender=request.user,
        target=request.target,
        flags=flags | source(request.options),
        method=MESSAGE,
        up=up,
        seen=request.seen,
        hidden=True,  # nobody's send box: a room's messages are pulled from the room
    )


def _refusal(request: Request, its: Facts) -> int:
    if not its.created:
        return AckStatus.CHATROOM_NOT_FOUND
    if request.options & FROM_SERVER:
        return 0
    if its.has(Kind.BLOCKED):
        return AckStatus.CHATROOM_KICKED
    if its.has(Kind.MUTED) or (its.muted and not its.has(Kind.EXEMPT)):
        return AckStatus.CHATROOM_MUTED
    return AckStatus.CHATROOM_MUTED if rules.current.hold(request.tenant, Rule.MUTED, request.user) else 0


def _is_dropped(request: Request, its: Facts | None, place: int) -> bool:
    """Whether a message is too much: the `place`th of its room in this second, of a class that may go."""
    if place <= LOW_MAX and not rules.current.until:
        return False
    classname = im.UpStreamMessage.FromString(request.payload).classname
    if its is None or its.has(Kind.KEPT) or rules.current.hold(request.tenant, Rule.KEPT, classname):
        return False
    low = rules.current.hold(request.tenant, Rule.LOW, classname)
    dropped = place > (LOW_MAX if low else NORMAL_MAX) or (low and _age(request.uid) > LATE)
    if dropped:
        metrics.CHATROOM_DROPPED.add(1, "low" if low else "normal")
    return dropped


def _age(message_uid: str) -> int:
    """ms since a gateway took the message."""
    try:
        return log.now() - uid.decode(message_uid).time
    except ProtocolError:
        return 0


def _count(server_set: str, dropped: Counter[tuple[int, str]]) -> None:
    try:
        room_members.dropped(server_set, dropped)
    except redis.RedisError as error:
        logger.warning("dropped messages of chatrooms were not counted: %s", error)


# --- queries


def refusable(work: AnswerQuery) -> AnswerQuery:
    """Make an answer of a refusal."""

    @wraps(work)
    def answer(server_set: str, request: Request) -> Answer:
        try:
            return work(server_set, request)
        except Refusal as refusal:
            return Answer(0, refusal.status, log.now(), refusal.payload)
        except redis.RedisError as error:
            logger.warning("%s of tenant %d refused: %s", request.method, request.tenant, error)
            return Answer(0, AckStatus.BUSY)

    return answer


def _room(server_set: str, request: Request, *, member: bool) -> Facts:
    """The facts of the room and the user who asks, who must be in it if `member`."""
    its = chatrooms.facts(server_set, request.tenant, request.target, request.user)
    if not its.created:
        raise Refusal(AckStatus.CHATROOM_NOT_FOUND)
    if its.has(Kind.BLOCKED):
        raise Refusal(AckStatus.CHATROOM_KICKED)
    if member and not request.options & JOINED:
        (there,) = room_members.are_members(request.tenant, request.target, [request.user])
        if not there:
            raise Refusal(AckStatus.NOT_IN_CHATROOM)
    return its


@refusable
def join(server_set: str, request: Request) -> Answer:
    """`joinChrm` makes a room that is not there, `joinChrmR` does not.

    In the answer, for the gateway: the log's position and newest time as he came, and when he joined first.
    """
    im.ChrmInput.FromString(request.payload)
    if request.method == "joinChrm":
        its = chatrooms.facts(server_set, request.tenant, request.target, request.user)
        if not its.created and not its.has(Kind.BLOCKED):
            chatrooms.create(server_set, request.tenant, request.target)
    its = _room(server_set, request, member=False)
    chatrooms.note_members(
        server_set, request.tenant, request.target, events.JOINED, events.BY_CALL, [request.user]
    )
    joined, count = room_members.join(server_set, request.tenant, request.target, request.user)
    output = im.ChrmOutput(
        nothing=0,
        joinTime=min(joined, its.time),  # no syncTime that it gets is smaller
        createTime=its.created,
        memberCount=count,
        chatroomBanState=int(its.muted),
        whiteListState=int(its.has(Kind.EXEMPT)),
    )
    return Answer(0, 0, joined, output.SerializeToString(), its.seq, its.time)


@refusable
def leave(server_set: str, request: Request) -> Answer:
    """`exitChrm`: also of a room in which he is not, or which is not there."""
    im.ChrmInput.FromString(request.payload)
    chatrooms.facts(server_set, request.tenant, request.target, request.user)
    chatroom_life.leave(server_set, request.tenant, request.target, [request.user])
    return Answer(0, 0, 0, im.ChrmOutput(nothing=0).SerializeToString())


MEMBERS_MAX = 500  # of one answer


@refusable
def info(server_set: str, request: Request) -> Answer:
    """`queryChrmI`: order 1 those first who joined first, 2 those who joined last, 0 as it comes."""
    wanted = im.QueryChatRoomInfoInput.FromString(request.payload)
    _room(server_set, request, member=False)
    count = min(max(wanted.count, 0), MEMBERS_MAX)
    total, found = room_members.listed(request.tenant, request.target, count, newest_first=wanted.order == 2)
    output = im.QueryChatRoomInfoOutput(
        userTotalNums=total, userInfos=[im.ChrmMember(time=each.joined, id=each.user) for each in found]
    )
    return Answer(0, 0, 0, output.SerializeToString())


# --- what was said

PULL_PAGE = 200  # messages
HISTORY_PAGE_MAX = 100
PAGE_BYTES = 1 << 20  # of messages; a page ends with the one that passes it
_NOW = 1 << 53  # later than every message
_OF_ROOM = f"""
    SELECT uid, sent, sender, up FROM messaging_message
    WHERE tenant = %(tenant)s AND conversation = %(conversation)s AND kind = {CHATROOM} AND seq <= %(seq)s
      AND target = %(room)s AND inbox AND flags & %(unless)s = 0 AND flags & %(only)s = %(only)s"""
# A page's rows, and with each how many there were before the page was cut by size.
_CUT = f"""
    SELECT * FROM (
      SELECT *, count(*) OVER () AS limited,
             sum(octet_length(up)) OVER (ORDER BY {{order}}) - octet_length(up) AS ahead
      FROM ({{rows}} ORDER BY {{order}} LIMIT %(limit)s) limited_rows) sized
    WHERE ahead < {PAGE_BYTES} ORDER BY {{order}}"""
_AFTER = _CUT.format(order="sent", rows=_OF_ROOM + " AND sent > %(time)s")
_BEFORE = _CUT.format(order="sent DESC", rows=_OF_ROOM + " AND sent > %(floor)s AND sent < %(time)s")
# What a first pull begins after: `count` messages back, or where the connection joined, if that is earlier.
_BEGIN = (
    f"SELECT sent FROM ({_OF_ROOM}) its WHERE sent > %(floor)s ORDER BY sent DESC OFFSET %(count)s LIMIT 1"
)
_LIMITED = 4  # the column that says how many there were


def _of_room(request: Request, room: str, its: Facts, **more: Any) -> dict[str, Any]:
    """Parameters of the statements about a room's messages, as far as the log went when its facts were read.

    By themselves, of the messages that are shown.
    """
    return {
        "tenant": request.tenant,
        "seq": its.seq,
        "room": room,
        "conversation": log.conversation(request.tenant, CHATROOM, "", room),
        "unless": HELD | RECALLED,
        "only": 0,
    } | more


@refusable
def pull(server_set: str, request: Request) -> Answer:
    """`chrmPull`: everything after syncTime; the first time, the last `count`, and all since he joined.

    `request.acknowledged`: when the connection joined, by the log's clock; 0 when it has not.
    """
    wanted = im.ChrmPullMsg.FromString(request.payload)
    its = _room(server_set, request, member=True)
    since = wanted.syncTime
    if since <= 0:
        count = min(max(wanted.count, 0), PULL_PAGE)
        parameters = _of_room(request, request.target, its, floor=its.created, count=count)
        begin = log.of(server_set).read(_BEGIN, parameters)
        since = min(request.acknowledged or its.time, begin[0][0] if begin else its.created)
    parameters = _of_room(request, request.target, its, time=max(since, its.created), limit=PULL_PAGE + 1)
    rows = log.of(server_set).read(_AFTER, parameters)
    page = rows[:PULL_PAGE]
    finished = not page or page[0][_LIMITED] == len(page)
    # Whatever is stored after this look is later than the log's newest time at it.
    upto = its.time if finished else page[-1][1]
    # Also a page that is not the last says that it is: the gateway announces the rest.
    payload = _listed(page, request, request.target)
    payload += page_end(max(upto, wanted.syncTime), request.generation)
    return Answer(0, 0, upto, payload, its.seq, upto, finished)


@refusable
def history(server_set: str, request: Request) -> Answer:
    """`qryCHMsg` (PROTOCOL 6.5). v2 does not name the room in the packet, so any SET may be asked."""
    wanted = im.HistoryMsgInput.FromString(request.payload)
    room = wanted.targetId
    if not isinstance(room, str) or not room.isprintable() or not room:
        raise ProtocolError("a chatroom id that is no text")
    server_set = home(request.tenant, room)
    its = _room(server_set, request._replace(target=room), member=True)
    count = min(max(wanted.count, 1), HISTORY_PAGE_MAX)
    floor = max(its.created, chatrooms.cleaned(server_set, request.tenant, room))
    parameters = _of_room(request, room, its, unless=RECALLED, only=PERSISTED, limit=count + 1, floor=floor)
    if wanted.order:
        rows = log.of(server_set).read(_AFTER, parameters | {"time": max(wanted.time, floor)})
    else:
        rows = log.of(server_set).read(_BEFORE, parameters | {"time": wanted.time or _NOW})
    page = rows[:count]
    more = bool(page) and page[0][_LIMITED] > len(page)
    reply = im.HistoryMsgOuput(syncTime=page[-1][1] if page else wanted.time, hasMsg=int(more))
    payload = _listed(page, request, room, sent_by_me=True) + reply.SerializeToString()
    return Answer(0, 0, 0, payload)


def _listed(
    page: Sequence[tuple[Any, ...]], request: Request, room: str, *, sent_by_me: bool = False
) -> bytes:
    """The rows as a reply's list. A pull shows one's own messages as received (PROTOCOL 6.4)."""
    shown = []
    for message_uid, at, sender, up, *_ in page:
        direction = SENT if sent_by_me and sender == request.user else RECEIVED
        down = downstream(
            up, sender=sender, kind=CHATROOM, target=room, time=at, uid=message_uid, direction=direction
        )
        shown.append(in_list(for_v2(down) if request.generation == 2 else down))
    return b"".join(shown)


# --- key-value store

ENTRIES_A_CALL = 20
ENTRIES_A_SECOND = 100  # of a room
KEY = re.compile(r"[A-Za-z0-9_=+-]{1,128}")
VALUE_MAX = 4096  # characters
NOTICE_CLASS = "RC:chrmKVNotiMsg"


@refusable
def set_entry(server_set: str, request: Request) -> Answer:
    """`setKV`, `delKV`: one entry; its failure is the answer's status."""
    wanted = im.SetChrmKV.FromString(request.payload)
    outcome = _change_entries(server_set, request, [wanted.entry], wanted)
    for code in outcome.errors.values():
        raise Refusal(code)
    return Answer(0, 0, 0, im.ChrmOutput(nothing=0).SerializeToString())


@refusable
def set_some_entries(server_set: str, request: Request) -> Answer:
    """`setKVS`, `delKVS`: each by itself; the answer tells which were not."""
    wanted = im.SetChrmKVS.FromString(request.payload)
    outcome = _change_entries(server_set, request, wanted.entry, wanted)
    output = im.ChrmKVSOutput(
        errorKeys=[im.ChrmKVSOutputEntity(key=key, errorCode=code) for key, code in outcome.errors.items()],
        keysVersion=[im.ChrmKVSVersionEntity(key=key, version=at) for key, at in outcome.times.items()],
    )
    if outcome.errors:
        raise Refusal(AckStatus.KV_PARTLY_FAILED, output.SerializeToString())
    return Answer(0, 0, 0, output.SerializeToString())


def _change_entries(
    server_set: str,
    request: Request,
    wanted: Sequence[im.ChrmKVEntity],
    call: im.SetChrmKV | im.SetChrmKVS,
) -> Outcome:
    _check_entries(request, wanted)
    its = _room(server_set, request, member=True)
    if room_members.count_entries(request.tenant, request.target, len(wanted)) > ENTRIES_A_SECOND:
        raise Refusal(AckStatus.KV_TOO_FREQUENT)
    notice = _notice(request, its, call.notification) if call.bNotify else None
    removes = request.method.startswith("del")
    outcome = chatroom_entries.set_entries(
        server_set,
        request.tenant,
        request.target,
        request.user,
        [
            Setting(
                entity.key,
                None if removes else entity.value,
                bool(entity.status & WITH_OWNER),
                bool(entity.status & OVERWRITE),
            )
            for entity in wanted
        ],
        notice=notice,
        but=request.connection,
        repeated=bool(request.options & REPEATED),
    )
    if (appended := outcome.appended) is not None:
        hint = Hint(server_set, appended.before, appended.upto, appended.rows)
        hints.tell(feed_group(server_set), hint_message(hint))
    return outcome


def _check_entries(request: Request, wanted: Sequence[im.ChrmKVEntity]) -> None:
    if rules.current.hold(request.tenant, Rule.NO_ENTRIES):
        raise Refusal(AckStatus.KV_OFF)
    if len(wanted) > ENTRIES_A_CALL:
        raise Refusal(AckStatus.KV_BATCH_LIMIT)
    for entity in wanted:
        texts = isinstance(entity.key, str) and isinstance(
            entity.value, str
        )  # not UTF-8: protobuf leaves bytes
        if (
            not texts
            or not KEY.fullmatch(entity.key)
            or len(entity.value) > VALUE_MAX
            or "\0" in entity.value
        ):
            raise Refusal(AckStatus.CHATROOM_PARAMETERS)
    if not wanted:
        raise Refusal(AckStatus.CHATROOM_PARAMETERS)


def _notice(request: Request, its: Facts, notification: im.UpStreamMessage) -> Entry | None:
    """The message of a change, as if its maker had sent it into the room; None when he may not."""
    payload = notification.SerializeToString()
    up = parse_upstream(payload)
    if len(up.content) > MAX_CONTENT:
        raise Refusal(AckStatus.TOO_BIG)
    if _refusal(request, its):
        return None
    return _entry(request, new_uid(CHATROOM), up.sessionId & 3 | HELD * its.held, payload)


@refusable
def pull_entries(server_set: str, request: Request) -> Answer:
    """`pullKV`: what has changed since `timestamp`, or all of it where that is not known any more."""
    wanted = im.QueryChrmKV.FromString(request.payload)
    if rules.current.hold(request.tenant, Rule.NO_ENTRIES):
        raise Refusal(AckStatus.KV_OFF)
    its = _room(server_set, request, member=True)
    whole = wanted.timestamp < max(its.created, its.entries_floor)
    found = chatroom_entries.entries(
        server_set, request.tenant, request.target, since=0 if whole else wanted.timestamp
    )
    newest = max((each.time for each in found), default=0)
    output = im.ChrmKVOutput(
        entries=[
            im.ChrmKVEntity(
                key=each.key,
                value=each.value,
                status=each.status & SHOWN,
                timestamp=each.time,
                uid=each.owner,
                version=each.time,
            )
            for each in found
        ],
        bFullUpdate=whole,
        syncTime=max(newest, its.entries_time, wanted.timestamp, its.created),
    )
    return Answer(0, 0, 0, output.SerializeToString())
