"""Recalls and expansions against a running stack: by the server API, and by a client's own packets."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apps.routing.protocol.im_pb2 import (
    DownStreamMessage,
    DownStreamMessages,
    GrpReadReceiptMsg,
    GrpReadReceiptQryReq,
    GrpReadReceiptQryResp,
    HistoryMsgInput,
    HistoryMsgOuput,
    SessionMsgReadInput,
    SyncRequestMsg,
    UpStreamMessage,
)
from apps.routing.protocol.packets import PubAck, Publish, Query, QueryAck, QueryCon, encode_upstream
from bench.tokens import ApiRefused, App
from tests.conftest import WholeStack
from tests.messaging.server_api.live import Client, online, post

WHICH = {"msgUID": "u", "userId": "a", "conversationType": "1", "targetId": "b"}
RECALL = {"fromUserId": "a", "conversationType": "1", "targetId": "b", "messageUID": "u", "sentTime": "1"}


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


class Person(Client):
    """A connection that has pulled everything."""

    name: str

    async def publish(self, topic: str, target: str, payload: bytes) -> PubAck:
        self._number += 1
        self.wire.send(encode_upstream(Publish(topic, target, self._number, payload)))
        number = self._number
        while True:
            ack: PubAck = await self.next(PubAck)
            if ack.message_id == number:
                return ack

    async def query(self, topic: str, target: str, payload: bytes) -> QueryAck:
        self._number += 1
        self.wire.send(encode_upstream(Query(topic, target, self._number, payload)))
        answer: QueryAck = await self.next(QueryAck)
        self.wire.send(encode_upstream(QueryCon(self._number)))
        return answer

    async def pull(self) -> list[str]:
        wanted = SyncRequestMsg(ispolling=False, isPullSend=True, syncTime=0, sendBoxSyncTime=0)
        reply = await self.query("pullMsg", self.name, wanted.SerializeToString())
        return [each.msgId for each in DownStreamMessages.FromString(reply.payload).list]

    async def history(self, peer: str) -> list[DownStreamMessage]:
        wanted = HistoryMsgInput(targetId=peer, time=0, count=20, order=0)
        reply = await self.query("qryPMsg", peer, wanted.SerializeToString())
        return list(HistoryMsgOuput.FromString(reply.payload).list)

    async def shown(self, classname: str) -> DownStreamMessage:
        """The next push of this class."""
        while True:
            pushed = DownStreamMessage.FromString((await self.next(Publish, "s_msg")).payload)
            if pushed.classname == classname:
                return pushed


@asynccontextmanager
async def two(app: App) -> AsyncIterator[tuple[Person, Person]]:
    names = [f"p-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    async with online(app, names) as clients:
        people = []
        for name, client in zip(names, clients, strict=True):
            person = Person()
            person.packets, person.wire, person.name = client.packets, client.wire, name
            await person.pull()
            people.append(person)
        yield people[0], people[1]


def text(content: str, session: int = 3) -> bytes:
    message = UpStreamMessage(sessionId=session, classname="RC:TxtMsg")
    message.content = json.dumps({"content": content}).encode()
    return message.SerializeToString()


def recall(target: str, uid: str) -> bytes:
    content = {"conversationType": 1, "targetId": target, "messageUId": uid, "sentTime": 1}
    message = UpStreamMessage(sessionId=1, classname="RC:RcCmd", content=json.dumps(content).encode())
    return message.SerializeToString()


async def test_a_client_recalls_by_a_message_to_itself_wherever_the_peer_is_at_home(app: App) -> None:
    async with two(app) as (alice, bob):
        for sender, receiver in ((alice, bob), (bob, alice)):
            gone = await sender.publish("ppMsgP", receiver.name, text("gone"))
            stays = await sender.publish("ppMsgP", receiver.name, text("stays"))
            refused = await receiver.publish("recallMsg", receiver.name, recall(sender.name, gone.uid))
            assert refused.status == 25107
            done = await sender.publish("recallMsg", sender.name, recall(receiver.name, gone.uid))
            assert done.status == 0
            told = await receiver.shown("RC:RcCmd")
            assert (told.msgId, told.fromUserId) == (done.uid, sender.name)
            assert json.loads(told.content)["messageUId"] == gone.uid
            for reader, peer in ((sender, receiver), (receiver, sender)):
                found = [each.msgId for each in await reader.history(peer.name)]
                assert stays.uid in found and gone.uid not in found
        assert (await alice.publish("recallMsg", alice.name, b"\xff")).status == 25101


async def test_the_server_recalls_and_expands(app: App) -> None:
    async with two(app) as (alice, bob):
        sent = await alice.publish("ppMsgP", bob.name, text("hello", 3 | 0x40))
        of = {"msgUID": sent.uid, "userId": alice.name, "conversationType": 1, "targetId": bob.name}
        await asyncio.to_thread(
            post, app, "/message/expansion/set", **of, extraKeyVal=json.dumps({"a": "1", "b": "é"})
        )
        change = await bob.shown("RC:MsgExMsg")
        assert json.loads(change.content) == {"mid": sent.uid, "put": {"a": "1", "b": "é"}}
        await asyncio.to_thread(post, app, "/message/expansion/delete", **of, extraKey='["a","none"]')
        answer = await asyncio.to_thread(post, app, "/message/expansion/query", msgUID=sent.uid)
        (key, value), *others = answer["extraContent"].items()
        assert (key, value["v"], others) == ("b", "é", []) and value["ts"] > sent.time
        second = await asyncio.to_thread(post, app, "/message/expansion/query", msgUID=sent.uid, pageNo=2)
        assert second["extraContent"] == {}
        for reader, peer in ((alice, bob), (bob, alice)):
            (shown,) = await reader.history(peer.name)
            assert json.loads(shown.extraContent)["b"]["v"] == "é"
        await asyncio.to_thread(
            post, app, "/message/recall", fromUserId=alice.name, conversationType=1, targetId=bob.name,
            messageUID=sent.uid, sentTime=1, isAdmin=1, isDelete=1, extra="why", disablePush="True",
        )  # fmt: skip
        content = json.loads((await bob.shown("RC:RcCmd")).content)
        assert (content["isAdmin"], content["isDelete"], content["extra"]) == (True, True, "why")
        assert await bob.history(alice.name) == []
        answer = await asyncio.to_thread(post, app, "/message/expansion/query", msgUID=sent.uid)
        assert answer["extraContent"] == {}


async def test_times_of_reading_and_readers_of_a_group(app: App) -> None:
    async with two(app) as (alice, bob):
        read = SessionMsgReadInput(type=1, msgTime=5, channelId=bob.name)  # type: ignore[arg-type]
        assert (await alice.publish("updRTime", alice.name, read.SerializeToString())).status == 0
        group = f"g-{uuid.uuid4().hex[:8]}"
        form = {"userId": f"{alice.name},{bob.name}", "groupId": group, "groupName": "n"}
        await asyncio.to_thread(post, app, "/group/create", **form)
        sent = await alice.publish("pgMsgP", group, text("read me"))
        assert sent.status == 0
        receipt = GrpReadReceiptMsg(msgId=[sent.uid]).SerializeToString()
        assert (await bob.query("rrMsg", group, receipt)).status == 0
        wanted = GrpReadReceiptQryReq(msgId=[sent.uid]).SerializeToString()
        listed = GrpReadReceiptQryResp.FromString((await alice.query("rrList", group, wanted)).payload)
        assert (listed.totalMemberNum, [each.userId for each in listed.list]) == (2, [bob.name])


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 6, 10])
def test_what_is_not_known_is_recalled_already(kind: int, app: App) -> None:
    form = {
        "fromUserId": "a",
        "conversationType": kind,
        "targetId": "b",
        "sentTime": 1,
        "content": "[object]",
    }
    post(app, "/message/recall", **form, messageUID="no-such")


@pytest.mark.parametrize("kind", [1, 3])
def test_what_is_not_known_is_expanded_by_nothing(kind: int, app: App) -> None:
    form = {"msgUID": "no-such", "userId": "a", "conversationType": kind, "targetId": "b"}
    post(app, "/message/expansion/set", **form, extraKeyVal='{"a":"1"}')
    post(app, "/message/expansion/delete", **form, extraKey='["a"]')
    assert post(app, "/message/expansion/query", msgUID="no-such")["extraContent"] == {}


@pytest.mark.parametrize(
    ("path", "form"),
    [
        *(("/message/recall", {k: v for k, v in RECALL.items() if k != name}) for name in RECALL),
        ("/message/recall", RECALL | {"conversationType": "5"}),
        ("/message/recall", RECALL | {"messageUID": "u" * 65}),
        ("/message/recall", RECALL | {"sentTime": "x"}),
        ("/message/recall", RECALL | {"extra": "x" * 5000}),
        *(("/message/expansion/set", {k: v for k, v in WHICH.items() if k != n}) for n in WHICH),
        ("/message/expansion/set", WHICH),
        ("/message/expansion/set", WHICH | {"extraKeyVal": "[]"}),
        ("/message/expansion/set", WHICH | {"extraKeyVal": "{}"}),
        ("/message/expansion/set", WHICH | {"extraKeyVal": '{"a":1}'}),
        ("/message/expansion/set", WHICH | {"extraKeyVal": json.dumps({"a": "x" * 4097})}),
        ("/message/expansion/set", WHICH | {"extraKeyVal": json.dumps({f"k{n}": "x" for n in range(101)})}),
        ("/message/expansion/set", WHICH | {"extraKeyVal": '{"a":"1"}', "conversationType": "4"}),
        ("/message/expansion/delete", WHICH | {"extraKey": "{}"}),
        ("/message/expansion/delete", WHICH | {"extraKey": "[]"}),
        ("/message/expansion/delete", WHICH | {"extraKey": "[5]"}),
        ("/message/expansion/query", {}),
        ("/message/expansion/query", {"msgUID": "u", "pageNo": "0"}),
    ],
)
def test_a_call_that_cannot_be_is_refused(app: App, path: str, form: dict[str, Any]) -> None:
    with pytest.raises(ApiRefused, match="1002"):
        post(app, path, **form)


async def test_what_was_sent_without_expansion_takes_none(app: App) -> None:
    async with two(app) as (alice, bob):
        sent = await alice.publish("ppMsgP", bob.name, text("closed"))
        of = {"msgUID": sent.uid, "userId": alice.name, "conversationType": 1, "targetId": bob.name}
        with pytest.raises(ApiRefused, match="1002"):
            await asyncio.to_thread(post, app, "/message/expansion/set", **of, extraKeyVal='{"a":"1"}')
