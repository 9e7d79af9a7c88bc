"""Users who are blocked: they are cut off, and do not come back before the end."""

import asyncio
import uuid
from typing import Any

import pytest

from apps.routing.protocol.packets import ConnAck, ConnStatus, Disconnect, DisconnectStatus
from bench.tokens import ApiRefused, App
from tests.conftest import WholeStack
from tests.messaging.server_api.live import MOMENT, online, post


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


def new(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def test_a_blocked_user_is_cut_off_and_refused_until_he_is_unblocked(app: App) -> None:
    alice, bob = new("alice"), new("bob")

    async def call(path: str, **form: Any) -> dict[str, Any]:
        return await asyncio.to_thread(post, app, path, **form)

    async def scenario() -> None:
        async with online(app, [alice, bob]) as (of_alice, of_bob):
            assert (await of_alice.next(ConnAck)).status == ConnStatus.ACCEPTED
            await call("/user/block", userId=alice, minute=1)
            assert (await of_alice.next(Disconnect)).status == DisconnectStatus.USER_BLOCKED
            assert not any(isinstance(packet, Disconnect) for packet in of_bob.packets._queue)  # type: ignore[attr-defined]
        listed = {each["userId"]: each["blockEndTime"] for each in (await call("/user/block/query"))["users"]}
        assert MOMENT.fullmatch(listed[alice]) and bob not in listed
        async with online(app, [alice]) as (again,):
            assert (await again.next(ConnAck)).status == ConnStatus.USER_BLOCKED
        for _ in range(2):
            await call("/user/unblock", userId=[alice, bob])
        await asyncio.sleep(1.0)
        async with online(app, [alice]) as (back,):
            assert (await back.next(ConnAck)).status == ConnStatus.ACCEPTED

    asyncio.run(scenario())


def test_pages_of_blocked_users_hold_each_once(app: App) -> None:
    users = [new("user") for _ in range(3)]
    post(app, "/user/block", userId=users, minute=5)
    found = [post(app, "/user/block/query", page=page, size=2)["users"] for page in (1, 2)]
    assert set(users) <= {each["userId"] for page in found for each in page}
    post(app, "/user/unblock", userId=users)
    assert post(app, "/user/block/query")["users"] == []


@pytest.mark.parametrize(
    "form", [{"minute": 1}, {"userId": "u", "minute": 0}, {"userId": "u", "minute": 43201}]
)
def test_what_is_not_valid_is_refused(app: App, form: dict[str, Any]) -> None:
    with pytest.raises(ApiRefused) as refused:
        post(app, "/user/block", **form)
    assert "1002" in str(refused.value)
