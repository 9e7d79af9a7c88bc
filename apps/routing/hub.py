"""All connections of this gateway: who is shown a row of the log, and which of a user's connections stay."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from apps.accounts.directory import NO_RESTRICTION, Restriction
from apps.routing import metrics
from apps.routing.envelope import Answer, Row
from apps.routing.lanes import Lanes
from apps.routing.protocol.messages import CHATROOM, DISCUSSION, GROUP, SYSTEM, downstream
from apps.routing.protocol.packets import DisconnectStatus, ProtocolError
from apps.routing.quotas import quotas
from apps.routing.rooms import Rooms
from apps.routing.session_news import LOGOUT, OFFLINE, ONLINE
from apps.routing.sessions import Connection
from apps.routing.topology import Snapshot, slot

logger = logging.getLogger(__name__)

UNREAD_MAX = 16 << 20  # bytes that a client may leave unread at a beat: a full window of the largest, twice
GROUP_CHANGE, COMES = -3, "join"  # the kind and method of a row that changes a group
MENDED = -6  # the kind of a row behind others that nobody here was shown: they are pulled
SLOT_GONE = -5  # the kind of a row behind which the users of a slot (in `method`) are shown nothing
IDLE = 90.0  # s without a frame after which a connection is dropped (PROTOCOL 6.9)


def _downstream(row: Row) -> bytes:
    return downstream(
        row.up,
        sender=row.sender,
        kind=row.kind,
        target=row.target,
        time=row.sent,
        uid=row.uid,
        status_message=row.seq == 0,
    )


def _expelled(connection: Connection, restriction: Restriction, now: int) -> DisconnectStatus | None:
    """Why the connection may not stay; None when it may. What came with generation 5 is told to it alone."""
    newest = connection.generation >= 5
    if restriction.deactivated:
        return DisconnectStatus.ACCOUNT_CANCELLED if newest else DisconnectStatus.USER_BLOCKED
    if restriction.blocked_until_ms > now:
        return DisconnectStatus.USER_BLOCKED
    if connection.issued <= restriction.deleted_ms:
        return DisconnectStatus.TOKEN_EXPIRED if newest else DisconnectStatus.CLOSED_BY_SERVER
    return None


def _note_nothing(connection: Connection, status: int, at: int) -> None:
    """Whoever wants to know sets Hub.note."""


class Hub:
    """All connections of this process."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.note: Callable[[Connection, int, int], None] = _note_nothing  # who begins and ends, at ms
        self.rooms = Rooms(lanes)
        self.connections: dict[str, Connection] = {}
        self.users: dict[tuple[int, str], list[Connection]] = {}
        self.changed: set[tuple[int, str]] = set()  # whose presence must be announced
        self.cursors: dict[
            str, dict[tuple[int, str, str], int]
        ] = {}  # SET -> devices that acknowledged lately
        self.groups: dict[tuple[int, str], set[Connection]] = {}  # who of a group is here
        self._newest: dict[tuple[str, int, str], int] = {}  # (SET, tenant, group) -> seq of its last message
        self.busy: set[Connection] = set()  # shown or asked something since the last beat

    def add(self, connection: Connection) -> None:
        """Register a connection; an older one of the same platform class makes way (PROTOCOL 6.10)."""
        key = (connection.tenant, connection.user)
        for other in list(self.users.get(key, ())):
            self.yield_to(other, connection.platform, connection.device, connection.id, connection.since)
        self.connections[connection.id] = connection
        quotas.came(connection.tenant)
        metrics.CONNECTIONS.add(1, str(connection.generation))
        metrics.CONNECTIONS_OPENED.add(1, str(connection.generation))
        self.users.setdefault(key, []).append(connection)
        self.changed.add(key)
        self.note(connection, ONLINE, connection.since)

    def has(self, tenant: int, user: str, platform: str) -> bool:
        """Whether the user has a connection here of this platform class, which would make way."""
        return any(other.platform == platform for other in self.users.get((tenant, user), ()))

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
            quotas.went(connection.tenant)
            metrics.CONNECTIONS.add(-1, str(connection.generation))
            self.changed.add(key)
            status = LOGOUT if connection.logged_out else OFFLINE
            self.note(connection, status, time.time_ns() // 1_000_000)
            self._note_cursor(connection)
        self.busy.discard(connection)
        self._regroup(connection, None)
        self.rooms.leave_all(connection)

    def apply(self, server_set: str, row: Row) -> None:
        """Show one row of a SET's log to whom it concerns here: its users' devices read no other log."""
        sender = self._lanes.committed(row.uid, row.sent, row.status)
        origin: Connection | None = sender.origin if sender else None  # type: ignore[assignment]
        if row.kind == CHATROOM:
            if row.gone:
                self.rooms.withdraw(server_set, row)
            if row.to:
                self.rooms.show(server_set, row, self._down, origin)
            return
        if row.kind == MENDED:
            self.skipped(server_set, row.seq)
            return
        if row.kind == SLOT_GONE:
            self._hold_back(server_set, int(row.method), row.seq)
            return
        if origin is not None and origin.home != server_set:
            origin.sent_elsewhere(row.uid)
        if row.sync:
            for connection in self.users.get((row.tenant, row.sender), ()):
                if connection.home != server_set:
                    continue
                if connection is origin or connection.has_sent(row.uid):
                    connection.pass_over(row)
                else:
                    connection.show_sent(row)
        receivers = self._receivers(server_set, row)
        if receivers and (down := self._down(row)):
            for connection in receivers:
                connection.show(row, down)
                self.busy.add(connection)

    def _receivers(self, server_set: str, row: Row) -> list[Connection]:
        if row.kind in (GROUP, DISCUSSION):
            if row.seq:
                self._newest[server_set, row.tenant, row.target] = row.seq
            return [
                c
                for c in self.groups.get((row.tenant, row.target), ())
                # A status message is in no log: the group's SET tells the members of all.
                if (c.home == server_set or not row.seq)
                and c.user != row.sender
                and (not row.to or c.user in row.to)
            ]
        if row.kind == SYSTEM and not row.target:  # it is for everybody
            return [
                c
                for c in self.connections.values()
                if c.tenant == row.tenant and (c.home == server_set or not row.seq) and c.user != row.sender
            ]
        its = [c for user in row.to for c in self.users.get((row.tenant, user), ()) if c.home == server_set]
        if row.kind == GROUP_CHANGE:
            for connection in its:
                self._note_change(connection, row.seq, row.target, comes=row.method == COMES)
            return []
        return its

    def _note_change(self, connection: Connection, seq: int, group: str, *, comes: bool) -> None:
        """A user has come to a group or left it."""
        if connection.pulls:  # whose answer may tell the groups of before
            connection.changes.append((seq, group, comes))
        if connection.groups is not None:
            self._regroup(connection, connection.groups | {group} if comes else connection.groups - {group})

    def _regroup(self, connection: Connection, groups: frozenset[str] | None) -> None:
        before, connection.groups = connection.groups or frozenset(), groups
        for group in before - (groups or frozenset()):
            members = self.groups[connection.tenant, group]
            members.discard(connection)
            if not members:
                del self.groups[connection.tenant, group]
        for group in (groups or frozenset()) - before:
            self.groups.setdefault((connection.tenant, group), set()).add(connection)

    def learn_groups(self, connection: Connection, answer: Answer) -> None:
        """A pull has told the user's groups: its devices are shown their messages from now on."""
        if answer.groups is None:
            return
        groups = set(answer.groups)
        for seq, group, comes in connection.changes:
            if seq > answer.groups_at:
                (groups.add if comes else groups.discard)(group)
        connection.changes.clear()
        self._regroup(connection, frozenset(groups))
        # What came after the pull has read, and before this.
        for group in groups:
            seq = self._newest.get((connection.home, connection.tenant, group), 0)
            if seq > answer.position:
                connection.missed = max(connection.missed, seq)
                connection.missed_time = max(connection.missed_time, connection.seen + 1)

    @staticmethod
    def _down(row: Row) -> bytes:
        try:
            return _downstream(row)
        except ProtocolError as error:
            # It was admitted by another version or by hand; the feed must go on past it.
            logger.error("tenant %d, message %s is not shown: %s", row.tenant, row.uid, error)
            return b""

    def skipped(self, server_set: str, position: int) -> None:
        """Rows of the log up to `position` were passed over: everybody of the SET pulls."""
        for connection in self.connections.values():
            if connection.home == server_set:
                self._regroup(connection, None)  # who came and went was passed over too
                connection.fall_behind(position)
        self.rooms.skipped(server_set)

    def _hold_back(self, server_set: str, number: int, position: int) -> None:
        """A slot is going to another SET: its users' devices are told to pull, which is answered there."""
        for connection in self.connections.values():
            if connection.home == server_set and slot(str(connection.tenant), connection.user) == number:
                connection.fall_behind(position)

    def new_epoch(self, server_set: str, epoch: int) -> None:
        """The SET has another primary: its devices pull, and say that what they have is of the old one."""
        for connection in self.connections.values():
            if connection.home == server_set:
                self._regroup(connection, None)
                connection.begin(epoch)
        self.rooms.skipped(server_set)

    def rehome(self, snapshot: Snapshot, covered: Mapping[str, int]) -> None:
        """Slots have moved: their users' devices read the log of another SET from now on.

        `covered`: SET -> seq up to which its rows have been shown here, to its own users.
        """
        for connection in self.connections.values():
            home = snapshot.home(connection.tenant, connection.user)
            if home != connection.home:
                self._regroup(connection, None)
                connection.move(home, covered.get(home, 0))
                self.busy.add(connection)  # its cursor may have come to the old SET too late to go along
        self.rooms.rehome(snapshot)

    def _note_cursor(self, connection: Connection) -> None:
        at = connection.cursor()
        key = (connection.tenant, connection.user, connection.device or connection.platform)
        if at:
            cursors = self.cursors.setdefault(connection.home, {})
            cursors[key] = max(cursors.get(key, 0), at)

    def take_cursors(self) -> dict[str, list[tuple[int, str, str, int]]]:
        """SET -> [(tenant, user, device, ms)] of devices that acknowledged something since the last call."""
        for connection in self.busy:
            self._note_cursor(connection)
        self.busy = {connection for connection in self.busy if connection.window}
        moved, self.cursors = self.cursors, {}
        return {name: [(*key, at) for key, at in its.items()] for name, its in moved.items()}

    def expel(self, restriction_of: Callable[[int, str], Restriction]) -> None:
        """End the connections of users who may not be connected any more.

        `restriction_of` is `Directory.user_restriction`.
        """
        now = time.time_ns() // 1_000_000
        for (tenant, user), its in list(self.users.items()):
            restriction = restriction_of(tenant, user)
            if restriction is NO_RESTRICTION:
                continue
            for connection in list(its):
                status = _expelled(connection, restriction, now)
                if status is not None:
                    logger.info("%s: its user is shut out: %s", connection, status.name)
                    connection.disconnect(status)

    def drop_dead(self, now: float) -> None:
        """Close connections that have sent nothing for `IDLE` s, or do not read what they are sent."""
        for connection in list(self.connections.values()):
            if connection.socket is not None and connection.socket.unsent() > UNREAD_MAX:
                logger.warning("%s: reads too slowly, dropped", connection)
                connection.close()
            elif now - connection.heard_at > IDLE:
                logger.info("%s: silent for %d s, dropped", connection, IDLE)
                connection.close()
