"""Child processes: started, listened to, restarted when they die, ended in order. `manage.py run` uses it.

Only the main thread may start children: Linux sends a child its parent-death signal when the *thread* that
started it ends.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from imcloud import child

LOG_MAX = 16 * 1024 * 1024  # bytes of DATA/log/NAME.log; then it becomes NAME.log.1, and the older one goes
LINE_MAX = 64 * 1024  # bytes; a longer line is cut into several
TERMINAL_BACKLOG = 2000  # lines; when the terminal does not take them, further ones are in the files only
BACKOFF_FIRST, BACKOFF_MAX = 0.2, 5.0  # s before a child that died is started again; doubled each time
BACKOFF_FORGET = 30.0  # s of life after which the back-off begins anew
KILLED_MAX = 10.0  # s that processes may take to die of SIGKILL
REST = 1.0  # s between two looks whether a child that rests is to run again
POLL = 0.05  # s

log = logging.getLogger(__name__)


class Terminal:
    """Prints lines in a thread of its own, so that a terminal that is not read cannot stop the children."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._lines: queue.Queue[bytes | None] = queue.Queue(TERMINAL_BACKLOG)
        self._thread = threading.Thread(target=self._print, name="terminal", daemon=True)
        self._thread.start()

    def line(self, line: bytes) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            pass

    def close(self) -> None:
        """Print what is waiting, for a second at most."""
        try:
            self._lines.put(None, timeout=0.5)
        except queue.Full:
            return
        self._thread.join(timeout=0.5)

    def _print(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._out.write(line)
                self._out.flush()
            except (OSError, ValueError):
                return  # the terminal is gone; the files go on


class LogFile:
    """A file that keeps its newest LOG_MAX to 2 * LOG_MAX bytes; the part before is in NAME.log.1."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = self._fresh()
        self._size = 0

    def _fresh(self) -> IO[bytes]:
        if self._path.exists():
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        return open(self._path, "wb", buffering=0)

    def write(self, line: bytes) -> None:
        if self._size + len(line) > LOG_MAX:
            self._file.close()
            self._file, self._size = self._fresh(), 0
        self._file.write(line)
        self._size += len(line)


@dataclass
class Child:
    """A program that is to run for as long as the launcher does."""

    name: str
    command: list[str]
    site: str = ""  # those of one site can be stopped together
    account: child.Account | None = None
    stop: signal.Signals = signal.SIGTERM
    patience: float = 10.0  # s from the stop signal to SIGKILL
    environment: dict[str, str] = field(default_factory=dict)
    resting: Callable[[], bool] | None = None  # after an end in order: whether it is not to run for now
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    backoff: float = BACKOFF_FIRST
    restart_at: float | None = None
    stopped: bool = False  # with its site

    def signal_group(self, number: signal.Signals) -> None:
        """To the child and all its descendants; each child has a process group of its own."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                pass


def tree(which: Child) -> list[psutil.Process]:
    """Its process and all that descend from it, the parents first. Some have process groups of their own."""
    if which.process is None or which.process.poll() is not None:
        return []
    try:
        root = psutil.Process(which.process.pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def exit_text(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Launcher:
    """The children, in the order of their start."""

    def __init__(self, log_dir: Path, on_restart: Callable[[str], None], keep_open: int) -> None:
        """`on_restart` gets the name of a child that was started again. `keep_open` is a file descriptor that
        every child inherits: the lock of the data folder, which is free when the last of them has ended."""
        self.children: list[Child] = []
        self.terminal = Terminal(sys.stdout.buffer)
        self._log_dir = log_dir
        self._log_files: dict[str, LogFile] = {}
        self._on_restart = on_restart
        self._keep_open = keep_open
        log_dir.mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        self.terminal.line(f"{text}\n".encode())

    def start(self, new: Child) -> None:
        self.children.append(new)
        self._log_files[new.name] = LogFile(self._log_dir / f"{new.name.replace(':', '-')}.log")
        self._spawn(new)

    def _spawn(self, which: Child) -> None:
        which.restart_at = None
        which.started_at = time.monotonic()
        which.process = subprocess.Popen(
            child.command_line(which.command, which.account, which.stop),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | which.environment,
            start_new_session=True,
            pass_fds=(self._keep_open,),
        )
        threading.Thread(target=self._listen, args=(which, which.process.stdout), daemon=True).start()

    def _listen(self, which: Child, pipe: IO[bytes]) -> None:
        prefix = f"{which.name:<14} | ".encode()
        file = self._log_files[which.name]
        with pipe:
            while line := pipe.readline(LINE_MAX):
                line = line.rstrip(b"\n") + b"\n"
                file.write(line)
                self.terminal.line(prefix + line)

    def tend(self) -> None:
        """Start again what has died. To be called all the time, from the main thread."""
        now = time.monotonic()
        for each in self.children:
            if each.stopped:
                continue
            if each.restart_at is not None:
                if now < each.restart_at:
                    continue
                if each.process and each.process.returncode == 0 and each.resting and each.resting():
                    each.restart_at = now + REST
                else:
                    self._spawn(each)
                    self._on_restart(each.name)
                continue
            code = each.process.poll() if each.process else None
            if code is None:
                continue
            each.signal_group(signal.SIGTERM)  # what it may have left behind
            if code == 0 and each.resting and each.resting():
                each.restart_at = now + REST
                log.info("%s has ended in order", each.name)
                continue
            if now - each.started_at > BACKOFF_FORGET:
                each.backoff = BACKOFF_FIRST
            each.restart_at = now + each.backoff
            log.error("%s died (%s); starting it again in %.1f s", each.name, exit_text(code), each.backoff)
            each.backoff = min(each.backoff * 2, BACKOFF_MAX)

    def pids(self) -> dict[str, int]:
        return {each.name: each.process.pid for each in self.children if each.process and not each.stopped}

    def stop(self, site: str) -> None:
        """As if the power had gone there: all of a site die at once, and stay dead until they are resumed."""
        its = [each for each in self.children if each.site == site]
        victims = [process for each in its for process in tree(each)]
        for victim in victims:
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                pass
        for each in its:
            each.stopped, each.restart_at, each.backoff = True, None, BACKOFF_FIRST
            if each.process:
                each.process.wait()
        psutil.wait_procs(victims, KILLED_MAX)

    def resume(self, site: str) -> None:
        """Start again those of a site, in the order in which they were started first."""
        for each in self.children:
            if each.site == site and each.stopped:
                each.stopped = False
                self._spawn(each)

    def end(self, *groups: tuple[str, ...]) -> None:
        """End all children: group after group, each of them given by the beginnings of names."""
        for group in groups:
            self._end([each for each in self.children if each.name.startswith(group)])
        self._end(self.children)
        self.terminal.close()

    def _end(self, group: list[Child]) -> None:
        running = [each for each in group if each.process and each.process.poll() is None]
        for each in running:
            assert each.process
            each.process.send_signal(each.stop)
        asked_at = time.monotonic()
        for each in running:
            assert each.process
            try:
                each.process.wait(max(0.0, asked_at + each.patience - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not end within %.0f s and is killed", each.name, each.patience)
        for each in group:
            each.restart_at = None
            each.signal_group(signal.SIGKILL)
        for each in running:
            assert each.process
            each.process.wait()
        self.children = [each for each in self.children if each not in group]
