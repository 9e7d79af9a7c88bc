"""`manage.py beat`: sends the timed work to the queues, and notes what heartbeats tell.

Several may run; one holds the lease and works.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
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

    def handle(self, *args: Any, **options: Any) -> None:
        ending = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ending.set())
        app.loader.import_default_modules()
        topology.start()
        lease = Lease("beat")
        lease.start()
        monitor = Monitor(lease)  # threads of its own: nothing that hangs there keeps the timed work
        monitor.start()
        metrics.start(settings.DATA_DIR / "metrics")
        # Apart too: a database may be away.
        for apart in (measure, tend):
            threading.Thread(target=apart, args=(lease, ending), name=apart.__name__, daemon=True).start()
        observer = Observer(f"beat {socket.gethostname()} {os.getpid()}")
        observer.start()
        while not ending.is_set():
            logger.info("beat: waiting for the lease")
            while not lease.kept and not ending.wait(LOOK):
                pass
            if lease.kept and not ending.is_set():
                logger.info("beat: working")
                work(lease, ending)
        monitor.stop()
        lease.stop()


def measure(lease: Lease, ending: threading.Event) -> None:
    """Tell how far SETs are behind one another, for as long as the lease is held; otherwise nothing."""
    while not ending.wait(MEASURE):
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


def tend(lease: Lease, ending: threading.Event) -> None:
    """Look after failovers, for as long as the lease is held."""
    while not ending.wait(TEND):
        try:
            if lease.held:
                watching.tend()
        except Exception:
            logger.exception("beat: failovers are not looked after")
        finally:
            close_old_connections()


def work(lease: Lease, ending: threading.Event) -> None:
    """Send what is due for as long as the lease is kept: done twice it is harmless, left out it is missed."""
    scheduler = Scheduler(app)
    planned: Snapshot | None = None
    while lease.kept and not ending.is_set():
        if planned is not topology.current:
            planned = topology.current
            scheduler.merge_inplace(timed_work(planned.sets))  # type: ignore[arg-type]  # dicts too
        pause = scheduler.tick()
        if pause > 0:
            ending.wait(min(pause, LOOK))
    scheduler.close()
