"""The message that proves the road, gateway to queue to log and back (docs/architecture.md): for nobody."""

from __future__ import annotations

import time
from collections.abc import Sequence

from apps.messaging import log
from apps.messaging.log import Entry
from apps.messaging.methods import Verdict
from apps.messaging.models import CANARY
from apps.routing.envelope import Request

KEPT = 3600 * 1000  # ms that canary rows stay, for an engineer to look at


def admit(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    return [Entry(r.uid, 0, CANARY, "", "", 0, r.method, b"") for r in requests]


def sweep(server_set: str) -> None:
    """Remove canary rows older than `KEPT`. The log's ranges count by seq, so a missing row is no gap."""
    before = time.time_ns() // 1_000_000 - KEPT
    log.of(server_set).run(
        lambda connection: connection.execute(
            f"DELETE FROM messaging_message WHERE kind = {CANARY} AND time < %s", (before,)
        ),
        within=2.0,
    )
