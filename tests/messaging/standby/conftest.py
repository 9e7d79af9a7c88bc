"""Set1 with a standby of its own, and what is asked of both."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from apps.messaging import log
from apps.messaging.log import Log
from apps.messaging.standby import adding, failover, journal, shipping
from apps.routing import databases
from apps.routing.models import Failover, ServerSet
from apps.routing.topology import topology


class Two:
    """The two databases of set1."""

    name = "set1"

    def __init__(self, primary: str, standby: str) -> None:
        self.primary, self.standby = primary, standby

    def ship(self) -> None:
        """Until the standby has everything."""
        while not shipping.of(self.name).ship().whole:
            pass

    def rows(self, url: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with shipping.connect(url, shipping.WRITING) as connection:
            return connection.execute(query, parameters).fetchall()  # type: ignore[arg-type]

    def change(self, url: str, query: str, *parameters: Any) -> None:
        with shipping.connect(url, shipping.WRITING) as connection:
            connection.execute(query, parameters)  # type: ignore[arg-type]

    def contents(self, url: str) -> dict[str, list[Any]]:
        """Everything but the journal, by table."""
        found = {}
        for table in journal.tables().values():
            query = sql.SQL("SELECT {columns} FROM {table} ORDER BY {key}").format(**table.parts)
            with shipping.connect(url) as connection:
                found[table.name] = connection.execute(query).fetchall()
        found["head"] = self.rows(url, "SELECT seq, time, slots, epoch FROM messaging_head")
        return found

    def is_same(self) -> bool:
        one, other = self.contents(self.primary), self.contents(self.standby)
        for name in one:
            assert one[name] == other[name], name
        return True

    def fail_over(self, *, planned: bool = False) -> Failover:
        """Until everybody is told."""
        one = failover.begin(self.name, planned=planned, asked_by="test")
        while one.step in failover.BEFORE_SWITCH:
            one = failover.step(one.pk)
            assert not one.problem, one.problem
        self.primary, self.standby = self.standby, self.primary
        return one


def make_empty(url: str) -> None:
    """A database with the tables of a SET, and nothing in them but its head."""
    model, new = (str(conninfo_to_dict(each)["dbname"]) for each in (databases.url("set2"), url))
    log.of("set2").close()
    connections["set2"].close()
    with psycopg.connect(url, dbname="postgres", autocommit=True) as admin:
        # A database is copied while nobody is connected to it.
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (model,))
        query = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        admin.execute(query.format(sql.Identifier(new), sql.Identifier(model)))


MADE: list[str] = []  # the standby of this test run


@pytest.fixture
def two(sets: dict[str, Log], redis_client: object) -> Iterator[Two]:
    original = databases.url("set1")
    second = original.replace("set1", "set1_standby")
    if not MADE:
        make_empty(second)
        MADE.append(second)
    adding.add("set1", second)
    yield Two(original, second)
    for name in sets:
        log.of(name).close()
        shipping.of(name).close()
    ServerSet.objects.filter(name="set1").update(standby="", database="", epoch=1)
    topology.renew()
    databases.register("set1", original)
    with shipping.connect(original, shipping.WRITING) as connection:
        failover.set_read_only(connection, on=False)
        journal.unwatch(connection)
    connections["set1"].close()
    with shipping.connect(second, shipping.WRITING) as connection:
        # To make it anew each time would take longer than most of these tests.
        journal.unwatch(connection)
        for table in journal.tables().values():
            connection.execute(sql.SQL("DELETE FROM {table}").format(**table.parts))
        connection.execute("UPDATE messaging_head SET seq = 0, time = 0, epoch = 1")
