"""System messages: to a user, or to all of a tenant, from its server (PROTOCOL 6.1, 6.2).

One to everybody is one row of one SET, with the empty target. It is for every slot, so each other SET takes a
copy of it by exchange, whatever is away meanwhile; there it is in everybody's inbox.
"""

from __future__ import annotations

from collections.abc import Sequence

from apps.messaging import changes
from apps.messaging.changes import Asked
from apps.messaging.log import Entry
from apps.messaging.methods import Refused, Status, Verdict
from apps.messaging.models import CHANGES, SYSTEM
from apps.routing.envelope import Request, source
from apps.routing.placement import SLOTS
from apps.routing.protocol.messages import RECALL, is_status, parse_upstream, recalled
from apps.routing.protocol.packets import MAX_CONTENT, AckStatus, ProtocolError

EVERY_SLOT = b"\xff" * (SLOTS // 8)
RECALL_CLASS = "RC:RcCmd"


def admit(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """`sysMsg`, `sysMsgS`, of the server API only. One of the class RC:RcCmd takes an earlier one back."""
    verdicts = [_verdict(request) for request in requests]
    recalls = [i for i, v in enumerate(verdicts) if isinstance(v, Entry) and v.flags & CHANGES]
    asked = [Asked(requests[i].tenant, _recalled(requests[i]), requests[i].user) for i in recalls]
    found = changes.find(server_set, asked) if asked else {}
    for i, each in zip(recalls, asked, strict=True):
        original = found.get((each.tenant, each.uid))
        if original is None or (original.kind, original.sender) != (SYSTEM, each.user):
            verdicts[i] = Refused(AckStatus.RECALL_PARAMETERS)
    return verdicts


def _recalled(request: Request) -> str:
    what = recalled(request.payload)
    return what.uid if what else ""


def refuse(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """pbMsgP: clients do not send into system conversations."""
    return [Refused(AckStatus.SYSTEM_CONVERSATION) for _ in requests]


def _verdict(request: Request) -> Verdict:
    try:
        up = parse_upstream(request.payload)
    except ProtocolError:
        return Refused(AckStatus.MALFORMED)
    if len(up.content) > MAX_CONTENT:
        return Refused(AckStatus.TOO_BIG)
    if is_status(request.method, up.classname):
        return Status(SYSTEM)
    recalls = up.classname == RECALL_CLASS
    if recalls and not _recalled(request):
        return Refused(AckStatus.RECALL_PARAMETERS)
    method = RECALL if recalls else request.method
    r = request
    what = changes.Row(r.uid, r.tenant, SYSTEM, r.user, r.target, method, r.payload)
    return Entry(
        uid=r.uid,
        tenant=r.tenant,
        kind=SYSTEM,
        sender=r.user,
        target=r.target,
        flags=(CHANGES if recalls else up.sessionId & 3) | source(r.options),
        method=method,
        up=r.payload,
        hidden=True,
        reach=None if r.target else EVERY_SLOT,
        effect=changes.effect(what) if recalls else None,
    )
