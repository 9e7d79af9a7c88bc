"""`/conversation/…` and tags of conversations against a running stack, with devices that are told."""

import asyncio
import json
import time
import uuid
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from apps.accounts.directory import TenantEntry
from apps.messaging.methods.conversation_states import ON_TOP, SILENT, TAGS
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import Publish
from bench.tokens import ApiRefused, App
from tests.accounts.tenants import signed
from tests.conftest import WholeStack
from tests.messaging.server_api.live import Client, online, post

BOB = {"conversationType": 1, "targetId": "bob"}


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


def new(kind: str = "u") -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


async def call(app: App, path: str, **form: Any) -> dict[str, Any]:
    return await asyncio.to_thread(post, app, path, **form)


def in_json(app: App, path: str, **body: Any) -> int:
    """The code of a call in JSON."""
    connection = HTTPConnection(urlsplit(app.url).netloc, timeout=20)
    headers = signed(TenantEntry(0, "", app.key, app.secret)) | {"Content-Type": "application/json"}
    connection.request("POST", f"{path}.json", json.dumps(body), headers)
    code: int = json.loads(connection.getresponse().read())["code"]
    connection.close()
    return code


async def told(client: Client, user: str) -> list[im.SessionState]:
    """The user's conversations, asked for after a notice of their change."""
    while True:
        notice = im.NotifyMsg.FromString((await client.next(Publish, "s_cmd")).payload)
        if notice.type == 3:
            break
    asked = im.SessionReq(time=notice.time - 1).SerializeToString()
    answer = await client.ask("pullSeAtts", user, asked)
    return list(im.SessionStates.FromString(answer.payload).state)


def items(state: im.SessionState) -> dict[int, im.SessionStateItem]:
    return {item.sessionStateType: item for item in state.stateItem}


async def test_devices_learn_at_once_what_the_server_sets_of_a_conversation(app: App) -> None:
    alice = new()
    async with online(app, [alice]) as (device,):
        of_bob = {"requestId": alice} | BOB
        for fields, level, value in (
            ({"isMuted": 1}, 5, "1"),
            ({"isMuted": 0}, 0, "0"),
            ({"isMuted": 1, "unpushLevel": 2}, 2, "1"),
            ({"isMuted": "0", "unpushLevel": 0}, 0, "0"),
            ({"isMuted": "1", "unpushLevel": "null"}, 5, "1"),
            ({"unpushLevel": -1}, -1, "0"),
        ):
            await call(app, "/conversation/notification/set", **of_bob, **fields)
            (state,) = await told(device, alice)
            assert (state.type, state.channelId) == (1, "bob")
            assert items(state)[SILENT].value == value
            answer = await call(app, "/conversation/notification/get", **of_bob)
            assert (answer["unpushLevel"], answer["isMuted"]) == (level, int(level > 0))
        await call(app, "/conversation/top/set", userId=alice, setTop="true", **BOB)
        (state,) = await told(device, alice)
        assert items(state)[ON_TOP].value == "1" and SILENT in items(state)
        await call(
            app, "/conversation/type/notification/set", conversationType=3, requestId=alice, unpushLevel=4
        )
        (state,) = await told(device, alice)
        assert (state.type, state.channelId) == (3, "")
        answer = await call(app, "/conversation/type/notification/get", conversationType=3, requestId=alice)
        assert (answer["isMuted"], answer["unpushLevel"]) == (4, 4)
    stranger = await call(app, "/conversation/notification/get", requestId=new(), **BOB)
    assert (stranger["isMuted"], stranger["unpushLevel"]) == (0, 0)


async def test_conversations_are_put_under_tags_that_their_user_has(app: App) -> None:
    alice = new()
    under = {
        "userId": alice,
        "tagId": "work",
        "conversations": [BOB, {"conversationType": 3, "targetId": "g"}],
    }
    assert await asyncio.to_thread(in_json, app, "/tag/conversation/set", **under) == 1002
    tags = [{"tagId": "work", "tagName": "Arbeit"}, {"tagId": "home", "tagName": "家"}]
    async with online(app, [alice]) as (device,):
        assert (
            await asyncio.to_thread(in_json, app, "/user/conversation/tag/set", userId=alice, tags=tags)
            == 200
        )
        notice = im.UserSettingNotification.FromString((await device.next(Publish, "s_us")).payload)
        asked = im.PullUserSettingInput(version=notice.version - 1).SerializeToString()
        pulled = await device.ask("pullUS", alice, asked)
        (setting,) = im.PullUserSettingOutput.FromString(pulled.payload).items
        assert {tag.tagId: tag.name for tag in setting.tags} == {"work": "Arbeit", "home": "家"}
        assert await asyncio.to_thread(in_json, app, "/tag/conversation/set", **under) == 200
        states = await told(device, alice)
        assert [(state.type, state.channelId) for state in states] == [(1, "bob"), (3, "g")]
        assert [[tag.tagId for tag in items(state)[TAGS].tags] for state in states] == [["work"], ["work"]]
        only_bob = under | {"conversations": [BOB]}
        assert await asyncio.to_thread(in_json, app, "/tag/conversation/del", **only_bob) == 200
        (state,) = await told(device, alice)
        assert (state.channelId, list(items(state)[TAGS].tags)) == ("bob", [])
        gone = {"userId": alice, "tagIds": ["work"]}
        assert await asyncio.to_thread(in_json, app, "/user/conversation/tag/del", **gone) == 200
        (state,) = await told(device, alice)
        assert (state.channelId, list(items(state)[TAGS].tags)) == ("g", [])


def shown(app: App, kind: str, target: str, reader: str = "") -> int:
    """How many messages a history has."""
    fields = {"targetId": target, "startTime": 1 << 53, "endTime": 0} | ({"userId": reader} if reader else {})
    fields["startTime"] = 253_402_300_799_999
    return len(post(app, f"/v3/message/{kind}/query", **fields)["data"])


def test_a_cleaned_history_is_empty_for_its_user_alone(app: App) -> None:
    alice, bob = new(), new()
    message = {"objectName": "RC:TxtMsg", "content": "{}"}
    for _ in range(2):
        post(app, "/message/private/publish", fromUserId=alice, toUserId=bob, isIncludeSender=1, **message)
    mine = {"conversationType": 1, "fromUserId": bob, "targetId": alice}
    post(app, "/conversation/message/history/clean", msgTimestamp=1, **mine)
    assert (shown(app, "private", alice, bob), shown(app, "private", bob, alice)) == (2, 2)
    time.sleep(0.05)  # it is past the messages' times
    post(app, "/conversation/message/history/clean", **mine)
    assert (shown(app, "private", alice, bob), shown(app, "private", bob, alice)) == (0, 2)


async def test_a_chatroom_that_is_cleaned_is_so_for_all(app: App) -> None:
    room, alice = new("room"), new()
    await call(app, "/chatroom/create", **{f"chatroom[{room}]": "x"})
    message = {"objectName": "RC:TxtMsg", "content": "{}"}

    async def history(device: Client) -> int:
        asked = im.HistoryMsgInput(targetId=room, time=0, count=20, order=0).SerializeToString()
        return len(im.HistoryMsgOuput.FromString((await device.ask("qryCHMsg", room, asked)).payload).list)

    async with online(app, [alice]) as (device,):
        await device.ask("joinChrm", room, im.ChrmInput(nothing=0).SerializeToString())
        await call(app, "/message/chatroom/publish", fromUserId="x", toChatroomId=room, **message)
        assert (await history(device), await asyncio.to_thread(shown, app, "chatroom", room)) == (1, 1)
        of_room = {"conversationType": 4, "fromUserId": "x", "targetId": room}
        await call(app, "/conversation/message/history/clean", **of_room, msgTimestamp=1 << 45)
        assert (await history(device), await asyncio.to_thread(shown, app, "chatroom", room)) == (0, 0)
        await call(app, "/message/chatroom/publish", fromUserId="x", toChatroomId=room, **message)
        assert await history(device) == 1


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/conversation/notification/set", {"requestId": "a"} | BOB),
        ("/conversation/notification/get", {"requestId": "a"} | BOB | {"conversationType": "undefined"}),
        ("/conversation/notification/set", {"requestId": "a", "isMuted": 1} | BOB | {"conversationType": 9}),
        ("/conversation/notification/set", {"requestId": "a", "unpushLevel": 3} | BOB),
        ("/conversation/notification/get", BOB),
        ("/conversation/type/notification/set", {"requestId": "a", "conversationType": 1}),
        ("/conversation/top/set", {"userId": "a"} | BOB),
        ("/conversation/message/history/clean", {"fromUserId": "a", "targetId": "b"}),
        ("/user/conversation/tag/set", {"userId": "a"}),
        ("/user/conversation/tag/set", {"userId": "a", "tags": '{"tagId":"t"}'}),
        ("/user/conversation/tag/set", {"userId": "a", "tags": '{"tagId":"elevenchars","tagName":"n"}'}),
        ("/user/conversation/tag/set", {"userId": "a", "tags": '{"tagId":"t","tagName":"sixteen letters!"}'}),
        ("/tag/conversation/set", {"userId": "a", "tagId": "t", "conversations": "[]"}),
        ("/tag/conversation/set", {"userId": "a", "tagId": "t", "conversations": '{"targetId":"b"}'}),
        ("/tag/conversation/del", {"userId": "a", "tagId": "t"}),
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_is_refused(app: App, path: str, form: dict[str, Any]) -> None:
    with pytest.raises(ApiRefused, match="1002"):
        post(app, path, **form)
