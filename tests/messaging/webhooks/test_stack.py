"""Webhooks of a whole stack: from a client's socket to the tenant's server, workers of their own between."""

import asyncio
import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apps.routing.protocol.packets import AckStatus
from bench.client import Client, text_message, websocket_url
from bench.tokens import App
from tests.conftest import WholeStack, wait_for
from tests.messaging.webhooks.receiver import Answer, Call, Receiver

PATIENCE = 60.0  # s; the first webhook workers have to start
HOOKS = """
from apps.accounts.models import Tenant, Webhooks
tenant = Tenant.objects.get(app_key={key!r})
for webhooks in Webhooks.objects.filter(tenant=tenant):
    webhooks.delete()  # a queryset's own would tell no process
if {url!r}:
    urls = {{name + "_url": {url!r} + name for name in ("messages", "online", "judge")}}
    Webhooks.objects.create(tenant=tenant, judge_classes="RC:TxtMsg", **urls)
"""


def answer(call: Call) -> Answer:
    if call.path == "/judge":
        return 200, {}, b'{"pass": 0}' if "bad" in call.form["content"] else b'{"pass": 1}'
    return 200


@pytest.fixture
def hooked(stack: WholeStack, receiver: Receiver) -> Iterator[Receiver]:
    """The stack's tenant has webhooks."""
    receiver.answer = answer
    stack.manage("shell", "-c", HOOKS.format(key=stack.app_key, url=receiver.url("/")))
    time.sleep(1.0)  # then every process knows
    yield receiver
    stack.manage("shell", "-c", HOOKS.format(key=stack.app_key, url=""))


def test_a_tenants_server_judges_messages_and_is_told_of_them_and_of_users_whoever_dies(
    stack: WholeStack, hooked: Receiver
) -> None:
    asyncio.run(_chat(stack, hooked))


async def _chat(stack: WholeStack, receiver: Receiver) -> None:
    app = App(stack.url, stack.app_key, stack.app_secret)
    alice, bob = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("alice", "bob"))
    token = (await asyncio.to_thread(app.tokens, [alice]))[alice]
    client = Client(websocket_url(app.url, app.key, token), alice, _answered, lambda message: None)
    client.start()
    await asyncio.wait_for(client.ready.wait(), PATIENCE)

    async def say(content: str) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        assert client.send(bob, text_message(json.dumps({"content": content}).encode()), future)
        return await asyncio.wait_for(future, PATIENCE)

    while (
        await say("bad: are you there?") != AckStatus.SENSITIVE_WORD
    ):  # known everywhere, its worker started
        pass
    assert [await say("bad"), await say("good 1")] == [AckStatus.SENSITIVE_WORD, 0]
    await _until(lambda: _told(receiver, bob)[-1:] == ["good 1"])
    for pid in stack.workers("webhook"):
        os.kill(pid, signal.SIGKILL)
    while await say("good 2") == AckStatus.BUSY:
        pass
    await _until(lambda: _told(receiver, bob)[-1:] == ["good 2"])
    assert "bad" not in _told(receiver, bob)
    await client.stop()
    await _until(lambda: [event["status"] for event in _sessions(receiver, alice)] == ["0", "1"])
    begun, ended = _sessions(receiver, alice)
    assert begun["sessionId"] == ended["sessionId"]
    assert (begun["os"], begun["clientIp"].partition(":")[0]) == ("Websocket", "127.0.0.1")


def _answered(future: asyncio.Future[int], status: int, uid: str, at: int) -> None:
    if not future.done():
        future.set_result(status)


def _told(receiver: Receiver, to: str) -> list[str]:
    forms = [call.form for call in list(receiver.calls) if call.path == "/messages"]
    return [json.loads(form["content"])["content"] for form in forms if form["toUserId"] == to]


def _sessions(receiver: Receiver, user: str) -> list[dict[str, Any]]:
    events = [e for call in list(receiver.calls) if call.path == "/online" for e in call.events]
    return [event for event in events if event["userid"] == user]


async def _until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_for, condition, PATIENCE, "it does not come to that")
