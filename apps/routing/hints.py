"""Hints from the synchronous processes (workers, beat, commands) to gateways, over the channel layer.

A hint may be lost: what it says can always be read from the log, the ledger or presence. So telling never
raises; it is bounded in time by the channel layer's socket timeouts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

EVERY_GATEWAY = "gateways"  # the channel-layer group of all gateway processes


class Signal(NamedTuple):
    """A PUBLISH of QoS 0 for all connections of a user: "something has changed, ask for it"."""

    tenant: int
    user: str
    topic: str  # such as s_cmd (PROTOCOL 4.2)
    payload: bytes
    but: str = ""  # the id of a connection that knows already


def signal(signals: Sequence[Signal]) -> None:
    """Have every gateway send these to its connections of the users."""
    if signals:
        tell(EVERY_GATEWAY, {"type": "signal", "signals": [list(each) for each in signals]})


def tell(group: str, message: dict[str, Any]) -> None:
    """Send a message to a group of gateways from a thread without an event loop."""
    try:
        get_channel_layer().tell(group, message)
    except Exception as error:
        logger.warning("a hint to %s was lost: %s", group, error)
