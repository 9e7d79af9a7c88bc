"""What heartbeats tell about nodes, workers and gateways, kept as events.

Gateways find out by themselves which nodes to leave out; nothing that is delivered waits for a monitor.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from apps.routing import heartbeats, presence
from apps.routing.heartbeats import DOWN, RECOVERED, Finding, Report, Watch
from apps.routing.lease import Lease
from apps.routing.models import HealthEvent
from apps.routing.publisher import Publisher
from apps.routing.topology import NodeEntry, topology

logger = logging.getLogger(__name__)

LOOK = 1.0  # s between two looks
KEY = "imcloud:monitor"  # ms of the latest look; a Redis that takes no writes proves nobody's silence
COMING_UP = 15.0  # s from a shift's start in which a node that Redis has not heard of is not missed
PURGE_AFTER = 10.0  # s that a node is down before its queues are emptied, and then between two times
EVENTS_MAX = 1000  # that wait for the database; past it the oldest are lost
KEPT = timedelta(days=30)
CLEAN_EVERY = 3600.0  # s
END_PATIENCE = 2.0  # s

NODE, WORKER, GATEWAY = "node", "worker", "gateway"  # HealthEvent.kind


class Shift:
    """The looks of one monitor, until another one takes over; it begins with what that one has stored."""

    def __init__(self, now: float) -> None:
        # The newest event of each name tells how it was when the last shift ended.
        newest = HealthEvent.objects.order_by("kind", "name", "-at", "-pk").distinct("kind", "name")
        known: dict[str, dict[str, str]] = {NODE: {}, WORKER: {}, GATEWAY: {}}
        for event in newest:
            if event.finding != RECOVERED and event.kind in known:
                known[event.kind][event.name] = event.finding
        self._began = now
        self._client = heartbeats.connect()
        self._publisher = Publisher()
        self._nodes = Watch(known[NODE])
        self._heard: set[str] = set()  # nodes that Redis knows of
        self._ill = set(known[NODE])  # watched until they recover, also when they were taken out meanwhile
        self._purge_at: dict[str, float] = {}  # node that is down -> when to empty its queues
        self._gateways = Watch(known[GATEWAY])
        self._scores: dict[str, bytes] | None = None  # gateway -> its beat at the last look
        self._beating: set[str] = set()  # gateways that Redis lists and that were seen to beat
        self._broken = set(known[WORKER])
        self._faults: dict[str, set[tuple[int, str]]] = {}  # node -> (ms, worker), those that have been told
        told = HealthEvent.objects.filter(kind=WORKER, finding=DOWN).values_list("at", "name")[:EVENTS_MAX]
        for at, worker in told:
            self._faults.setdefault(_node_of(worker), set()).add((round(at.timestamp() * 1000), worker))

    def look(self, now: float) -> list[HealthEvent]:
        """What is new, in the order in which it happened."""
        nodes = {node.name: node for node in topology.current.nodes}
        beats, scores, reports = self._read(nodes)
        events = [
            *self._look_at_nodes(nodes, beats, reports, now),
            *(_event(GATEWAY, it) for it in self._gateways.look(scores, self._expected(scores), now)),
            *self._look_at_workers(reports),
        ]
        # One with a report is coming up: its supervisor's probes are in the queues already.
        self._purge({name: node for name, node in nodes.items() if name not in reports}, now)
        return events

    def _read(
        self, nodes: Mapping[str, NodeEntry]
    ) -> tuple[dict[str, bytes] | None, dict[str, bytes] | None, dict[str, Report]]:
        """The beats of nodes and of gateways, None when Redis does not tell; reports."""
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.set(KEY, time.time_ns() // 1_000_000)
                pipeline.hgetall(heartbeats.NODES)
                pipeline.zrange(presence.GATEWAYS, 0, -1, withscores=True)
                _, beats, scores = pipeline.execute()
            reports = heartbeats.reports(self._client, nodes)
        except redis.RedisError:
            return None, None, {}
        return (
            {name.decode(): beat for name, beat in beats.items()},
            {name.decode(): b"%d" % score for name, score in scores},
            reports,
        )

    def _look_at_nodes(
        self,
        nodes: Collection[str],
        beats: dict[str, bytes] | None,
        reports: Mapping[str, Report],
        now: float,
    ) -> Iterator[HealthEvent]:
        self._heard |= (beats or {}).keys()
        missed = now - self._began > COMING_UP
        expected = {name for name in nodes if missed or name in self._heard} | self._ill
        for finding in self._nodes.look(beats, expected, now):
            if finding.finding == RECOVERED:
                self._ill.discard(finding.name)
                yield _event(NODE, finding)
            else:
                self._ill.add(finding.name)
                yield _event(NODE, finding, _unable(reports.get(finding.name)))

    def _expected(self, scores: dict[str, bytes] | None) -> set[str]:
        """Gateways that are to go on beating. Redis lists those that ended long ago, too."""
        if scores:
            if self._scores is not None:
                self._beating |= {name for name, beat in scores.items() if self._scores.get(name) != beat}
            self._beating &= scores.keys()
            self._scores = scores
        return self._beating

    def _look_at_workers(self, reports: Mapping[str, Report]) -> Iterator[HealthEvent]:
        for node, report in reports.items():
            told = self._faults.get(node, set())
            for ms, worker, reason in report["faults"]:
                if (ms, worker) not in told:
                    self._broken.add(worker)
                    at = datetime.fromtimestamp(ms / 1000, UTC)
                    yield _event(WORKER, Finding(worker, DOWN, reason), at=at)
            self._faults[node] = {(ms, worker) for ms, worker, _ in report["faults"]}
            for kind, its in report["kinds"].items():
                if its["workers"] >= its["size"]:
                    queue = f"{report['set']}.{node}.{kind}."
                    for worker in [name for name in self._broken if name.startswith(queue)]:
                        self._broken.discard(worker)
                        yield _event(WORKER, Finding(worker, RECOVERED, "all of its kind have come up"))

    def _purge(self, nodes: Mapping[str, NodeEntry], now: float) -> None:
        """Empty the queues of nodes that stay down: everything in them has expired, and went to others."""
        self._purge_at = {
            name: self._purge_at.get(name, now + PURGE_AFTER) for name in self._nodes.down & nodes.keys()
        }
        for name, at in self._purge_at.items():
            if now >= at:
                self._purge_at[name] = now + PURGE_AFTER
                for is_message in (True, False):
                    self._empty(nodes[name].queue(is_message))

    def _empty(self, queue: str) -> None:
        try:
            if number := self._publisher.purge(queue):
                logger.info("%s: %d tasks of a node that is down deleted", queue, number)
        except Exception as error:  # whatever kombu raises; the next time comes soon
            logger.warning("%s: not emptied: %s", queue, error)


class Monitor:
    """Looks every second while the lease is held, in a thread; another one stores what was found.

    While the control database is away, nobody can have the lease: who had it last goes on looking, and what
    it finds waits.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._shift: Shift | None = None
        self._found: deque[HealthEvent] = deque(maxlen=EVENTS_MAX)
        self._storing: list[HealthEvent] = []
        self._cleaned_at = float("-inf")
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(do, name), name=name, daemon=True)
            for do, name in ((self._look, "monitor"), (self._store, "health events"))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(END_PATIENCE)

    def _repeat(self, do: Callable[[float], None], name: str) -> None:
        failing = False
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                do(began)
                failing = False
            except DatabaseError as error:
                if not failing:
                    logger.warning("%s: waits for the database: %s", name, str(error).strip())
                failing = True
            except Exception:
                logger.exception("%s: failed", name)
            finally:
                close_old_connections()
            self._ending.wait(max(began + LOOK - time.monotonic(), 0.0))

    def _look(self, now: float) -> None:
        if self._lease.taken:
            self._shift = None
        elif self._shift is None and self._lease.held and not self._found and not self._storing:
            self._shift = Shift(now)
        for event in self._shift.look(now) if self._shift else ():
            level = logging.INFO if event.finding == RECOVERED else logging.WARNING
            logger.log(level, "%s: %s", event, event.reason)
            self._found.append(event)

    def _store(self, now: float) -> None:
        if not self._storing:
            self._storing = [self._found.popleft() for _ in range(len(self._found))]
        if self._storing:
            HealthEvent.objects.bulk_create(self._storing)
            self._storing = []
        if self._lease.held and now - self._cleaned_at > CLEAN_EVERY:
            HealthEvent.objects.filter(at__lt=timezone.now() - KEPT).delete()
            self._cleaned_at = now


def _event(kind: str, finding: Finding, reason: str = "", at: datetime | None = None) -> HealthEvent:
    at = at or timezone.now()
    reason = (reason or finding.reason)[:255]
    return HealthEvent(at=at, kind=kind, name=finding.name, finding=finding.finding, reason=reason)


def _unable(report: Report | None) -> str:
    """Why a node that is there does not beat; empty when it does not tell."""
    kinds: dict[str, Any] = report["kinds"] if report else {}
    lacking = [kind for kind, its in kinds.items() if its["size"] and not its["workers"]]
    return f"has no {' and no '.join(lacking)} worker that has come up" if lacking else ""


def _node_of(worker: str) -> str:
    """Workers are named SET.NODE.KIND.NUMBER."""
    return worker.split(".")[1]
