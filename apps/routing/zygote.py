"""The zygote of a node: it has imported all that a worker needs, and forks one when the supervisor asks.

A worker with an interpreter of its own would import for half a second, and have a copy of all that. The
supervisor cannot fork workers itself, for it has threads: a child would have their locks, as they happen to
be, and not them. So the zygote is forked from it before it starts any, and never has one.

They talk over a socket pair: the supervisor sends [name, queue, …] with the file descriptor of the worker's
pipe, the zygote answers [pid, null] and tells [pid, exit code] when that worker has ended.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from setproctitle import setproctitle

from apps.routing import worker

IMPORTS = 40.0  # s that its first answer may take: it imports before
PATIENCE = 10.0  # s that another one may take, and to tell of an end
MESSAGE_MAX = 65_536  # bytes


class ZygoteGone(Exception):
    """It ended, and its workers with it: this node can start none any more."""


class Forked:
    """A worker's process; what `subprocess.Popen` has for one."""

    def __init__(self, pid: int, zygote: Zygote) -> None:
        self.pid = pid
        self.returncode: int | None = None  # negative: the signal that killed it
        self._zygote = zygote
        self._killed_at: float | None = None  # monotonic s

    def poll(self) -> int | None:
        """The return code once it has ended."""
        if self.returncode is None:
            self._zygote.listen()
            if self._killed_at is not None and time.monotonic() - self._killed_at > PATIENCE:
                self._zygote.give_up(f"does not tell that pid {self.pid} has ended")
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._killed_at = self._killed_at or time.monotonic()
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ends now, and the zygote has yet to say so
                os.kill(self.pid, number)


class Zygote:
    """The supervisor's end, for its main thread."""

    def __init__(self) -> None:
        """Fork it, before this process has a second thread. In the workers this does not return."""
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._living: dict[int, Forked] = {}
        self._gone = ""
        supervisor = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            self.socket.close()
            _be(theirs, supervisor)
        theirs.close()
        self.socket.settimeout(IMPORTS)

    def start(self, name: str, queues: Sequence[str], pipe: int) -> Forked:
        """Start a worker that consumes the queues and talks into the pipe. ZygoteGone when that cannot be."""
        spec = json.dumps([name, *queues]).encode()
        with suppress(OSError):  # if it has gone, its silence says so
            socket.send_fds(self.socket, [spec], [pipe])
        while (pid := self._hear()) is None:
            self._raise_if_gone()
        self.socket.settimeout(PATIENCE)
        started = self._living[pid] = Forked(pid, self)
        return started

    def listen(self) -> None:
        """Take what it has told of workers that ended."""
        while not self._gone and select.select([self.socket], [], [], 0)[0]:
            self._hear()

    def check(self) -> None:
        """ZygoteGone when it has ended or hangs."""
        self.listen()
        self._raise_if_gone()

    def _raise_if_gone(self) -> None:
        if self._gone:
            raise ZygoteGone(f"The process that starts workers (pid {self.pid}) {self._gone}.")

    def give_up(self, why: str) -> None:
        """Believe that it and its workers are gone; they are when this process has ended, at the latest."""
        self._gone = why
        for forked in self._living.values():
            forked.returncode = -signal.SIGKILL
        self._living.clear()

    def _hear(self) -> int | None:
        """Wait for what it says next; the pid when it is that a worker has started."""
        try:
            message = self.socket.recv(MESSAGE_MAX)
        except OSError as error:
            self.give_up(f"does not answer: {error}")
            return None
        if not message:
            self.give_up("has ended")
            return None
        pid, code = json.loads(message)
        if code is None:
            return int(pid)
        self._living.pop(pid).returncode = code
        return None


def _be(requests: socket.socket, supervisor: int) -> NoReturn:
    """Be the zygote until the supervisor ends, and in each fork a worker until that is told to end."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C is for the supervisor
    worker.die_with(supervisor)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    setproctitle(f"imcloud: zygote of {multiprocessing.current_process().name}")  # Celery does it in workers
    os.environ["CELERY_SKIP_CHECKS"] = "1"
    worker.prepare()
    gc.collect()
    gc.freeze()  # or a worker's first collection writes to all that it shares, and has a copy of it then
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    while True:
        ready = select.select([requests, woken], [], [])[0]
        if woken in ready:
            woken.recv(4096)
            _tell_ended(requests)
        if requests not in ready:
            continue
        spec, pipes, *_ = socket.recv_fds(requests, MESSAGE_MAX, 1)
        if not spec:
            sys.exit()
        me = os.getpid()
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (requests, woken, wakes):
                end.close()
            os.setpgid(0, 0)
            worker.die_with(me)
            name, *queues = json.loads(spec)
            sys.exit(worker.work(name, queues, worker.Pipe(pipes[0])))
        os.close(pipes[0])
        requests.send(json.dumps([pid, None]).encode())


def _tell_ended(requests: socket.socket) -> None:
    with suppress(ChildProcessError):  # there are no others
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            requests.send(json.dumps([pid, os.waitstatus_to_exitcode(status)]).encode())
