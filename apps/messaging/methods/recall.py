"""recallMsg (PROTOCOL 4.1, 6.7): a message is taken back, in the conversation that the content names.

It is a row of the log in which the message is, or would be now: of the peer's home SET, the group's, the
chatroom's. There the message is marked, and in each SET that takes a copy of the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apps.messaging import changes, chatrooms
from apps.messaging.changes import Asked, Original
from apps.messaging.chatrooms import Facts
from apps.messaging.log import Entry
from apps.messaging.methods import Refused, Verdict
from apps.messaging.methods.group import Standing, standings
from apps.messaging.models import CHANGES, CHATROOM, DIRECTED, GROUPS, HELD, PRIVATE, RECALLED
from apps.routing.envelope import ELSEWHERE, FROM_SERVER, Request, source
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.messages import RECALL, Recalled, parse_upstream, recalled
from apps.routing.protocol.packets import AckStatus, ProtocolError

CLASS = "RC:RcCmd"
KINDS = frozenset((PRIVATE, *GROUPS, CHATROOM))


def admit(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """Who may recall: the sender, of a group while he is in it; the server in anybody's name."""
    wanted = [_wanted(request) for request in requests]
    sound = [(r, w) for r, w in zip(requests, wanted, strict=True) if w is not None]
    found = changes.find(server_set, [Asked(r.tenant, w.uid, r.user) for r, w in sound])
    in_groups = [(r.tenant, r.target, r.user) for r, w in sound if w.kind in GROUPS]
    in_rooms = [(r.tenant, r.target, r.user) for r, w in sound if w.kind == CHATROOM]
    members = standings(server_set, in_groups)
    rooms = dict(zip(in_rooms, chatrooms.look_up(server_set, in_rooms), strict=True))
    verdicts: list[Verdict] = []
    for request, what in zip(requests, wanted, strict=True):
        if what is None:
            verdicts.append(Refused(AckStatus.RECALL_PARAMETERS))
            continue
        key = (request.tenant, request.target, request.user)
        if what.kind == CHATROOM and rooms[key] is None:
            verdicts.append(Refused(ELSEWHERE))
        elif (request.tenant, what.uid) in found and found[request.tenant, what.uid] is None:
            verdicts.append(Refused(AckStatus.BUSY))
        else:
            original = found.get((request.tenant, what.uid))
            verdicts.append(_verdict(request, what, original, members.get(key), rooms.get(key)))
    return verdicts


def _wanted(request: Request) -> Recalled | None:
    """What the request recalls; None for one that cannot be."""
    try:
        up = parse_upstream(request.payload)
    except ProtocolError:
        return None
    found = recalled(request.payload)
    if up.classname != CLASS or found is None or found.kind not in KINDS or found.target != request.target:
        return None
    return found


def _verdict(
    request: Request,
    what: Recalled,
    original: Original | None,
    standing: Standing | None,
    room: Facts | None,
) -> Verdict:
    if original is None or original.kind != what.kind:
        return Refused(AckStatus.RECALL_PARAMETERS)
    own = original.sender == request.user
    if not own and not request.options & FROM_SERVER:
        return Refused(AckStatus.RECALL_NOT_OWN_V2 if request.generation == 2 else AckStatus.RECALL_NOT_OWN)
    if not _is_in(original, request, room):
        return Refused(AckStatus.RECALL_PARAMETERS)
    is_member = standing is not None and standing.member
    if what.kind in GROUPS and not is_member and not request.options & FROM_SERVER:
        return Refused(AckStatus.NOT_IN_GROUP)
    if original.flags & RECALLED:
        return Refused(AckStatus.OK)  # it is what he wants it to be
    return _entry(request, what, original, room)


def _is_in(original: Original, request: Request, room: Facts | None) -> bool:
    """Whether the message is in the conversation that was named."""
    if original.kind == PRIVATE:
        return {original.sender, original.target} == {request.user, request.target}
    # Messages up to the room's making were an earlier one's of that id.
    return original.target == request.target and (room is None or 0 < room.created < original.sent)


def _entry(request: Request, what: Recalled, original: Original, room: Facts | None) -> Entry:
    up, flags = request.payload, CHANGES | source(request.options)
    if readers := changes.told_to(original):
        message = UpStreamMessage.FromString(up)
        message.toUserIds[:] = readers
        up, flags = message.SerializeToString(), flags | DIRECTED
    if room is not None and room.held:
        flags |= HELD
    entry = Entry(
        uid=request.uid,
        tenant=request.tenant,
        kind=what.kind,
        sender=request.user,
        target=request.target,
        flags=flags,
        method=RECALL,
        up=up,
        seen=request.seen,
        hidden=what.kind == CHATROOM,  # nobody's send box: a room's messages are pulled from the room
        reach=original.reach if what.kind in GROUPS else None,  # also those SETs whose members have left
    )
    return replace(entry, effect=changes.effect(changes.with_effect(entry)))
