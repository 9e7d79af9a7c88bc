"""`python -m bench.statements`: what a message costs in PostgreSQL by statement, and in Redis by command.

imcloud works on Debian's PostgreSQL with the settings of the embedded one, which has no pg_stat_statements.
One JSON line per case on stdout; what each figure means is written in docs/performance.md. PostgreSQL 14 to
17: newer ones tell the time of the write-ahead log elsewhere.
"""

import argparse
import asyncio
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg.rows import dict_row

from bench import cost
from bench.__main__ import CASES, Bench, Closing, allow_connections, broken, own_server, tell
from bench.peers.database import POSTGRES, started
from bench.peers.peer import install
from imcloud import child, config, embedded

PACKAGE = "postgresql"  # Debian's newest; what is in contrib comes with it
BINARIES = "/usr/lib/postgresql"
SETTINGS = embedded.POSTGRES_SETTINGS | {
    "shared_preload_libraries": "pg_stat_statements",
    "track_wal_io_timing": "on",
}
SLOW = (100, 1000)  # µs
SLOW_LOG = 100_000  # entries that are kept
STATEMENTS = """
    SELECT query, sum(calls)::int8 AS calls, sum(total_exec_time) * 1000 AS us, sum(rows)::int8 AS rows,
           sum(wal_bytes)::int8 AS wal_bytes
    FROM pg_stat_statements GROUP BY query ORDER BY us DESC"""
WRITE_AHEAD = "SELECT wal_write, wal_sync, wal_write_time * 1000, wal_sync_time * 1000 FROM pg_stat_wal"
KINDS = """
    SELECT pid, CASE backend_type WHEN 'client backend' THEN 'sessions of ' || datname ELSE backend_type END
    FROM pg_stat_activity WHERE pid <> pg_backend_pid()"""


@contextmanager
def postgres(folder: Path, sets: int) -> Iterator[tuple[str, int]]:
    """A server with databases for so many SETs: the control database's URL, and the server's pid."""
    install([PACKAGE])
    binaries = max(Path(BINARIES).glob("*/bin"), key=lambda found: int(found.parent.name))
    account = embedded.postgres_account(config.read({"IMCLOUD_DATA": str(folder)}), binaries)
    data = embedded.own_folder(folder / "postgres", owner=account and account.uid)
    options = ["-D", str(data), "-U", embedded.POSTGRES_USER, "-A", "trust", "-E", "UTF8", "--locale=C"]
    command = child.command_line([str(binaries / "initdb"), *options], account, signal.SIGTERM)
    subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, check=True)
    settings = SETTINGS | {"unix_socket_directories": str(data)}
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    url = f"postgresql://{embedded.POSTGRES_USER}@/{{name}}?host={data}"
    ready = partial(embedded.postgres_ready, url.format(name="postgres"))
    command = [str(binaries / "postgres"), "-D", str(data), *words]
    server = embedded.Server(PACKAGE, command, account, signal.SIGINT, ready)
    with started(server, folder / "postgres.log") as process:
        with psycopg.connect(url.format(name="postgres"), autocommit=True) as connection:
            for name in ("imcloud", *(f"imcloud_set{number}" for number in range(1, sets + 1))):
                connection.execute(f"CREATE DATABASE {name}".encode())
        with psycopg.connect(url.format(name="imcloud"), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
        yield url.format(name="imcloud"), process.pid


def at_open(database_url: str, redis_url: str, postmaster: int) -> Closing:
    """Let both servers count anew; what is returned says what they have counted since, of a message."""
    database = psycopg.connect(database_url, autocommit=True)
    store = redis.Redis.from_url(redis_url)
    store.config_set("slowlog-log-slower-than", min(SLOW))
    store.config_set("slowlog-max-len", SLOW_LOG)
    before = cost.processes()
    database.execute("SELECT pg_stat_statements_reset(), pg_stat_reset_shared('wal')")
    store.slowlog_reset()
    store.config_resetstat()

    def at_close(done: int) -> dict[str, Any]:
        commands, slow = store.info("commandstats"), store.slowlog_get(SLOW_LOG)
        after = cost.processes()
        with database, store:
            statements = database.cursor(row_factory=dict_row).execute(STATEMENTS).fetchall()
            ((writes, syncs, write_us, sync_us),) = database.execute(WRITE_AHEAD)
            kinds = {postmaster: "postmaster, and who has ended", **dict(database.execute(KINDS).fetchall())}
        used, used_before = cost.cpu_by_kind(kinds, after), cost.cpu_by_kind(kinds, before)
        return {
            "messages": done,
            "statements": [of_statement(its, done) for its in statements],
            "write_ahead": {
                "writes": round(writes / done, 5),
                "write_us": round(write_us / done, 3),
                "syncs": round(syncs / done, 5),
                "sync_us": round(sync_us / done, 3),
            },
            "postgres_cpu_us": {
                kind: round((used[kind] - used_before.get(kind, 0.0)) / done * 1e6, 2) for kind in used
            },
            "redis_commands": of_commands(commands, done),
            "slow_log": of_slow_log(slow),
        }

    return at_close


def of_statement(row: Mapping[str, Any], done: int) -> dict[str, Any]:
    """Of a row of STATEMENTS: calls, µs, rows and bytes of the write-ahead log of a message, µs of a call."""
    return {
        "statement": " ".join(row["query"].split()),
        "calls": round(row["calls"] / done, 5),
        "us": round(row["us"] / done, 3),
        "us_a_call": round(row["us"] / row["calls"], 1),
        "rows": round(row["rows"] / done, 4),
        "wal_bytes": round(row["wal_bytes"] / done, 1),
    }


def of_commands(found: Mapping[str, Mapping[str, float]], done: int) -> dict[str, dict[str, float]]:
    """Of `INFO commandstats`: calls and µs of a message, µs of a call."""
    return {
        name.removeprefix("cmdstat_"): {
            "calls": round(its["calls"] / done, 5),
            "us": round(its["usec"] / done, 3),
            "us_a_call": its["usec_per_call"],
        }
        for name, its in sorted(found.items(), key=lambda item: -item[1]["usec"])
    }


def of_slow_log(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of `SLOWLOG GET`: of each command how many took longer than SLOW, and the longest, in µs."""
    times: dict[str, list[int]] = {}
    for entry in found:
        times.setdefault(entry["command"].split()[0].decode(), []).append(entry["duration"])
    return {
        name: {f"over_{slow}_us": sum(each >= slow for each in its) for slow in SLOW} | {"most_us": max(its)}
        for name, its in times.items()
    }


def measure(name: str, seconds: float) -> dict[str, Any]:
    """The line of a case, on servers of its own."""
    (case,) = (case for case in CASES if case.name == name)
    with (
        tempfile.TemporaryDirectory(prefix="imcloud-statements-") as folder,
        postgres(Path(folder), case.sets) as (url, postmaster),
        own_server(case.sets, nodes=1, DATABASE_URL=url) as (app, server),
    ):
        server.beside[postmaster] = POSTGRES
        opening = partial(at_open, url, server.describe()["redis_url"], postmaster)
        return asyncio.run(Bench(app, server, seconds, at_open=opening).run(case))


def main() -> int:
    """Measure the chosen cases; exit status 1 when a message was lost, doubled or out of order."""
    parser = argparse.ArgumentParser(prog="python -m bench.statements")
    loads = [case.name for case in CASES if (case.outstanding or case.rate) and not case.standby]
    parser.add_argument("--case", action="append", choices=loads, help="default: pairs-8")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured of each case (default 10)")
    chosen = parser.parse_args()
    allow_connections()
    wrong = 0
    for name in chosen.case or ["pairs-8"]:
        line = measure(name, chosen.seconds)
        tell(line, None)
        wrong += broken(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
