"""Several beats, a real Redis and a real PostgreSQL: one works, another takes over."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from apps.routing.lease import connection_parameters
from tests.processes import Command, OwnRedis

pytestmark = pytest.mark.django_db(databases=["default", "set1"])
TAKEOVER = 10.0  # s
QUEUE = "set1.beat"
WAITS, WORKS = "beat: waiting for the lease", "beat: working"

StartBeat = Callable[[str], Command]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    own = OwnRedis(tmp_path)
    yield own
    own.kill()


@pytest.fixture
def start_beat(django_db_setup: None, own_redis: OwnRedis, tmp_path: Path) -> Iterator[StartBeat]:
    started = []

    def start(name: str) -> Command:
        started.append(Command(tmp_path / f"{name}.log", own_redis.environment, "beat"))
        return started[-1]

    yield start
    for command in started:
        command.kill()


def works(beat: Command) -> bool:
    """Whether the last that it said of itself is that it works."""
    log = beat.log
    return log.rfind(WORKS) > log.rfind(WAITS)


def sends(own_redis: OwnRedis) -> bool:
    """Whether timed work arrives."""
    own_redis.broker.delete(QUEUE)
    give_up_at = time.monotonic() + 3
    while not own_redis.broker.llen(QUEUE):
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.05)
    return True


def test_of_two_one_works_and_the_other_takes_over_when_it_is_killed(
    start_beat: StartBeat, own_redis: OwnRedis
) -> None:
    first = start_beat("first")
    first.until(lambda: works(first), 10)
    second = start_beat("second")
    second.until(lambda: WAITS in second.log, 10)
    assert sends(own_redis)
    assert not works(second)
    first.kill()
    second.until(lambda: works(second), TAKEOVER)
    assert sends(own_redis)


def test_another_takes_over_when_the_first_one_hangs_and_that_one_stops(start_beat: StartBeat) -> None:
    first = start_beat("first")
    first.until(lambda: works(first), 10)
    second = start_beat("second")
    second.until(lambda: WAITS in second.log, 10)
    first.process.send_signal(signal.SIGSTOP)
    second.until(lambda: works(second), TAKEOVER)
    first.process.send_signal(signal.SIGCONT)
    first.until(lambda: not works(first), 2)
    assert works(second)


def test_one_that_lost_its_session_stops_and_one_works_again(
    start_beat: StartBeat, own_redis: OwnRedis
) -> None:
    beat = start_beat("only")
    beat.until(lambda: works(beat), 10)
    with psycopg.connect(autocommit=True, **connection_parameters()) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        )
    beat.until(lambda: beat.log.count(WAITS) == 2, 3)
    beat.until(lambda: works(beat), TAKEOVER)
    assert sends(own_redis)


def test_a_broker_that_was_away_ends_nothing(start_beat: StartBeat, own_redis: OwnRedis) -> None:
    beat = start_beat("only")
    beat.until(lambda: works(beat), 10)
    own_redis.kill()
    time.sleep(3)
    assert works(beat)
    own_redis.start()
    assert sends(own_redis)
    assert beat.end() == 0
