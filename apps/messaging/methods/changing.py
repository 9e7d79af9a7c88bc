"""Messages whose class says that they change something (PROTOCOL 6.7, 6.13), in private chats and groups.

RC:MsgExMsg expands an earlier message, RC:SRSMsg tells the sender's other devices what he has read. They go
the road of the messages that they are; here is what is asked of them besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgpack

from apps.messaging import changes, conversation_reads, expansions, groups, log
from apps.messaging.changes import Asked, Original
from apps.messaging.expansions import Change, Values
from apps.messaging.log import Entry
from apps.messaging.methods import Refused, Verdict
from apps.messaging.models import CHANGES, DIRECTED, GROUPS, PRIVATE, RECALLED, TO_SELF, UNSEEN
from apps.routing.envelope import FROM_SERVER, Answer, Request
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.packets import AckStatus, ProtocolError

# Class -> the bits of Message.flags of its messages.
FLAGS = {expansions.CLASS: CHANGES, conversation_reads.CLASS: CHANGES | TO_SELF}


def judged(server_set: str, requests: Sequence[Request], verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts: those of such messages are final, with what they do; the others are as they were."""
    special = [i for i, v in enumerate(verdicts) if isinstance(v, Entry) and v.flags & CHANGES]
    wanted: dict[int, Change] = {}
    for i in special:
        entry = verdicts[i]
        assert isinstance(entry, Entry)
        if entry.flags & TO_SELF:
            verdicts[i] = _synced(entry)
            continue
        try:
            wanted[i] = expansions.parse(UpStreamMessage.FromString(entry.up).content)
        except ProtocolError:
            verdicts[i] = Refused(AckStatus.EXPANSION_FORMAT)
    if wanted:
        _judge_expansions(server_set, requests, verdicts, wanted)
    return verdicts


def _synced(entry: Entry) -> Verdict:
    try:
        conversation_reads.synced(entry.kind, entry.target, entry.up)
    except ProtocolError:
        return Refused(AckStatus.MALFORMED)
    # Of a group's members, only his own SET is to have it.
    reach = groups.reach(entry.tenant, [entry.sender]) if entry.kind in GROUPS else None
    return replace(entry, reach=reach, effect=changes.effect(changes.with_effect(entry)))


def _judge_expansions(
    server_set: str, requests: Sequence[Request], verdicts: list[Verdict], wanted: dict[int, Change]
) -> None:
    asked = [Asked(requests[i].tenant, change.uid, requests[i].user) for i, change in wanted.items()]
    found = changes.find(server_set, asked, whole=True)
    expanded: dict[tuple[int, str], Values] = {}  # what the batch has made of them so far
    for i, change in wanted.items():
        entry = verdicts[i]
        assert isinstance(entry, Entry)
        key = (entry.tenant, change.uid)
        original = found.get(key)
        if key in found and original is None:
            verdicts[i] = Refused(AckStatus.BUSY)
            continue
        if status := _refusal(requests[i], entry, original):
            verdicts[i] = Refused(status)
            continue
        assert original is not None
        before = expanded.get(key)
        if before is None:
            before = expansions.values(UpStreamMessage.FromString(original.up).extraContent)
        after = expansions.applied(before, change, log.now() + expansions.AHEAD)
        if len(after) > max(expansions.KEYS_MAX, len(before)):
            verdicts[i] = Refused(AckStatus.EXPANSION_FORMAT)
            continue
        expanded[key] = after
        flags = entry.flags | UNSEEN * entry.hidden
        verdicts[i] = replace(entry, flags=flags, effect=changes.effect(changes.with_effect(entry)))


def _refusal(request: Request, entry: Entry, original: Original | None) -> int:
    """Why the message may not be expanded in this conversation by this user; 0: it may."""
    if original is None or original.flags & RECALLED:
        return AckStatus.EXPANSION_NOT_FOUND
    ours = {original.sender, original.target} if original.kind == PRIVATE else {original.target}
    here = {entry.sender, entry.target} if entry.kind == PRIVATE else {entry.target}
    if original.kind != entry.kind or ours != here:
        return AckStatus.EXPANSION_NOT_AUTHORISED
    message = UpStreamMessage.FromString(original.up)
    readers = (*message.toUserIds, original.sender)
    if original.flags & DIRECTED and entry.sender not in readers and not request.options & FROM_SERVER:
        return AckStatus.EXPANSION_NOT_AUTHORISED
    return 0 if message.sessionId & expansions.ALLOWED else AckStatus.EXPANSION_UNSUPPORTED


def read_expansion(server_set: str, request: Request) -> Answer:
    """`readExpansion`, of the server API only: msgpack of a uid.

    Answered by msgpack of None when it is not known, else of [whether it is a copy, values]: none of one that
    was recalled.
    """
    uid: str = msgpack.unpackb(request.payload)
    original = changes.find(server_set, [Asked(request.tenant, uid, request.user)], whole=True).get(
        (request.tenant, uid)
    )
    if original is None:
        return Answer(0, 0, 0, msgpack.packb(None))
    extra = "" if original.flags & RECALLED else UpStreamMessage.FromString(original.up).extraContent
    return Answer(0, 0, 0, msgpack.packb([original.copy, expansions.values(extra)]))
