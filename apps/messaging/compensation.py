"""Timed compensation: what was shown to a device and not acknowledged is announced to it again.

Gateways put connections with overdue pushes into the ledger; a timed task takes those that are due and has
their gateway send one `s_ntf`: the client then pulls what it lacks. Bodies are never sent again, so nothing
reaches an SDK twice (PROTOCOL 6.3).
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict

from apps.routing import hints, metrics, presence

logger = logging.getLogger(__name__)

AT_MOST = 1000  # connections a run; the next run takes the rest


def run(server_set: str) -> None:
    """Notify what is due, and count how many and how late."""
    metrics.COMPENSATIONS.of(server_set)
    client, ledger = presence.client(), presence.ledger_key(server_set)
    now = time.time_ns() // 1_000_000
    due: list[tuple[bytes, float]] = client.zrangebyscore(  # type: ignore[assignment]
        ledger, "-inf", now, start=0, num=AT_MOST, withscores=True
    )
    if not due:
        return
    live = set(presence.live_gateways())
    connections: dict[str, list[str]] = defaultdict(list)
    for member, _ in due:
        gateway, _, connection = member.decode().partition("/")
        connections[gateway].append(connection)
    for gateway in connections.keys() & live:
        hints.tell(gateway, {"type": "notify", "connections": connections[gateway]})
    # A gateway that died took its connections with it; a live one writes what stays due at its next beat.
    client.zrem(ledger, *(member for member, _ in due))
    late = [now - int(score) for _, score in due]
    metrics.COMPENSATIONS.add(len(late), server_set)
    for each in late:
        metrics.COMPENSATION_LATE.observe(each / 1000, server_set)
    logger.info(
        "%s: compensation notified %d connections, the latest %d ms late", server_set, len(late), max(late)
    )
