"""The embedded PostgreSQL for as long as a backup or a restore takes, when imcloud does not run."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imcloud import child, embedded, sites
from imcloud.backups import BackupError
from imcloud.config import Config
from imcloud.embedded import Server
from imcloud.management.commands.run import SERVER_START_MAX, lock_data

LOOK = 0.1  # s
STOP_MAX = 60.0  # s


@contextmanager
def running(config: Config, *, new: bool) -> Iterator[None]:
    """Nothing is done for an operator's server, nor for those that run. `new`: there may be no data yet."""
    if config.database_url or embedded.postgres_ready(config.embedded_database("postgres", "postgres")):
        yield
        return
    if not new and not (config.data / "postgres").exists():
        raise BackupError(f"There is nothing to back up: {config.data} has no databases.")
    lock = lock_data(config.data)
    servers = [embedded.postgres(config)]
    if sites.of(config.data):
        servers += [embedded.postgres(config, name) for name in sites.POSTGRES]
    (config.data / "log").mkdir(exist_ok=True)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes += [_start(config, server) for server in servers]
        for server, process in zip(servers, processes, strict=True):
            _wait_for(config, server, process)
        yield
    finally:
        for server, process in zip(servers, processes, strict=False):
            process.send_signal(server.stop)
        for process in processes:
            process.wait(STOP_MAX)
        os.close(lock)


def _log(config: Config, server: Server) -> Path:
    return config.data / "log" / f"{server.name}-alone.log"


def _start(config: Config, server: Server) -> subprocess.Popen[bytes]:
    with open(_log(config, server), "wb") as log:
        return subprocess.Popen(
            child.command_line(server.command, server.account, server.stop),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the work, which ends before the server does
        )


def _wait_for(config: Config, server: Server, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + SERVER_START_MAX
    while not server.ready():
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise BackupError(f"The embedded PostgreSQL did not start: see {_log(config, server)}.")
        time.sleep(LOOK)
