"""Moving a gateway's clients to other access points, when its own is draining or was taken out."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable

from apps.routing import access, access_points
from apps.routing.hub import Hub
from apps.routing.protocol.packets import DisconnectStatus
from apps.routing.sessions import Connection

logger = logging.getLogger(__name__)

MOVED = 100  # clients a second that a draining gateway asks to move: each costs others a connect and a pull
EMPTY_FOR = 5.0  # s: a client that navigation had just sent here may still come
TOLD_EVERY = 10.0  # s between two lines of the log about how far it is


def redirect(connection: Connection) -> None:
    """Have a client ask navigation again and connect where that says (PROTOCOL 6.11)."""
    if connection.generation == 2:
        connection.close()  # it throws at a DISCONNECT that redirects; its page reconnects after a loss
    else:
        connection.disconnect(DisconnectStatus.REDIRECT)


class Drain:
    """Empties the hub of a gateway while the state of its access point asks for it."""

    def __init__(self, access_point: str, hub: Hub, ended: Callable[[], None] = lambda: None) -> None:
        """`ended` is called when nobody has been left for `EMPTY_FOR` s: the gateway may go."""
        self._ended = ended
        self._empty_since: float | None = None  # monotonic s
        self._access_point = access_point
        self._hub = hub
        self._began = False
        self._told_at = 0.0

    def step(self) -> None:
        """To be called once a second."""
        point = access_points.table.current.named(self._access_point)
        if point is None or point.state == access.UP:
            if self._began:
                logger.info("access point %s: up again", self._access_point)
            self._began, self._empty_since = False, None
            return
        if not self._began:
            self._began, self._told_at = True, 0.0
        staying = [each for each in self._hub.connections.values() if not (each.ending or each.closed)]
        if staying and not access_points.elsewhere(self._access_point):
            self._tell("%s: %d clients stay: no other access point takes them", len(staying))
            return
        at_once = MOVED if point.state == access.DRAINING else len(staying)
        # Those first that wait for no answer: a send that is cut off is one that its user must repeat.
        for connection in heapq.nsmallest(at_once, staying, key=lambda each: each.in_flight):
            redirect(connection)
        self._report(point.state, len(self._hub.connections))

    def _report(self, state: str, left: int) -> None:
        if left:
            self._empty_since = None
            self._tell(f"%s: {state}, %d connections are left", left)
        elif self._empty_since is None:
            self._empty_since = time.monotonic()
            logger.info("access point %s: %s and empty", self._access_point, state)
        elif time.monotonic() - self._empty_since > EMPTY_FOR:
            self._ended()

    def _tell(self, text: str, connections: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= TOLD_EVERY:
            self._told_at = now
            logger.info(f"access point {text}", self._access_point, connections)
