"""A PostgreSQL server for a peer: imcloud's embedded one with its settings, on a loopback port.

Peers' drivers take a host and a port. It is a server of its own, so that nothing of imcloud's runs beside the
peer.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import LiteralString

import psycopg

from bench.stack import StackFailed, free_port
from imcloud import child, config, embedded

READY_SECONDS = 30
STOP_SECONDS = 30
POSTGRES = "postgres"  # the kind of its processes in the figures, as of imcloud's


class Database:
    """A running server with one empty database."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]"):
        self.port = port
        self.process = process
        self.host, self.user, self.name = "127.0.0.1", embedded.POSTGRES_USER, "peer"

    def url(self, name: str) -> str:
        return f"postgresql://{self.user}@{self.host}:{self.port}/{name}"

    def run(self, script: str) -> None:
        """Any number of statements."""
        with psycopg.connect(self.url(self.name)) as connection:
            connection.execute(script.encode())

    def insert(self, into: LiteralString, rows: Sequence[tuple[str, ...]]) -> None:
        """Rows as of COPY, `into` a table and its columns."""
        with (
            psycopg.connect(self.url(self.name)) as connection,
            connection.cursor().copy(f"COPY {into} FROM STDIN".encode()) as copy,
        ):
            for row in rows:
                copy.write_row(row)

    def count(self, table: LiteralString) -> int:
        """Rows of the table, or of what stands in its place in a SELECT."""
        with psycopg.connect(self.url(self.name)) as connection:
            ((number,),) = connection.execute(f"SELECT count(*) FROM {table}".encode())
        return int(number)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Database]:
    """Make a server in the folder and start it; stop it at the end. StackFailed when it does not come up."""
    folder.mkdir()
    server = embedded.postgres(config.read({"IMCLOUD_DATA": str(folder)}))
    rules = folder / "postgres" / "pg_hba.conf"
    rules.write_text(rules.read_text().replace("reject", "trust"))
    port = free_port()
    command = [*server.command, "-c", "listen_addresses=127.0.0.1", "-c", f"port={port}"]
    url = f"postgresql://{embedded.POSTGRES_USER}@127.0.0.1:{port}/postgres"
    server = replace(server, command=command, ready=partial(embedded.postgres_ready, url))
    with started(server, folder / "postgres.log") as process:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE peer")
        yield Database(port, process)


@contextlib.contextmanager
def started(server: embedded.Server, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start it, wait until it answers, and end it. StackFailed when it does not come up."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            child.command_line(server.command, server.account, server.stop),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches it through this function, after its clients have ended
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not server.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackFailed(f"PostgreSQL is not ready:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        end(process, server.stop)


def end(process: "subprocess.Popen[bytes]", signal: int) -> None:
    """Ask it to end, and kill it when it does not in time."""
    if process.poll() is None:
        process.send_signal(signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
