"""Lanes: the one road from gateways to nodes, with group commit: while a batch is out, the next one collects.

One lane per node and kind. A message lane has one batch in flight, which keeps a sender's messages in order
and makes batches grow exactly when load grows; a query lane has several, answered in any order. A batch that
is not answered goes again under the same uids. Everything here runs on the event loop, except the publishing
itself, which is network I/O and has a thread of its own.

When the topology changes, messages may have to go another way than those that went before them. They wait for
these: what no batch has taken yet, and what a dead node was sent, is collected and placed anew, in the order
in which it came, when all batches that are out have come back (see `Lanes.follow`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from apps.routing import metrics
from apps.routing.envelope import ELSEWHERE, Answer, Batch, Request
from apps.routing.methods import ALL
from apps.routing.protocol.messages import conversation_type
from apps.routing.protocol.packets import AckStatus
from apps.routing.protocol.uid import UidIssuer
from apps.routing.publisher import Publisher
from apps.routing.topology import ANSWER, DELIVER, NodeEntry, Snapshot

logger = logging.getLogger(__name__)

WAITING_MAX = 8192  # requests; past it new ones are refused as busy
WAITING_BYTES = 64 << 20  # of their payloads; likewise
BATCH_MAX = 512  # requests in one task
BATCH_BYTES = 1 << 20  # of payloads in one task; a single larger request goes alone
QUERIES_IN_FLIGHT = 4  # batches
RESEND = 2.0  # s without an answer after which a batch goes again
RETRY = 0.3  # s after a publish that failed
EXPIRES = 4.0  # s that a published batch is worth running; a later copy of it takes its place
UNHEARD = 4.5  # s after which a request is refused while the broker does not take it
UNANSWERED = 15.0  # s after which one is refused that a node should have answered
SWEEP = 0.25  # s
ASK_AGAIN = 1.0  # s after which messages for a slot that no SET took are placed again
ID_MAX = 64  # characters


class Reply(NamedTuple):
    """What a caller of `submit` learns. `status` 0 for a message: it is committed."""

    status: int
    time: int  # ms
    uid: str
    payload: bytes


def _may_be_to_all(method: str) -> bool:
    return method in ALL and ALL[method].to_all


def _is_id(text: str, *, may_be_empty: bool) -> bool:
    """Whether a target can be the id of something: the log could not hold it otherwise."""
    return len(text) <= ID_MAX and text.isprintable() and (may_be_empty or text != "")


class Pending:
    """A request that waits for its answer; `resolve` is called exactly once, on the event loop."""

    __slots__ = ("number", "origin", "placed_at", "request", "resolve", "server_set", "since", "tried")

    def __init__(
        self,
        number: int,
        request: Request,
        resolve: Callable[[Pending, Answer], None],
        origin: object,
        server_set: str,
    ) -> None:
        self.number = number  # they are sent in this order
        self.request = request
        self.resolve = resolve
        self.origin = origin
        self.server_set = server_set  # the one that it must go to; empty: its target's
        self.since = self.placed_at = time.monotonic()  # `placed_at`: when a lane has taken it
        self.tried = False  # a batch has had it: it may be stored


class Flight:
    """A batch on its way: its requests by index, until each is resolved."""

    __slots__ = (
        "attempt",
        "copies",
        "heard",
        "left_at",
        "number",
        "open",
        "placed_at",
        "requests",
        "retry_at",
        "since",
    )

    def __init__(self, number: int, pendings: list[Pending]) -> None:
        self.number = number
        self.requests = [pending.request for pending in pendings]
        self.open = dict(enumerate(pendings))
        # Of its oldest request: waiting for the batch before it counts too.
        self.since, self.placed_at = pendings[0].since, pendings[0].placed_at
        self.left_at = time.monotonic()
        # The first publish adds one. Above 0, the node looks for what an earlier try has stored.
        self.attempt = 0 if any(pending.tried for pending in pendings) else -1
        self.retry_at = 0.0
        self.copies = 0  # that the broker took
        self.heard = False  # the broker took the latest copy


class Lane:
    """The way to one node's queue."""

    def __init__(self, lanes: Lanes, node: NodeEntry, is_message: bool) -> None:
        self._lanes = lanes
        self.node = node.name
        self._server_set = node.server_set
        self._queue = node.queue(is_message)
        self._task = DELIVER if is_message else ANSWER
        self.kind = "message" if is_message else "query"
        self._is_message = is_message
        self._flights_max = 1 if is_message else QUERIES_IN_FLIGHT
        self._waiting: deque[Pending] = deque()
        self._waiting_bytes = 0
        self._flights: dict[int, Flight] = {}
        self._scheduled = False
        self._publisher = Publisher()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._queue)

    @property
    def waiting(self) -> int:
        """Requests that no batch has taken yet."""
        return len(self._waiting)

    def submit(self, pending: Pending) -> None:
        size = len(pending.request.payload)
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + size > WAITING_BYTES:
            self._lanes.resolve(pending, Answer(0, AckStatus.BUSY))
            return
        pending.placed_at = time.monotonic()
        self._waiting.append(pending)
        self._waiting_bytes += size
        self._wake()

    def _next(self) -> Pending:
        pending = self._waiting.popleft()
        self._waiting_bytes -= len(pending.request.payload)
        return pending

    def take_back(self, *, flying: bool) -> list[Pending]:
        """Give up what waits, and with `flying` what is on its way too: the node is gone."""
        taken: list[Pending] = []
        if flying:
            for flight in self._flights.values():
                taken += flight.open.values()
            self._flights.clear()
        taken += self._waiting
        self._waiting.clear()
        self._waiting_bytes = 0
        return taken

    def flights(self) -> list[tuple[int, list[Pending]]]:
        """The batches that are on their way: their numbers and requests."""
        return [(number, list(flight.open.values())) for number, flight in self._flights.items()]

    def close(self) -> None:
        """Its node is gone, and so is its work."""
        self._thread.submit(self._publisher.close)
        self._thread.shutdown(wait=False)

    def back(self, number: int) -> None:
        """Send the next batch of messages if it was this one that held it up."""
        if self._is_message and [*self._flights] == [number]:
            self._flush()

    def _wake(self) -> None:
        if self._waiting and not self._scheduled and len(self._flights) < self._flights_max:
            # At the end of this turn of the loop: what other sockets bring in it travels together.
            self._scheduled = True
            self._lanes.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        taken: list[Pending] = []
        size = 0
        while self._waiting and len(taken) < BATCH_MAX:
            size += len(self._waiting[0].request.payload)
            if taken and size > BATCH_BYTES:
                break
            taken.append(self._next())
        if taken:
            metrics.LANE_BATCH.observe(len(taken), self.kind)
            flight = Flight(self._lanes.next_number(), taken)
            for pending in taken:
                pending.tried = True
            self._flights[flight.number] = flight
            self._publish(flight)
            self._wake()

    def _publish(self, flight: Flight) -> None:
        flight.attempt += 1
        if flight.attempt:
            metrics.LANE_RESENT.add(1, self.kind)
        flight.heard = False
        flight.retry_at = time.monotonic() + RESEND * (flight.copies + 1)
        expires = time.time_ns() // 1_000_000 + int(EXPIRES * 1000)
        lanes = self._lanes
        batch = Batch(
            self._server_set, lanes.gateway, flight.number, flight.attempt, expires, flight.requests
        )
        published = lanes.loop.run_in_executor(
            self._thread, self._publisher.publish, self._queue, self._task, batch.pack()
        )
        published.add_done_callback(lambda done: self._published(flight, done.exception()))

    def _published(self, flight: Flight, error: BaseException | None) -> None:
        flight.heard = error is None
        if error is not None:
            flight.retry_at = time.monotonic() + RETRY
            metrics.LANE_UNPUBLISHED.add(1, self.kind)
            logger.warning("%s: batch %d not published: %s", self._queue, flight.number, error)
        else:
            flight.copies += 1

    def answered(self, number: int, answers: list[Answer]) -> bool:
        """Resolve some of a batch's answers. The batch is over when all queries are answered, or at once when
        it is one of messages: those without an answer here are in the log, and resolved by their rows.
        """
        flight = self._flights.get(number)
        if flight is None:
            return False
        for answer in answers:
            pending = flight.open.pop(answer.place, None)
            if pending is None:
                continue
            if answer.status == ELSEWHERE:
                self._lanes.place_again(pending)
            elif self._is_message and answer.position >= 0:
                self._lanes.when_covered(
                    self._server_set, answer.position, partial(self._lanes.resolve, pending, answer)
                )
            else:
                self._lanes.resolve(pending, answer)
        if self._is_message or not flight.open:
            del self._flights[number]
            metrics.LANE_FLIGHT.observe(time.monotonic() - flight.left_at, self.kind)
            self._lanes.landed(number)
            self._wake()
        return True

    def sweep(self, now: float) -> None:
        """Refuse what waited too long, send again what was not answered."""
        while self._waiting and now - self._waiting[0].placed_at > UNHEARD:
            pending = self._next()
            self._lanes.resolve(pending, Answer(0, AckStatus.BUSY))
        for flight in list(self._flights.values()):
            if now - flight.since > UNANSWERED if flight.heard else now - flight.placed_at > UNHEARD:
                logger.error("%s: batch %d given up", self._queue, flight.number)
                metrics.LANE_GIVEN_UP.add(1, self.kind)
                self.answered(flight.number, [Answer(i, AckStatus.BUSY) for i in flight.open])
            elif now > flight.retry_at and not self._publisher.busy:
                self._publish(flight)


class Lanes:
    """All lanes of this process, and the messages that wait for their row of the log."""

    def __init__(
        self,
        gateway: str,
        uids: UidIssuer,
        loop: asyncio.AbstractEventLoop,
        when_covered: Callable[[str, int, Callable[[], None]], None],
        snapshot: Snapshot,
    ) -> None:
        self.gateway = gateway
        self.when_covered = when_covered  # (SET, seq, then): call `then` when the feed has passed seq
        self.loop = loop
        self.snapshot = snapshot
        self.opened: set[str] = set()  # SETs whose log is followed: rows are what acknowledges messages
        self._uids = uids
        self._lanes: dict[tuple[str, bool], Lane] = {}
        self._uncommitted: dict[str, Pending] = {}
        self._number = 0
        self._collected: list[Pending] = []  # messages to be placed anew
        self._collected_bytes = 0
        self._awaited: set[int] = set()  # the batches that they wait for
        self._ask_again_at = 0.0

    def measure(self) -> None:
        """Tell how many requests wait, by kind; to be called every second."""
        for kind in ("message", "query"):
            waiting = sum(lane.waiting for lane in self._lanes.values() if lane.kind == kind)
            waiting += len(self._collected) if kind == "message" else 0
            metrics.LANE_WAITING.put(waiting, kind)

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def enter(
        self,
        request: Request,
        resolve: Callable[[Pending, Answer], None],
        origin: object = None,
        server_set: str = "",
    ) -> None:
        """Send a request on its road: to the SET that is named, or else to its target's.

        `resolve(pending, answer)` comes later, at once when it is refused.
        """
        is_message = request.method in self.snapshot.messages
        if is_message:
            kind = conversation_type(request.method)
            request = Request._make((*request[:5], self._uids.next(kind), *request[6:]))
        pending = Pending(self.next_number(), request, resolve, origin, server_set)
        if not is_message and request.method not in self.snapshot.queries:
            resolve(pending, Answer(0, AckStatus.NOT_SUPPORTED))
        elif not _is_id(request.target, may_be_empty=not is_message or _may_be_to_all(request.method)):
            resolve(pending, Answer(0, AckStatus.MALFORMED))
        else:
            if is_message:
                self._uncommitted[request.uid] = pending
            self._place(pending)

    def _place(self, pending: Pending) -> None:
        """Have the lane of its node take it."""
        request = pending.request
        is_message = bool(request.uid)
        if is_message and self._awaited:
            self._collect([pending])
            return
        node = self._node_of(pending)
        if node is None or (is_message and node.server_set not in self.opened):
            self.resolve(pending, Answer(0, AckStatus.BUSY))
        else:
            self._lane(node, is_message).submit(pending)

    def _node_of(self, pending: Pending) -> NodeEntry | None:
        """Where it is to go by now."""
        request = pending.request
        server_set = pending.server_set or self.snapshot.home(request.tenant, request.target)
        return self.snapshot.node_for(server_set, request.target, request.method)

    def _lane(self, node: NodeEntry, is_message: bool) -> Lane:
        key = (node.name, is_message)
        if key not in self._lanes:
            self._lanes[key] = Lane(self, node, is_message)
        return self._lanes[key]

    # --- a changed topology

    def follow(self, snapshot: Snapshot) -> None:
        """Route by this snapshot from now on."""
        self.snapshot = snapshot
        alive = {node.name for node in snapshot.nodes}
        queries: list[Pending] = []
        for (name, is_message), lane in list(self._lanes.items()):
            taken = lane.take_back(flying=name not in alive)
            if is_message:
                self._collect(taken)
            else:
                queries += taken
            if name not in alive:
                lane.close()
                del self._lanes[name, is_message]
        for pending in queries:
            self._place(pending)
        self._await_flights()

    def _await_flights(self) -> None:
        """Place what was collected when the messages that are on their way now have come back."""
        self._ask_again_at = time.monotonic() + ASK_AGAIN
        # Who is to go the same way as before stays behind the batch that is there: only the others wait.
        self._awaited = {
            number
            for (_, is_message), lane in self._lanes.items()
            if is_message
            for number, pendings in lane.flights()
            if any((node := self._node_of(pending)) is None or node.name != lane.node for pending in pendings)
        }
        if not self._awaited:
            self._place_collected()

    def _collect(self, pendings: Iterable[Pending]) -> None:
        for pending in pendings:
            size = len(pending.request.payload)
            if len(self._collected) >= WAITING_MAX or self._collected_bytes + size > WAITING_BYTES:
                self.resolve(pending, Answer(0, AckStatus.BUSY))
            else:
                self._collected.append(pending)
                self._collected_bytes += size

    def _take_collected(self) -> list[Pending]:
        """Give up what was collected; messages that have had their answer meanwhile are done."""
        collected, self._collected, self._collected_bytes = self._collected, [], 0
        return [each for each in collected if not each.request.uid or each.request.uid in self._uncommitted]

    def place_again(self, pending: Pending) -> None:
        """Its SET says that the target's slot is another's: wait until the topology says so too."""
        self._collect([pending])

    def landed(self, number: int) -> None:
        """A batch has come back."""
        if number in self._awaited:
            self._awaited.discard(number)
            if not self._awaited:
                self._place_collected()

    def _place_collected(self) -> None:
        for pending in sorted(self._take_collected(), key=lambda each: each.number):
            if pending.server_set and pending.request.connection:  # it goes to its user's home, now another
                pending.server_set = self.snapshot.home(pending.request.tenant, pending.request.user)
            self._place(pending)

    # ---

    def resolve(self, pending: Pending, answer: Answer) -> None:
        """Give a pending request its answer; a message that has had it already gets no second one."""
        uid = pending.request.uid
        if not uid or self._uncommitted.pop(uid, None) is not None:
            pending.resolve(pending, answer)

    def committed(self, uid: str, at: int, status: int = 0) -> Pending | None:
        """A row of the log came past: acknowledge it if this process sent it; who did is returned."""
        pending = self._uncommitted.pop(uid, None)
        if pending is not None:
            pending.resolve(pending, Answer(0, status, at))
        return pending

    def judged(self, answers: Iterable[tuple[str, int, int]]) -> None:
        """(uid, status, ms) of messages that their batch's answer had left open, and that get no row."""
        for uid, status, at in answers:
            pending = self._uncommitted.get(uid)
            if pending is None:
                continue
            if status == ELSEWHERE:
                self.place_again(pending)
            else:
                self.resolve(pending, Answer(0, status, at))

    def back(self, number: int) -> None:
        """A batch of this process is done: the next one leaves at once, and the node works on it while what
        became of the first is shown. `answered` is to follow in the same turn.
        """
        for lane in self._lanes.values():
            lane.back(number)

    def answered(self, number: int, answers: list[Answer]) -> None:
        """A batch of this process is done."""
        any(lane.answered(number, answers) for lane in list(self._lanes.values()))

    def sweep(self) -> None:
        """To be called every `SWEEP` seconds."""
        now = time.monotonic()
        for lane in list(self._lanes.values()):
            lane.sweep(now)
        if late := {pending for pending in self._collected if now - pending.since > UNANSWERED}:
            for pending in late:
                self.resolve(pending, Answer(0, AckStatus.BUSY))
            self._collect(pending for pending in self._take_collected() if pending not in late)
        if self._collected and not self._awaited and now > self._ask_again_at:
            self._await_flights()
        # Committed by its batch's answer, but the row has not come past: the feed is behind by this much.
        for uid, pending in list(self._uncommitted.items()):
            if now - pending.since <= UNANSWERED + UNHEARD:
                break
            self.resolve(pending, Answer(0, AckStatus.BUSY))
            logger.error("tenant %d, message %s was not seen in the log", pending.request.tenant, uid)
