"""The embedded PostgreSQL for as long as a backup or a restore takes, when imcloud does not run."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from imcloud import child, embedded
from imcloud.backups import BackupError
from imcloud.config import Config
from imcloud.management.commands.run import SERVER_START_MAX, lock_data

LOOK = 0.1  # s
STOP_MAX = 60.0  # s


@contextmanager
def running(config: Config, *, new: bool) -> Iterator[None]:
    """Nothing is done for an operator's server, nor for one that runs. `new`: there may be no data yet."""
    if config.database_url or embedded.postgres_ready(config):
        yield
        return
    if not new and not (config.data / "postgres").exists():
        raise BackupError(f"There is nothing to back up: {config.data} has no databases.")
    lock = lock_data(config.data)
    server = embedded.postgres(config)
    (config.data / "log").mkdir(exist_ok=True)
    file = config.data / "log" / "postgres-alone.log"
    with open(file, "wb") as log:
        process = subprocess.Popen(
            child.command_line(server.command, server.account, server.stop),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the work, which ends before the server does
        )
    try:
        give_up_at = time.monotonic() + SERVER_START_MAX
        while not embedded.postgres_ready(config):
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise BackupError(f"The embedded PostgreSQL did not start: see {file}.")
            time.sleep(LOOK)
        yield
    finally:
        process.send_signal(server.stop)
        process.wait(STOP_MAX)
        os.close(lock)
