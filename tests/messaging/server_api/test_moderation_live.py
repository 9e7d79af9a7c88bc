"""Words and private mutes against a running stack: what clients are told, soon after the call."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from apps.routing.protocol.im_pb2 import DownStreamMessages, SyncRequestMsg
from apps.routing.protocol.packets import AckStatus, ConnAck, PubAck
from bench.client import text_message
from bench.tokens import App
from tests.conftest import WholeStack
from tests.messaging.server_api.live import Client, online, post

TRIES = 100  # ten a second


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


def new(kind: str) -> str:
    return f"{kind}{uuid.uuid4().hex[:8]}"


async def sent(client: Client, to: str, text: str) -> PubAck:
    client.send("ppMsgP", to, text_message(json.dumps({"content": text}).encode()))
    answer: PubAck = await client.next(PubAck)
    return answer


async def until(client: Client, to: str, text: str, status: int) -> PubAck:
    """The first answer with this status: all workers know the change."""
    for _ in range(TRIES):
        if (answer := await sent(client, to, text)).status == status:
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(f"never answered with {status}: {answer}")


async def shown(client: Client, to: str, *uids: str) -> dict[str, str]:
    """What it pulls, with these among it: a copy for the sender may come from another SET."""
    wanted = SyncRequestMsg(syncTime=0, ispolling=False, isPullSend=True)
    for _ in range(TRIES):
        answer = await client.ask("pullMsg", to, wanted.SerializeToString())
        messages = DownStreamMessages.FromString(answer.payload).list
        # Messages to all users of the app, which other tests send, are among them.
        found = {each.msgId: json.loads(each.content).get("content", "") for each in messages}
        if found.keys() >= set(uids):
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{set(uids) - found.keys()} never came")


def test_words_and_mutes_concern_the_next_message_of_a_connected_client(app: App) -> None:
    alice, bob = new("alice"), new("bob")
    bad, rude = new("bad"), new("rude")

    async def call(path: str, **form: Any) -> dict[str, Any]:
        return await asyncio.to_thread(post, app, path, **form)

    async def scenario() -> None:
        async with online(app, [alice, bob]) as (of_alice, of_bob):
            for client in (of_alice, of_bob):
                assert (await client.next(ConnAck)).status == 0
            await call("/sensitiveword/add", word=rude, replaceWord="***")
            replaced = await until(of_alice, bob, f"so {rude.upper()}!", AckStatus.SENSITIVE_WORD_REPLACED)
            assert replaced.uid and replaced.time
            await call("/sensitiveword/add", word=bad)
            refused = await until(of_alice, bob, f"{bad} {rude}", AckStatus.SENSITIVE_WORD)
            assert not refused.uid
            clean = await sent(of_alice, bob, "fine")
            for client, user in ((of_bob, bob), (of_alice, alice)):
                found = await shown(client, user, replaced.uid, clean.uid)
                assert found[replaced.uid] == "so ***!" and found[clean.uid] == "fine"
            await call("/sensitiveword/batch/delete", words=[bad, rude])
            assert (await until(of_alice, bob, f"{bad} {rude}", 0)).uid
            await call("/user/chat/fb/set", userId=alice, state=1, type="PERSON")
            await until(of_alice, bob, "muted?", AckStatus.PRIVATE_MUTED)
            assert (await sent(of_bob, alice, "not me")).status == 0
            await call("/user/chat/fb/set", userId=alice, state=0, type="PERSON")
            await until(of_alice, bob, "no longer", 0)

    asyncio.run(scenario())
