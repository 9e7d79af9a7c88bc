"""`manage.py beat`: sends the timed work to the queues, and notes what heartbeats tell.

Several may run; one holds the lease and works.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from typing import Any

from celery import beat
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import close_old_connections

from apps.messaging import exchange
from apps.messaging.standby import replication, watching
from apps.routing import metrics
from apps.routing.lease import Lease
from apps.routing.monitor import Monitor
from apps.routing.observing import Observer
from apps.routing.topology import Snapshot, topology
from imcloud.celery import app, timed_work

logger = logging.getLogger(__name__)

MEASURE = 2.0  # s between two looks at the exchange
TEND = 1.0  # s between two looks at failovers
LOOK = 0.2  # s between two looks at the lease, at most


class Scheduler(beat.Scheduler):
    """Celery's schedule, in memory. What cannot be sent is left out: its next turn comes soon."""

    # None: the app's pool of producers. Celery's own connection would wait for the broker, up to 30 s a try,
    # and hold the lease meanwhile.
    producer = None  # type: ignore[assignment]

    failing = False

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        try:
            self.apply_async(entry, advance=False)
        except beat.SchedulingError as error:
            if not self.failing:
                logger.warning("beat: %s", error)
            self.failing = True
        else:
            if self.failing:
                logger.info("beat: the broker is back")
            self.failing = False


class Command(BaseCommand):
    help = "Send the timed work to the queues. Several may run: one works, another takes over when it dies."
    requires_system_checks = []  # they take longer than everything else here

    ending = False

    def handle(self, *args: Any, **options: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        app.loader.import_default_modules()
        topology.start()
        lease = Lease("beat")
        lease.start()
        monitor = Monitor(lease)  # threads of its own: nothing that hangs there keeps the timed work
        monitor.start()
        metrics.start(settings.DATA_DIR / "metrics")
        # Apart too: a database may be away.
        for apart in (measure, tend):
            threading.Thread(target=apart, args=(lease,), name=apart.__name__, daemon=True).start()
        observer = Observer(f"beat {socket.gethostname()} {os.getpid()}")
        observer.start()
        while not self.ending:
            logger.info("beat: waiting for the lease")
            while not (lease.kept or self.ending):
                time.sleep(LOOK)
            if not self.ending:
                logger.info("beat: working")
                self._work(lease)
        monitor.stop()
        lease.stop()

    def _end(self, number: int, frame: object) -> None:
        # Nothing that takes a lock, as an Event does: each of a launcher's threads tells of its death, and a
        # handler that the next signal interrupts would be waited for by that one's.
        self.ending = True

    def _work(self, lease: Lease) -> None:
        """Send what is due while the lease is kept: done twice it is harmless, left out it is missed."""
        scheduler = Scheduler(app)
        planned: Snapshot | None = None
        while lease.kept and not self.ending:
            if planned is not topology.current:
                planned = topology.current
                scheduler.merge_inplace(timed_work(planned.sets))  # type: ignore[arg-type]  # dicts too
            time.sleep(min(max(scheduler.tick(), 0.0), LOOK))
        scheduler.close()


def measure(lease: Lease) -> None:
    """Tell how far SETs are behind one another, for as long as the lease is held; otherwise nothing."""
    while True:
        time.sleep(MEASURE)
        try:
            if lease.kept:
                exchange.measure()
                replication.measure()
            else:
                metrics.EXCHANGE_LAG.values.clear()
                metrics.EXCHANGE_WAITING.values.clear()
                metrics.REPLICATION_LAG.values.clear()
                metrics.REPLICATION_WAITING.values.clear()
        except Exception:
            logger.exception("beat: the exchange is not measured")


def tend(lease: Lease) -> None:
    """Look after failovers, for as long as the lease is held."""
    while True:
        time.sleep(TEND)
        try:
            if lease.held:
                watching.tend()
        except Exception:
            logger.exception("beat: failovers are not looked after")
        finally:
            close_old_connections()
