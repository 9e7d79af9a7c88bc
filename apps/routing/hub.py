"""All connections of this gateway: who is shown a row of the log, and which of a user's connections stay."""

from __future__ import annotations

import logging

from apps.routing import metrics
from apps.routing.envelope import Row
from apps.routing.lanes import Lanes
from apps.routing.protocol.messages import downstream
from apps.routing.protocol.packets import DisconnectStatus, ProtocolError
from apps.routing.sessions import Connection, Reading

logger = logging.getLogger(__name__)

UNREAD_MAX = 16 << 20  # bytes that a client may leave unread at a beat: a full window of the largest, twice
IDLE = 90.0  # s without a frame after which a connection is dropped (PROTOCOL 6.9)


def _downstream(row: Row) -> bytes:
    return downstream(
        row.up,
        sender=row.sender,
        kind=row.kind,
        target=row.target,
        time=row.time,
        uid=row.uid,
        status_message=row.seq == 0,
    )


class Hub:
    """All connections of this process."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.connections: dict[str, Connection] = {}
        self.users: dict[tuple[int, str], list[Connection]] = {}
        self.changed: set[tuple[int, str]] = set()  # whose presence must be announced
        self.cursors: dict[tuple[int, str, str], int] = {}  # of devices that acknowledged lately
        self.busy: set[Connection] = set()  # shown or asked something since the last beat

    def add(self, connection: Connection) -> None:
        """Register a connection; an older one of the same platform class makes way (PROTOCOL 6.10)."""
        key = (connection.tenant, connection.user)
        for other in list(self.users.get(key, ())):
            self.yield_to(other, connection.platform, connection.device, connection.id, connection.since)
        self.connections[connection.id] = connection
        metrics.CONNECTIONS.add(1, str(connection.generation))
        metrics.CONNECTIONS_OPENED.add(1, str(connection.generation))
        self.users.setdefault(key, []).append(connection)
        self.changed.add(key)

    @staticmethod
    def yield_to(other: Connection, platform: str, device: str, newer_id: str, since: int) -> None:
        """End `other` if the newer connection is of its platform class."""
        if other.platform != platform or other.id == newer_id or other.since > since:
            return
        if device and other.device == device:
            other.close()  # the same page came back before its old socket was noticed to be dead
        else:
            other.disconnect(DisconnectStatus.OTHER_DEVICE)

    def remove(self, connection: Connection) -> None:
        connection.closed = True
        key = (connection.tenant, connection.user)
        its = self.users.get(key, [])
        if connection in its:
            its.remove(connection)
        if not its:
            self.users.pop(key, None)
        if self.connections.pop(connection.id, None) is not None:
            metrics.CONNECTIONS.add(-1, str(connection.generation))
            self.changed.add(key)
            self._note_cursor(connection)
        self.busy.discard(connection)

    def apply(self, row: Row) -> None:
        """Show one row of the log to whom it concerns here."""
        sender = self._lanes.committed(row.uid, row.time)
        origin = sender.origin if sender else None
        if row.sync:
            for connection in self.users.get((row.tenant, row.sender), ()):
                if connection is not origin:
                    connection.show_sent(row)
        receivers = [c for user in row.to for c in self.users.get((row.tenant, user), ())]
        if receivers and (down := self._down(row)):
            for connection in receivers:
                connection.show(row, down)
                self.busy.add(connection)

    @staticmethod
    def _down(row: Row) -> bytes:
        try:
            return _downstream(row)
        except ProtocolError as error:
            # It was admitted by another version or by hand; the feed must go on past it.
            logger.error("message %s is not shown: %s", row.uid, error)
            return b""

    def skipped(self, position: int) -> None:
        """Rows of the log up to `position` were passed over: everybody pulls."""
        for connection in self.connections.values():
            connection.missed = position
            connection.missed_time = max(connection.missed_time, connection.seen + 1)
            if connection.reading is Reading.LIVE:
                connection.reading = Reading.BEHIND
                if not connection.pulls:
                    connection.notify()

    def _note_cursor(self, connection: Connection) -> None:
        at = connection.cursor()
        key = (connection.tenant, connection.user, connection.device or connection.platform)
        if at:
            self.cursors[key] = max(self.cursors.get(key, 0), at)

    def take_cursors(self) -> list[tuple[int, str, str, int]]:
        """[(tenant, user, device, ms)] of the devices that acknowledged something since the last call."""
        for connection in self.busy:
            self._note_cursor(connection)
        self.busy = {connection for connection in self.busy if connection.window}
        moved, self.cursors = self.cursors, {}
        return [(*key, at) for key, at in moved.items()]

    def drop_dead(self, now: float) -> None:
        """Close connections that have sent nothing for `IDLE` s, or do not read what they are sent."""
        for connection in list(self.connections.values()):
            if connection.socket is not None and connection.socket.unsent() > UNREAD_MAX:
                logger.warning("connection %s: reads too slowly, dropped", connection.id)
                connection.close()
            elif now - connection.heard_at > IDLE:
                logger.info("connection %s: silent for %d s, dropped", connection.id, IDLE)
                connection.close()
