"""A crew: the workers of one kind (message or query) of a node, and how many of them there are."""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from apps.routing import metrics
from apps.routing.heartbeats import FAULTS, KindReport
from apps.routing.publisher import Publisher
from apps.routing.worker import BEGINS, CANARY, ENDS, PROBED
from apps.routing.zygote import Zygote

logger = logging.getLogger(__name__)
T = TypeVar("T")

WAITS = re.compile(re.escape(PROBED) + rb"([0-9.]+);")  # s, in what a worker's pipe says
ASK_EVERY = 2.0  # s of silence after which a worker gets a canary, and between two unanswered ones
STALE = 8.0  # s without an answer after which an idle worker counts as connected but not consuming
START_MAX = 40.0  # s from the first canary that the broker took to the first sign of a new worker's life
STUCK = 60.0  # s in one task after which a worker is replaced; a batch lives for a few
END_PATIENCE = 5.0  # s from SIGTERM to SIGKILL
BACKOFF_FIRST, BACKOFF_MAX = 0.1, 10.0  # s before a worker that died is started again; doubled each time
BACKOFF_FORGET = 10.0  # s of life after which the back-off begins anew
BROKER_PAUSE = 1.0  # s without a try after the broker failed: one that hangs takes 2 s a try
PROBE_EVERY = 1.0  # s between two probes of a queue
PROBE_LOST = 10.0  # s after which an unanswered probe counts as lost with its queue, and is sent again
SLOW = 0.5  # s that a probe may wait in the queue
SLOW_LOOKS = 2  # looks at a slow queue after which it gets one more worker
NEEDED_FOR = 30.0  # s without need after which a worker above the minimum ends
HELPLESS = 4.0  # s without a worker that has come up after which the crew cannot serve; a restart takes less


class Broker:
    """The way to the queues for canaries. `put` tells whether the broker took it."""

    def __init__(self) -> None:
        self._publisher = Publisher()
        self._again_at = 0.0
        self._away = False

    def put(self, queue: str, data: bytes) -> bool:
        def publish() -> bool:
            self._publisher.publish(queue, CANARY, data)
            return True

        return self._ask(publish) is not None

    def depth(self, queue: str) -> int | None:
        """How many tasks wait in the queue; None when the broker does not tell."""
        return self._ask(lambda: self._publisher.depth(queue))

    def _ask(self, question: Callable[[], T]) -> T | None:
        if time.monotonic() < self._again_at:
            return None
        try:
            answer = question()
        except Exception as error:  # whatever it is, workers go on being looked after
            if not self._away:
                logger.warning("broker away, workers wait for it: %s", error)
            self._away = True
            self._again_at = time.monotonic() + BROKER_PAUSE
            return None
        if self._away:
            logger.info("broker is back")
        self._away = False
        return answer


class Worker:
    """A worker's process and what its pipe has said. Times are monotonic s.

    It consumes the crew's queues and one of its own, named like itself, for canaries: several workers share a
    queue, so a canary in that one would not tell which of them has stopped consuming.
    """

    def __init__(self, name: str, queues: Sequence[str], stuck: float, zygote: Zygote) -> None:
        self.name = name
        self._stuck = stuck
        self.started_at = time.monotonic()
        self.ready = False
        self.busy_since: float | None = None
        self.end_by: float | None = None  # it was told to end
        self.killed_for = ""  # the fault that it was killed for
        self._heard_at = self.started_at
        self._asked_since: float | None = None  # the first canary since it was heard last
        self._asked_at = float("-inf")  # the last canary
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            self.process = zygote.start(name, [*queues, name], theirs)
        finally:
            os.close(theirs)

    def listen(self, now: float) -> bytes:
        """Take what the pipe says."""
        try:
            said = os.read(self._pipe, 1 << 16)
        except BlockingIOError:
            return b""
        if not said:  # its end; if the zygote does not tell of it either, that is noticed
            self.process.kill()
        else:
            self.ready = True
            self._heard_at, self._asked_since = now, None
            self.busy_since = now if said.rfind(BEGINS) > said.rfind(ENDS) else None
        return said

    def ask(self, now: float, broker: Broker) -> None:
        """Send a canary when it is time. While the broker is away its silence proves nothing."""
        since = self._asked_since or (self._heard_at if self.ready else self.started_at - ASK_EVERY)
        if self.busy_since is None and now - max(since, self._asked_at) >= ASK_EVERY:
            taken = broker.put(self.name, b"")
            self._asked_at = now if taken else self._asked_at
            self._asked_since = (self._asked_since or now) if taken else None

    def fault(self, now: float) -> str:
        """Why it must be replaced; empty when it need not."""
        if self.busy_since is not None:
            return (
                f"has been in one task for {self._stuck:.0f} s" if now - self.busy_since > self._stuck else ""
            )
        patience = STALE if self.ready else START_MAX
        if self._asked_since is not None and now - self._asked_since > patience:
            return "is connected but does not consume" if self.ready else "does not come up"
        return ""

    def end(self, now: float) -> None:
        """Ask it to finish its task and go; once."""
        if self.end_by is None:
            self.end_by = now + END_PATIENCE
            self.process.terminate()

    def gone(self, now: float) -> bool:
        """Whether it has ended; killed when it was asked to and did not."""
        if self.process.poll() is None:
            if self.end_by is not None and now > self.end_by:
                self.process.kill()
            return False
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        return True


class Crew:
    """The workers of one kind: `minimum` to `maximum` of them, as many as the age of the queue asks for.

    The age is measured with a probe, a canary in the shared queue: how long it waits there is how long every
    task behind the same backlog waits, whatever the broker is.
    """

    def __init__(self, queues: Sequence[str], broker: Broker, zygote: Zygote, stuck: float = STUCK) -> None:
        self.queue = queues[0]
        self.workers: dict[int, Worker] = {}  # by number
        self.faults: deque[tuple[int, str, str]] = deque(maxlen=FAULTS)  # as in a Report
        self._queues = queues
        self._broker = broker
        self._zygote = zygote
        self._stuck = stuck
        self._leaving: list[Worker] = []
        self._backoff: dict[int, tuple[float, float]] = {}  # number -> (s, when to start it)
        self._size = 0  # how many there are to be
        self._probe_at: float | None = None  # sent, and not answered
        self._probed_at = float("-inf")
        self._slow_looks = 0
        self._age = 0.0  # s that the newest probe has waited
        self._tasks = -1  # in the queue; -1: not known
        self._came_out_at = self._needed_at = time.monotonic()  # the last probe; the last need of all workers
        self._served_at = float("-inf")  # the last look that found a worker up, or none wanted
        self._told_at = float("-inf")
        self._told = 0  # workers that have come up, as last told
        metrics.WORKER_RESTARTS.of(self.queue)

    def look(self, now: float, minimum: int, maximum: int) -> None:
        """Do all that is due; called several times a second. ZygoteGone when workers cannot be started."""
        if not (maximum or self.workers or self._leaving):  # there is none, and none is wanted
            self._size, self._served_at = 0, now
            if self._told:
                self._tell()
            return
        self._size = min(max(self._size, minimum), maximum)
        said = b"".join(worker.listen(now) for worker in self.workers.values())
        self._tend(now)
        self._measure(now, said)
        if minimum < maximum:
            self._scale(now, minimum, maximum)
        if now - self._told_at >= PROBE_EVERY:
            self._told_at = now
            self._tell()
        for number in range(self._size):
            if number not in self.workers and now >= self._backoff.get(number, (0.0, 0.0))[1]:
                name = f"{self.queue}.{number}"
                self.workers[number] = Worker(name, self._queues, self._stuck, self._zygote)
        for number in [n for n in self.workers if n >= self._size]:
            worker = self.workers.pop(number)
            worker.end(now)
            self._probe_at = None
            self._leaving.append(worker)
        self._leaving = [worker for worker in self._leaving if not worker.gone(now)]
        if self._ready or not self._size:
            self._served_at = now

    @property
    def _ready(self) -> int:
        """How many workers have come up."""
        return sum(worker.ready for worker in self.workers.values())

    def serves(self, now: float) -> bool:
        """Whether what is in the queue will be done."""
        return now - self._served_at < HELPLESS

    def report(self, now: float) -> KindReport:
        """How it is, as of the last look."""
        return {
            "workers": self._ready,
            "size": self._size,
            "age": self._age,
            "tasks": self._tasks,
            "canary": now - self._came_out_at,
        }

    def _tend(self, now: float) -> None:
        for number, worker in list(self.workers.items()):
            if worker.gone(now):
                del self.workers[number]
                self._probe_at = None  # it may have taken the probe with it
                self._plan_restart(number, worker, now)
                continue
            worker.ask(now, self._broker)
            if (fault := worker.fault(now)) and not worker.killed_for:
                logger.error("worker %s (pid %d) %s: killing it", worker.name, worker.process.pid, fault)
                worker.process.kill()
                worker.killed_for = fault

    def _plan_restart(self, number: int, worker: Worker, now: float) -> None:
        lived = now - worker.started_at
        last = self._backoff.get(number, (0.0, 0.0))[0]
        pause = min(last * 2, BACKOFF_MAX) if last and lived < BACKOFF_FORGET else BACKOFF_FIRST
        self._backoff[number] = (pause, now + pause)
        code = worker.process.returncode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self.faults.append((time.time_ns() // 1_000_000, worker.name, worker.killed_for or how))
        metrics.WORKER_RESTARTS.add(1, self.queue)
        who = worker.name, worker.process.pid
        logger.error("worker %s (pid %d) died (%s); starting it again in %.1f s", *who, how, pause)

    def _measure(self, now: float, said: bytes) -> None:
        if waits := WAITS.findall(said):
            self._age = float(waits[-1])
            self._came_out_at = now
        elif self._probe_at is not None:
            self._age = max(now - self._probe_at, self._age)
        if PROBED in said or self._ready < self._size:
            self._probe_at = None  # a worker that is starting is the help that a slow queue would get
            self._slow_looks = 0
        elif self._probe_at is not None and now - self._probe_at > PROBE_LOST:
            self._probe_at = None
            self._slow_looks = 0
        elif self._probe_at is not None and now - self._probe_at > SLOW:
            self._slow_looks += 1
        elif (
            self._probe_at is None
            and now - self._probed_at >= PROBE_EVERY
            and self._broker.put(self.queue, b"%.4f" % time.monotonic())
        ):
            self._probe_at = self._probed_at = now

    def _tell(self) -> None:
        self._told = self._ready
        metrics.WORKERS.put(self._told, self.queue)
        metrics.QUEUE_WAIT.put(self._age, self.queue)
        depth = self._broker.depth(self.queue)
        self._tasks = -1 if depth is None else depth
        if depth is not None:
            metrics.QUEUE_TASKS.put(depth, self.queue)

    def _scale(self, now: float, minimum: int, maximum: int) -> None:
        if self._slow_looks or all(worker.busy_since is not None for worker in self.workers.values()):
            self._needed_at = now
        if self._slow_looks >= SLOW_LOOKS and self._size < maximum:
            self._slow_looks = 0
            self._size += 1
            logger.info("%s: a task waits longer than %.1f s; now %d workers", self.queue, SLOW, self._size)
        elif now - self._needed_at > NEEDED_FOR and self._size > minimum:
            self._needed_at = now
            self._size -= 1
            logger.info("%s: no need for so many; now %d workers", self.queue, self._size)

    def end(self) -> None:
        """End all workers: warm, and after END_PATIENCE killed. Returns when none is left."""
        left = [*self.workers.values(), *self._leaving]
        for worker in left:
            worker.end(time.monotonic())
        while left := [worker for worker in left if not worker.gone(time.monotonic())]:
            time.sleep(0.05)
        self.workers.clear()
