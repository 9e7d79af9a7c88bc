"""System messages, broadcasts, templates and status messages, as connected clients are shown them."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from apps.routing.protocol.im_pb2 import DownStreamMessage, DownStreamMessages, SyncRequestMsg
from apps.routing.protocol.packets import Publish
from bench.tokens import ApiRefused, App
from tests.conftest import WholeStack
from tests.messaging.server_api.live import PATIENCE, Client, online, post

TEXT = {"fromUserId": "news", "objectName": "RC:TxtMsg"}


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


def new(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def body(text: str) -> str:
    return json.dumps({"content": text})


async def call(app: App, path: str, **form: Any) -> dict[str, Any]:
    return await asyncio.to_thread(post, app, path, **form)


class Reader:
    """A device that pulls when it is told to."""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self._name, self._since = client, name, 0

    async def pull(self) -> list[DownStreamMessage]:
        wanted = SyncRequestMsg(syncTime=self._since, ispolling=False, isPullSend=True)
        answer = await self._client.ask("pullMsg", self._name, wanted.SerializeToString())
        reply = DownStreamMessages.FromString(answer.payload)
        self._since = reply.syncTime
        return list(reply.list)

    async def sees(self, text: str) -> DownStreamMessage:
        """The message with this text, when it has come, pushed or pulled."""
        async with asyncio.timeout(PATIENCE):
            while True:
                packet = await self._client.next(Publish)
                found = (
                    [DownStreamMessage.FromString(packet.payload)]
                    if packet.topic == "s_msg"
                    else await self.pull()
                )
                for message in found:
                    if message.content.decode() == body(text):
                        return message


def test_everybody_online_is_shown_a_broadcast_and_who_comes_later_pulls_it(app: App) -> None:
    names, late, text = [new("user") for _ in range(6)], new("late"), new("text")

    async def scenario() -> None:
        async with online(app, names) as clients:
            readers = [Reader(client, name) for client, name in zip(clients, names, strict=True)]
            for reader in readers:
                await reader.pull()
            uid = (await call(app, "/message/broadcast", **TEXT, content=body(text)))["messageUID"]
            for reader in readers:
                message = await reader.sees(text)
                assert (message.type, message.fromUserId, message.msgId) == (6, "news", uid)
        async with online(app, [late]) as (client,):
            assert text in {
                json.loads(m.content)["content"] for m in await Reader(client, late).pull() if m.type == 6
            }
            await call(app, "/message/broadcast/recall", fromUserId="news", messageUID=uid)
            await asyncio.sleep(1.5)  # it comes to every SET by exchange
            assert uid not in [message.msgId for message in await Reader(client, late).pull()]

    asyncio.run(scenario())


def test_what_is_for_some_or_for_those_online_reaches_them_alone(app: App) -> None:
    alice, bob = new("alice"), new("bob")

    async def scenario() -> None:
        async with online(app, [alice, bob]) as clients:
            of_alice, of_bob = (Reader(c, name) for c, name in zip(clients, (alice, bob), strict=True))
            await of_alice.pull()
            await of_bob.pull()
            answer = await call(app, "/message/system/publish", **TEXT, content=body("one"), toUserId=alice)
            assert answer["messageUID"] == answer["messageUIDs"][0]["messageUID"]
            assert (await of_alice.sees("one")).type == 6
            await call(app, "/message/online/broadcast", **TEXT, content=body("now"))
            for reader in (of_alice, of_bob):
                assert (await reader.sees("now")).extStatus == 0x40
            await call(
                app, "/statusmessage/private/publish", **TEXT, content=body("typing"), toUserId=[alice, bob]
            )
            for reader in (of_alice, of_bob):
                assert (await reader.sees("typing")).type == 1
        async with online(app, [bob]) as (client,):
            texts = [message.content.decode() for message in await Reader(client, bob).pull()]
            assert not {body("one"), body("now"), body("typing")} & set(texts)

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["private", "system"])
def test_a_template_gives_everyone_his_own_text(app: App, kind: str) -> None:
    alice, bob = new("alice"), new("bob")
    form = {
        **TEXT,
        "content": body("hello {name}, {sum}"),
        "toUserId": [alice, bob],
        "values": [json.dumps({"{name}": "{sum}", "{sum}": "5"}), json.dumps({"{name}": "Bob", "{sum}": 7})],
    }
    answer = post(app, f"/message/{kind}/publish_template", **form)
    assert [each["userId"] for each in answer["messageUIDs"]] == [alice, bob]

    async def scenario() -> None:
        async with online(app, [alice, bob]) as clients:
            for client, name, text in zip(clients, (alice, bob), ("{sum}, 5", "Bob, 7"), strict=True):
                found = [m for m in await Reader(client, name).pull() if m.fromUserId == "news"]
                assert body(f"hello {text}") in [message.content.decode() for message in found]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/message/system/publish", {"toUserId": [f"u{n}" for n in range(101)], "content": "{}"}),
        ("/message/system/publish", {"content": "{}"}),
        ("/message/broadcast", {"content": "no JSON"}),
        ("/message/broadcast/recall", {}),
        ("/message/private/publish_template", {"toUserId": ["a", "b"], "values": "{}", "content": "{}"}),
        ("/message/private/publish_template", {"toUserId": "a", "values": "[]", "content": "{}"}),
        ("/statusmessage/group/publish", {"toGroupId": ["a", "b", "c", "d"], "content": "{}"}),
    ],
)
def test_what_is_not_valid_is_refused(app: App, path: str, form: dict[str, Any]) -> None:
    with pytest.raises(ApiRefused) as refused:
        post(app, path, **TEXT, **form)
    assert "1002" in str(refused.value)
