"""`/group/…` against a running stack: who is in groups, and who may send to them."""

import asyncio
import uuid
from typing import Any

import pytest

from apps.routing.protocol.packets import AckStatus, PubAck
from bench.client import text_message
from bench.tokens import ApiRefused, App
from tests.conftest import WholeStack
from tests.messaging.server_api.live import MOMENT, Client, online, post


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


def new(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def create(app: App, *users: str) -> str:
    group = new("group")
    post(app, "/group/create", groupId=group, groupName="The group", userId=list(users))
    return group


def members(app: App, group: str) -> list[str]:
    return sorted(user["id"] for user in post(app, "/group/user/query", groupId=group)["users"])


def groups_of(app: App, user: str) -> dict[str, str]:
    return {group["id"]: group["name"] for group in post(app, "/user/group/query", userId=user)["groups"]}


async def sent(client: Client, group: str) -> int:
    client.send("pgMsgP", group, text_message(b"{}"))
    answer: PubAck = await client.next(PubAck)
    return answer.status


def test_members_come_and_go_and_know_their_groups(app: App) -> None:
    alice, bob = new("alice"), new("bob")
    group = create(app, alice)
    post(app, "/group/join", groupId=group, userId=[alice, bob], groupName="Renamed")
    assert members(app, group) == sorted([alice, bob])
    assert groups_of(app, bob) == {group: "Renamed"}
    post(app, "/group/quit", groupId=group, userId=bob)
    assert (members(app, group), groups_of(app, bob)) == ([alice], {})
    post(app, "/group/dismiss", groupId=group, userId=alice)
    assert (members(app, group), groups_of(app, alice)) == ([], {})


def test_a_sync_has_a_user_in_these_groups_and_no_others(app: App) -> None:
    alice = new("alice")
    left, kept, made = create(app, alice), create(app, alice), new("group")
    post(app, "/group/sync", userId=alice, **{f"group[{kept}]": "Kept", f"group[{made}]": "Made"})
    assert groups_of(app, alice) == {kept: "Kept", made: "Made"}
    assert members(app, left) == []
    post(app, "/group/sync", userId=alice)
    assert groups_of(app, alice) == {}


def test_pages_of_groups_hold_each_once(app: App) -> None:
    alice = new("alice")
    made = sorted(create(app, alice) for _ in range(5))
    pages = [post(app, "/user/group/query", userId=alice, page=n, size=2)["groups"] for n in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [group["id"] for page in pages for group in page] == made


def test_a_muted_member_is_told_so_at_his_next_message(app: App) -> None:
    alice, bob = new("alice"), new("bob")
    group = create(app, alice, bob)

    async def call(path: str, **form: Any) -> dict[str, Any]:
        return await asyncio.to_thread(post, app, path, **form)

    async def scenario() -> None:
        async with online(app, [alice, bob]) as (of_alice, of_bob):
            assert (await sent(of_alice, group), await sent(of_bob, group)) == (0, 0)
            await call("/group/user/gag/add", groupId=group, userId=alice, minute=5)
            assert (await sent(of_alice, group), await sent(of_bob, group)) == (AckStatus.GROUP_MUTED, 0)
            (muted,) = (await call("/group/user/gag/list", groupId=group))["users"]
            assert muted["userId"] == alice and MOMENT.fullmatch(muted["time"])
            await call("/group/user/gag/rollback", groupId=group, userId=alice)
            assert await sent(of_alice, group) == 0
            await call("/group/ban/add", groupId=group)
            await call("/group/user/ban/whitelist/add", groupId=group, userId=bob)
            assert (await sent(of_alice, group), await sent(of_bob, group)) == (AckStatus.GROUP_MUTED, 0)
            assert (await call("/group/user/ban/whitelist/query", groupId=group))["userIds"] == [bob]
            await call("/group/user/ban/whitelist/rollback", groupId=group, userId=bob)
            assert await sent(of_bob, group) == AckStatus.GROUP_MUTED
            await call("/group/ban/rollback", groupId=group)
            assert (await sent(of_alice, group), await sent(of_bob, group)) == (0, 0)
            await call("/group/user/gag/add", userId=alice, minute=0)
            await asyncio.sleep(1.5)  # it is known in all workers within a second
            assert (await sent(of_alice, group), await sent(of_bob, group)) == (AckStatus.GROUP_MUTED, 0)
            assert alice in [each["userId"] for each in (await call("/group/user/gag/list"))["users"]]
            await call("/group/user/gag/rollback", userId=alice)
            await asyncio.sleep(1.5)
            assert await sent(of_alice, group) == 0

    asyncio.run(scenario())


def test_muted_groups_are_told(app: App) -> None:
    one, other = create(app, "alice"), create(app, "alice")
    post(app, "/group/ban/add", groupId=one)
    told = post(app, "/group/ban/query", groupId=[one, other])["groupinfo"]
    assert told == [{"groupId": one, "stat": 1}, {"groupId": other, "stat": 0}]
    assert one in [each["groupId"] for each in post(app, "/group/ban/query")["groupinfo"]]
    assert len(post(app, "/group/ban/query", size=1)["groupinfo"]) == 1


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/group/create", {"groupId": "g", "userId": "u"}),
        ("/group/user/gag/add", {"groupId": "g", "userId": "u", "minute": 43201}),
        ("/group/user/gag/add", {"groupId": "g", "minute": 1}),
        ("/group/user/gag/add", {"groupId": "g", "userId": [f"u{n}" for n in range(21)], "minute": 1}),
        ("/group/ban/add", {}),
        ("/group/ban/query", {"size": 201}),
        ("/group/sync", {"group[g]": "x"}),
        ("/group/sync", {"userId": "u", f"group[{'g' * 65}]": "x"}),
        ("/group/user/ban/whitelist/add", {"groupId": "g"}),
    ],
)
def test_what_is_not_valid_is_refused(app: App, path: str, form: dict[str, Any]) -> None:
    with pytest.raises(ApiRefused) as refused:
        post(app, path, **form)
    assert "1002" in str(refused.value)
