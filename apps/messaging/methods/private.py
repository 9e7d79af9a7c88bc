"""Private messages: ppMsgP, ppMsgN and the status form ppMsgS (PROTOCOL 4.1, 6.7)."""

from __future__ import annotations

from collections.abc import Sequence

from apps.accounts.directory import directory
from apps.messaging.block_lists import Pair
from apps.messaging.log import Entry
from apps.messaging.methods import Refused, Status, Verdict, changing, wording
from apps.messaging.models import PRIVATE, TO_SELF
from apps.messaging.tenant_rules import Rule, rules
from apps.messaging.white_lists import blocked_and_allowed
from apps.routing.envelope import FROM_SERVER, INCLUDE_SENDER, VERIFY_BLACKLIST, Request, source
from apps.routing.protocol.messages import is_status, parse_upstream
from apps.routing.protocol.packets import MAX_CONTENT, AckStatus, ProtocolError


def admit(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """Who may send: the receiver has not blocked the sender, nor is he a stranger where that matters, and
    the message can be read and kept.
    """
    closed = {tenant for tenant in {r.tenant for r in requests} if _is_closed(tenant)}
    others = {_pair(r) for r in requests if r.tenant in closed and _asks_white_list(r)} if closed else set()
    asked = [_pair(r) for r in requests if _asks_block_list(r)]
    blocked, allowed = blocked_and_allowed(server_set, asked, others)
    strangers = others - allowed
    verdicts = [_verdict(request, blocked, strangers) for request in requests]
    return changing.judged(server_set, requests, wording.judged(requests, verdicts))


def _pair(request: Request) -> Pair:
    return request.tenant, request.target, request.user


def _asks_block_list(request: Request) -> bool:
    return not request.options & FROM_SERVER or bool(request.options & VERIFY_BLACKLIST)


def _is_closed(tenant: int) -> bool:
    """Whether its users take messages from those in their white lists only."""
    known = directory.current.by_id(tenant)
    return known is not None and known.whitelist_only


def _asks_white_list(request: Request) -> bool:
    return not request.options & FROM_SERVER and request.target != request.user


def _verdict(request: Request, blocked: set[Pair], strangers: set[Pair]) -> Verdict:
    try:
        up = parse_upstream(request.payload)
    except ProtocolError:
        return Refused(AckStatus.MALFORMED)
    if len(up.content) > MAX_CONTENT:
        return Refused(AckStatus.TOO_BIG)
    special = changing.FLAGS.get(up.classname, 0)
    pair = _pair(request)
    if not special & TO_SELF:
        if pair in blocked and _asks_block_list(request):
            return Refused(AckStatus.BLOCKED_BY_PEER)
        if pair in strangers and _asks_white_list(request):
            return Refused(AckStatus.NOT_WHITELISTED)
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
