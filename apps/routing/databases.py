"""The SETs' databases: where each is, as an alias of Django and as a URL, and which tables are in them.

SETs come and go while processes run, so their aliases are not in the settings: an alias is the SET's name,
made when it is first asked for.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections, models
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from apps.routing.topology import topology

logger = logging.getLogger(__name__)

_END_STILL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND wait_event = 'ClientRead'
      AND query_start < clock_timestamp() - %s * interval '1 s'
      AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'messaging_head'::regclass)"""

_lock = threading.Lock()


def url(server_set: str) -> str:
    """The URL of a SET's log: as its record says, or as IMCLOUD_SET_DATABASE_URL does for all of them.

    LookupError without a name: nothing has a home before there are slots.
    """
    if not server_set:
        raise LookupError("there is no SET yet")
    entry = topology.current.sets.get(server_set)
    return (entry and entry.database) or settings.SET_DATABASE_URL.format(set=server_set)


def place(server_set: str) -> tuple[str, int]:
    """The URL of a SET's log, and the epoch in which that is its place.

    Raises psycopg.OperationalError for a SET with a standby while only an older process knew of it: its log
    may be in the other database by now.
    """
    entry = topology.current.sets.get(server_set)
    if topology.remembered and entry is not None and entry.standby:
        raise psycopg.OperationalError("which of its databases is the primary cannot be asked")
    return url(server_set), entry.epoch if entry else 1


def end_still(connection: psycopg.Connection[Any], seconds: float) -> None:
    """End the sessions that have the head's lock and have waited so long for the rest of a COPY.

    PostgreSQL heeds no timeout there: a process that is stopped within one would keep the lock for as long as
    it stands still.
    """
    if ended := connection.execute(_END_STILL, (seconds,)).fetchall():
        logger.warning("%d sessions stood still with the log's lock and were ended", len(ended))


def has_standby(server_set: str) -> bool:
    """Whether the SET's log may be in another database than before."""
    entry = topology.current.sets.get(server_set)
    return entry is not None and entry.standby != ""


def alias(server_set: str) -> str:
    """The alias of a SET's database in Django's `connections`."""
    return register(server_set, url(server_set))


def register(name: str, database_url: str) -> str:
    """Have an alias for the database at the URL, and return it."""
    with _lock:
        known = connections.settings.get(name)
        if known is None or known["URL"] != database_url:
            described = settings.DATABASE_FROM_URL(database_url) | {"URL": database_url}
            made = connections.configure_settings({"default": settings.DATABASES["default"], name: described})
            if known is None:
                connections.settings |= made
            else:
                _move(name, known, made[name])
    return name


def forget(name: str) -> None:
    """Have an alias no more; its connections are closed."""
    with _lock:
        connections.settings.pop(name, None)


def _move(name: str, known: dict[str, Any], described: dict[str, Any]) -> None:
    """The SET has another primary. The connections of all threads look at the one dictionary."""
    known.clear()
    known.update(described)
    pool = DatabaseWrapper._connection_pools.pop(name, None)  # type: ignore[attr-defined]
    if pool is not None:
        pool.close()


def create(database_url: str) -> None:
    """Create the database on its server, unless it exists. Raises psycopg.Error."""
    name = conninfo_to_dict(database_url)["dbname"]
    with psycopg.connect(database_url, dbname="postgres", connect_timeout=5, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(str(name))))


def migrate(server_set: str) -> None:
    """Have a SET's tables in its database."""
    call_command("migrate", database=alias(server_set), verbosity=0, interactive=False, skip_checks=True)


class SetRouter:
    """Models with `in_set` live in the SETs' databases, all others in the control database.

    Who does not say which SET's they want gets the first one's.
    """

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        if not getattr(model, "in_set", False):
            return None
        if (row := hints.get("instance")) is not None and row._state.db:
            return str(row._state.db)
        return alias(next(iter(topology.current.sets), "set1"))

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool:
        from django.apps import apps

        if model_name is None:
            return bool(hints.get("in_set", False)) == (db != "default")
        in_set = getattr(apps.get_model(app_label, model_name), "in_set", False)
        return bool(in_set) == (db != "default")
