"""Observers: whoever can tell that a SET's database is gone tells it, so that most of them can decide.

A thread of each node's supervisor, and of each beat, looks at the primaries of the SETs that may fail over by
themselves, once a second, and writes in Redis how many looks in a row have failed. One observer that is cut
off itself so decides nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import NamedTuple

import psycopg
from redis import RedisError

from apps.routing import databases, heartbeats, presence
from apps.routing.topology import topology

logger = logging.getLogger(__name__)

EVERY = 1.0  # s
CONNECT_WITHIN = 2  # s
STALE = 5.0  # s after which what an observer has told does not count


def key(server_set: str) -> str:
    """Redis: observer -> "failures ms"."""
    return f"imcloud:probes:{server_set}"


class Verdict(NamedTuple):
    """What the observers of a database hold."""

    observers: int  # that have looked lately
    gone: int  # those of them that could not reach it often enough


class Observer:
    """Looks in a thread of its own. `name` is no other observer's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._client = heartbeats.connect()
        self._connections: dict[str, psycopg.Connection[tuple[int]]] = {}
        self._failures: dict[str, int] = {}
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._left.set()

    def _run(self) -> None:
        while not self._left.wait(EVERY):
            try:
                self.look()
            except Exception:
                logger.exception("the SETs' databases are not observed")

    def look(self) -> None:
        """Once, at all of them."""
        for name, entry in topology.current.sets.items():
            if not entry.fails_over:
                self._failures.pop(name, None)
                continue
            url = databases.url(name)
            self._failures[name] = 0 if self._answers(url) else self._failures.get(name, 0) + 1
            told = f"{self._failures[name]} {time.time_ns() // 1_000_000}"
            try:
                self._client.hset(key(name), self._name, told)
            except (RedisError, OSError) as error:
                logger.debug("what was observed is not told: %s", error)

    def _answers(self, url: str) -> bool:
        try:
            connection = self._connections.get(url)
            if connection is None or connection.closed:
                connection = psycopg.connect(
                    url,
                    connect_timeout=CONNECT_WITHIN,
                    autocommit=True,
                    options="-c statement_timeout=1000",
                    tcp_user_timeout=2000,
                )
                self._connections[url] = connection
            connection.execute("SELECT 1")
        except psycopg.Error:
            if gone := self._connections.pop(url, None):
                gone.close()
            return False
        return True


def verdict(server_set: str, probes: int) -> Verdict:
    """Raises RedisError."""
    now = time.time_ns() // 1_000_000
    told: dict[bytes, bytes] = presence.client().hgetall(key(server_set))  # type: ignore[assignment]
    looks = [tuple(map(int, each.split())) for each in told.values()]
    failures = [number for number, at in looks if now - at < STALE * 1000]
    return Verdict(len(failures), sum(number >= probes for number in failures))
