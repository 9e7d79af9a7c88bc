"""Observers hold a database to be gone; beat lets its standby take its place, once without a person."""

import time

import pytest
import redis

from apps.messaging.standby import failover, watching
from apps.routing import observing
from apps.routing.models import Failover, HealthEvent, ServerSet
from apps.routing.observing import Observer
from apps.routing.topology import topology
from tests.messaging.conftest import away, user
from tests.messaging.sending import say
from tests.messaging.standby.conftest import Two

ALICE, BOB = user("set1"), user("set1", but=user("set1"))
PROBES = 2


@pytest.fixture
def observers(two: Two) -> list[Observer]:
    """Three, of a SET that may fail over by itself."""
    ServerSet.objects.filter(name="set1").update(automatic_failover=True, probes=PROBES)
    topology.renew()
    return [Observer(f"observer {n}") for n in range(3)]


def look(*observers: Observer) -> None:
    for _ in range(PROBES):
        for observer in observers:
            observer.look()
    watching.tend()


def switched() -> int:
    return Failover.objects.exclude(step__in=failover.BEFORE_SWITCH).count()


def test_when_most_observers_cannot_reach_it_the_standby_takes_its_place(
    two: Two, observers: list[Observer]
) -> None:
    say(ALICE, BOB)
    two.ship()
    look(*observers)
    assert not Failover.objects.exists()
    with away(two.primary):
        look(*observers)
        assert switched() == 1
        assert say(ALICE, BOB)
    one = Failover.objects.get()
    assert (one.automatic, one.step) == (True, Failover.Step.REJOIN)
    told = HealthEvent.objects.filter(kind="database", name="set1").order_by("pk")
    assert [event.finding for event in told] == ["down", "recovered"]


def test_one_that_cannot_reach_it_decides_nothing(two: Two, observers: list[Observer]) -> None:
    two.ship()
    first, *others = observers
    with away(two.primary):
        look(first)
    look(*others)
    assert observing.verdict("set1", PROBES) == (3, 1)
    assert not Failover.objects.exists()


def test_one_that_is_all_alone_decides_nothing(two: Two, observers: list[Observer]) -> None:
    two.ship()
    with away(two.primary):
        look(observers[0])
        assert observing.verdict("set1", PROBES) == (1, 1)
        assert not Failover.objects.exists()


def test_what_was_told_long_ago_does_not_count(
    two: Two, observers: list[Observer], redis_client: "redis.Redis"
) -> None:
    long_ago = time.time_ns() // 1_000_000 - int(observing.STALE * 1000) - 1
    for n in range(3):
        redis_client.hset(observing.key("set1"), f"gone {n}", f"99 {long_ago}")
    assert observing.verdict("set1", PROBES) == (0, 0)


def test_it_fails_over_by_itself_again_only_when_a_person_has_seen_it(
    two: Two, observers: list[Observer], caplog: pytest.LogCaptureFixture
) -> None:
    two.ship()
    with away(two.primary):
        look(*observers)
    failover.run("set1")
    two.primary, two.standby = two.standby, two.primary
    two.ship()
    with away(two.primary):
        look(*observers)
        look(*observers)
        assert (switched(), Failover.objects.count()) == (1, 1)
        (told,) = (record.message for record in caplog.records if "it stays" in record.message)
        assert "sets confirm" in told
        Failover.objects.update(confirmed=True)
        look(*observers)
        assert switched() == 2


def test_a_set_that_may_not_is_left_alone(two: Two, observers: list[Observer]) -> None:
    ServerSet.objects.filter(name="set1").update(automatic_failover=False)
    topology.renew()
    two.ship()
    with away(two.primary):
        look(*observers)
    assert observing.verdict("set1", PROBES) == (0, 0)
    assert not Failover.objects.exists()
