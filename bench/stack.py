"""A server of one's own: starts `manage.py run` on a free port with fresh data, and stops it again.

Or PostgreSQL and Redis alone, for what runs in this process.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imcloud import child, embedded
from imcloud.config import Config

ROOT = Path(__file__).resolve().parent.parent
MANAGE = (sys.executable, "manage.py")
READY_SECONDS = 120  # first start: databases are created and migrated
STOP_SECONDS = 30
COMMAND_SECONDS = 120
SERVER_SECONDS = 60
PORTS = range(10_000, 20_000)  # below those that systems give to outgoing connections


class StackFailed(RuntimeError):
    """The server did not come up; carries the end of its log."""


class Stack:
    """A running `manage.py run` and what it tells of itself in its data directory."""

    def __init__(self, data: Path, process: "subprocess.Popen[bytes]", log: Path):
        self.data = data
        self.process = process
        self.log = log
        self.beside: dict[int, str] = {}  # pid -> kind of what works for it and is not its child

    def describe(self) -> dict[str, Any]:
        """The content of run.json, which is rewritten whenever a child was restarted."""
        described: dict[str, Any] = json.loads((self.data / "run.json").read_text())
        return described

    def nodes(self) -> list[dict[str, Any]]:
        """The content of every node-NAME.json: {"pid", "zygote", "workers": [{"pid", "kind"}]}."""
        return [json.loads(path.read_text()) for path in sorted(self.data.glob("node-*.json"))]

    def node(self, name: str) -> dict[str, Any]:
        """The content of one of these; OSError when the node does not run."""
        found: dict[str, Any] = json.loads((self.data / f"node-{name}.json").read_text())
        return found

    def workers(self, kind: str, node: str = "") -> list[int]:
        """Process ids of the workers of a kind, "message", "query" or "webhook", of one node or of all."""
        nodes = [self.node(node)] if node else self.nodes()
        return [worker["pid"] for node in nodes for worker in node["workers"] if worker["kind"] == kind]

    def manage(self, *command: str, seconds: float = COMMAND_SECONDS) -> str:
        """What a command of manage.py prints on this installation; StackFailed when it fails."""
        done = subprocess.run(
            [*MANAGE, *command],
            cwd=ROOT,
            env=environment(self.data),
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if done.returncode:
            raise StackFailed(f"manage.py {' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
        return done.stdout

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a command of manage.py beside the server's processes; what it logs is in their log."""
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [*MANAGE, *command], cwd=ROOT, env=environment(self.data), stdout=output, stderr=output
            )

    @property
    def url(self) -> str:
        return str(self.describe()["url"])

    def stop(self) -> None:
        """End the server and all its children; kill them when they do not end in time."""
        pids: list[int] = []
        with contextlib.suppress(OSError, ValueError):
            pids = [*self.describe()["pids"].values(), *(pid for node in self.nodes() for pid in _pids(node))]
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
                return
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _pids(node: dict[str, Any]) -> list[int]:
    return [node["pid"], *(worker["pid"] for worker in node["workers"])]


def environment(data: Path, **settings: str) -> dict[str, str]:
    """What a process of the server is started with; the caller's own settings describe another server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IMCLOUD_")}
    own = {"DATA": str(data), **settings}
    return kept | {f"IMCLOUD_{name}": value for name, value in own.items()}


def free_port(number: int = 1) -> int:
    """The first of so many TCP ports in a row of the loopback address that nobody listens on now."""
    while True:
        first = random.choice(PORTS)
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for port in range(first, first + number):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


@contextlib.contextmanager
def running(data: Path, **settings: str) -> Iterator[Stack]:
    """Start a server on `data` with `settings` (IMCLOUD_ names without the prefix); stop it at the end."""
    gateways = int(settings.get("GATEWAYS", "1")) * int(settings.get("SITES", "1"))
    settings.setdefault("PORT", str(free_port(gateways)))
    data.mkdir(parents=True, exist_ok=True)
    log = data / "run.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*MANAGE, "run"],
            cwd=ROOT,
            env=environment(data, **settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C at the benchmark reaches the server through stop(), once
        )
    stack = Stack(data, process, log)
    try:
        _wait_until_ready(stack)
        yield stack
    finally:
        stack.stop()


def _wait_until_ready(stack: Stack) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not (stack.data / "run.json").exists():
        if stack.process.poll() is not None or time.monotonic() > deadline:
            tail = stack.log.read_text(errors="replace")[-3000:]
            raise StackFailed(f"manage.py run is not ready (exit {stack.process.poll()}):\n{tail}")
        time.sleep(0.1)


@contextlib.contextmanager
def servers(config: Config) -> Iterator[None]:
    """Embedded PostgreSQL and Redis where `config` says, with their logs in its data folder."""
    processes: list[tuple[embedded.Server, subprocess.Popen[bytes]]] = []
    try:
        for server in (embedded.postgres(config), embedded.redis_server(config)):
            log = config.data / f"{server.name}.log"
            with log.open("wb") as output:
                command = child.command_line(server.command, server.account, server.stop)
                process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
            processes.append((server, process))
            give_up_at = time.monotonic() + SERVER_SECONDS
            while not server.ready():
                if time.monotonic() > give_up_at:
                    raise StackFailed(
                        f"{server.name} did not start:\n{log.read_text(errors='replace')[-3000:]}"
                    )
                time.sleep(0.02)
        yield
    finally:
        for server, process in reversed(processes):
            process.send_signal(server.stop)
        for _, process in processes:
            process.wait(30)
