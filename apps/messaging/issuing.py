"""Uids of messages that begin in a worker, as those of clients begin in a gateway."""

from __future__ import annotations

from functools import cache

from apps.routing.process import lease_number
from apps.routing.protocol.uid import NUMBER_MAX, UidIssuer


@cache
def _issuer() -> UidIssuer:
    return UidIssuer(lease_number() & NUMBER_MAX)


def new_uid(kind: int) -> str:
    """The next one, for a conversation of this type."""
    return _issuer().next(kind)
