"""Counts of this process in plain numbers, and the files in which a machine's processes leave them.

Not prometheus_client's own values: an addition there takes a lock, its histograms take one value at a time,
and its multiprocess mode keeps files for every process that ever lived, since sums must not fall when one
dies. Here each process takes the lowest slot that is free (a lock that dies with its holder) and goes on
counting where the slot's last holder ended: as many files as processes lived at once, and sums never fall.

Each file is written whole, every second: a process that is killed loses the counts of its last second.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import msgpack

logger = logging.getLogger(__name__)

EVERY = 1.0  # s between two writings of a process's file
FRESH = 5.0  # s that a file's gauges are worth reading; then its process is dead or silent

Labels = tuple[str, ...]
Numbers = list[float]  # of a counter or gauge: one; of a histogram: one per bucket, the overflow, the sum
Totals = dict[str, dict[Labels, Numbers]]  # by name


class Metric:
    """A name with its values by label values. Used by one thread; any other may read it."""

    kind = ""

    def __init__(self, name: str, help: str, labels: Labels, width: int = 1) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self.width = width
        self.values: dict[Labels, Numbers] = {}
        if not labels:
            self.of()

    def of(self, *labels: str) -> Numbers:
        """The numbers of these label values, zeros at first."""
        numbers = self.values.get(labels)
        if numbers is None:
            numbers = self.values[labels] = [0] * self.width
        return numbers


M = TypeVar("M", bound=Metric)


class Counter(Metric):
    """What only rises, by `add`."""

    kind = "counter"

    def add(self, number: float, *labels: str) -> None:
        self.of(*labels)[0] += number


class Gauge(Counter):
    """What is so now; the processes' values are added up."""

    kind = "gauge"

    def put(self, number: float, *labels: str) -> None:
        self.of(*labels)[0] = number


class Histogram(Metric):
    """How often values fell into each bucket; `bounds` are the buckets' inclusive upper ends, ascending."""

    kind = "histogram"

    def __init__(self, name: str, help: str, bounds: Sequence[float], labels: Labels) -> None:
        super().__init__(name, help, labels, len(bounds) + 2)
        self.bounds = tuple(bounds)

    def observe(self, value: float, *labels: str) -> None:
        numbers = self.of(*labels)
        numbers[bisect_left(self.bounds, value)] += 1
        numbers[-1] += value

    def take(self, counts: Sequence[int], total: float, *labels: str) -> None:
        """Add many values at once: how many fell into each bucket and past the last, and their sum."""
        numbers = self.of(*labels)
        for place, number in enumerate(counts):
            numbers[min(place, len(self.bounds))] += number
        numbers[-1] += total


class Registry:
    """All metrics, by name."""

    def __init__(self) -> None:
        self.metrics: dict[str, Metric] = {}

    def counter(self, name: str, help: str, *labels: str) -> Counter:
        return self._keep(Counter(name, help, labels))

    def gauge(self, name: str, help: str, *labels: str) -> Gauge:
        return self._keep(Gauge(name, help, labels))

    def histogram(self, name: str, help: str, bounds: Sequence[float], *labels: str) -> Histogram:
        return self._keep(Histogram(name, help, bounds, labels))

    def _keep(self, metric: M) -> M:
        self.metrics[metric.name] = metric
        return metric

    def pack(self) -> bytes:
        """What a file holds: [epoch s, {name: [[labels, numbers], ...]}]."""
        values = {name: list(metric.values.items()) for name, metric in self.metrics.items()}
        packed: bytes = msgpack.packb((time.time(), values))
        return packed

    def total(self, folder: Path) -> Totals:
        """The sums of all files; of the gauges, those of live processes."""
        totals: Totals = {name: {} for name in self.metrics}
        for file in folder.glob("*.counts"):
            written_at, values = _read(file)
            self._add(totals, values, gauges=time.time() - written_at < FRESH)
        return totals

    def resume(self, file: Path) -> None:
        """Go on counting where the file ends."""
        own = {name: metric.values for name, metric in self.metrics.items()}
        self._add(own, _read(file)[1], gauges=False)

    def _add(self, into: Totals, values: dict[str, Any], *, gauges: bool) -> None:
        """Add a file's values. What another version of this program counted in another form is left out."""
        for name, its in values.items():
            metric = self.metrics.get(name)
            if metric is None or (metric.kind == "gauge" and not gauges):
                continue
            for labels, numbers in its:
                if len(labels) == len(metric.labels) and len(numbers) == metric.width:
                    sums = into[name].get(labels) or [0] * metric.width
                    into[name][labels] = [a + b for a, b in zip(sums, numbers, strict=True)]


def _read(file: Path) -> tuple[float, dict[str, Any]]:
    """A file's time and values; nothing of one that is absent or cannot be read."""
    try:
        written_at, values = msgpack.unpackb(file.read_bytes(), use_list=False)
    except FileNotFoundError:
        return 0.0, {}
    except (ValueError, TypeError) as error:  # msgpack's own are ValueErrors; or it is no pair
        logger.error("%s is left out: %s", file, error)
        return 0.0, {}
    return written_at, values


def _free_slots(folder: Path) -> Iterator[tuple[Path, int]]:
    """The files that no process writes, lowest first and without end, each with its lock taken."""
    for number in count():
        lock = os.open(folder / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            yield folder / f"{number}.counts", lock


def clear(folder: Path) -> None:
    """Remove what dead processes have left: all counts begin at zero."""
    for lock in folder.glob("*.lock"):
        with open(lock, "rb") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            lock.with_suffix(".counts").unlink(missing_ok=True)


class Book:
    """This process's file, for as long as it lives or until `close`."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file, self._lock = next(_free_slots(folder))
        self._registry = registry
        self._failing = False
        self._writing = threading.Lock()
        registry.resume(self.file)

    def write(self) -> None:
        """Leave the counts as they are now. Never raises: a full disk stops no message."""
        new = self.file.with_suffix(".new")
        try:
            with self._writing:
                new.write_bytes(self._registry.pack())
                new.replace(self.file)
        except OSError as error:
            if not self._failing:
                logger.warning("metrics are not written: %s", error)
            self._failing = True
        else:
            self._failing = False

    def keep(self) -> None:
        """Write every second from now on, in a thread of its own, and once more when the process ends."""

        def work() -> None:
            pause = threading.Event()
            while not pause.wait(EVERY):
                self.write()

        atexit.register(self.write)
        threading.Thread(target=work, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Write, and leave the slot to another process."""
        self.write()
        os.close(self._lock)
