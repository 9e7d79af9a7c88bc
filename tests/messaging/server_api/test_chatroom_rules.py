"""`/chatroom/…` against a running stack: how rooms are kept, who may send or enter, and their entries."""

import asyncio
import uuid
from typing import Any

import pytest

from apps.routing.protocol.im_pb2 import ChrmInput, NotifyMsg
from apps.routing.protocol.packets import AckStatus, PubAck, Publish
from bench.client import text_message
from bench.tokens import ApiRefused, App
from tests.conftest import WholeStack
from tests.messaging.server_api.live import MOMENT, Client, online, post

JOIN = ChrmInput(nothing=0).SerializeToString()


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


def new(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def create(app: App, **how: Any) -> str:
    room = new("room")
    post(app, "/chatroom/create_new", chatroomId=room, **how)
    return room


async def call(app: App, path: str, **form: Any) -> dict[str, Any]:
    return await asyncio.to_thread(post, app, path, **form)


async def sent(client: Client, room: str) -> int:
    client.send("chatMsg", room, text_message(b"{}"))
    answer: PubAck = await client.next(PubAck)
    return answer.status


def test_a_room_is_made_with_its_rules_and_tells_them(app: App) -> None:
    room = create(
        app,
        destroyType=1,
        destroyTime=90,
        isBan="true",
        whiteUserIds=["a", "b"],
        entryOwnerId="a",
        entryInfo='{"k":"v"}',
    )
    found = post(app, "/chatroom/get", chatroomId=room)
    assert {name: found[name] for name in ("destroyType", "destroyTime", "ban", "memberCount")} == {
        "destroyType": 1,
        "destroyTime": 90,
        "ban": True,
        "memberCount": 0,
    }
    assert post(app, "/chatroom/user/ban/whitelist/query", chatroomId=room)["userIds"] == ["a", "b"]
    post(app, "/chatroom/destroy/set", chatroomId=room, destroyType=0, destroyTime=60)
    assert post(app, "/chatroom/get", chatroomId=room)["destroyTime"] == 60
    assert post(app, "/chatroom/ban/check", chatroomId=room)["status"] == 1
    assert room in post(app, "/chatroom/ban/query")["chatroomIds"]
    post(app, "/chatroom/ban/rollback", chatroomId=room)
    assert post(app, "/chatroom/ban/check", chatroomId=room)["status"] == 0
    post(app, "/chatroom/keepalive/add", chatroomId=room)
    assert room in post(app, "/chatroom/keepalive/query")["chatroomIds"]
    post(app, "/chatroom/keepalive/remove", chatroomId=room)
    assert room not in post(app, "/chatroom/keepalive/query")["chatroomIds"]


def test_entries_are_set_read_and_removed(app: App) -> None:
    room = create(app)
    post(app, "/chatroom/entry/set", chatroomId=room, userId="alice", key="k", value="v", autoDelete=1)
    post(app, "/chatroom/entry/batch/set", chatroomId=room, entryOwnerId="bob", entryInfo='{"a":1,"b":"two"}')
    found = {each["key"]: each for each in post(app, "/chatroom/entry/query", chatroomId=room)["keys"]}
    assert {key: (each["value"], each["userId"], each["autoDelete"]) for key, each in found.items()} == {
        "k": ("v", "alice", "1"),
        "a": ("1", "bob", "0"),
        "b": ("two", "bob", "0"),
    }
    assert found["k"]["lastSetTime"].endswith("Z")
    post(app, "/chatroom/entry/remove", chatroomId=room, userId="carol", key="k")
    left = post(app, "/chatroom/entry/query", chatroomId=room, keys=["k", "a"])["keys"]
    assert [each["key"] for each in left] == ["a"]


def test_who_is_muted_or_blocked_finds_it_at_once(app: App) -> None:
    alice, bob, room = new("alice"), new("bob"), create(app)

    async def scenario() -> None:
        async with online(app, [alice, bob]) as (of_alice, of_bob):
            for client in (of_alice, of_bob):
                assert (await client.ask("joinChrm", room, JOIN)).status == 0
            assert (await call(app, "/chatroom/user/exist", chatroomId=room, userId=alice))[
                "isInChrm"
            ] is True
            both = await call(app, "/chatroom/users/exist", chatroomId=room, userId=[bob, "nobody"])
            assert [each["isInChrm"] for each in both["result"]] == [1, 0]
            await call(app, "/chatroom/user/gag/add", chatroomId=room, userId=alice, minute=5)
            assert (await sent(of_alice, room), await sent(of_bob, room)) == (AckStatus.CHATROOM_MUTED, 0)
            (muted,) = (await call(app, "/chatroom/user/gag/list", chatroomId=room))["users"]
            assert muted["userId"] == alice and MOMENT.fullmatch(muted["time"])
            await call(app, "/chatroom/user/gag/rollback", chatroomId=room, userId=alice)
            assert await sent(of_alice, room) == 0
            await call(app, "/chatroom/ban/add", chatroomId=room)
            await call(app, "/chatroom/user/ban/whitelist/add", chatroomId=room, userId=bob)
            assert (await sent(of_alice, room), await sent(of_bob, room)) == (AckStatus.CHATROOM_MUTED, 0)
            await call(app, "/chatroom/ban/rollback", chatroomId=room)
            await call(app, "/chatroom/user/block/add", chatroomId=room, userId=alice, minute=5)
            assert await sent(of_alice, room) == AckStatus.CHATROOM_KICKED
            assert (await of_alice.ask("joinChrm", room, JOIN)).status == AckStatus.CHATROOM_KICKED
            await call(app, "/chatroom/user/block/rollback", chatroomId=room, userId=alice)
            assert (await of_alice.ask("joinChrm", room, JOIN)).status == 0

    asyncio.run(scenario())


def test_members_are_told_of_what_the_server_sends_unless_the_room_is_held(app: App) -> None:
    alice, room = new("alice"), create(app)
    form = {
        "fromUserId": "host",
        "objectName": "RC:TxtMsg",
        "content": "{}",
        "toChatroomId": [room, "no-such-room"],
    }

    async def scenario() -> None:
        async with online(app, [alice]) as (client,):
            assert (await client.ask("joinChrm", room, JOIN)).status == 0
            answer = await call(app, "/message/chatroom/publish", **form)
            assert [each["chatroomId"] for each in answer["messageUIDs"]] == [room, "no-such-room"]
            notice: Publish = await client.next(Publish, "s_ntf")
            assert NotifyMsg.FromString(notice.payload).chrmId == room
            await call(app, "/chatroom/message/stopDistribution", chatroomId=room)
            await call(app, "/message/chatroom/publish", **form)
            await asyncio.sleep(1.0)
            held = [p for p in client.packets._queue if isinstance(p, Publish) and p.topic == "s_ntf"]  # type: ignore[attr-defined]
            assert not held
            await call(app, "/chatroom/message/resumeDistribution", chatroomId=room)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "name", "key", "undo"),
    [
        ("/chatroom/whitelist", "objectnames", "whitlistMsgType", "delete"),
        ("/chatroom/message/priority", "objectName", "objectNames", "remove"),
    ],
)
def test_classes_go_first_or_never_under_load(app: App, path: str, name: str, key: str, undo: str) -> None:
    classes = [new("app:gift") for _ in range(6)]
    post(app, f"{path}/add", **{name: classes})
    assert set(classes) <= set(post(app, f"{path}/query")[key])
    post(app, f"{path}/{undo}", **{name: classes})
    assert not set(classes) & set(post(app, f"{path}/query")[key])


def test_users_muted_in_all_rooms_and_users_kept_in_one_are_listed(app: App) -> None:
    user, room = new("user"), create(app)
    post(app, "/chatroom/user/ban/add", userId=user, minute=5)
    assert user in [each["userId"] for each in post(app, "/chatroom/user/ban/query")["users"]]
    post(app, "/chatroom/user/ban/remove", userId=user)
    assert user not in [each["userId"] for each in post(app, "/chatroom/user/ban/query")["users"]]
    post(app, "/chatroom/user/whitelist/add", chatroomId=room, userId=user)
    assert post(app, "/chatroom/user/whitelist/query", chatroomId=room)["users"] == [user]
    post(app, "/chatroom/user/whitelist/remove", chatroomId=room, userId=user)
    assert post(app, "/chatroom/user/whitelist/query", chatroomId=room)["users"] == []


def test_what_is_not_there_is_no_error(app: App) -> None:
    room = new("none")
    assert post(app, "/chatroom/get", chatroomId=room)["createTime"] == 0
    assert post(app, "/chatroom/user/exist", chatroomId=room, userId="u")["isInChrm"] is False
    assert post(app, "/chatroom/entry/query", chatroomId=room)["keys"] == []
    for path in ("/chatroom/ban/add", "/chatroom/message/stopDistribution", "/chatroom/keepalive/remove"):
        post(app, path, chatroomId=room)
    post(app, "/chatroom/entry/set", chatroomId=room, userId="u", key="k", value="v")
    assert post(app, "/chatroom/ban/check", chatroomId=room)["status"] == 0


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/chatroom/create_new", {"chatroomId": "r", "destroyTime": 59}),
        ("/chatroom/create_new", {"chatroomId": "r", "entryInfo": '{"k":"v"}'}),
        ("/chatroom/user/gag/add", {"chatroomId": "r", "userId": "u", "minute": 0}),
        ("/chatroom/user/whitelist/add", {"chatroomId": "r", "userId": [f"u{n}" for n in range(6)]}),
        ("/chatroom/entry/set", {"chatroomId": "r", "userId": "u", "key": "not a key", "value": "v"}),
        ("/chatroom/entry/batch/set", {"chatroomId": "r", "entryOwnerId": "u", "entryInfo": "[]"}),
        ("/message/chatroom/publish", {"fromUserId": "u", "objectName": "x", "content": "y"}),
    ],
)
def test_what_is_not_valid_is_refused(app: App, path: str, form: dict[str, Any]) -> None:
    with pytest.raises(ApiRefused) as refused:
        post(app, path, **form)
    assert "1002" in str(refused.value)
