"""What PostgreSQL and Redis have counted is told of a message."""

from pathlib import Path

import psycopg
import pytest
import redis

from bench.peers.peer import versions
from bench.statements import PACKAGE, at_open, of_slow_log, postgres
from imcloud.config import Config


def test_statements_and_commands_are_counted_from_the_opening_of_the_window(
    tmp_path: Path, servers: Config, redis_client: "redis.Redis"
) -> None:
    if PACKAGE not in versions([PACKAGE]):
        pytest.skip(f"not installed: {PACKAGE}")
    insert = "INSERT INTO message SELECT generate_series(1, 10)"
    with (
        postgres(tmp_path, sets=1) as (url, postmaster),
        psycopg.connect(url.replace("/imcloud?", "/imcloud_set1?"), autocommit=True) as session,
    ):
        session.execute("CREATE TABLE message (number int)")
        session.execute(insert)
        redis_client.mget("one", "other")
        at_close = at_open(url, servers.redis, postmaster)
        for _ in range(3):
            session.execute(insert)
            redis_client.mget("one", "other")
        session.execute("SELECT pg_stat_force_next_flush()")  # of the write-ahead log it tells once a second
        told = at_close(4)
    (counted,) = (its for its in told["statements"] if "generate_series" in its["statement"])
    assert (counted["calls"], counted["rows"]) == (0.75, 7.5)
    assert counted["wal_bytes"] > 7.5 * 32  # a row of one number has a header of 24 bytes
    assert not any("CREATE TABLE" in its["statement"] for its in told["statements"])
    assert told["write_ahead"]["syncs"] >= 0.75
    assert told["write_ahead"]["sync_us"] > 0
    assert {"sessions of imcloud_set1", "walwriter", "checkpointer"} <= set(told["postgres_cpu_us"])
    assert told["redis_commands"]["mget"]["calls"] == 0.75
    assert "set" not in told["redis_commands"]


def test_the_slow_log_is_told_by_command() -> None:
    entries = [
        {"command": b"BRPOP queue 1", "duration": 100},
        {"command": b"BRPOP queue 1", "duration": 1000},
        {"command": b"PING", "duration": 999},
    ]
    assert of_slow_log(entries) == {
        "BRPOP": {"over_100_us": 2, "over_1000_us": 1, "most_us": 1000},
        "PING": {"over_100_us": 1, "over_1000_us": 0, "most_us": 999},
    }
