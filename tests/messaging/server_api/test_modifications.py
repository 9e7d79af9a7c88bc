"""`/message/…/modify` against a running stack: devices are told."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import Publish
from bench.tokens import ApiRefused, App
from tests.conftest import WholeStack
from tests.messaging.server_api.live import Client, online, post

MESSAGE = {"objectName": "RC:TxtMsg", "content": '{"content":"old"}'}
NEW = {"content": '{"content":"new"}'}
EVER = {"startTime": 253_402_300_799_999, "endTime": 0}


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


async def call(app: App, path: str, **form: Any) -> dict[str, Any]:
    return await asyncio.to_thread(post, app, path, **form)


async def told(device: Client, user: str, since: int) -> tuple[str, str]:
    """(uid, content) of the message that the device is told of."""
    while True:
        notice = im.NotifyMsg.FromString((await device.next(Publish, "s_cmd")).payload)
        if notice.type == 12:
            break
    asked = im.PullModifyMsgReq(pullVersion=since).SerializeToString()
    answer = await device.ask("pullModifyMsg", user, asked)
    (found,) = im.PullModifyMsgResp.FromString(answer.payload).msg
    return found.msg.msgId, json.loads(found.msg.content)["content"]


async def test_both_sides_are_told_what_a_message_says_now(app: App) -> None:
    alice, bob, group = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("alice", "bob", "group"))
    await call(app, "/group/create", groupId=group, groupName="x", userId=[alice, bob])
    async with online(app, [alice, bob]) as devices:
        private = {"fromUserId": alice, "toUserId": bob, "isIncludeSender": 1, **MESSAGE}
        uid = (await call(app, "/message/private/publish", **private))["messageUID"]
        await call(app, "/message/private/modify", fromUserId=alice, targetId=bob, msgUID=uid, **NEW)
        for device, user in zip(devices, (alice, bob), strict=True):
            assert await told(device, user, 1) == (uid, "new")
        of_group = {"fromUserId": alice, "toGroupId": group, **MESSAGE}
        other = (await call(app, "/message/group/publish", **of_group))["messageUID"]
        form = {"fromUserId": alice, "groupId": group, "msgUID": other, "objectName": "RC:TxtMsg"}
        before = (await call(app, "/v3/message/group/query", targetId=group, **EVER))["data"][0]
        assert json.loads(before["content"]) == {"content": "old"}
        await call(app, "/message/group/modify", **form, **NEW)
        for device in devices:
            notice = im.NotifyMsg.FromString((await device.next(Publish, "s_cmd")).payload)
            assert notice.type == 12
        after = (await call(app, "/v3/message/group/query", targetId=group, **EVER))["data"][0]
        assert (after["messageUID"], json.loads(after["content"])) == (other, {"content": "new"})


def test_what_is_not_known_is_no_error_and_what_is_not_ones_own_is_refused(app: App) -> None:
    form = {"fromUserId": "a", "msgUID": "5FGT-7VA9-G4DD-4V5P", **NEW}
    post(app, "/message/private/modify", targetId="b", **form)
    post(app, "/message/group/modify", groupId="no-such-group", **form)
    uid = post(app, "/message/private/publish", fromUserId="a", toUserId="b", **MESSAGE)["messageUID"]
    for wrong in ({"fromUserId": "b", "targetId": "a"}, {"fromUserId": "a", "targetId": "b", "content": "x"}):
        with pytest.raises(ApiRefused, match="1002"):
            post(app, "/message/private/modify", **(NEW | {"msgUID": uid} | wrong))
