"""What a peer is to the benchmark, and how its packages come onto the machine."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.peers.database import POSTGRES, Database, end
from bench.stack import StackFailed, free_port
from imcloud import child

DOMAIN = "localhost"
ROOMS = "conference.localhost"  # the domain of its rooms
PASSWORD = "secret"  # of every user
READY_SECONDS = 60
INSTALL_SECONDS = 600


class Peer(ABC):
    """A server of XMPP that keeps every message in a database, and is running."""

    name: str
    packages: tuple[str, ...]  # Debian's

    def __init__(self, folder: Path, database: Database):
        self.folder = folder
        self.database = database
        self.port = free_port()
        self.process: subprocess.Popen[bytes]

    @abstractmethod
    def prepare(self) -> None:
        """Make its tables and its configuration."""

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """What to run (its first word an absolute path), and with what more in its environment."""

    @abstractmethod
    def register(self, users: Sequence[str]) -> None:
        """Make users whose password is PASSWORD."""

    @abstractmethod
    def archived(self) -> int:
        """How many messages there are in its archives, those of rooms included."""

    def settings(self) -> dict[str, str]:
        """What a configuration says of this machine."""
        return {
            "domain": DOMAIN,
            "rooms": ROOMS,
            "folder": str(self.folder),
            "port": str(self.port),
            "database_host": self.database.host,
            "database_port": str(self.database.port),
            "database": self.database.name,
            "database_user": self.database.user,
        }

    def roots(self) -> dict[int, str]:
        """As of `cost.roots`."""
        return {self.process.pid: self.name, self.database.process.pid: POSTGRES}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start it, wait until it takes connections, and end it; StackFailed when it does not come up."""
        self.prepare()
        words, environment = self.command()
        log = self.folder / f"{self.name}.out"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                child.command_line(words, None, signal.SIGTERM),
                cwd=self.folder,
                env=os.environ | {"HOME": str(self.folder)} | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches it through this function, once
            )
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not self.is_ready():
                if self.process.poll() is not None or time.monotonic() > deadline:
                    logs = sorted(self.folder.glob(f"{self.name}*.*"))
                    tails = "\n".join(f"{each}:\n{each.read_text(errors='replace')[-2000:]}" for each in logs)
                    raise StackFailed(f"{self.name} is not ready (exit {self.process.poll()})\n{tails}")
                time.sleep(0.1)
            yield
        finally:
            end(self.process, signal.SIGTERM)

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Package -> version of those that are installed; empty where there is no dpkg."""
    try:
        listed = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status} ${Version}\n", *packages],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    except FileNotFoundError:
        return {}
    words = (line.split() for line in listed.splitlines())
    return {word[0]: word[2] for word in words if word[1] == "installed"}


def install(packages: Sequence[str]) -> dict[str, str]:
    """Install what is missing, when we are root; the versions. StackFailed when that cannot be done."""
    found = versions(packages)
    missing = [name for name in packages if name not in found]
    if not missing:
        return found
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.getuid() != 0:
        raise StackFailed(f"not installed: {', '.join(missing)}; as root: {' '.join(command)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except FileNotFoundError:
        raise StackFailed(f"not installed, and there is no apt-get: {', '.join(missing)}") from None
    if done.returncode:
        raise StackFailed(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return versions(packages)
