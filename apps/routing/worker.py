"""One worker process: `python -m apps.routing.worker SPEC`, started by a node's supervisor only.

A Celery solo worker, faster to start than `celery worker`, that reconnects to the broker within a second,
tells its supervisor over a pipe what it does, and does not outlive it.
SPEC is JSON: name; queues; parent: the supervisor's pid; pipe: the file descriptor to write to.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import select
import signal
import sys
import threading
import time
import warnings
from typing import Any

import django
from celery import current_app, shared_task, signals
from celery.worker import consumer
from celery.worker.state import maybe_shutdown
from django.conf import settings
from kombu import Connection

from apps.routing import metrics

# What the pipe says, a byte each.
BEGINS = b"+"  # a task
ENDS = b"-"  # a task
PROBED = b"?"  # the queue's probe came out of it; then how long it waited, in s, and a semicolon

CANARY = "routing.canary"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
RECONNECT = 0.5  # s between two tries; Celery's own grow to 30 s

logger = logging.getLogger("apps.routing.worker")  # __name__ is __main__


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


def die_with(parent: int, pipe: Pipe) -> None:
    """End when the supervisor ends, however it does: by the kernel on Linux, by a thread elsewhere."""

    def watch() -> None:
        pipe.wait_for_end()
        os._exit(1)

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the supervisor has gone")
    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def main() -> None:
    spec: dict[str, Any] = json.loads(sys.argv[1])
    pipe = Pipe(spec["pipe"])
    die_with(spec["parent"], pipe)
    django.setup()

    from apps.accounts.directory import directory  # its models need Django to be set up
    from apps.routing.topology import topology

    metrics.start(settings.DATA_DIR / "metrics")
    directory.start()  # the cluster of a tenant, without which no home is found
    topology.start()
    warnings.filterwarnings("ignore", module="celery")  # about root, and about what Celery 6 will change
    for name in ("celery", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a line for each task otherwise
    logging.getLogger("py.warnings").setLevel(logging.ERROR)  # Celery undoes the filter at its start

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
        hostname=f"{spec['name']}@{os.uname().nodename}",
        queues=spec["queues"],
        pool_cls="solo",
        concurrency=1,
        consumer_cls=Consumer,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


if __name__ == "__main__":
    main()
