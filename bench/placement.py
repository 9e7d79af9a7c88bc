"""How many messages a second one core can place: the receiver's slot, and the node for him and the method."""

import time
from itertools import count
from typing import Any

from apps.routing.placement import Candidates, slot

NODES = {"MSG_NODE1": 1.0, "MSG_NODE2": 1.0, "MSG_NODE3": 2.0, "MSG_NODE4": 2.0}
BATCH = 10_000  # placements between two looks at the clock


def measure(seconds: float) -> dict[str, Any]:
    """The line of the case. It counts the core's time, not the clock's; no receiver comes twice."""
    candidates = Candidates(NODES.items())
    used, placed = 0.0, 0
    names = (f"user{number}" for number in count())
    while used < seconds:
        receivers = [next(names) for _ in range(BATCH)]
        began = time.process_time()
        for receiver in receivers:
            slot("demo", receiver)
            candidates.best(receiver, "ppMsgP")
        used += time.process_time() - began
        placed += BATCH
    return {
        "case": "placement",
        "nodes": len(NODES),
        "core_seconds": round(used, 2),
        "placements_per_second": round(placed / used),
    }
