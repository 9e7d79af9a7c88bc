"""The task of `SET.replication`: ships what there is, and goes on with a failover that is under way."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import NamedTuple

import psycopg
from celery import current_app
from django.db import DatabaseError, close_old_connections
from redis import RedisError

from apps.messaging import log
from apps.messaging.log import Unavailable
from apps.messaging.standby import failover, journal, shipping
from apps.messaging.standby.shipping import Shipped, StandbyAway
from apps.routing import metrics, presence
from apps.routing.topology import topology

logger = logging.getLogger(__name__)

REPLICATE = "messaging.replicate"
WAKE_EVERY = 0.2  # s; commits in between are shipped together
WAKE_EXPIRES = 5.0  # s that a wake-up is worth something: the timed run comes every second
BUDGET = 5.0  # s of work a call; a standby that is far behind gets the next one at once

_woken: dict[str, float] = {}  # SET -> monotonic s
_compact_from: dict[str, int] = {}  # SET -> notes, from which on they are compacted again
_failing: set[str] = set()  # SETs whose standby was away at the last run


def wake(server_set: str) -> None:
    """Have what was committed shipped soon. Never raises."""
    entry = topology.current.sets.get(server_set)
    if entry is None or not entry.standby or entry.on_standby:
        return
    now = time.monotonic()
    if now - _woken.get(server_set, 0.0) >= WAKE_EVERY:
        _woken[server_set] = now
        _send(server_set)


def _send(server_set: str) -> None:
    try:
        current_app.send_task(
            REPLICATE,
            args=(server_set,),
            queue=f"{server_set}.replication",
            expires=WAKE_EXPIRES,
            retry=False,
            ignore_result=True,
        )
    except Exception as error:
        logger.warning("%s: replication was not woken: %s", server_set, error)


def run(server_set: str) -> None:
    """Ship for `BUDGET` s at most, until the standby is where the primary is."""
    try:
        failover.run(server_set)
    except DatabaseError as error:  # what is known of the topology holds
        logger.warning("%s: failovers cannot be looked after: %s", server_set, str(error).strip())
    try:
        shipped = _ship(server_set)
        if shipped.whole:
            shipping.restore(server_set)
        else:
            _send(server_set)
    except (StandbyAway, psycopg.OperationalError, DatabaseError) as error:
        if server_set not in _failing:
            logger.warning("%s is not replicated: %s", server_set, error)
        _failing.add(server_set)
        _compact(server_set)
    else:
        if server_set in _failing:
            logger.info("%s is replicated again", server_set)
        _failing.discard(server_set)
    finally:
        close_old_connections()


def _compact(server_set: str) -> None:
    """While nobody takes the notes of changed rows, they are not to grow with every change of a row."""
    try:
        at_least = _compact_from.get(server_set, journal.COMPACT_FROM)
        kept = log.of(server_set).run(lambda connection: journal.compact(connection, at_least), within=0.0)
    except (Unavailable, psycopg.Error):
        return  # the primary is away, too
    if kept:
        _compact_from[server_set] = max(2 * kept, journal.COMPACT_FROM)


class Lag(NamedTuple):
    """How far a standby is behind."""

    rows: int  # messages
    seconds: float  # age of the oldest of them
    position: int  # seq of the standby's newest message


def lag(server_set: str) -> Lag:
    """As the primary has it now. Raises StandbyAway, psycopg.OperationalError."""
    position = shipping.of(server_set).position()
    query = "SELECT count(*), min(time) FROM messaging_message WHERE seq > %s"
    ((rows, since),) = log.of(server_set).read(query, (position,), within=0.0)
    return Lag(rows, max(log.now() - since, 0) / 1000 if rows else 0.0, position)


def measure() -> None:
    """Tell how far standbys are behind. What cannot be asked stays as it was, and ages."""
    for name, entry in topology.current.sets.items():
        if not entry.standby:
            metrics.REPLICATION_WAITING.values.pop((name,), None)
            metrics.REPLICATION_LAG.values.pop((name,), None)
            continue
        try:
            found = lag(name)
        except (StandbyAway, Unavailable, psycopg.Error):
            continue
        metrics.REPLICATION_WAITING.put(found.rows, name)
        metrics.REPLICATION_LAG.put(found.seconds, name)
        with contextlib.suppress(RedisError, OSError):
            presence.client().set(failover.behind_key(name), f"{found.rows} {log.now()}")


def _ship(server_set: str) -> Shipped:
    give_up_at = time.monotonic() + BUDGET
    while True:
        shipped = shipping.of(server_set).ship()
        metrics.REPLICATED.add(shipped.rows, server_set)
        if shipped.whole or time.monotonic() > give_up_at:
            return shipped
