"""Chatrooms at a gateway: which connections are in which room, what they are told, and most of what they ask.

A gateway follows the logs of all SETs, so it sees every message of a room in order (PROTOCOL 6.4). It keeps
the newest ones of the rooms that its connections are in, and answers their pulls itself; what is older, and
everything after a gap, a node answers. A connection has at most one notice of a room unanswered: what comes
meanwhile is in the pull that answers it. Notices leave at a bounded pace, so that a room of thousands takes
no more than a part of the gateway, and the more messages it has, the more of them one pull brings.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from apps.routing import metrics
from apps.routing.envelope import Answer, Row
from apps.routing.lanes import Lanes
from apps.routing.protocol import packets
from apps.routing.protocol.im_pb2 import ChrmPullMsg, NotifyMsg
from apps.routing.protocol.messages import CHATROOM, downstream
from apps.routing.protocol.packets import AckStatus, Query
from apps.routing.room_answers import Asking, SharedAnswers
from apps.routing.room_members import ANNOUNCED, Announcement
from apps.routing.room_ring import Ring, without
from apps.routing.sessions import Connection
from apps.routing.topology import Snapshot

OWN_MAX = 256  # messages that a connection has sent into a room, so that no pull brings them back
ROOMS_MAX = 64  # rooms of one connection
TICK = 0.01  # s between two turns of notices
NOTICES_A_SECOND = 10_000  # a notice, its pull and the reply cost some 100 µs: never more than a processor
NOTICES_A_TURN = 200  # more than that of a late turn is left for the next: others wait behind them
REMIND = 5.0  # s without a pull after which a notice is sent again
NOTICE, ENTRIES = 1, 2  # bits of Joined.owed
MESSAGES, ENTRIES_CHANGED, DESTROYED = 2, 2, 4  # NotifyMsg.type: of s_ntf; of s_cmd, twice (PROTOCOL 4.2)


class Joined:
    """One connection in one room."""

    __slots__ = ("at", "connection", "leaving", "owed", "own", "own_until", "room", "since", "slice", "upto")

    def __init__(self, connection: Connection, room: Room, at: int, since: int) -> None:
        self.connection = connection
        self.room: Room | None = room  # None: it has left
        self.at = at  # ms of the log: everything later came after it joined
        self.since = since  # ms: when the user joined, on whichever connection
        self.upto = at  # ms: it was given everything up to here
        self.owed = 0  # what is to be written to it
        self.own: dict[str, None] = {}  # uids of what it has sent since it joined
        self.own_until = 0  # ms of the newest of these
        self.leaving = False  # the node is taking the user out
        self.slice = 0


class Room:
    """A room that connections of this gateway are in, or about to join."""

    __slots__ = (
        "entries",
        "entries_time",
        "home",
        "idle",
        "joined",
        "joining",
        "name",
        "notice",
        "ring",
        "tenant",
    )

    def __init__(self, tenant: int, name: str, home: str) -> None:
        self.tenant = tenant
        self.name = name
        self.home = home  # the SET whose log has its messages
        self.joined: dict[Connection, Joined] = {}
        self.joining = 0  # connections that wait for the node's answer
        self.idle: dict[Joined, None] = {}  # those that have everything and no notice unanswered
        self.ring = Ring()
        self.notice = b""
        self.entries = SharedAnswers()  # about its key-value store
        self.entries_time = 0  # ms of their newest change that is known here


class Rooms:
    """All rooms of this gateway."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._rooms: dict[tuple[int, str], Room] = {}
        self._due: deque[Joined] = deque()  # those that are owed something, each once
        self._ticked_at = 0.0  # monotonic: the newest turn of notices
        self._ticking = False
        self._noticed: dict[Joined, float] = {}  # notice unanswered since, monotonic, the oldest first
        self._slices: list[dict[Joined, None]] = [{} for _ in range(ANNOUNCED)]
        self._entered = 0
        self._beats = 0
        self._forgotten = False  # Redis has lost who is in which room
        self._notices = self._pulls = 0

    @property
    def owing(self) -> int:
        """Connections that wait for their turn to be written to."""
        return len(self._due)

    # --- messages

    def show(
        self, server_set: str, row: Row, encode: Callable[[Row], bytes], origin: Connection | None
    ) -> None:
        """A message of a room has come past in its SET's log; `origin` has sent it.

        `encode` makes its DownStreamMessage, or nothing of one that cannot be shown.
        """
        room = self._rooms.get((row.tenant, row.target))
        if room is None or server_set != room.home or not (down := encode(row)):
            return
        sender = room.joined.get(origin) if origin is not None else None
        if not row.seq:  # a status message, which no pull would find
            for joined in room.joined.values():
                if joined is not sender:
                    joined.connection.show(row, down)
            return
        room.ring.add(row.time, row.uid, down, len(room.joined))
        room.notice = NotifyMsg(type=MESSAGES, time=row.time, chrmId=room.name).SerializeToString()
        if sender is not None:
            if len(sender.own) >= OWN_MAX:
                del sender.own[next(iter(sender.own))]
            sender.own[row.uid] = None
            sender.own_until = row.time
        idle, room.idle = room.idle, {}
        for joined in idle:
            if joined is sender:
                room.idle[joined] = None
            else:
                self._owe(joined, NOTICE)

    def withdraw(self, server_set: str, row: Row) -> None:
        """A message of the room was recalled: who has not pulled it yet does not get it."""
        room = self._rooms.get((row.tenant, row.target))
        if room is not None and server_set == room.home:
            room.ring.remove(row.gone)

    def _owe(self, joined: Joined, what: int) -> None:
        if not joined.owed:
            self._due.append(joined)
            if not self._ticking:
                self._ticking = True
                pause = max(self._ticked_at + TICK - time.monotonic(), 0.0)
                asyncio.get_running_loop().call_later(pause, self._tick)
        joined.owed |= what

    def _tick(self) -> None:
        """Write to the next ones of those that are owed something."""
        now = time.monotonic()
        most = min((now - self._ticked_at) * NOTICES_A_SECOND, NOTICES_A_TURN)
        self._ticked_at = now
        written = 0
        try:
            while self._due and written < most:
                joined = self._due.popleft()
                owed, joined.owed = joined.owed, 0
                if owed and joined.room is not None:
                    written += 1
                    self._write(joined, joined.room, owed, now)
        finally:  # a bug must not keep everybody else's notices
            self._notices += written
            self._ticking = bool(self._due)
            if self._due:
                asyncio.get_running_loop().call_later(TICK, self._tick)

    def _write(self, joined: Joined, room: Room, owed: int, now: float) -> None:
        user = joined.connection.user
        if owed & NOTICE:
            self._noticed.pop(joined, None)  # the newest comes last
            self._noticed[joined] = now
            at, notice = room.ring.newest, room.notice
            if at <= joined.upto:  # what is new has not come past here: SDKs look at nothing that they know
                at = joined.upto + 1
                notice = NotifyMsg(type=MESSAGES, time=at, chrmId=room.name).SerializeToString()
            joined.connection.write(packets.encode_notify(at // 1000, user, notice))
        if owed & ENTRIES:
            at = room.entries_time  # v4 asks if it is later than what it has
            changed = NotifyMsg(type=ENTRIES_CHANGED, time=at, chrmId=room.name).SerializeToString()
            joined.connection.write(packets.encode_notify(at // 1000, user, changed, topic="s_cmd"))

    def _settle(self, joined: Joined, room: Room) -> None:
        """It has been given everything up to `upto`: announce what came after, or the next that comes."""
        if room.ring.newest > joined.upto:
            self._owe(joined, NOTICE)
        elif not joined.owed & NOTICE:
            room.idle[joined] = None

    def skipped(self, server_set: str) -> None:
        """Messages of this SET's log were passed over."""
        for room in self._rooms.values():
            if room.home == server_set:
                self._lose(room)

    def rehome(self, snapshot: Snapshot) -> None:
        """Slots have moved: their rooms' messages come in the log of another SET from now on."""
        for room in self._rooms.values():
            home = snapshot.home(room.tenant, room.name)
            if home != room.home:
                room.home = home
                self._lose(room)

    def _lose(self, room: Room) -> None:
        room.ring, room.notice = Ring(), b""
        room.entries.clear()
        room.idle.clear()
        for joined in room.joined.values():
            self._owe(joined, NOTICE)

    # --- what connections ask

    def ask(self, asking: Asking, connection: Connection, packet: Query) -> None:
        """Answer one of `TOPICS`, or have a node do so."""
        if packet.topic == "chrmPull":
            self._pull(asking, connection, packet)
        elif packet.topic == "pullKV":
            self._pull_entries(asking, connection, packet)
        elif packet.topic == "exitChrm":
            self._exit(asking, connection, packet)
        else:
            self._join(asking, connection, packet)

    def _when_shown(self, room: Room, home: str, position: int, then: Callable[[], None]) -> None:
        """Call `then` when everything that a node has seen of the log was shown here."""
        if room.home == home:
            self._lanes.when_covered(home, position, then)
        else:  # the room has moved meanwhile, and positions of its new log mean something else
            then()

    def _join(self, asking: Asking, connection: Connection, packet: Query) -> None:
        if packet.target not in connection.rooms and len(connection.rooms) >= ROOMS_MAX:
            asking.reply(packet, AckStatus.OPERATION_BLOCKED, b"")
            return
        key = (connection.tenant, packet.target)
        if key not in self._rooms:
            self._rooms[key] = Room(*key, self._lanes.snapshot.home(*key))
        # It is there, and so is its ring, before the node looks where the log ends: it misses nothing after.
        room = self._rooms[key]
        ring, home = room.ring, room.home
        room.joining += 1

        def resolve(answer: Answer) -> None:
            if answer.status:
                room.joining -= 1
                self._let_go(room)
                asking.reply(packet, answer.status, answer.payload)
            else:
                self._when_shown(room, home, answer.position, lambda: joined(answer))

        def joined(answer: Answer) -> None:
            room.joining -= 1
            if room.ring is ring:
                ring.complete(answer.newest)
            if connection.closed:
                self._let_go(room)
                return
            # Was it destroyed meanwhile, this is a new one of that name.
            now = self._rooms.setdefault(key, Room(*key, room.home))
            self._enter(Joined(connection, now, answer.newest, answer.time))
            asking.reply(packet, 0, answer.payload)

        if not asking.submit(packet, resolve):
            room.joining -= 1
            self._let_go(room)

    def _enter(self, joined: Joined) -> None:
        room, connection = joined.room, joined.connection
        assert room is not None
        if (before := connection.rooms.get(room.name)) is not None:
            self._remove(before)
        connection.rooms[room.name] = room.joined[connection] = joined
        self._entered += 1
        joined.slice = self._entered % ANNOUNCED
        self._slices[joined.slice][joined] = None
        self._noticed[joined] = time.monotonic()  # it asks by itself now
        metrics.CHATROOM_MEMBERS.add(1)

    def _remove(self, joined: Joined) -> None:
        room = joined.room
        if room is None:
            return
        joined.room = None
        del room.joined[joined.connection]
        del joined.connection.rooms[room.name]
        del self._slices[joined.slice][joined]
        room.idle.pop(joined, None)
        self._noticed.pop(joined, None)
        metrics.CHATROOM_MEMBERS.add(-1)

    def _let_go(self, room: Room) -> None:
        key = (room.tenant, room.name)
        if not room.joined and not room.joining and self._rooms.get(key) is room:
            del self._rooms[key]

    def leave_all(self, connection: Connection) -> None:
        """The connection has gone. Who does not come back soon is out: nobody tells of him any more."""
        for joined in list(connection.rooms.values()):
            room = joined.room
            self._remove(joined)
            if room is not None:
                self._let_go(room)

    def _exit(self, asking: Asking, connection: Connection, packet: Query) -> None:
        joined = connection.rooms.get(packet.target)

        def resolve(answer: Answer) -> None:
            if joined is not None:
                joined.leaving = False
                room = joined.room
                if not answer.status and room is not None:
                    self._remove(joined)
                    self._let_go(room)
            asking.reply(packet, answer.status, answer.payload)

        if joined is not None:
            joined.leaving = True
        if not asking.submit(packet, resolve) and joined is not None:
            joined.leaving = False

    def _pull(self, asking: Asking, connection: Connection, packet: Query) -> None:
        joined = connection.rooms.get(packet.target)
        if joined is None or joined.room is None:
            asking.submit(packet, lambda answer: asking.reply(packet, answer.status, answer.payload))
            return
        try:
            wanted = ChrmPullMsg.FromString(packet.payload)
        except DecodeError:
            asking.reply(packet, AckStatus.MALFORMED, b"")
            return
        room, ring = joined.room, joined.room.ring
        since = wanted.syncTime if wanted.syncTime > 0 else ring.first(wanted.count, joined.at)
        self._noticed.pop(joined, None)
        joined.owed &= ~NOTICE
        if since is None or since < ring.floor:
            self._pull_from_node(asking, packet, joined, room)
            return
        self._pulls += 1
        joined.upto = max(joined.at, ring.newest)
        own = joined.own if joined.own_until > since else ()
        # What a client claims to have is said to it again, and moves nothing here.
        page = ring.page(since, max(joined.upto, since, 1), connection.generation, own)
        asking.reply(packet, 0, page)
        self._settle(joined, room)

    def _pull_from_node(self, asking: Asking, packet: Query, joined: Joined, room: Room) -> None:
        ring, home = room.ring, room.home

        def resolve(answer: Answer) -> None:
            if answer.status:
                asking.reply(packet, answer.status, answer.payload)
                if joined.room is not None:
                    self._noticed[joined] = time.monotonic()
            else:
                # Its own messages in the reply must have come past here, to be known for its own.
                self._when_shown(room, home, answer.position, lambda: pulled(answer))

        def pulled(answer: Answer) -> None:
            asking.reply(packet, 0, without(answer.payload, joined.own))
            if joined.room is None:
                return
            joined.upto = max(joined.upto, answer.newest)
            if answer.finished:
                if room.ring is ring:
                    ring.complete(answer.newest)
                self._settle(joined, room)
            else:
                self._owe(joined, NOTICE)

        metrics.CHATROOM_PULLS.add(1, "node")
        if not asking.submit(packet, resolve, acknowledged=joined.at):
            self._noticed[joined] = time.monotonic()

    def _pull_entries(self, asking: Asking, connection: Connection, packet: Query) -> None:
        joined = connection.rooms.get(packet.target)
        if joined is not None and joined.room is not None:
            joined.room.entries.ask(asking, packet)
        else:
            asking.submit(packet, lambda answer: asking.reply(packet, answer.status, answer.payload))

    # --- news

    def told(self, message: dict[str, Any]) -> None:
        """There is news of a room: its entries have changed, users are out, or it is destroyed.

        Or of no room in particular: something is said in all of them.
        """
        if "said" in message:
            self._say_everywhere(message["tenant"], *message["said"])
            return
        room = self._rooms.get((message["tenant"], message["room"]))
        if room is None:
            return
        if "destroyed" in message:
            self._destroy(room, message["destroyed"])
            return
        for connection, joined in list(room.joined.items()):
            if connection.user in message.get("removed", ()):
                self._remove(joined)
        if message.get("entries"):
            room.entries.clear()
            room.entries_time = max(room.entries_time, message["entries"])
            for connection, joined in room.joined.items():
                if connection.id != message.get("but"):
                    self._owe(joined, ENTRIES)
        self._let_go(room)

    def _say_everywhere(self, tenant: int, uid: str, at: int, sender: str, up: bytes, to_him: bool) -> None:
        """Show a status message in all rooms of a tenant to who is there; also to its sender if `to_him`."""
        for room in self._rooms.values():
            if room.tenant != tenant or not room.joined:
                continue
            its = uuid.uuid5(uuid.UUID(uid), room.name).hex  # SDKs show one uid once, and one may be in two
            down = downstream(
                up, sender=sender, kind=CHATROOM, target=room.name, time=at, uid=its, status_message=True
            )
            row = Row(0, its, at, at, tenant, CHATROOM, sender, room.name, (), False, "chatMsgS", up)
            for connection in room.joined:
                if to_him or connection.user != sender:
                    connection.show(row, down)

    def _destroy(self, room: Room, how: int) -> None:
        """Members are told at once; `how`: NotifyMsg.destroyType."""
        at = time.time_ns() // 1_000_000
        notice = NotifyMsg(type=DESTROYED, time=at, chrmId=room.name, destroyType=how)
        # v4 takes the room's id from the packet's target (PROTOCOL 4.2).
        frame = packets.encode_notify(at // 1000, room.name, notice.SerializeToString(), topic="s_cmd")
        for connection, joined in list(room.joined.items()):
            self._remove(joined)
            connection.write(frame)
        del self._rooms[room.tenant, room.name]

    # --- time

    def every_second(self, now: float) -> None:
        """Remind those that have not asked for what they were told of; hand over what was counted."""
        while self._noticed and now - (first := next(iter(self._noticed.items())))[1] > REMIND:
            del self._noticed[first[0]]
            if first[0].room is not None:
                self._settle(first[0], first[0].room)
        metrics.CHATROOM_NOTICES.add(self._notices)
        metrics.CHATROOM_PULLS.add(self._pulls, "gateway")
        self._notices = self._pulls = 0

    def forgotten(self) -> None:
        """Redis has lost everything: tell of all members at once."""
        self._forgotten = True

    def announce(self, pipeline: Any) -> None:
        """To be called once a second: tell of a part of the members, each every `ANNOUNCED` s."""
        slices = self._slices if self._forgotten else [self._slices[self._beats % ANNOUNCED]]
        self._beats += 1
        self._forgotten = False
        told = Announcement()
        for joined in (joined for each in slices for joined in each):
            if joined.room is not None and not joined.leaving:
                room = joined.room
                told.add(room.home, room.tenant, room.name, joined.connection.user, joined.since)
        told.put(pipeline)


TOPICS = frozenset(("joinChrm", "joinChrmR", "exitChrm", "chrmPull", "pullKV"))
