"""PostgreSQL's own pg_dump and pg_restore: where they are, whether they are new enough, how they are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from imcloud.backups import BackupError
from imcloud.embedded import EmbeddedError, postgres_binaries

KEPT_LINES = 3  # of what a program said last, for the message of its failure
CONNECT_WITHIN = 5  # s


def find(name: str, least: int) -> str:
    """The path of the program, the wheel's or the one on PATH, of this major version or a newer one."""
    newest = 0
    for program in _candidates(name):
        newest = max(newest, found := version(program))
        if found >= least:
            return program
    have = f"the {name} here is of version {newest}" if newest else f"there is no {name} here"
    raise BackupError(
        f"The server is PostgreSQL {least}, and {have}: install PostgreSQL's client programs of version "
        f"{least} (Debian, Ubuntu: apt-get install postgresql-client-{least}) and have them first on PATH."
    )


def _candidates(name: str) -> Iterator[str]:
    try:
        inside = postgres_binaries() / name
        if inside.exists():
            yield str(inside)
    except EmbeddedError:
        pass
    if on_path := shutil.which(name):
        yield on_path


def version(program: str) -> int:
    """18 of `pg_dump (PostgreSQL) 18.4`; 0 when the program does not say."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"\) (\d+)", said.stdout)
    return int(found[1]) if found else 0


def connect(url: str, **parameters: Any) -> psycopg.Connection[Any]:
    """A session without time limits. BackupError when the database cannot be opened."""
    limits = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0"
    try:
        return psycopg.connect(
            url, autocommit=True, connect_timeout=CONNECT_WITHIN, options=limits, **parameters
        )
    except psycopg.Error as error:
        name = parameters.get("dbname") or conninfo_to_dict(url).get("dbname")
        raise BackupError(f"The database {name} cannot be opened: {line(error)}.") from None


def line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


class Running:
    """A started pg_dump or pg_restore; what it says about itself goes line by line to `hear`."""

    def __init__(self, program: str, url: str, arguments: list[str], hear: Callable[[str], None]) -> None:
        where = conninfo_to_dict(url)
        # Everybody may read what processes are started with.
        secret = {"PGPASSWORD": str(where.pop("password"))} if where.get("password") else {}
        self._name = Path(program).name
        self._hear = hear
        self._last: deque[str] = deque(maxlen=KEPT_LINES)
        self._process = subprocess.Popen(
            [
                program,
                f"--dbname={make_conninfo(**{name: str(value) for name, value in where.items()})}",
                "--verbose",
                "--no-password",
                *arguments,
            ],
            env=os.environ | secret | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr
        for said in self._process.stderr:
            self._last.append(said.strip())
            self._hear(said)

    def finish(self) -> None:
        """Wait for its end; BackupError with what it said last when it failed."""
        code = self._process.wait()
        self._listener.join()
        if code:
            said = [each for each in self._last if "error" in each] or list(self._last)
            raise BackupError(f"{self._name} failed: {' '.join(said) or f'exit code {code}'}")

    def end(self) -> None:
        """Whatever state it is in."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
