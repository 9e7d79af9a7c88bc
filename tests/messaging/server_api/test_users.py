import re
import time

import pytest
import redis

from apps.accounts import tokens
from apps.accounts.directory import TenantEntry
from apps.accounts.models import BlockEntry, User
from apps.accounts.tokens import Reason, TokenRefused
from apps.messaging import slot_moves
from apps.routing import topology
from tests.accounts.tenants import renewed
from tests.messaging.server_api.calls import call, refused


@pytest.fixture(autouse=True)
def topology_(databases: None) -> None:
    topology.bootstrap()
    topology.topology.renew()
    slot_moves.hand_out()


def test_a_token_is_given_that_the_gateway_takes(alices: TenantEntry) -> None:
    answer = call(alices, "/user/getToken", userId="alice", name="", portraitUri="")
    assert answer["userId"] == "alice" and len(answer["token"]) <= 256
    assert tokens.verify(alices, answer["token"], renewed().user_restriction).user_id == "alice"


def test_registering_again_overwrites_and_leaves_earlier_tokens_good(alices: TenantEntry) -> None:
    first = call(alices, "/user/getToken", userId="alice", name="A", portraitUri="p")["token"]
    call(alices, "/user/getToken", userId="alice", name="B")
    answer = call(alices, "/user/info", userId="alice")
    assert (answer["userName"], answer["userPortrait"]) == ("B", "p")
    assert tokens.verify(alices, first, renewed().user_restriction).user_id == "alice"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "x"}, "userId is required."),
        ({"userId": "alice"}, "name is required."),
        ({"userId": "a" * 6600, "name": "x"}, "userId is longer than 64 bytes."),
        ({"userId": "alice", "name": "x" * 257}, "name is longer than 256 bytes."),
        (
            {"userId": "alice", "name": "x", "portraitUri": "p" * 1025},
            "portraitUri is longer than 1024 bytes.",
        ),
    ],
)
def test_bad_registrations_are_1002(alices: TenantEntry, fields: dict[str, str], said: str) -> None:
    assert refused(alices, "/user/getToken", **fields) == (400, 1002, said)


def test_the_longest_values_fit(alices: TenantEntry) -> None:
    call(alices, "/user/getToken", userId="忘" * 21, name="😀" * 64, portraitUri="p" * 1024)
    assert call(alices, "/user/info", userId="忘" * 21)["userName"] == "😀" * 64


def test_refresh_overwrites_what_is_given(alices: TenantEntry) -> None:
    call(alices, "/user/getToken", userId="alice", name="A", portraitUri="p")
    call(alices, "/user/refresh", userId="alice", name="B", portraitUri="")
    answer = call(alices, "/user/info", userId="alice")
    assert (answer["userName"], answer["userPortrait"]) == ("B", "p")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", answer["createTime"])


def test_unknown_users_are_empty_not_errors(alices: TenantEntry, redis_client: "redis.Redis") -> None:
    empty = {"userName": "", "userPortrait": "", "createTime": ""}
    assert call(alices, "/user/info", userId="nobody") == empty
    assert call(alices, "/user/refresh", userId="nobody", name="x") == {}
    assert call(alices, "/user/checkOnline", userId="nobody", minute=10) == {"status": "0"}


def test_mallorys_app_does_not_see_alices_users(alices: TenantEntry, mallorys: TenantEntry) -> None:
    call(alices, "/user/getToken", userId="alice", name="A")
    call(alices, "/user/blacklist/add", userId="alice", blackUserId="bob")
    call(mallorys, "/user/refresh", userId="alice", name="M")
    assert call(mallorys, "/user/info", userId="alice")["userName"] == ""
    assert call(mallorys, "/user/blacklist/query", userId="alice") == {"users": []}
    assert call(alices, "/user/info", userId="alice")["userName"] == "A"


def test_expired_tokens_are_refused_and_nobody_elses(alices: TenantEntry, mallorys: TenantEntry) -> None:
    issued = {
        (tenant, user): call(tenant, "/user/getToken", userId=user, name="x")["token"]
        for tenant in (alices, mallorys)
        for user in ("alice", "bob", "carol")
    }
    now = time.time_ns() // 1_000_000
    call(alices, "/user/token/expire", userId=["alice", "bob,nobody"], time=now)
    call(alices, "/user/token/expire", userId="alice", time=1)  # an earlier moment brings nothing back
    held = renewed()
    for (tenant, user), token in issued.items():
        if tenant is alices and user != "carol":
            with pytest.raises(TokenRefused) as refusal:
                tokens.verify(tenant, token, held.user_restriction)
            assert refusal.value.reason is Reason.EXPIRED
        else:
            assert tokens.verify(tenant, token, held.user_restriction).user_id == user
    later = tokens.issue(alices, "alice", now_ms=now + 1)
    assert tokens.verify(alices, later, held.user_restriction).user_id == "alice"


def test_expiring_wants_a_moment_and_at_most_twenty_users(alices: TenantEntry) -> None:
    assert refused(alices, "/user/token/expire", userId="a")[2] == "time is required."
    assert refused(alices, "/user/token/expire", userId="a", time="soon")[1] == 1002
    many = ",".join(f"u{i}" for i in range(21))
    assert refused(alices, "/user/token/expire", userId=many, time=1)[2] == "userId takes 20 values at most."
    assert not User.objects.exclude(tokens_valid_after=0).exists()


def test_a_blacklist_grows_shrinks_and_takes_repetitions(alices: TenantEntry) -> None:
    for _ in range(2):
        call(alices, "/user/blacklist/add", userId="alice", blackUserId=["p", "q"])
    assert call(alices, "/user/blacklist/query", userId="alice") == {"users": ["p", "q"]}
    call(alices, "/user/blacklist/remove", userId="alice", blackUserId=["p", "zz"])
    assert call(alices, "/user/blacklist/query", userId="alice") == {"users": ["q"]}
    assert BlockEntry.objects.using("set1").get().blocked == "q"


@pytest.mark.parametrize("action", ["add", "remove"])
def test_a_blacklist_call_names_one_to_twenty_users(alices: TenantEntry, action: str) -> None:
    path = f"/user/blacklist/{action}"
    assert refused(alices, path, userId="alice") == (400, 1002, "blackUserId is required.")
    assert refused(alices, path, blackUserId="p") == (400, 1002, "userId is required.")
    many = [f"u{i}" for i in range(21)]
    assert refused(alices, path, userId="alice", blackUserId=many)[1] == 1002


def test_a_blacklist_holds_three_thousand(alices: TenantEntry) -> None:
    BlockEntry.objects.using("set1").bulk_create(
        BlockEntry(tenant_id=alices.id, owner="alice", blocked=f"u{i:04}") for i in range(2999)
    )
    assert refused(alices, "/user/blacklist/add", userId="alice", blackUserId=["x", "y"])[1] == 1002
    call(alices, "/user/blacklist/add", userId="alice", blackUserId=["x", "u0001"])
    assert refused(alices, "/user/blacklist/add", userId="alice", blackUserId="y")[1] == 1002
    assert len(call(alices, "/user/blacklist/query", userId="alice")["users"]) == 3000


def test_a_blacklist_is_read_in_pages(alices: TenantEntry) -> None:
    call(alices, "/user/blacklist/add", userId="alice", blackUserId=["e", "d", "c", "b", "a"])
    page = call(alices, "/user/blacklist/query", userId="alice", size=2)
    assert page["users"] == ["a", "b"] and page["next"]
    page = call(alices, "/user/blacklist/query", userId="alice", size=2, pageToken=page["next"])
    assert page["users"] == ["c", "d"] and page["next"]
    page = call(alices, "/user/blacklist/query", userId="alice", size=2, pageToken=page["next"])
    assert page == {"users": ["e"], "next": ""}
    assert refused(alices, "/user/blacklist/query")[2] == "userId is required."


def test_registered_users_are_listed_in_pages_and_those_who_are_only_blocked_are_not(
    alices: TenantEntry, mallorys: TenantEntry
) -> None:
    for user in ("zoe", "bob", "alice"):
        call(alices, "/user/getToken", userId=user, name=user.title(), portraitUri="p")
    call(mallorys, "/user/getToken", userId="mallory", name="M")
    call(alices, "/user/block", userId="unknown,bob", minute=1)
    answer = call(alices, "/user/query")
    assert answer["total"] == 3
    assert [(u["userId"], u["userName"], u["userPortrait"]) for u in answer["users"]] == [
        ("zoe", "Zoe", "p"),
        ("bob", "Bob", "p"),
        ("alice", "Alice", "p"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", answer["users"][0]["regTime"])
    page = call(alices, "/user/query", page=2, pageSize=2, order=1)
    assert (page["total"], [user["userId"] for user in page["users"]]) == (3, ["zoe"])
    assert call(alices, "/user/info", userId="unknown")["createTime"] == ""
    call(alices, "/user/getToken", userId="unknown", name="Now known")
    assert call(alices, "/user/query", order=1, pageSize=1)["users"][0]["userId"] == "unknown"
    blocked = [each["userId"] for each in call(alices, "/user/block/query")["users"]]
    assert blocked == ["bob", "unknown"]  # registering lifts no block
