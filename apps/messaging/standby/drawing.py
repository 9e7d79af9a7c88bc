"""What the page of the standby databases shows: each SET's two databases as they are now, and what was done.

A fixed number of queries, and one question to each SET's databases, all at once: those that are away cost the
page `PATIENCE`, however many they are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db.models import QuerySet
from django.utils import timezone
from psycopg.conninfo import conninfo_to_dict

from apps.messaging import log
from apps.messaging.standby import failover, shipping
from apps.routing import databases
from apps.routing.models import Comparison, Failover, HealthEvent, ServerSet

LISTED = 20  # alarms
PATIENCE = 2.5  # s that the page waits for databases, all together; a connection is given up after 2 s
COUNTED = 1_000_000  # messages that a standby lacks, after which they are not counted any more
WITHIN = "-c statement_timeout=2000"
NO_ANSWER = "no answer yet"
_LACKING = """
    SELECT count(*), min(time)
    FROM (SELECT time FROM messaging_message WHERE seq > %s ORDER BY seq LIMIT %s) page"""


@dataclass(frozen=True, slots=True)
class Look:
    """At the two databases of a SET."""

    primary: str = ""  # why it does not answer; empty: it does
    standby: str = ""  # likewise, or why it does not follow
    rows: int | None = None  # messages that the standby lacks, `COUNTED` or more of them; None: not known
    seconds: float = 0.0  # age of the oldest of these

    @property
    def behind(self) -> str:
        """As a person reads it."""
        if self.rows is None:
            return "not known"
        if not self.rows:
            return "nothing"
        more = " or more" if self.rows >= COUNTED else ""
        return f"{self.rows}{more} message{'s' if self.rows > 1 else ''}, {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class StandbyView:
    row: ServerSet
    look: Look
    under_way: Failover | None
    newest: Failover | None  # that is over
    unconfirmed: bool  # it has failed over by itself, and nobody has seen to it
    compared: Comparison | None  # the newest one

    @property
    def primary(self) -> str:
        return shown(_primary(self.row))

    @property
    def standby(self) -> str:
        return shown(self.row.standby)

    @property
    def cancellable(self) -> bool:
        return self.under_way is not None and self.under_way.step in (failover.Step.FENCE, failover.Step.SHIP)

    @property
    def steps(self) -> Iterator[tuple[str, str]]:
        """Those of the failover that is under way, each with whether it is done, now or later."""
        how = "done"
        for step in (*failover.BEFORE_SWITCH, failover.Step.REJOIN):
            if self.under_way is not None and step == self.under_way.step:
                yield step.value, "now"
                how = "later"
            else:
                yield step.value, how


def shown(url: str) -> str:
    """A database, without the password that its URL may have."""
    try:
        its = conninfo_to_dict(url)
    except psycopg.Error:
        return "(not readable)"
    port = f":{its['port']}" if "port" in its else ""
    return f"{its.get('host', '')}{port}/{its.get('dbname', '')}"


def draw() -> dict[str, Any]:
    """The context of the page's template."""
    sets = list(ServerSet.objects.exclude(standby="").order_by("pk"))
    looks = look_at(sets)
    failovers = Failover.objects.filter(server_set__in=sets)
    under_way = {each.server_set_id: each for each in failovers.exclude(step__in=failover.OVER)}
    over = _newest(failovers.filter(step__in=failover.OVER))
    alone = failovers.filter(automatic=True, confirmed=False)
    unconfirmed = set(alone.values_list("server_set_id", flat=True))
    compared = _newest(Comparison.objects.filter(server_set__in=sets))
    return {
        "at": timezone.localtime(),
        "hurries": any(each.step in failover.BEFORE_SWITCH for each in under_way.values()),
        "sets": [
            StandbyView(
                its,
                looks[its.name],
                under_way.get(its.pk),
                over.get(its.pk),
                its.pk in unconfirmed,
                compared.get(its.pk),
            )
            for its in sets
        ],
        "events": HealthEvent.objects.filter(kind__in=("database", "standby"))[:LISTED],
    }


def _newest(rows: QuerySet[Any]) -> dict[int, Any]:
    """Of each SET's."""
    newest = rows.order_by("server_set", "-pk").distinct("server_set")
    return {row.server_set_id: row for row in newest}


_askers = ThreadPoolExecutor(max_workers=16, thread_name_prefix="standby")
_asked: dict[str, Future[Look]] = {}  # SET -> the latest question
_asking = threading.Lock()


def look_at(sets: Sequence[ServerSet]) -> dict[str, Look]:
    """All are asked at once. One that has not answered an earlier page is not asked again meanwhile."""
    with _asking:
        for its in sets:
            if its.name not in _asked or _asked[its.name].done():
                _asked[its.name] = _askers.submit(_look, _primary(its), its.standby, its.epoch)
        asked = {its.name: _asked[its.name] for its in sets}
    wait(asked.values(), PATIENCE)
    return {
        name: answer.result() if answer.done() else Look(NO_ANSWER, NO_ANSWER)
        for name, answer in asked.items()
    }


def _primary(its: ServerSet) -> str:
    return its.database or databases.url(its.name)


def _look(primary_url: str, standby_url: str, epoch: int) -> Look:
    standby = ""
    position = None
    try:
        with shipping.connect(standby_url, WITHIN) as connection:
            at = shipping.head_of(connection)
        if at.epoch == epoch:
            position = at.seq
        else:
            standby = f"it is in epoch {at.epoch}: it has to follow first"
    except (psycopg.Error, RuntimeError) as error:
        standby = line(error)
    try:
        with shipping.connect(primary_url, WITHIN) as connection:
            if position is None:
                return Look("", standby)
            ((rows, since),) = connection.execute(_LACKING, (position, COUNTED)).fetchall()
    except psycopg.Error as error:
        return Look(line(error), standby)
    return Look("", standby, rows, max(log.now() - since, 0) / 1000 if rows else 0.0)


def line(error: Exception) -> str:
    return " ".join(str(error).split())
