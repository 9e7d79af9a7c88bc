"""Private messages: ppMsgP, ppMsgN and the status form ppMsgS (PROTOCOL 4.1, 6.7)."""

from __future__ import annotations

from collections.abc import Sequence

from apps.messaging import log
from apps.messaging.log import Entry
from apps.messaging.methods import Refused, Status, Verdict, changing
from apps.messaging.models import PRIVATE, TO_SELF
from apps.messaging.tenant_rules import Rule, rules
from apps.routing.envelope import FROM_SERVER, INCLUDE_SENDER, VERIFY_BLACKLIST, Request, source
from apps.routing.protocol.messages import is_status, parse_upstream
from apps.routing.protocol.packets import MAX_CONTENT, AckStatus, ProtocolError


def admit(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """Who may send: the receiver has not blocked the sender, and the message can be read and kept."""
    asked = [(r.tenant, r.target, r.user) for r in requests if _asks_block_list(r)]
    blocked = log.blocked_pairs(server_set, asked)
    return changing.judged(server_set, requests, [_verdict(request, blocked) for request in requests])


def _asks_block_list(request: Request) -> bool:
    return not request.options & FROM_SERVER or bool(request.options & VERIFY_BLACKLIST)


def _verdict(request: Request, blocked: set[tuple[int, str, str]]) -> Verdict:
    try:
        up = parse_upstream(request.payload)
    except ProtocolError:
        return Refused(AckStatus.MALFORMED)
    if len(up.content) > MAX_CONTENT:
        return Refused(AckStatus.TOO_BIG)
    special = changing.FLAGS.get(up.classname, 0)
    is_blocked = _asks_block_list(request) and (request.tenant, request.target, request.user) in blocked
    if not special & TO_SELF:
        if is_blocked:
            return Refused(AckStatus.BLOCKED_BY_PEER)
        if not request.options & FROM_SERVER and rules.current.hold(
            request.tenant, Rule.PRIVATE_MUTED, request.user
        ):
            return Refused(AckStatus.PRIVATE_MUTED)
    if is_status(request.method, up.classname):
        return Status(PRIVATE)
    return Entry(
        uid=request.uid,
        tenant=request.tenant,
        kind=PRIVATE,
        sender=request.user,
        target=request.target,
        flags=up.sessionId & 3 | special | source(request.options),
        method=request.method,
        up=request.payload,
        seen=request.seen,
        hidden=bool(request.options & FROM_SERVER and not request.options & INCLUDE_SENDER),
    )
