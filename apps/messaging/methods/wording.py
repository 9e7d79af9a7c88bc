"""What clients may not say: messages with sensitive words are refused or reworded before they are stored.

The rewording is what is stored: receivers, the sender's other devices and the history have it and no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apps.messaging.message_texts import change_texts
from apps.messaging.methods import Refused, Status, Verdict
from apps.messaging.models import REWORDED
from apps.messaging.sensitive_words import words
from apps.messaging.word_search import Blocked, WordSearch
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.packets import MAX_CONTENT, AckStatus, ProtocolError


def judged(requests: Sequence[Request], verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts, with what the words of the tenants that have some make of them."""
    by_tenant = words.current.by_tenant
    if not by_tenant:
        return verdicts
    for i, (request, verdict) in enumerate(zip(requests, verdicts, strict=True)):
        its = by_tenant.get(request.tenant)
        if its is not None and not request.options & FROM_SERVER and not isinstance(verdict, Refused):
            verdicts[i] = _judged(its.search, request, verdict)
    return verdicts


def _judged(search: WordSearch, request: Request, verdict: Verdict) -> Verdict:
    if isinstance(verdict, Refused):
        return verdict
    up = UpStreamMessage.FromString(request.payload)
    try:
        if not change_texts(up, search.replaced):
            return verdict
    except Blocked:
        return Refused(AckStatus.SENSITIVE_WORD)
    except ProtocolError:
        return Refused(AckStatus.MALFORMED)
    if len(up.content) > MAX_CONTENT:
        return Refused(AckStatus.TOO_BIG)
    payload = up.SerializeToString()
    if isinstance(verdict, Status):
        return replace(verdict, up=payload)
    return replace(verdict, up=payload, flags=verdict.flags | REWORDED)
