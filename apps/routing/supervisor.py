"""The supervisor of a node: starts its workers, replaces those that die or stall, and scales them."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import redis
from django.conf import settings
from django.db import DatabaseError, close_old_connections

from apps.accounts.models import Webhooks
from apps.accounts.snapshot import Renewed
from apps.routing import heartbeats, metrics
from apps.routing.crew import STUCK, Broker, Crew
from apps.routing.lease import Lease
from apps.routing.models import Actor, Node
from apps.routing.observing import Observer
from apps.routing.topology import topology
from apps.routing.zygote import Zygote

logger = logging.getLogger(__name__)

LOOK = 0.25  # s between two looks at the workers; the end of one of them is noticed at once
NAME_WAIT = 3.0  # s that the session of a supervisor that was killed may live on in the database
RETRY = 0.5  # s between two tries to reach the database, and Redis
HUNG = 5.0  # s without a look at the workers after which no beat says that they serve; a broker may take 2
# The last two are no actors': there while tenants have webhooks, and while the SET has a standby.
COMPARING = 4 * 3600.0  # s that a worker of replication may be in one task: two databases may be large
KINDS = ("message", "query", "webhook", "replication")


class CannotStart(Exception):
    """The text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the node's record and its actors ask for: (min, max) workers of each kind."""

    server_set: str
    workers: dict[str, tuple[int, int]]

    def queues(self, node: str, kind: str) -> list[str]:
        """What a worker consumes. The SET's own work is done by the query workers of all its nodes."""
        own, of_set = f"{self.server_set}.{node}.{kind}", self.server_set
        shared = {"query": ("exchange", "beat"), "webhook": ("webhooks",), "replication": ("replication",)}
        its = shared.get(kind, ())
        return [own, *(f"{of_set}.{name}" for name in its)]


def read_plan(name: str, previous: Plan | None) -> Plan:
    """Read it from the database; CannotStart when there is no such node."""
    node = Node.objects.select_related("server_set").filter(name=name).first()
    if node is None:
        known = ", ".join(Node.objects.order_by("name").values_list("name", flat=True)) or "none yet"
        raise CannotStart(f"There is no node {name}; the nodes are: {known}.")
    bounds: dict[str, tuple[int, int]] = dict.fromkeys(KINDS, (0, 0))
    for actor in Actor.objects.filter(node=node):
        kind = "message" if actor.is_message else "query"
        low, high = bounds[kind]
        bounds[kind] = max(low, actor.min_concurrency), max(high, actor.max_concurrency)
    if Webhooks.objects.exists():
        bounds["webhook"] = (1, 1)
    if node.server_set.standby:
        bounds["replication"] = (1, 2)  # while one compares, the other ships
    return Plan(node.server_set.name, bounds)


class Heart:
    """Beats for a node, in a thread: a Redis that hangs keeps nobody from looking after the workers."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._client = heartbeats.connect()
        self._told: tuple[float, bool, heartbeats.Report] | None = None
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, report: heartbeats.Report, *, serves: bool) -> None:
        """How the node is now; to be called all the time. It beats while it serves."""
        self._told = time.monotonic(), serves, report

    def leave(self) -> None:
        """Say that the node ends, soon; `join` waits until it is said."""
        self._left.set()

    def join(self) -> None:
        self._thread.join(2 * heartbeats.PATIENCE)

    def _run(self) -> None:
        incarnation = f"{os.getpid()}.{time.time_ns()}"
        beats = 0
        pause = 0.0
        away = False
        while not self._left.wait(pause):
            began = time.monotonic()
            pause = heartbeats.BEAT
            if self._told is None or began - self._told[0] > HUNG:
                continue
            _, serves, report = self._told
            try:
                if serves:
                    beats += 1
                    heartbeats.beat(self._client, self._node, incarnation, beats, report)
                else:
                    heartbeats.report(self._client, self._node, report)
            except (redis.RedisError, OSError) as error:
                if not away:
                    logger.warning("node %s cannot beat: %s", self._node, error)
                away = True
                pause = RETRY
            else:
                if away:
                    logger.info("node %s beats again", self._node)
                away = False
                pause = max(began + heartbeats.BEAT - time.monotonic(), 0.0)
        try:
            heartbeats.leave(self._client, self._node)
        except (redis.RedisError, OSError) as error:
            logger.warning("node %s leaves unannounced: %s", self._node, error)


class Supervisor:
    """One per node name, in the main thread of a process of its own: Linux ends a child with its thread."""

    def __init__(self, node: str, zygote: Zygote) -> None:
        self.node = node
        self._zygote = zygote
        self._plan: Renewed[Plan] = Renewed(f"node {node}", partial(read_plan, node), every=2.0)
        self._lease = Lease(f"node {node}")
        self._heart = Heart(node)
        self._file: Path = settings.DATA_DIR / f"node-{node}.json"
        self._written = ""
        self._ending = False
        self._woken, self._wakes = socket.socketpair()

    def run(self) -> None:
        """Until SIGTERM or SIGINT; CannotStart when the node is unknown or has a supervisor.

        ZygoteGone when the zygote has ended: whoever looks after this process is to start it again.
        """
        self._listen_to_signals()
        plan = self._await_plan()
        if plan is None or not self._await_name():
            return
        self._plan.start()
        metrics.start(settings.DATA_DIR / "metrics")
        broker = Broker()
        crews = {
            kind: Crew(
                plan.queues(self.node, kind),
                broker,
                self._zygote,
                COMPARING if kind == "replication" else STUCK,
            )
            for kind in KINDS
        }
        logger.info("node %s works: %s", self.node, plan.workers)
        self._heart.start()
        topology.start()
        observer = Observer(f"node {self.node}")
        observer.start()
        try:
            while not self._ending:
                self._zygote.check()
                self._look(crews, self._plan.current)
                self._pause(LOOK)
        finally:
            self._heart.leave()
            observer.stop()
            # Told to end all at once; each crew then waits for its own.
            for crew in crews.values():
                for worker in crew.workers.values():
                    worker.end(time.monotonic())
            for crew in crews.values():
                crew.end()
            self._heart.join()
            self._file.unlink(missing_ok=True)
            self._lease.stop()

    def _listen_to_signals(self) -> None:
        def end(number: int, frame: object) -> None:
            self._ending = True

        self._woken.setblocking(False)
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)  # each of them ends the pause
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)

    def _pause(self, seconds: float) -> None:
        """Or less, when a signal has come or a worker has ended."""
        if self._woken in select.select([self._woken, self._zygote.socket], [], [], seconds)[0]:
            self._woken.recv(4096)

    def _await_plan(self) -> Plan | None:
        """The plan, as soon as the database gives it; None when the end came first."""
        told = False
        while not self._ending:
            try:
                return self._plan.current
            except DatabaseError as error:
                if not told:
                    logger.warning("node %s waits for the database: %s", self.node, str(error).strip())
                told = True
                self._pause(RETRY)
            finally:
                close_old_connections()
        return None

    def _await_name(self) -> bool:
        """Take the node's name; CannotStart when another supervisor keeps it. False: the end came first."""
        self._lease.start()
        taken_since: float | None = None
        while not self._ending and not self._lease.held:
            now = time.monotonic()
            taken_since = (taken_since or now) if self._lease.taken else None
            if taken_since is not None and now - taken_since > NAME_WAIT:
                self._lease.stop()
                raise CannotStart(f"Node {self.node} is running already: it can be started once only.")
            self._pause(0.05)
        return not self._ending

    def _look(self, crews: dict[str, Crew], plan: Plan) -> None:
        for kind, crew in crews.items():
            crew.look(time.monotonic(), *plan.workers[kind])
        self._write_file(crews)
        now = time.monotonic()
        report: heartbeats.Report = {
            "set": plan.server_set,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "kinds": {kind: crew.report(now) for kind, crew in crews.items()},
            "faults": sorted(fault for crew in crews.values() for fault in crew.faults)[-heartbeats.FAULTS :],
        }
        self._heart.tell(report, serves=all(crew.serves(now) for crew in crews.values()))

    def _write_file(self, crews: dict[str, Crew]) -> None:
        workers = [
            {"pid": worker.process.pid, "kind": kind}
            for kind, crew in crews.items()
            for worker in crew.workers.values()
        ]
        text = json.dumps({"pid": os.getpid(), "zygote": self._zygote.pid, "workers": workers})
        if text != self._written:
            new = self._file.with_suffix(".new")
            new.write_text(text)
            new.replace(self._file)
            self._written = text
