"""`/user/tag…`, and who is found by tags."""

import json
import random
import threading
from typing import Any

import pytest
from django.db import connection, transaction

from apps.accounts.directory import TenantEntry
from apps.messaging import user_tags
from apps.messaging.models import UserTag
from apps.messaging.server_api.declarations import ENDPOINTS, Refused
from tests.accounts.tenants import signed
from tests.messaging.server_api.calls import call, post

ALICES = TenantEntry(1, "Alice's", "key", "secret")


def post_json(tenant: TenantEntry, path: str, body: Any) -> int:
    raw = json.dumps(body).encode()
    answer = post(f"{path}.json", raw, signed(tenant), content_type="application/json").json()
    return int(answer["code"])


def test_tags_replace_those_before_and_are_the_tenants_own(
    alices: TenantEntry, mallorys: TenantEntry
) -> None:
    tags = ["vip", "a,b", "女", "vip"]
    assert post_json(alices, "/user/tag/set", {"userId": "alice", "tags": tags}) == 200
    assert post_json(alices, "/user/tag/batch/set", {"userIds": ["bob", "carol"], "tags": ["x", "y"]}) == 200
    assert post_json(mallorys, "/user/tag/set", {"userId": "alice", "tags": ["m"]}) == 200
    found = call(alices, "/user/tags/get", userIds=["alice", "bob", "nobody"])["result"]
    assert found == {"alice": ["a,b", "vip", "女"], "bob": ["x", "y"], "nobody": []}
    assert post_json(alices, "/user/tag/batch/set", {"userIds": ["alice", "bob"], "tags": ["y", "z"]}) == 200
    assert post_json(alices, "/user/tag/set", {"userId": "carol", "tags": []}) == 200
    found = call(alices, "/user/tags/get", userIds="alice,bob,carol")["result"]
    assert found == {"alice": ["y", "z"], "bob": ["y", "z"], "carol": []}
    assert user_tags.find(mallorys.id, ["m"], [], 10) == ["alice"]
    assert user_tags.find(alices.id, ["m"], [], 10) == []


def test_of_two_changes_at_once_the_later_one_holds_and_they_do_not_mix(databases: None) -> None:
    def later() -> None:
        user_tags.replace(1, ["alice"], ["later"])
        connection.close()

    with transaction.atomic():
        user_tags.replace(1, ["alice"], ["first"])
        thread = threading.Thread(target=later)
        thread.start()
        thread.join(0.3)  # it has to wait for what is not committed yet
    thread.join()
    assert user_tags.of(1, ["alice"]) == {"alice": ["later"]}


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/user/tag/set", {"userId": ["alice"]}, "tags is required."),
        ("/user/tag/set", {"tags": ["x"]}, "userId is required."),
        ("/user/tag/set", {"userId": ["a"], "tags": ["x" * 41]}, "tags is longer than 40 bytes."),
        (
            "/user/tag/set",
            {"userId": ["a"], "tags": [f"t{n}" for n in range(21)]},
            "tags takes 20 values at most.",
        ),
        (
            "/user/tag/batch/set",
            {"userIds": [f"u{n}" for n in range(1001)], "tags": ["x"]},
            "userIds takes 1000 values at most.",
        ),
        ("/user/tags/get", {"userIds": [f"u{n}" for n in range(51)]}, "userIds takes 50 values at most."),
    ],
)
def test_limits_are_real(path: str, fields: dict[str, list[str]], said: str) -> None:
    with pytest.raises(Refused) as refused:
        ENDPOINTS[path].call(ALICES, fields)
    assert (refused.value.code, str(refused.value)) == (1002, said)
    ENDPOINTS["/user/tag/set"].call(ALICES, {"userId": ["a"], "tags": ["忘" * 13] * 20})


def test_who_has_all_of_these_and_one_of_those_is_found_in_one_question_of_the_index(databases: None) -> None:
    dice, tags = random.Random(7), "abcde"
    has = {f"u{n:03}": {tag for tag in tags if dice.random() < 0.5} for n in range(200)}
    UserTag.objects.bulk_create(UserTag(tenant=1, user=user, tag=tag) for user in has for tag in has[user])
    UserTag.objects.bulk_create(UserTag(tenant=2, user=user, tag=tag) for user in has for tag in tags)
    for _ in range(40):
        all_of, any_of = (dice.sample(tags, dice.randrange(3)) for _ in range(2))
        expected = [
            user
            for user, its in has.items()
            if (all_of or any_of) and its.issuperset(all_of) and (not any_of or its & set(any_of))
        ]
        assert user_tags.find(1, all_of * 2, any_of, 1000) == expected, (all_of, any_of)
    assert len(user_tags.find(1, ["a"], [], 5)) == 5
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO messaging_usertag (tenant, "user", tag)'
            " SELECT 3, 'u' || n, 't' || n % 500 FROM generate_series(1, 20000) n"
        )
        cursor.execute("ANALYZE messaging_usertag")
        wanted: Any = {"tenant": 3, "all": ["t7"], "any": ["t8", "t7"], "most": 10}
        cursor.execute(f"EXPLAIN {user_tags._FIND}", wanted)
        assert "user_tag_once" in "".join(line for (line,) in cursor)
