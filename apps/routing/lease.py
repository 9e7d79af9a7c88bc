"""One holder among processes: a lock of the control database that dies with its holder."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import psycopg
from django.db import connections

from apps.routing import placement

logger = logging.getLogger(__name__)

EVERY = 1.0  # s between two looks at the lock
TRUSTED = 4.0  # s that an answer of the database proves the lease; less than UNHEARD
UNHEARD = 6  # s without a look after which PostgreSQL ends the session, which frees the lock


class Lease:
    """A PostgreSQL session-level advisory lock on a connection of its own, kept by a thread.

    The holder stops believing in it (`held`) before PostgreSQL could give it to anybody else, also when the
    network or the machine between them hangs. Whoever waits has it at most UNHEARD + EVERY s after that.
    Needs PostgreSQL 14 (idle_session_timeout).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken = False  # at the last look another session had it
        self._had = False  # when the database was last heard, we had it
        self._away = False  # nobody can have taken it since: the database takes no connections
        self._key = placement.digest("lease", name) - (1 << 63)
        self._proved_at = float("-inf")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{name}", daemon=True)

    @property
    def held(self) -> bool:
        return time.monotonic() - self._proved_at < TRUSTED

    @property
    def kept(self) -> bool:
        """Held, or held when the database went away: for work better done twice than not at all."""
        return self.held or (self._away and self._had)

    def start(self) -> None:
        """Ask for it from now on, again and again."""
        self._thread.start()

    def stop(self) -> None:
        """Give it back, within a second when the database answers."""
        self._ending.set()
        self._thread.join(1.0)

    def _keep(self) -> None:
        failing = False
        while not self._ending.is_set():
            connected = False
            try:
                with psycopg.connect(autocommit=True, **connection_parameters()) as connection:
                    failing, connected = False, True
                    self._hold(connection)
            except psycopg.Error as error:
                if not failing:
                    logger.warning("lease %s: database away, trying again: %s", self.name, str(error).strip())
                failing = True
                self._away = not connected
            self._proved_at = float("-inf")
            self._ending.wait(EVERY)

    def _hold(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(f"SET idle_session_timeout = '{UNHEARD}s'")
        locked = False
        while not self._ending.is_set():
            asked_at = time.monotonic()
            if locked:
                connection.execute("SELECT 1")
            else:
                row = connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()
                locked = bool(row and row[0])
                self.taken = not locked
            if locked:
                self._proved_at = asked_at
            self._had, self._away = locked, False
            self._ending.wait(EVERY)


def connection_parameters() -> dict[str, Any]:
    """Django's, for the control database, but that a peer that vanished is noticed within 5 s."""
    parameters: dict[str, Any] = connections["default"].get_connection_params()
    return parameters | {
        "connect_timeout": 3,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "tcp_user_timeout": 5000,  # ms
    }
