"""Whether a database can be a new SET's."""

from __future__ import annotations

import psycopg
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError

from apps.routing import fields
from apps.routing.models import ServerSet

CONNECT_WITHIN = 3  # s


def check(server_set: str, database: str) -> None:
    """ValidationError when the SET cannot have the database that its record names.

    It must be no other SET's, open within `CONNECT_WITHIN`, and have the tables of a SET.
    """
    check_unused(server_set, database)
    url = _url(server_set, database)
    if lacking := lacks(server_set, url):
        tables = ", ".join(sorted(lacking))
        raise ValidationError(f"The database of SET {server_set} lacks the tables {tables}.")


def lacks(server_set: str, url: str) -> set[str]:
    """The tables of a SET that a database does not have. ValidationError when it cannot be opened."""
    needed = {model._meta.db_table for model in apps.get_models() if getattr(model, "in_set", False)}
    return needed - _tables(server_set, url)


def check_unused(server_set: str, database: str) -> None:
    """ValidationError when the database is another SET's: two heads would number one log."""
    if database:
        fields.database(database)
    url = _url(server_set, database)
    for name, its in ServerSet.objects.exclude(name=server_set).values_list("name", "database"):
        if _url(name, its) == url:
            raise ValidationError(f"SET {name} has this database: each has its own.")


def check_not_control(server_set: str, database: str) -> None:
    """ValidationError when the database, which exists, is a control database: migrations would mix there."""
    if ServerSet._meta.db_table in _tables(server_set, _url(server_set, database)):
        raise ValidationError(f"The database of SET {server_set} would be a control database.")


def _url(server_set: str, database: str) -> str:
    return database or str(settings.SET_DATABASE_URL.format(set=server_set))


def _tables(server_set: str, url: str) -> set[str]:
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_WITHIN) as connection:
            found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
            return {name for (name,) in found}
    except psycopg.Error as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValidationError(f"SET {server_set} has no database that can be opened: {reason}.") from None
