"""One worker process: a fork of its node's zygote.

A Celery solo worker, faster to start than `celery worker`, that reconnects to the broker within a second,
tells its supervisor over a pipe what it does, and does not outlive it.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
import warnings

from celery import current_app, shared_task, signals
from celery.worker import consumer
from celery.worker.state import maybe_shutdown
from django.conf import settings
from kombu import Connection

from apps.accounts.directory import directory
from apps.routing import metrics
from apps.routing.topology import topology

# What the pipe says, a byte each.
BEGINS = b"+"  # a task
ENDS = b"-"  # a task
PROBED = b"?"  # the queue's probe came out of it; then how long it waited, in s, and a semicolon

CANARY = "routing.canary"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
RECONNECT = 0.5  # s between two tries; Celery's own grow to 30 s

logger = logging.getLogger(__name__)


class Pipe:
    """The way to the supervisor. What does not fit is left out: a supervisor that hangs stops no worker."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def say(self, what: bytes) -> None:
        try:
            os.write(self._descriptor, what)
        except BlockingIOError:
            pass
        except BrokenPipeError:
            os._exit(1)

    def wait_for_end(self) -> None:
        """Return when the other end is closed, as the end of the supervisor does."""
        poll = select.poll()
        poll.register(self._descriptor, 0)  # POLLERR is always reported
        poll.poll()


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """Celery's, with short pauses between its tries to reach the broker."""

    def ensure_connected(self, conn: Connection) -> Connection:
        def tell(error: Exception, pause: float) -> None:
            if not self.broker_connection_retry_attempt:
                logger.warning("broker away, trying every %.1f s: %s", RECONNECT, error)
            self.broker_connection_retry_attempt += 1

        conn = conn.ensure_connection(
            tell,
            interval_start=RECONNECT,  # type: ignore[arg-type]
            interval_step=0,
            interval_max=RECONNECT,  # type: ignore[arg-type]
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        self.broker_connection_retry_attempt = 0
        return conn


def die_with(parent: int) -> None:
    """End when the parent ends, however it does: by the kernel, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process has gone")


def prepare() -> None:
    """Do what is the same for all workers. No thread and no connection: a zygote does it for its forks."""
    current_app.loader.import_default_modules()
    current_app.finalize()
    warnings.filterwarnings("ignore", module="celery")  # about root, and about what Celery 6 will change
    for name in ("celery", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a line for each task otherwise
    logging.getLogger("py.warnings").setLevel(logging.ERROR)  # Celery undoes the filter at its start


def work(name: str, queues: list[str], pipe: Pipe) -> int:
    """Consume the queues until SIGTERM; the exit code."""
    multiprocessing.current_process().name = name

    def watch() -> None:
        pipe.wait_for_end()
        os._exit(1)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()
    metrics.start(settings.DATA_DIR / "metrics")
    directory.start()  # the cluster of a tenant, without which no home is found
    topology.start()

    @shared_task(name=CANARY)
    def canary(data: bytes) -> None:
        """Prove that this worker consumes: that it began is enough. A probe says when it was sent."""
        if data:  # monotonic s
            pipe.say(PROBED + b"%.4f;" % max(time.monotonic() - float(data), 0.0))

    # Receivers are held weakly by default. With one for setup_logging, Celery leaves Django's logging alone.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    signals.task_prerun.connect(lambda **_: pipe.say(BEGINS), weak=False)
    signals.task_postrun.connect(lambda **_: pipe.say(ENDS), weak=False)
    worker = current_app.Worker(
        hostname=f"{name}@{os.uname().nodename}",
        queues=queues,
        pool_cls="solo",
        concurrency=1,
        consumer_cls=Consumer,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)
