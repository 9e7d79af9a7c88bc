"""A new epoch of a log whose database is not the one that everybody has read: its head moves on, out of reach
of all that was handed out before.

Whoever has read the old log has a cursor in seqs or in times of it, perhaps later than what this database
has. All that is appended from now on is later than any of them, and its keys are others.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg import sql

from apps.messaging.standby import journal
from apps.routing.envelope import EPOCH_ROWS, first_seq

# The new epoch's keys, like its seqs, begin so far behind the old ones that what the old primary alone has,
# and may go on making while it is not fenced, has others.
JUMP = EPOCH_ROWS


AHEAD = 1_000  # ms that the new epoch's times begin behind the old one's, as far as these are known


def begin(connection: psycopg.Connection[Any], number: int, slots: bytes, after: int = 0) -> int:
    """Begin the epoch in a transaction, with times later than `after` (ms); seq of what was last before."""
    ((fork, at),) = connection.execute("SELECT seq, time FROM messaging_head FOR UPDATE").fetchall()
    began = max(at, after, time.time_ns() // 1_000_000) + AHEAD
    query = "UPDATE messaging_head SET epoch = %s, seq = %s, time = %s, slots = %s"
    connection.execute(query, (number, first_seq(number), began, slots))
    query = "INSERT INTO messaging_epoch (number, fork, before, time) VALUES (%s, %s, %s, %s)"
    connection.execute(query, (number, fork, at, began))
    for table in journal.tables().values():
        _jump(connection, table)
    return int(fork)


def _jump(connection: psycopg.Connection[Any], table: journal.Table) -> None:
    """Have the keys that the database gives begin far behind those that it may have given elsewhere."""
    query = sql.SQL(
        """SELECT setval(its.sequence, (SELECT COALESCE(max({key}), 0) FROM {table}) + {jump})
           FROM (SELECT pg_get_serial_sequence({name}, {column}) AS sequence) its
           WHERE its.sequence IS NOT NULL"""
    )
    names = {"name": sql.Literal(table.name), "column": sql.Literal(table.key), "jump": sql.Literal(JUMP)}
    if table.key_type == "int8":
        connection.execute(query.format(**names, **table.parts))
