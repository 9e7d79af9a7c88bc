"""What PostgreSQL has written, in bytes: the logs of the SETs, their indexes, and the write-ahead log."""

from collections.abc import Sequence

import psycopg

from bench.stack import Stack

_LOG = "SELECT pg_table_size('messaging_message'), pg_indexes_size('messaging_message')"
_WRITE_AHEAD = "SELECT pg_current_wal_insert_lsn() - '0/0'"


def written(server: Stack, sets: Sequence[str]) -> dict[str, int]:
    """Bytes of the SETs' logs as they are; of the write-ahead log, which all databases share, since ever."""
    described = server.describe()
    table = indexes = 0
    for name in sets:
        with psycopg.connect(described["set_database_url"].format(set=name)) as connection:
            ((its, of_indexes),) = connection.execute(_LOG)
        table, indexes = table + its, indexes + of_indexes
    with psycopg.connect(described["database_url"]) as connection:
        ((ahead,),) = connection.execute(_WRITE_AHEAD)
    return {"table": table, "indexes": indexes, "write_ahead": int(ahead)}
