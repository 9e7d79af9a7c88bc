"""`/chatroom/…` against a running stack, with members that are real connections."""

import asyncio
import uuid

import pytest

from apps.routing.protocol.im_pb2 import ChrmInput, ChrmOutput, ChrmPullMsg, DownStreamMessages, NotifyMsg
from apps.routing.protocol.packets import Publish
from bench.client import text_message
from bench.tokens import ApiRefused, App
from tests.conftest import WholeStack
from tests.messaging.server_api.live import MOMENT, online, post

JOIN = ChrmInput(nothing=0).SerializeToString()


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


def create(app: App) -> str:
    room = f"room-{uuid.uuid4().hex[:8]}"
    post(app, "/chatroom/create", **{f"chatroom[{room}]": "The room"})
    return room


def test_rooms_are_made_found_and_unmade(app: App) -> None:
    room = create(app)
    post(app, "/chatroom/create", **{f"chatroom[{room}]": "Another name"})
    (found,) = post(app, "/chatroom/query", chatroomId=room)["chatRooms"]
    assert (found["chrmId"], found["name"]) == (room, "The room")
    assert MOMENT.fullmatch(found["time"])
    assert post(app, "/chatroom/user/query", chatroomId=room)["total"] == 0
    for _ in range(2):
        post(app, "/chatroom/destroy", chatroomId=room)
    assert post(app, "/chatroom/query", chatroomId=room)["chatRooms"] == []
    assert post(app, "/chatroom/user/query", chatroomId=room) == {"code": 200, "total": 0, "users": []}


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/chatroom/create", {}),
        ("/chatroom/create", {"chatroom[]": "x"}),
        ("/chatroom/create", {f"chatroom[{'x' * 65}]": "x"}),
        ("/chatroom/create", {"chatroom[x]": "x" * 300}),
        ("/chatroom/create", {f"chatroom[{n}]": "x" for n in range(51)}),
        ("/chatroom/destroy", {}),
        ("/chatroom/user/query", {"chatroomId": "x", "count": "501"}),
        ("/chatroom/user/query", {"chatroomId": "x", "order": "3"}),
    ],
)
def test_a_call_that_cannot_be_is_refused(app: App, path: str, form: dict[str, str]) -> None:
    with pytest.raises(ApiRefused, match="1002"):
        post(app, path, **form)


async def test_members_hear_each_other_are_listed_and_told_when_the_room_is_destroyed(app: App) -> None:
    room = await asyncio.to_thread(create, app)
    names = [f"u-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    async with online(app, names) as (alice, bob):
        for client in (alice, bob):
            output = ChrmOutput.FromString((await client.ask("joinChrm", room, JOIN)).payload)
            assert output.joinTime >= output.createTime > 0
            first = await client.ask("chrmPull", room, ChrmPullMsg(syncTime=0, count=0).SerializeToString())
            cursor = DownStreamMessages.FromString(first.payload).syncTime
        alice.send("chatMsg", room, text_message(b'{"content":"hello"}'))
        notice = NotifyMsg.FromString((await bob.next(Publish, "s_ntf")).payload)
        assert (notice.type, notice.chrmId) == (2, room)
        pulled = await bob.ask("chrmPull", room, ChrmPullMsg(syncTime=cursor, count=0).SerializeToString())
        (message,) = DownStreamMessages.FromString(pulled.payload).list
        assert (message.fromUserId, message.groupId, message.dataTime) == (names[0], room, notice.time)
        answer = await asyncio.to_thread(post, app, "/chatroom/user/query", chatroomId=room, order=2)
        assert (answer["total"], [user["id"] for user in answer["users"]]) == (2, names[::-1])
        await asyncio.to_thread(post, app, "/chatroom/destroy", chatroomId=room)
        for client in (alice, bob):
            told = await client.next(Publish, "s_cmd")
            command = NotifyMsg.FromString(told.payload)
            assert (told.target, command.type, command.chrmId) == (room, 4, room)
        assert (await alice.ask("joinChrmR", room, JOIN)).status == 23410
