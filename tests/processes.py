"""Real processes for tests: a Redis that may be killed, and commands of manage.py with their logs."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import redis
from celery import current_app
from kombu import Connection

from imcloud import child, config, embedded
from tests.conftest import ROOT, wait_for


class OwnRedis:
    """A Redis of one test module: killing it disturbs nobody else. Nothing in it outlives it."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.environment = {"IMCLOUD_REDIS_URL": f"unix://{self.socket}?db=0"}
        self.broker = redis.Redis(unix_socket_path=str(self.socket), db=1)
        self.start()

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self._process = subprocess.Popen(
            [embedded.redis_binary(), *options], cwd=self.socket.parent, stdout=subprocess.DEVNULL
        )
        wait_for(self._answers, 20, "Redis did not start")

    def _answers(self) -> bool:
        try:
            return bool(self.broker.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def put(self, queue: str, task: str, data: bytes, copies: int = 1) -> None:
        """Put a task on a queue of the broker in it."""
        with Connection(f"redis+socket://{self.socket}?virtual_host=1") as connection:
            producer = connection.Producer(auto_declare=False)
            current_app.send_task(task, args=(data,), queue=f"{queue}.new", producer=producer, retry=False)
        message = self.broker.rpop(f"{queue}.new")
        assert isinstance(message, bytes)
        self.broker.lpush(queue, *[message] * copies)


class Command:
    """A running `manage.py COMMAND …` of the test run's installation; what it logs is in `log`."""

    def __init__(self, log: Path, environment: dict[str, str], *command: str) -> None:
        self._log = log
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), *command],
                env=os.environ | environment,
                stdout=file,
                stderr=file,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until the condition is true; AssertionError with the log when it is not within the time."""
        try:
            wait_for(condition, seconds, "")
        except AssertionError:
            raise AssertionError(f"not within {seconds} s:\n{self.log}") from None

    def kill(self) -> None:
        """Whatever state it is in."""
        self.process.kill()
        self.process.wait(10)

    def end(self) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            return self.process.wait(15)
        finally:
            self.kill()


class OwnPostgres:
    """A PostgreSQL server of one test module, which may be killed, and begun again with what it has."""

    def __init__(self, folder: Path) -> None:
        self._config = config.read({"IMCLOUD_DATA": str(folder)})
        self._log = folder.with_suffix(".log")
        folder.mkdir(parents=True)
        self.start()
        wait_for(self.is_ready, 30, f"see {self._log}")

    def start(self, file_size: int = resource.RLIM_INFINITY) -> None:
        """From the main thread: Linux ends a child with the thread that has started it.

        With a `file_size`, what it writes to a file behind so many bytes fails, as on a disk that is full.
        """
        server = embedded.postgres(self._config)
        command = child.command_line(server.command, server.account, server.stop)
        own = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, own[1]))
        try:
            with open(self._log, "ab") as log:
                self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, own)

    def is_ready(self) -> bool:
        return embedded.postgres_ready(self._config)

    def url(self, database: str) -> str:
        """Of a database in it."""
        return embedded.server_url(self._config).replace("/postgres?", f"/{database}?")

    def kill(self) -> None:
        """All of its processes, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
