"""What is to be told to tenants' servers: a row before the first try, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
from django.conf import settings

from apps.messaging import log
from apps.messaging.models import WebhookDelivery
from apps.routing import placement
from apps.routing.topology import slot

Hook = WebhookDelivery.Hook
State = WebhookDelivery.State

RETRY_AFTER = (1_000, 5_000, 30_000, 60_000, 120_000, 300_000, 600_000)  # ms to the next try
ATTEMPTS = len(RETRY_AFTER) + 1
WAITING_MAX = 24 * 3600_000  # ms that something waits for a receiver that is away
TRIES_KEPT = 2000  # characters
SWEPT = 5_000  # rows that one turn of the timed work takes: 1,000/s where a dispatcher works


class New(NamedTuple):
    """Something to be told."""

    tenant: int
    hook: int
    about: str  # the id whose SET has it
    key: int
    uid: str
    body: str


class Waiting(NamedTuple):
    """A row of those to be told next."""

    tenant: int
    hook: int
    id: int
    key: int
    uid: str
    body: str
    attempts: int
    due: int  # ms


class Done(NamedTuple):
    """What became of a try."""

    id: int
    state: int
    counts: bool  # as one of the ATTEMPTS
    due: int  # ms
    note: str


def key_of(tenant: int, hook: int, *of: str) -> int:
    """What has the same key is told one after the other."""
    return placement.digest(str(tenant), str(hook), *of) - (1 << 63)


_PUT = """
    INSERT INTO messaging_webhookdelivery (tenant, hook, slot, key, uid, body, made)
    SELECT tenant, hook, slot, key, uid, body, %(now)s
    FROM unnest(%(tenants)s::int8[], %(hooks)s::int2[], %(slots)s::int2[], %(keys)s::int8[],
                %(uids)s::varchar[], %(bodies)s::text[])
         WITH ORDINALITY AS w(tenant, hook, slot, key, uid, body, place) ORDER BY place
    ON CONFLICT (tenant, hook, uid) DO NOTHING"""


def put(connection: psycopg.Connection[Any], new: Sequence[New]) -> None:
    """Store what is to be told, in this order; what is stored already stays as it is."""
    if not new:
        return
    parameters = {
        "tenants": [each.tenant for each in new],
        "hooks": [each.hook for each in new],
        "slots": [slot(str(each.tenant), each.about) for each in new],
        "keys": [each.key for each in new],
        "uids": [each.uid for each in new],
        "bodies": [each.body for each in new],
        "now": log.now(),
    }
    connection.execute(_PUT, parameters)


# What of a slot that has moved is still here is delivered where the slot is.
_NEXT = """
    SELECT r.tenant, r.hook, d.id, d.key, d.uid, d.body, d.attempts, d.due
    FROM messaging_head h CROSS JOIN unnest(%(tenants)s::int8[], %(hooks)s::int2[]) AS r(tenant, hook)
    CROSS JOIN LATERAL (
      SELECT * FROM (
        SELECT *, sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) AS ahead FROM (
          SELECT id, key, uid, body, attempts, due FROM messaging_webhookdelivery
          WHERE tenant = r.tenant AND hook = r.hook AND state = 0 AND get_bit(h.slots, slot) = 1
            AND key <> ALL(%(passed)s::int8[])
          ORDER BY id LIMIT %(page)s) limited_rows) sized
      WHERE ahead < %(bytes)s) d
    ORDER BY d.id"""
_DONE = f"""
    UPDATE messaging_webhookdelivery d
    SET state = w.state, attempts = d.attempts + w.counts, due = w.due,
        ended = CASE WHEN w.state = 0 THEN 0 ELSE %(now)s END,
        tries = right(d.tries || w.note || E'\\n', {TRIES_KEPT})
    FROM unnest(%(ids)s::int8[], %(states)s::int2[], %(counts)s::int2[], %(dues)s::int8[], %(notes)s::text[])
         AS w(id, state, counts, due, note)
    WHERE d.id = w.id AND d.state = 0"""


def following(
    of: log.Log, receivers: Sequence[tuple[int, int]], passed: Iterable[int], page: int, bytes_: int
) -> list[Waiting]:
    """What is to be told next to each (tenant, hook), but for these keys."""
    if not receivers:
        return []
    tenants, hooks = (list(column) for column in zip(*receivers, strict=True))
    parameters = {"tenants": tenants, "hooks": hooks, "passed": list(passed), "page": page, "bytes": bytes_}
    return [Waiting(*row) for row in of.read(_NEXT, parameters, within=0.0)]


def done(of: log.Log, outcomes: Sequence[Done]) -> None:
    """Note what became of tries, all in one statement."""
    parameters = {
        "ids": [each.id for each in outcomes],
        "states": [each.state for each in outcomes],
        "counts": [int(each.counts) for each in outcomes],
        "dues": [each.due for each in outcomes],
        "notes": [each.note.replace("\0", "") for each in outcomes],
        "now": log.now(),
    }
    of.run(lambda connection: connection.execute(_DONE, parameters), within=0.0)


# --- by hand, and timed

_GIVE_UP = f"""
    UPDATE messaging_webhookdelivery SET state = {State.DEAD}, ended = %(now)s,
           tries = right(tries || %(note)s, {TRIES_KEPT})
    WHERE id IN (SELECT id FROM messaging_webhookdelivery WHERE state = 0 AND made < %(before)s
                 AND GREATEST(due, made) < %(before)s ORDER BY made LIMIT {SWEPT})"""
_FORGET = f"""
    DELETE FROM messaging_webhookdelivery WHERE id IN (
      SELECT id FROM messaging_webhookdelivery WHERE state <> 0 AND made < %(before)s
      ORDER BY made LIMIT {SWEPT})"""
_MEASURE = "SELECT count(*), min(made) FROM messaging_webhookdelivery WHERE state = 0"


def sweep(of: log.Log) -> None:
    """Timed: what has waited too long is a dead letter; what ended long ago is forgotten."""
    now = log.now()
    kept = settings.WEBHOOK_KEPT * 24 * 3600_000

    def work(connection: psycopg.Connection[Any]) -> None:
        note = f"{moment(now)} given up: not delivered within {WAITING_MAX // 3600_000} hours\n"
        connection.execute(_GIVE_UP, {"now": now, "before": now - WAITING_MAX, "note": note})
        connection.execute(_FORGET, {"before": now - kept})

    of.run(work, within=0.0)


def measure(of: log.Log) -> tuple[int, float]:
    """How many wait, and for how many seconds the oldest has."""
    ((waiting, since),) = of.read(_MEASURE, (), within=0.0)
    return waiting, max(log.now() - since, 0) / 1000 if waiting else 0.0


def moment(milliseconds: int) -> str:
    """As a line of `tries` begins, in UTC."""
    at = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{milliseconds % 1000:03}Z"
