"""Failover: a SET's standby becomes its primary.

    fence     the old primary takes no more writes; one that cannot be reached is fenced when it returns
    ship      the standby gets what it lacks, if the old primary can be read
    promote   the standby begins a new epoch: later times, seqs far behind the old primary's, and the slots
              that the topology gives the SET
    switch    the topology names it; every process follows within a second
    rejoin    the old primary, when it is back, is fenced, gives what it alone has, and becomes the standby
              (see `rejoining`)

Each step can be repeated: whoever finds a failover that is not done goes on with it where it is. A planned
one loses nothing: it goes no farther than its old primary lets it, and can be cancelled until the switch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from psycopg import sql
from redis import RedisError

from apps.messaging.log import Unavailable
from apps.messaging.standby import beginning, journal, rejoining, shipping
from apps.routing import databases, placement, presence
from apps.routing.models import Durability, Failover, HealthEvent, ServerSet, Slot
from apps.routing.topology import topology

logger = logging.getLogger(__name__)

Step = Failover.Step
OVER = (Step.DONE, Step.CANCELLED)
BEFORE_SWITCH = (Step.FENCE, Step.SHIP, Step.PROMOTE, Step.SWITCH)
AGAIN_AFTER = "Confirm the last one first (`manage.py sets confirm`)."


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a failover would do, as far as can be told now."""

    position: int | None  # seq up to which the standby has the log; None: it does not answer
    head: int | None  # seq of the primary's newest message; None: it does not answer
    lost: int | None  # messages that the primary alone has; None: it does not answer
    reason: str  # why it is not possible; empty when it is
    behind: str = ""  # how far the standby was behind when that could be measured last

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        if self.lost is None:
            return (
                f"The standby has everything up to seq {self.position}. The primary does not answer: "
                f"what it has behind that is missing until it is back, and is appended then.{self.behind}"
            )
        missing = "1 message" if self.lost == 1 else f"{self.lost} messages"
        return f"The standby has everything up to seq {self.position}; {missing} would be missing."


def outlook(server_set: str) -> Outlook:
    """Look at both databases; nothing is changed."""
    entry = topology.renew().sets[server_set]
    if not entry.standby:
        return Outlook(None, None, None, f"SET {server_set} has no standby.")
    position = head = lost = None
    try:
        with shipping.connect(entry.standby) as standby:
            at = shipping.head_of(standby)
    except (psycopg.Error, RuntimeError) as error:
        return Outlook(None, None, None, f"The standby of SET {server_set} does not answer: {_line(error)}")
    if at.epoch != entry.epoch:
        return Outlook(
            at.seq, None, None, f"The standby of SET {server_set} has not followed the last failover yet."
        )
    position = at.seq
    try:
        with shipping.connect(databases.url(server_set)) as primary:
            head = shipping.head_of(primary).seq
            query = "SELECT count(*) FROM messaging_message WHERE seq > %s"
            ((lost,),) = primary.execute(query, (position,)).fetchall()
    except psycopg.Error:
        pass
    return Outlook(position, head, lost, "", "" if lost is not None else _last_behind(server_set))


def behind_key(server_set: str) -> str:
    """Redis: "messages ms", how far the standby was behind, and when."""
    return f"imcloud:behind:{server_set}"


def _last_behind(server_set: str) -> str:
    try:
        told: Any = presence.client().get(behind_key(server_set))
    except (RedisError, OSError):
        return ""
    if told is None:
        return ""
    rows, at = map(int, told.split())
    when = timezone.localtime(datetime.fromtimestamp(at / 1000, UTC))
    return f" At {when:%H:%M:%S} the standby was {rows} messages behind."


def begin(server_set: str, *, planned: bool, asked_by: str, automatic: bool = False) -> Failover:
    """Begin one. ValidationError when it is not possible; nothing has happened then."""
    found = outlook(server_set)
    if found.reason:
        raise ValidationError(found.reason)
    if planned and found.head is None:
        raise ValidationError(
            f"The primary of SET {server_set} does not answer: a planned failover waits for all that it has."
        )
    with transaction.atomic():
        its = ServerSet.objects.select_for_update(no_key=True).get(name=server_set)
        if Failover.objects.filter(server_set=its).exclude(step__in=OVER).exists():
            raise ValidationError(f"A failover of SET {server_set} is under way already.")
        if automatic and Failover.objects.filter(server_set=its, automatic=True, confirmed=False).exists():
            raise ValidationError(f"SET {server_set} has failed over by itself once. {AGAIN_AFTER}")
        one = Failover(
            server_set=its,
            source=databases.url(server_set),
            destination=its.standby,
            epoch=its.epoch + 1,
            planned=planned,
            automatic=automatic,
            asked_by=asked_by,
        )
        one.save()
    logger.warning("%s begins (%s)", one, asked_by)
    HealthEvent.tell("database", server_set, HealthEvent.Finding.DOWN, f"failover {one.pk}, by {asked_by}")
    return one


def run(server_set: str) -> None:
    """Go on with the SET's failover, if there is one, as far as it goes now."""
    waiting = Failover.objects.filter(server_set__name=server_set).exclude(step__in=OVER)
    for pk in list(waiting.values_list("pk", flat=True)):
        at = None
        while at != (at := step(pk).step):
            pass


def cancel(pk: int) -> None:
    """Give up one that has not switched: the old primary takes writes again. ValidationError if it has."""
    with transaction.atomic():
        one = Failover.objects.select_for_update().get(pk=pk)
        if one.step not in (Step.FENCE, Step.SHIP):
            raise ValidationError(f"{one} is in step {one.step}: it cannot be cancelled any more.")
        if one.fenced:
            with shipping.connect(one.source, shipping.WRITING) as old:
                set_read_only(old, on=False)
        one.step = Step.CANCELLED
        one.save()


def step(pk: int) -> Failover:
    """Do a failover's step, and return how far it is. Somebody else's work is left to them."""
    with transaction.atomic():
        found = Failover.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=pk)
        one = found.select_related("server_set").first()
        if one is None or one.step in OVER:
            return Failover.objects.get(pk=pk)
        before = one.step
        try:
            _WORK[Step(one.step)](one)
            one.problem = ""
        except (psycopg.Error, shipping.StandbyAway, Unavailable, RuntimeError) as error:
            problem = _line(error)[:512]
            if problem != one.problem:
                logger.warning("%s waits in step %s: %s", one, one.step, problem)
            one.problem = problem
        one.save()
    if one.step != before:
        logger.warning("%s: %s done", one, before)
        if before == Step.SWITCH:
            topology.renew()
    return one


def _fence(one: Failover) -> None:
    try:
        fence(one.source)
        one.fenced = True
    except psycopg.Error as error:
        if one.planned:
            raise
        logger.warning("%s: the old primary is not fenced yet: %s", one, _line(error))
    one.step = Step.SHIP


def _ship(one: Failover) -> None:
    shipper = shipping.Shipper(one.server_set.name)
    try:
        while True:
            shipped = shipper.ship()
            one.head = shipped.head
            if shipped.whole:
                break
    except psycopg.Error as error:
        if one.planned:
            raise
        logger.warning("%s: the old primary cannot be read: %s", one, _line(error))
    finally:
        shipper.close()
    one.step = Step.PROMOTE


def _promote(one: Failover) -> None:
    slots = bytearray(placement.SLOTS // 8)
    for number in Slot.objects.filter(server_set=one.server_set).values_list("number", flat=True):
        slots[number >> 3] |= 1 << (number & 7)
    with shipping.connect(one.destination, shipping.WRITING) as new:
        databases.end_still(new, shipping.STILL)
        with new.transaction():
            ((epoch,),) = new.execute("SELECT epoch FROM messaging_head FOR UPDATE").fetchall()
            if epoch < one.epoch:
                journal.watch(new)
                one.fork = beginning.begin(new, one.epoch, bytes(slots))
            else:
                query = "SELECT fork FROM messaging_epoch WHERE number = %s"
                ((one.fork,),) = new.execute(query, (one.epoch,)).fetchall()
        set_read_only(new, on=False)
    one.step = Step.SWITCH


def _switch(one: Failover) -> None:
    its = ServerSet.objects.select_for_update(no_key=True).get(pk=one.server_set_id)
    its.database, its.standby, its.epoch = one.destination, one.source, one.epoch
    if its.durability == Durability.STANDBY:
        its.degraded_at = timezone.now()  # nobody is behind it yet: it would acknowledge nothing
    its.save()
    HealthEvent.tell("database", its.name, HealthEvent.Finding.RECOVERED, f"failover {one.pk} has switched")
    one.switched_at = timezone.now()
    one.step = Step.REJOIN


def _rejoin(one: Failover) -> None:
    if not one.fenced:
        fence(one.source)
        one.fenced = True
    assert one.fork is not None
    one.recovered += rejoining.rejoin(one.server_set.name, one.source, one.fork, one.epoch)
    one.step = Step.DONE


_WORK: dict[Step, Callable[[Failover], None]] = {
    Step.FENCE: _fence,
    Step.SHIP: _ship,
    Step.PROMOTE: _promote,
    Step.SWITCH: _switch,
    Step.REJOIN: _rejoin,
}


# --- fencing


def fence(url: str) -> None:
    """Have a database take writes from nobody, also after its server has begun anew, but from who says so."""
    with shipping.connect(url, shipping.WRITING) as old:
        set_read_only(old, on=True)
        # Sessions have begun with the setting as it was: they begin again.
        old.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()
                 AND backend_type = 'client backend'"""
        )


def set_read_only(connection: psycopg.Connection[Any], *, on: bool) -> None:
    """As the default of every session to come of the database."""
    query = "ALTER DATABASE {} SET default_transaction_read_only = {}"
    name = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL(query).format(name, sql.SQL("on" if on else "off")))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
