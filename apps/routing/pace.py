"""How fast one connection may send and ask: two token buckets, in the gateway's memory alone.

The public service lets a client send 5 messages/s (PROTOCOL 7.3). Here nothing is limited unless the operator
says so: an app's own bursts, and what an SDK asks at connect, are not ours to know.
"""

from __future__ import annotations

import time

from django.conf import settings

SECOND = 1_000_000_000  # ns

# What SDKs ask because a gateway told them to (s_ntf, s_cmd, s_us, PROTOCOL 4.2) and then page through. They
# do not ask again when it is refused: they would miss what they were told of. Each names the newest that the
# client has, so there is little to gain by asking often.
_OF_MESSAGES = ("pullMsg", "chrmPull", "pullKV", "pullEventChange", "pullModifyMsg")
PULLS = frozenset((*_OF_MESSAGES, "pullUS", "pullSeAtts", "pullUserSub", "pullSubData"))


class Bucket:
    """`burst` requests at once and `rate` a second after that. What is refused costs nothing.

    It keeps the moment at which it will be full again, in whole ns: sums of floats would refuse the last one.
    """

    __slots__ = ("_cost", "_depth", "_full_at")

    def __init__(self, rate: int, burst: int) -> None:
        self._cost = SECOND // rate  # ns that one request takes to come back
        self._depth = self._cost * burst
        self._full_at = 0

    def take(self) -> bool:
        """Whether there is room for one more now."""
        now = time.monotonic_ns()
        full_at = max(self._full_at, now) + self._cost
        if full_at - now > self._depth:
            return False
        self._full_at = full_at
        return True


def of_messages() -> Bucket | None:
    """A new connection's bucket for what it sends; None: not limited."""
    return _bucket(settings.MESSAGE_RATE, settings.MESSAGE_BURST)


def of_queries() -> Bucket | None:
    """A new connection's bucket for what it asks."""
    return _bucket(settings.QUERY_RATE, settings.QUERY_BURST)


def _bucket(rate: int, burst: int) -> Bucket | None:
    return Bucket(rate, burst) if rate else None
