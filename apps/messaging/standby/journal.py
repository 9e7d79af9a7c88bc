"""What of a SET's tables the standby has to be given anew.

The log itself is shipped by its seq. All other tables, and rows of the log that were changed after they were
appended, are noted by triggers: only that a row has changed, in the transaction that changes it. Whoever
ships reads the row as it is by then, so that neither the order of notes nor their number matters.

There are triggers only where there is, or is to be, a standby: a SET without one pays nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg
from django.apps import apps
from psycopg import sql

from apps.messaging.models import ChangedRow, Head, Message

COMPACT_FROM = 100_000  # notes, after which those that a later one of the same row makes needless are removed


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a SET, as it is shipped and compared: by its primary key."""

    name: str
    key: str
    key_type: str  # of PostgreSQL
    columns: tuple[str, ...]

    @property
    def parts(self) -> dict[str, sql.Composable]:
        """For queries: {table}, {key}, {type}, {columns}."""
        return {
            "table": sql.Identifier(self.name),
            "key": sql.Identifier(self.key),
            "type": sql.SQL(self.key_type),  # type: ignore[arg-type]  # of ours
            "columns": sql.SQL(", ").join(map(sql.Identifier, self.columns)),
        }


@cache
def tables() -> dict[str, Table]:
    """All of a SET's tables by name but its head and the journal; the log comes first."""
    models = [m for m in apps.get_models() if getattr(m, "in_set", False) and m not in (Head, ChangedRow)]
    models.sort(key=lambda model: model is not Message)
    found = {}
    for model in models:
        key = model._meta.pk
        assert key is not None
        kind = {"CharField": "varchar", "SmallIntegerField": "int2", "IntegerField": "int4"}
        columns = tuple(str(field.column) for field in model._meta.concrete_fields)
        found[model._meta.db_table] = Table(
            model._meta.db_table, str(key.column), kind.get(key.get_internal_type(), "int8"), columns
        )
    return found


def log_table() -> Table:
    return tables()[Message._meta.db_table]


_FUNCTION = """
    CREATE OR REPLACE FUNCTION messaging_note_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      EXECUTE format('INSERT INTO messaging_changedrow ("table", key) SELECT %L, %I::text FROM its',
        TG_TABLE_NAME, TG_ARGV[0]);
      RETURN NULL;
    END $$"""
_WATCH = """
    CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {table}
    REFERENCING {side} TABLE AS its FOR EACH STATEMENT EXECUTE FUNCTION messaging_note_change({argument})"""
_IS_WATCHED = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'messaging_note_update')"


def watch(connection: psycopg.Connection[Any]) -> None:
    """Note changes from this transaction's end on."""
    connection.execute(_FUNCTION)
    for table in tables().values():
        for event, side in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            if event == "INSERT" and table == log_table():
                continue
            connection.execute(
                sql.SQL(_WATCH).format(
                    trigger=sql.Identifier(f"messaging_note_{event.lower()}"),
                    event=sql.SQL(event),
                    side=sql.SQL(side),
                    argument=sql.Literal(table.key),
                    **table.parts,
                )
            )


def unwatch(connection: psycopg.Connection[Any]) -> None:
    """Note nothing any more, and forget what was noted."""
    connection.execute("DROP FUNCTION IF EXISTS messaging_note_change() CASCADE")
    connection.execute("TRUNCATE messaging_changedrow")


def is_watched(connection: psycopg.Connection[Any]) -> bool:
    found = connection.execute(_IS_WATCHED).fetchone()
    return bool(found and found[0])


def note_all(connection: psycopg.Connection[Any]) -> None:
    """Note every row of all tables but the log: a new standby has none of them."""
    for table in tables().values():
        if table != log_table():
            query = 'INSERT INTO messaging_changedrow ("table", key) SELECT {name}, {key}::text FROM {table}'
            connection.execute(sql.SQL(query).format(name=sql.Literal(table.name), **table.parts))


def note(connection: psycopg.Connection[Any], table: str, keys: Sequence[str]) -> None:
    """Note these rows."""
    query = 'INSERT INTO messaging_changedrow ("table", key) SELECT %s, unnest(%s::text[])'
    connection.execute(query, (table, list(keys)))


# The oldest notes; none while the log's end is not near.
NOTED = """
    SELECT id, "table", key FROM messaging_changedrow ORDER BY id
    LIMIT CASE WHEN (SELECT seq FROM messaging_head) <= {near} THEN {limit} ELSE 0 END"""


def by_table(noted: Sequence[tuple[int, str, str]]) -> tuple[list[int], dict[str, set[str]]]:
    """Of notes (see NOTED) their ids, and table -> keys."""
    keys: dict[str, set[str]] = {}
    for _, table, key in noted:
        keys.setdefault(table, set()).add(key)
    return [id for id, _, _ in noted], keys


def forget(connection: psycopg.Connection[Any], ids: Sequence[int]) -> None:
    connection.execute("DELETE FROM messaging_changedrow WHERE id = ANY(%s)", (list(ids),))


def compact(connection: psycopg.Connection[Any], at_least: int = COMPACT_FROM) -> int:
    """When there are so many notes, keep of each row's the newest: it was committed when all were seen.

    Their number then; 0 when there were fewer.
    """
    query = "SELECT count(*) FROM (SELECT FROM messaging_changedrow LIMIT %s) notes"
    ((number,),) = connection.execute(query, (at_least,)).fetchall()
    if number < at_least:
        return 0
    connection.execute(
        """DELETE FROM messaging_changedrow old USING messaging_changedrow new
           WHERE old."table" = new."table" AND old.key = new.key AND old.id < new.id"""
    )
    ((number,),) = connection.execute("SELECT count(*) FROM messaging_changedrow").fetchall()
    return int(number)
