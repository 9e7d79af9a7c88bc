"""Compare a SET's standby with its primary, and mend it.

Both sides make digests of ranges of each table's keys, up to the standby's position; a range whose digests
differ is halved until few enough rows are left to be told apart one by one. While the SET serves, rows change
between two looks: what differs is looked at again when the standby has caught up, and counts only then.

A row that differs is noted in the primary's journal, as if it had changed: the next pass ships it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
from django.db import close_old_connections
from django.utils import timezone
from psycopg import sql

from apps.messaging.standby import journal, shipping
from apps.messaging.standby.journal import Table
from apps.messaging.standby.shipping import StandbyAway
from apps.routing import databases
from apps.routing.models import Comparison, HealthEvent, ServerSet
from apps.routing.topology import topology

logger = logging.getLogger(__name__)

COMPARE = "messaging.compare_standby"
DAILY = timedelta(hours=24)
RANGE = 50_000  # rows whose digest is made together
FEW = 64  # rows that are told apart one by one
LOOKS = 3  # at what differs, each after the standby has caught up
SHOWN = 20  # keys of a table that a result names
KEY_MAX = 1 << 62
_ROWS = "SELECT {columns} FROM {table} WHERE {key} > %s AND {key} <= %s"
_DIGEST = "SELECT count(*), COALESCE(sum(hashtextextended(t::text, 0)::numeric), 0) FROM ({rows}) t"
_EACH = "SELECT {key}::text, hashtextextended(t::text, 0) FROM ({rows}) t"
_END = "SELECT max({key}) FROM (SELECT {key} FROM {table} WHERE {key} > %s ORDER BY {key} LIMIT %s) page"

Progress = Callable[[int, int], None]  # rows compared, and of about how many


@dataclass
class Found:
    """What of one table differs."""

    table: str
    rows: int = 0
    missing: int = 0  # at the standby
    extra: int = 0  # at the standby only
    different: int = 0
    keys: list[str] = field(default_factory=list)  # the first few

    @property
    def wrong(self) -> int:
        return self.missing + self.extra + self.different


@dataclass
class Result:
    """Of one comparison; `as_dict` is its machine-readable form."""

    server_set: str
    position: int  # seq up to which the logs were compared
    tables: list[Found]
    repaired: bool
    seconds: float

    @property
    def rows(self) -> int:
        return sum(found.rows for found in self.tables)

    @property
    def wrong(self) -> int:
        return sum(found.wrong for found in self.tables)

    def as_dict(self) -> dict[str, Any]:
        tables = [asdict(found) for found in self.tables if found.wrong]
        return {
            "set": self.server_set,
            "position": self.position,
            "rows": self.rows,
            "wrong": self.wrong,
            "repaired": self.repaired,
            "seconds": round(self.seconds, 3),
            "tables": tables,
        }


def compare(
    server_set: str, *, repair: bool, asked_by: str = "", progress: Progress = lambda done, of: None
) -> Result:
    """Compare, and with `repair` mend what differs. Raises StandbyAway and psycopg.OperationalError."""
    began = time.monotonic()
    shipper = shipping.Shipper(server_set)
    try:
        position = _catch_up(shipper)
        standby_url = topology.current.sets[server_set].standby
        with _look(databases.url(server_set)) as primary, _look(standby_url) as standby:
            pair = Pair(primary, standby, position)
            progress(0, total := pair.estimate())
            found, suspects = _first_look(pair, progress, total)
            for _ in range(LOOKS):
                if any(suspects.values()):
                    _catch_up(shipper)
                    suspects = {table: pair.differing(table, keys) for table, keys in suspects.items()}
            for table, keys in suspects.items():
                pair.describe(table, sorted(keys), found[table.name])
        if repair and any(suspects.values()):
            _repair(server_set, suspects)
            _catch_up(shipper)
    finally:
        shipper.close()
    result = Result(server_set, position, list(found.values()), repair, time.monotonic() - began)
    if result.wrong:
        logger.error("%s: %d rows of its standby differ: %s", server_set, result.wrong, result.as_dict())
        reason = f"{result.wrong} rows differ{', and were brought over again' if repair else ''}"
        HealthEvent.tell("standby", server_set, HealthEvent.Finding.SUSPECTED, reason)
    Comparison.objects.create(
        server_set=ServerSet.objects.get(name=server_set),
        at=timezone.now(),
        rows=result.rows,
        wrong=result.wrong,
        repaired=repair,
        seconds=result.seconds,
        result=result.as_dict(),
        asked_by=asked_by,
    )
    return result


def daily(server_set: str) -> None:
    """Compare if that was a day ago, and the standby is there; what differs is an alarm."""
    newest = Comparison.objects.filter(server_set__name=server_set).first()
    if newest is not None and newest.at > timezone.now() - DAILY:
        return
    try:
        compare(server_set, repair=False)
    except (StandbyAway, psycopg.OperationalError) as error:
        logger.warning("%s is not compared: %s", server_set, error)
    finally:
        close_old_connections()


def asked(server_set: str, *, repair: bool, asked_by: str) -> None:
    """Compare for somebody who does not wait here: that it cannot be done is an alarm too."""
    try:
        compare(server_set, repair=repair, asked_by=asked_by)
    except (StandbyAway, psycopg.Error) as error:
        logger.warning("%s is not compared: %s", server_set, error)
        reason = f"not compared, as {asked_by} had asked: {' '.join(str(error).split())}"
        HealthEvent.tell("standby", server_set, HealthEvent.Finding.SUSPECTED, reason)
    finally:
        close_old_connections()


def _catch_up(shipper: shipping.Shipper) -> int:
    while True:
        shipped = shipper.ship()
        if shipped.whole:
            return shipped.position


def _look(url: str) -> psycopg.Connection[Any]:
    # Rows are compared as text: what decides their form is the same on both sides.
    return shipping.connect(
        url, "-c timezone=UTC -c datestyle=ISO -c bytea_output=hex -c extra_float_digits=1"
    )


def _first_look(pair: Pair, progress: Progress, total: int) -> tuple[dict[str, Found], dict[Table, set[str]]]:
    found: dict[str, Found] = {}
    suspects: dict[Table, set[str]] = {}
    done = 0
    for table in journal.tables().values():
        its = found[table.name] = Found(table.name)
        suspects[table] = set()
        for after, upto in pair.ranges(table):
            number, keys = pair.suspects(table, after, upto)
            its.rows += number
            suspects[table] |= keys
            done += number
            progress(done, max(total, done))
    return found, suspects


def _repair(server_set: str, suspects: dict[Table, set[str]]) -> None:
    with shipping.connect(databases.url(server_set)) as primary, primary.transaction():
        for table, keys in suspects.items():
            if keys:
                journal.note(primary, table.name, sorted(keys))


class Pair:
    """The two sides, looked at."""

    def __init__(
        self, primary: psycopg.Connection[Any], standby: psycopg.Connection[Any], position: int
    ) -> None:
        self._sides = (primary, standby)
        self._position = position

    def estimate(self) -> int:
        """About how many rows there are."""
        names = list(journal.tables())
        query = "SELECT COALESCE(sum(GREATEST(reltuples, 0)), 0)::int8 FROM pg_class WHERE relname = ANY(%s)"
        ((rows,),) = self._sides[0].execute(query, (names,)).fetchall()
        return int(rows)

    def ranges(self, table: Table) -> Iterable[tuple[Any, Any]]:
        """Of keys, (after, up to], all of the table's. Of texts there are few: one range."""
        if table.key_type == "varchar":
            yield "", "\U0010ffff"
            return
        after, end = -KEY_MAX, self._position if table == journal.log_table() else KEY_MAX
        query = sql.SQL(_END).format(**table.parts)
        while after < end:
            ((last,),) = self._sides[0].execute(query, (after, RANGE)).fetchall()
            upto = end if last is None else min(last, end)
            yield after, upto
            after = upto

    def suspects(self, table: Table, after: Any, upto: Any) -> tuple[int, set[str]]:
        """How many rows the range has at the primary, and the keys of those that differ."""
        (number, digest), (others, other) = (self._digest(side, table, after, upto) for side in self._sides)
        if (number, digest) == (others, other):
            return number, set()
        if max(number, others) <= FEW or table.key_type == "varchar":
            one, two = (self._each(side, table, after, upto) for side in self._sides)
            return number, {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
        middle = (after + upto) // 2
        first, second = self.suspects(table, after, middle), self.suspects(table, middle, upto)
        return number, first[1] | second[1]

    def differing(self, table: Table, keys: set[str]) -> set[str]:
        """Those of the keys whose rows differ now."""
        one, two = (self._of_keys(side, table, sorted(keys)) for side in self._sides) if keys else ({}, {})
        return {key for key in keys if one.get(key) != two.get(key)}

    def describe(self, table: Table, keys: Sequence[str], found: Found) -> None:
        """Tell missing rows from those that are too many and those that are not the same."""
        one, two = (self._of_keys(side, table, keys) for side in self._sides) if keys else ({}, {})
        found.missing = sum(key in one and key not in two for key in keys)
        found.extra = sum(key in two and key not in one for key in keys)
        found.different = len(keys) - found.missing - found.extra
        found.keys = list(keys[:SHOWN])

    @staticmethod
    def _digest(side: psycopg.Connection[Any], table: Table, after: Any, upto: Any) -> tuple[int, int]:
        rows = sql.SQL(_ROWS).format(**table.parts)
        ((number, digest),) = side.execute(sql.SQL(_DIGEST).format(rows=rows), (after, upto)).fetchall()
        return number, digest

    @staticmethod
    def _each(side: psycopg.Connection[Any], table: Table, after: Any, upto: Any) -> dict[str, int]:
        rows = sql.SQL(_ROWS).format(**table.parts)
        return dict(side.execute(sql.SQL(_EACH).format(rows=rows, **table.parts), (after, upto)).fetchall())

    @staticmethod
    def _of_keys(side: psycopg.Connection[Any], table: Table, keys: Sequence[str]) -> dict[str, int]:
        query = "SELECT {columns} FROM {table} WHERE {key} = ANY(%s::text[]::{type}[])"
        rows = sql.SQL(query).format(**table.parts)
        return dict(side.execute(sql.SQL(_EACH).format(rows=rows, **table.parts), (list(keys),)).fetchall())
