"""A database that is away costs the time of one try, not that of everybody who asks for it.

Django's pool has each thread wait for its whole time limit while no connection can be made. A worker has work
of many kinds in one thread: what needs the control database would keep it from what does not. So, once a
database is found to be away, whoever wants a connection makes one try of its own, one thread at a time, and
everybody else is told at once why the last one failed.
"""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import PoolTimeout

TRY = 2  # s to connect, for each host
TURNS = 5  # times that the pool is asked while the database answers, each for its `timeout`

_reasons: dict[str, str] = {}  # alias -> why it is away
_trying: dict[str, threading.Lock] = {}


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        name = f"imcloud {multiprocessing.current_process().name}"[:63]  # bytes that PostgreSQL takes
        return {"application_name": name, **super().get_connection_params()}  # type: ignore[misc]

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        # A process that has not been there yet does not know either.
        if self.alias in _reasons or self.alias not in self._connection_pools:  # type: ignore[attr-defined]
            self._try(conn_params)
        for turn in range(1, TURNS + 1):
            try:
                return super().get_new_connection(conn_params)  # type: ignore[misc]
            except (PoolTimeout, psycopg.OperationalError):
                self._try(conn_params)  # the pool does not say why
                if turn == TURNS:  # all its connections are in use
                    raise
        return None

    def _try(self, conn_params: dict[str, Any]) -> None:
        """Raise psycopg.OperationalError while no connection can be made."""
        lock = _trying.setdefault(self.alias, threading.Lock())
        if not lock.acquire(blocking=self.alias not in _reasons):
            raise psycopg.OperationalError(_reasons.get(self.alias, "it is being tried"))
        try:
            psycopg.connect(**conn_params | {"connect_timeout": TRY}).close()
        except psycopg.OperationalError as error:
            _reasons[self.alias] = str(error).strip()
            raise
        else:
            _reasons.pop(self.alias, None)
        finally:
            lock.release()
