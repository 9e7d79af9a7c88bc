"""What a tenant may take a second and how many connections it may have, over several processes."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.directory import Directory, TenantEntry
from apps.accounts.snapshot import Renewed
from apps.routing import gateway, presence, quotas
from apps.routing.gateway import Refusal
from apps.routing.protocol.packets import AckStatus, ConnStatus, PubAck
from apps.routing.quotas import CALLS, MESSAGES, Bucket, Quotas
from tests.conftest import wait_for
from tests.routing.test_pace import Client, process

__all__ = ["process"]  # a fixture

ALICES, MALLORYS = 1, 2
Made = Callable[[], Any]


class Clock:
    """Monotonic seconds. They stand still unless a test lets them go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(quotas.time, "monotonic", clock)
    return clock


@pytest.fixture
def processes(redis_client: "redis.Redis", clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[Quotas]:
    """Two that ask Redis when a test says so, and never by themselves."""
    monkeypatch.setattr(Quotas, "_tell", lambda self: None)
    return [Quotas(), Quotas()]


def known(monkeypatch: pytest.MonkeyPatch, **limits: int) -> TenantEntry:
    """Alice's tenant with these limits; Mallory's has none."""
    mine, other = TenantEntry(ALICES, "Alice's", "a", "s", **limits), TenantEntry(MALLORYS, "M", "m", "s")  # type: ignore[arg-type]
    directory = Directory(
        1,
        {"a": mine, "m": other},
        {ALICES: mine, MALLORYS: other},
        message_rates={ALICES: limits["message_rate"]} if "message_rate" in limits else {},
    )
    for module in (quotas, gateway):
        monkeypatch.setattr(module, "directory", Renewed("directory", lambda _: directory))
    return mine


@given(
    rate=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1500)), max_size=100),
)
def test_a_bucket_gives_a_seconds_worth_and_then_the_rate_and_says_when(
    rate: int, steps: list[tuple[int, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(quotas.time, "monotonic", clock)
        bucket, began, given_out, most = Bucket(rate), clock.now, 0, 0
        for pause, number in steps:
            clock.now += pause / 1000
            late = bucket.take(number, rate)
            if late:
                clock.now += late
                assert bucket.take(number, rate) == 0
            given_out, most = given_out + number, max(most, number)
            # Never more than the rate, a full bucket, and what a single call was larger than that.
            assert given_out <= (clock.now - began) * rate + max(rate, most) + 0.01


def test_what_one_process_took_is_not_there_for_another(processes: list[Quotas]) -> None:
    one, other = processes
    assert not any(one.take(ALICES, MESSAGES, 10) for _ in range(6))
    one.exchange()
    assert not any(other.take(ALICES, MESSAGES, 10) for _ in range(10))  # it has heard of nothing yet
    other.exchange()
    assert other.take(ALICES, MESSAGES, 10) > 0.5  # six too many are owed
    one.take(ALICES, MESSAGES, 10)
    one.exchange()
    assert one.take(ALICES, MESSAGES, 10) > 0.5


def test_another_tenant_and_another_kind_have_buckets_of_their_own(processes: list[Quotas]) -> None:
    one, other = processes
    assert not any(one.take(ALICES, MESSAGES, 10) for _ in range(10)) and one.take(ALICES, MESSAGES, 10)
    one.exchange()
    assert not any(other.take(MALLORYS, MESSAGES, 10) for _ in range(10))
    assert not any(other.take(ALICES, CALLS, 10) for _ in range(10))


def test_with_redis_away_each_process_keeps_the_limit_by_itself(
    processes: list[Quotas], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = redis.Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=1)
    with monkeypatch.context() as patch:
        patch.setattr(presence, "client", lambda: away)
        for each in processes:
            for _ in range(3):
                assert not any(each.take(ALICES, MESSAGES, 10) for _ in range(10))
                each.exchange()
                assert each.take(ALICES, MESSAGES, 10) > 0
                clock.now += 1
    processes[0].exchange()  # what was taken meanwhile is forgotten
    assert not processes[0].take(ALICES, MESSAGES, 10)


def test_a_wiped_redis_begins_with_full_buckets(processes: list[Quotas], redis_client: "redis.Redis") -> None:
    one, _ = processes
    one.take(ALICES, MESSAGES, 10, 10)
    one.exchange()
    assert redis_client.keys("imcloud:quota:*") == [b"imcloud:quota:messages:1"]
    redis_client.flushall()
    one.take(ALICES, MESSAGES, 10)
    one.exchange()
    assert not any(one.take(ALICES, MESSAGES, 10) for _ in range(10))


def test_a_thread_tells_redis_while_something_is_taken(redis_client: "redis.Redis") -> None:
    Quotas().take(ALICES, MESSAGES, 10)
    wait_for(lambda: redis_client.exists("imcloud:quota:messages:1"), 5, "Redis was not told")


def test_what_is_kept_in_redis_goes_by_itself(processes: list[Quotas], redis_client: "redis.Redis") -> None:
    processes[0].take(ALICES, CALLS, 10, 10)
    processes[0].exchange()
    assert 0 < redis_client.pttl("imcloud:quota:calls:1") <= 2000  # type: ignore[operator]


def test_connections_count_over_all_processes_and_those_of_a_dead_one_go(
    processes: list[Quotas], redis_client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = known(monkeypatch, connections_max=3)
    one, other = processes
    for _ in range(2):
        one.came(ALICES)
        one.came(MALLORYS)
    other.came(ALICES)
    assert not other.crowded(mine)
    one.exchange()
    other.exchange()
    assert other.crowded(mine)
    assert redis_client.keys("imcloud:quota:*") == [b"imcloud:quota:connections:1"]
    one.went(ALICES)
    one.exchange()
    other.exchange()
    assert not other.crowded(mine)
    other.came(ALICES)
    assert other.crowded(mine)
    monkeypatch.setattr(presence, "MISSED", -1.0)  # nobody's news are young enough
    other.exchange()
    assert not other.crowded(mine)


async def test_a_client_past_its_apps_limit_is_refused_as_too_fast_and_another_apps_is_not(
    process: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, message_rate=3)
    monkeypatch.setattr(gateway, "quotas", Quotas())
    here = process()
    here.message_rates = {ALICES: 3}
    alice, bob = Client(here, "alice"), Client(here, "bob")
    alice.send(2)
    bob.send(2)  # of the same app
    assert (alice.taken, bob.taken, bob.refused) == (2, 1, [(PubAck, AckStatus.TOO_FAST)])
    bob.ask(3)
    assert bob.taken == 4
    mallory = Client(here, "mallory")
    mallory.connection.tenant = MALLORYS
    mallory.send(20)
    assert (mallory.taken, mallory.refused) == (20, [])


@pytest.mark.parametrize(
    ("sdk", "status"), [("5.9.0", ConnStatus.LICENCE_COUNT), ("2.5.3", ConnStatus.PLATFORM_UNAVAILABLE)]
)
async def test_who_is_one_too_many_is_told_so_but_a_user_may_come_back_in_his_own_place(
    process: Made, monkeypatch: pytest.MonkeyPatch, sdk: str, status: ConnStatus
) -> None:
    mine = known(monkeypatch, connections_max=1)
    counted = Quotas()
    monkeypatch.setattr(gateway, "quotas", counted)
    monkeypatch.setattr(gateway.access_points, "serves", lambda *_: True)
    monkeypatch.setattr(gateway.access_points, "admission", lambda *_: ConnStatus.ACCEPTED)
    here = process()
    counted.came(ALICES)
    old = Client(here, "alice").connection
    old.platform = "Web"

    def come(user: str, platform: str = "") -> Any:
        token = gateway.tokens.issue(mine, user)
        query = f"appId=a&token={token}&sdkVer={sdk}&platform={platform}".encode()
        return gateway.admit(here, {"query_string": query}, None)

    assert come("alice").user == "alice"
    for user, platform in (("bob", ""), ("alice", "PC")):
        with pytest.raises(Refusal) as refused:
            come(user, platform)
        assert refused.value.status == status
