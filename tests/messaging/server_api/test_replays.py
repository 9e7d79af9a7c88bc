import time
from typing import Any

import pytest

from apps.accounts.directory import TenantEntry
from apps.accounts.signatures import SignatureRefused, check_clock
from tests.accounts.tenants import signed
from tests.messaging.server_api.calls import post

NOW = 1_800_000_000_123  # ms
PATH = "/user/checkOnline.json"


def code(headers: dict[str, str], body: bytes = b"userId=alice") -> int:
    return int(post(PATH, body, headers).json()["code"])


@pytest.fixture(autouse=True)
def redis_(redis_client: Any) -> None:
    """The signatures that were seen are there."""


@pytest.mark.parametrize(
    "timestamp", ["1800000000", "1800000000123", "1799999941", "1800000060", "1800000060000"]
)
def test_seconds_and_milliseconds_inside_the_window_are_taken(timestamp: str) -> None:
    check_clock(timestamp, 60, NOW)


@pytest.mark.parametrize(
    "timestamp",
    [
        "1799999939",
        "1800000061",
        "1800000061000",
        "0",
        "",
        "soon",
        "-1800000000",
        "１８００００００００",
        "1" * 400,
    ],
)
def test_others_are_refused(timestamp: str) -> None:
    with pytest.raises(SignatureRefused) as refused:
        check_clock(timestamp, 60, NOW)
    assert refused.value.code == 1004


def test_nothing_of_it_is_judged_by_default(alices: TenantEntry) -> None:
    headers = signed(alices, timestamp="1")
    assert [code(headers) for _ in range(3)] == [200, 200, 200]


def test_an_old_call_is_refused_when_there_is_a_window(alices: TenantEntry, settings: Any) -> None:
    settings.SIGNATURE_WINDOW = 60
    assert code(signed(alices, timestamp=str(int(time.time()) - 90))) == 1004
    assert [code(signed(alices)), code(signed(alices))] == [200, 200]


@pytest.mark.parametrize("prefix", ["", "RC-"])
def test_a_replayed_call_is_refused_when_signatures_are_good_once(
    alices: TenantEntry, settings: Any, prefix: str
) -> None:
    settings.SIGNATURE_ONCE = True
    headers = signed(alices, prefix, timestamp="1")
    assert code(headers) == 200
    response = post(PATH, b"userId=mallory", headers)
    assert (response.status_code, response.json()["code"]) == (401, 1004)
    shouted = {**headers, f"{prefix}Signature": headers[f"{prefix}Signature"].upper()}
    assert code(shouted) == 1004
    assert code(signed(alices, prefix, timestamp="2")) == 200


def test_a_forged_call_does_not_use_up_the_signature_that_it_guesses(
    alices: TenantEntry, mallorys: TenantEntry, settings: Any
) -> None:
    settings.SIGNATURE_ONCE = True
    good = signed(alices, timestamp="1")
    assert code({**good, "App-Key": mallorys.app_key}) == 1004
    assert code({**good, "Nonce": "another"}) == 1004
    assert code(good) == 200


def test_what_is_remembered_is_forgotten_in_time(
    alices: TenantEntry, settings: Any, redis_client: Any
) -> None:
    settings.SIGNATURE_ONCE = True
    code(signed(alices))
    settings.SIGNATURE_WINDOW = 60
    code(signed(alices, timestamp=str(int(time.time()) + 1)))
    lives = sorted(redis_client.ttl(key) for key in redis_client.keys("imcloud:signed:*"))
    assert len(lives) == 2 and 100 < lives[0] <= 120 and 580 < lives[1] <= 600
