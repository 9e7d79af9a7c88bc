"""Real processes for tests: a Redis that may be killed, and commands of manage.py with their logs."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import redis
from celery import current_app
from kombu import Connection

from bench.stack import free_port
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
        return embedded.postgres_ready(self.url("postgres"))

    def url(self, database: str) -> str:
        """Of a database in it."""
        return self._config.embedded_database("postgres", database)

    @contextmanager
    def apart(self) -> Iterator[Callable[[str], str]]:
        """Nobody reaches it meanwhile but by the URLs that this gives, which go on leading there."""
        socket = self._config.socket_dir / "postgres" / ".s.PGSQL.5432"
        other = self._log.parent / "apart"
        other.mkdir()
        socket.rename(other / socket.name)

        def url(database: str) -> str:
            return f"postgresql://imcloud@/{database}?host={other}"

        try:
            with psycopg.connect(url("postgres")) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname IS NOT NULL AND pid <> pg_backend_pid()"
                )
            yield url
        finally:
            (other / socket.name).rename(socket)
            (other / socket.name).symlink_to(socket)

    def kill(self) -> None:
        """All of its processes, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)


def gone(pids: Iterable[int]) -> bool:
    """Whether none of the processes exists; zombies do not."""
    for pid in pids:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                return False
    return True


class TcpPostgres:
    """A PostgreSQL server of one test module, on a TCP port: it may be killed, and another may follow it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._binaries = embedded.postgres_binaries()
        its = config.read({"IMCLOUD_DATA": str(folder)})
        for each in (folder, its.socket_dir):
            embedded.own_folder(each, embedded.SOCKET_DIR_MODE)
        self._account = embedded.postgres_account(its, self._binaries)
        owner = self._account.uid if self._account else None
        self._sockets = embedded.own_folder(its.socket_dir / "postgres", owner=owner)
        self._data = folder / "data"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://imcloud@{self.place}/{database}"

    def initialise(self) -> None:
        """Make a server of its own."""
        embedded.initialise(self._binaries, self._data, self._account)
        rules = self._data / "pg_hba.conf"
        rules.write_text(rules.read_text().replace("reject", "trust"))

    def follow(self, primary: "TcpPostgres") -> None:
        """Make a standby that PostgreSQL itself keeps up with the primary."""
        owner = self._account.uid if self._account else None
        embedded.own_folder(self._data, owner=owner)
        self._run(
            "pg_basebackup", "--dbname", primary.url(), "--pgdata", str(self._data), "--checkpoint=fast",
            "--write-recovery-conf", "--wal-method=stream", "--create-slot", "--slot=standby",
        )  # fmt: skip

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._sockets),
            "max_connections": "150",
            "wal_receiver_status_interval": "1",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        program = [str(self._binaries / "postgres"), "-D", str(self._data), *words]
        with open(self._folder / "postgres.log", "ab") as log:
            self._process = subprocess.Popen(
                child.command_line(program, self._account, signal.SIGQUIT), stdout=log, stderr=log
            )
        wait_for(self._answers, 30, f"no server: {self._folder}/postgres.log")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def run(self, query: LiteralString, database: str = "postgres") -> list[Any]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(query)
            return found.fetchall() if found.description else []

    def kill(self) -> None:
        """All of its processes; nothing is written and nobody is answered any more."""
        pid = self._process.pid
        os.kill(pid, signal.SIGSTOP)  # it makes no more of them
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        self._process.kill()
        for child_pid in children:
            with suppress(ProcessLookupError):
                os.kill(child_pid, signal.SIGKILL)
        self._process.wait()
        wait_for(lambda: gone(children), 10, "its processes live on")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def _run(self, program: str, *arguments: str) -> None:
        words = [str(self._binaries / program), *arguments]
        subprocess.run(
            child.command_line(words, self._account, signal.SIGTERM),
            cwd="/",
            check=True,
            capture_output=True,
            timeout=60,
        )
