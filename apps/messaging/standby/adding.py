"""A SET gets a standby, or has none any more."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

import psycopg
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction

from apps.messaging.standby import failover, journal, shipping
from apps.routing import databases, fields, set_database
from apps.routing.models import Durability, Failover, ServerSet
from apps.routing.topology import topology


def add(server_set: str, url: str) -> None:
    """Have a database, made here unless it exists, follow the SET's log from its beginning.

    ValidationError when it has a log of its own, or cannot be opened; nothing has changed then.
    """
    fields.database(url)
    its = ServerSet.objects.get(name=server_set)
    if its.standby:
        raise ValidationError(f"SET {server_set} has a standby: take that away first.")
    primary = databases.url(server_set)
    if url == primary:
        raise ValidationError(f"This is the primary database of SET {server_set}.")
    try:
        databases.create(url)
        if set_database.lacks(server_set, url):
            migrate(server_set, url)
        with shipping.connect(url, shipping.WRITING) as standby:
            _check_empty(server_set, standby)
            standby.execute("UPDATE messaging_head SET epoch = %s", (its.epoch,))
            failover.set_read_only(standby, on=True)
        with shipping.connect(primary) as log, log.transaction():
            journal.watch(log)
            journal.note_all(log)
    except (psycopg.Error, DatabaseError) as error:
        reason = " ".join(str(error).split())
        raise ValidationError(f"The standby of SET {server_set} cannot be made ready: {reason}") from None
    ServerSet.objects.filter(pk=its.pk).update(standby=url)
    topology.renew()


def _check_empty(server_set: str, standby: psycopg.Connection[object]) -> None:
    query = "SELECT EXISTS (SELECT FROM messaging_message), seq FROM messaging_head"
    if standby.execute(query).fetchall() != [(False, 0)]:
        raise ValidationError(f"This database has a log already: SET {server_set} needs an empty one.")


def migrate(server_set: str, url: str) -> None:
    """Have a SET's tables in its standby, which is read-only to everybody who does not say otherwise."""
    options = urlencode({"options": shipping.WRITING}, quote_via=quote)
    writable = f"{url}{'&' if urlsplit(url).query else '?'}{options}"
    alias = databases.register(f"{server_set}.standby", writable)
    try:
        call_command("migrate", database=alias, verbosity=0, interactive=False, skip_checks=True)
    finally:
        connections[alias].close()
        connections[alias].close_pool()  # type: ignore[attr-defined]
        databases.forget(alias)


def remove(server_set: str) -> None:
    """The SET goes on without. ValidationError while a failover is under way."""
    with transaction.atomic():
        its = ServerSet.objects.select_for_update(no_key=True).get(name=server_set)
        under_way = Failover.objects.filter(server_set=its).exclude(step__in=failover.OVER).first()
        if under_way is not None and under_way.step in failover.BEFORE_SWITCH:
            raise ValidationError(f"{under_way} is under way: it goes on, or cancel it.")
        if under_way is not None:
            under_way.step, under_way.problem = Failover.Step.CANCELLED, "the old primary was given up"
            under_way.save()
        its.standby, its.durability, its.degraded_at = "", Durability.LOCAL, None
        its.save()
    topology.renew()
    with shipping.connect(databases.url(server_set)) as log, log.transaction():
        journal.unwatch(log)
