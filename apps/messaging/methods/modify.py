"""`modify`, of the server API only: other content for a message. v5 asks for it by pullModifyMsg.

v2 and v4 know nothing of it: they find the new content in histories, and in what they have not pulled yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apps.messaging import changes, exchange, log, modifications
from apps.messaging.changes import Asked, Original
from apps.messaging.log import Entry
from apps.messaging.methods import Refused, Verdict
from apps.messaging.methods.history import DIRECTION
from apps.messaging.methods.pull import NOW, PAGE_BYTES, is_for, shown
from apps.messaging.models import CHANGES, GROUP, GROUPS, PRIVATE, RECALLED, TO_SELF, UNSEEN
from apps.messaging.own_state import answers
from apps.routing.envelope import Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.messages import is_readable
from apps.routing.protocol.packets import AckStatus

PAGE = 100  # messages
KEPT = 7 * 24 * 3_600_000  # ms: what was modified before is found in histories only
MODIFIED = 1  # ModifyMsg.modifyType

_ROW = f"""
    SELECT time, up FROM messaging_message
    WHERE tenant = %(tenant)s AND {{}} AND method = '{modifications.METHOD}' AND time > %(since)s
    ORDER BY time LIMIT {PAGE + 1}"""
_IN_GROUP = _ROW.format(f'target = g."group" AND kind IN {GROUPS}')
_ROWS = f"""
    SELECT * FROM (
      ({_ROW.format(f"target = %(user)s AND kind = {PRIVATE}")})
      UNION ALL ({_ROW.format("sender = %(user)s")})
      UNION ALL (SELECT m.* FROM messaging_membership g CROSS JOIN LATERAL ({_IN_GROUP}) m
        WHERE g.tenant = %(tenant)s AND g."user" = %(user)s AND g.until IS NULL)) its
    ORDER BY time LIMIT {PAGE + 1}"""
_MESSAGES = f"""
    SELECT DISTINCT ON (uid) uid, sent AS at, sent, kind, sender, target, up, {DIRECTION}
    FROM messaging_message
    WHERE (uid = ANY(%(uids)s::varchar[]) AND inbox OR uid = ANY(%(uids)s::varchar[]) AND NOT inbox)
      AND tenant = %(tenant)s AND flags & {RECALLED | TO_SELF} = 0 AND (
        kind = {PRIVATE} AND (sender = %(user)s AND sendbox OR target = %(user)s AND inbox)
        OR kind IN {GROUPS} AND (sender = %(user)s AND sendbox OR EXISTS (
          SELECT FROM messaging_membership g
          WHERE g.tenant = %(tenant)s AND g."user" = %(user)s AND g."group" = target
            AND g.joined < sent AND sent < COALESCE(g.until, {NOW}))))"""


def admit(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """What is modified is a message of the sender in this conversation, of the same class."""
    asked = [Asked(r.tenant, modifications.modifies(r.payload), r.user) for r in requests]
    found = changes.find(server_set, asked, whole=True)
    verdicts: list[Verdict] = []
    for request, each in zip(requests, asked, strict=True):
        key = (each.tenant, each.uid)
        if key in found and found[key] is None:
            verdicts.append(Refused(AckStatus.BUSY))
        else:
            verdicts.append(_verdict(request, found.get(key)))
    return verdicts


def _verdict(request: Request, original: Original | None) -> Verdict:
    if original is None or original.flags & RECALLED or original.kind not in (PRIVATE, GROUP):
        return Refused(AckStatus.NOT_MODIFIABLE)
    wanted = im.UpStreamMessage.FromString(request.payload)
    its_class = im.UpStreamMessage.FromString(original.up).classname
    if (original.sender, original.target) != (request.user, request.target):
        return Refused(AckStatus.MALFORMED)
    if wanted.metadata not in ("", its_class) or not is_readable(its_class, wanted.content):
        return Refused(AckStatus.MALFORMED)
    entry = Entry(
        uid=request.uid,
        tenant=request.tenant,
        kind=original.kind,
        sender=request.user,
        target=request.target,
        # Nobody is shown it, and the sender's SET takes a copy of it.
        flags=CHANGES | TO_SELF | UNSEEN,
        method=modifications.METHOD,
        up=request.payload,
        hidden=True,
        reach=original.reach if original.kind == GROUP else None,  # also SETs whose members have left
    )
    return replace(entry, effect=changes.effect(changes.with_effect(entry)))


@answers
def pull(server_set: str, request: Request) -> im.PullModifyMsgResp:
    """pullModifyMsg: messages that were modified after the version that the device has, as they are now."""
    version = im.PullModifyMsgReq.FromString(request.payload).pullVersion
    exchange.freshen(server_set)  # the notice may have been faster than the copy of what it is about
    parameters = {"tenant": request.tenant, "user": request.user}
    since = max(version, log.now() - KEPT)
    rows = log.of(server_set).read(_ROWS, parameters | {"since": since})
    page = rows[:PAGE]
    uids = {modifications.modifies(up): time for time, up in page}  # the last time of each
    found = log.of(server_set).read(_MESSAGES, parameters | {"uids": list(uids)}) if uids else []
    reply = im.PullModifyMsgResp(nextVersion=page[-1][0] if page else version, finished=len(rows) <= PAGE)
    size = 0
    for row in sorted((row for row in found if is_for(row, request.user)), key=lambda row: uids[row[0]]):
        if size > PAGE_BYTES:
            reply.finished = False
            break
        down = shown(row, request.generation)
        size += len(down)
        last = uids[row[0]]
        reply.msg.add(modifyType=MODIFIED, msg=im.DownStreamMessage.FromString(down))
    if size > PAGE_BYTES and not reply.finished:
        reply.nextVersion = last
    return reply
