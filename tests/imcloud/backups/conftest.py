"""An installation of two SETs with something of everything in it, that backups are taken of."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from typing import Any

import django
import pytest

django.setup()  # pytest reads this file before it configures anything when the folder is named to it

import psycopg  # noqa: E402
from django.core.management import CommandError, call_command  # noqa: E402
from django.db import connections  # noqa: E402
from psycopg import sql  # noqa: E402

from apps.accounts.models import Tenant, User  # noqa: E402
from apps.messaging import exchange, log  # noqa: E402
from apps.messaging.log import Log  # noqa: E402
from apps.routing.models import Actor, Node, ServerSet  # noqa: E402
from apps.routing.topology import default_actors  # noqa: E402
from imcloud.config import Config  # noqa: E402
from imcloud.postgresql.base import DatabaseWrapper  # noqa: E402
from tests.messaging.conftest import entry, sets, users  # noqa: E402, F401  (a fixture)

MESSAGES = 300


def manage(command: str, *arguments: object) -> str:
    """What the command prints, in this process; CommandError when it fails."""
    out = io.StringIO()
    call_command(command, *map(str, arguments), stdout=out, stderr=io.StringIO())
    return out.getvalue()


def refused(command: str, *arguments: object) -> str:
    """The sentence with which the command ends."""
    with pytest.raises(CommandError) as error:
        manage(command, *arguments)
    return str(error.value)


def leave() -> None:
    """Close what this thread has open at the databases."""
    for name in ("set1", "set2"):
        log.of(name).close()
    connections.close_all()


def leave_all() -> None:
    """Close what this process has open there; nobody else works."""
    leave()
    for connection in connections.all():
        connection.close_pool()  # type: ignore[attr-defined]


def digests(url: str) -> dict[str, tuple[int, int | None]]:
    """Table -> number of its rows, and the sum of their hashes."""
    with psycopg.connect(url, autocommit=True) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        query = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {} t"
        found = {}
        for (name,) in names:
            ((rows, digest),) = connection.execute(sql.SQL(query).format(sql.Identifier(name))).fetchall()
            found[name] = rows, digest
        return found


def database_names(url: str) -> set[str]:
    with psycopg.connect(url, dbname="postgres") as admin:
        return {name for (name,) in admin.execute("SELECT datname FROM pg_database")}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore is refused while anything is connected: the threads of this process that renew stay away."""
    connect = DatabaseWrapper.get_new_connection

    def connected(self: DatabaseWrapper, parameters: dict[str, Any]) -> Any:
        if threading.current_thread().name.startswith("renew-"):
            raise psycopg.OperationalError("a test has the databases to itself")
        return connect(self, parameters)

    monkeypatch.setattr(DatabaseWrapper, "get_new_connection", connected)


@pytest.fixture
def installation(alone: None, sets: dict[str, Log], servers: Config) -> Iterator[Config]:  # noqa: F811
    """Messages within both SETs and between them, users, a tenant, nodes. It is left with nothing open."""
    before = database_names(servers.control_database)
    tenant = Tenant.objects.create(id=1, name="one")
    User.objects.bulk_create(User(tenant=tenant, user_id=f"u{n}", name="ü '\\\n") for n in range(50))
    for name in sets:
        node = Node.objects.create(server_set=ServerSet.objects.get(name=name), name=f"NODE-{name}")
        Actor.objects.bulk_create(default_actors(node))
        fill(name, MESSAGES)
    for name in sets:
        exchange.freshen(name)
    leave_all()
    yield servers
    leave_all()
    with psycopg.connect(servers.control_database, dbname="postgres", autocommit=True) as admin:
        for name in database_names(servers.control_database) - before:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def fill(server_set: str, messages: int, batch: str = "first") -> None:
    """Messages to users of the SET, from users of both."""
    here, there = users(server_set, 5), users("set2" if server_set == "set1" else "set1", 5)
    uid = f"{server_set}-{batch}-{threading.get_ident()}"
    entries = [
        entry((here, there)[n % 2][n % 5], here[(n + 1) % 5], os.urandom(40), f"{uid}-{n}")
        for n in range(messages)
    ]
    log.of(server_set).append(entries, within=5.0)
