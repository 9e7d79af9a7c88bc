"""Users who are deactivated or deleted, against a running stack: out, for good or until they are back."""

import asyncio
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from apps.routing.protocol.packets import ConnAck, ConnStatus, Disconnect, DisconnectStatus, decode_downstream
from bench.client import websocket_url
from bench.tokens import App
from bench.wire import Wire
from tests.conftest import WholeStack
from tests.messaging.server_api.live import Client, online, post


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


def new(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


async def connack(app: App, token: str, sdk: str = "5.9.0") -> int:
    """The status with which a client of this SDK is answered."""
    client = Client()
    url = websocket_url(app.url, app.key, token).replace("sdkVer=4.6.4", f"sdkVer={quote(sdk)}")
    wire = await Wire.open(url, lambda data: client.packets.put_nowait(decode_downstream(data)), lambda: None)
    try:
        return int((await client.next(ConnAck)).status)
    finally:
        wire.abort()


def everything_of(app: App, user: str, group: str) -> list[Any]:
    """What there is to know of a user."""
    return [
        post(app, "/user/info", userId=user)["userName"],
        post(app, "/user/tags/get", userIds=user)["result"][user],
        post(app, "/user/blacklist/query", userId=user)["users"],
        post(app, "/user/blockPushPeriod/get", userId=user)["data"]["period"],
        post(app, "/user/remarks/get", userId=user)["total"],
        post(app, "/user/group/query", userId=user)["groups"],
        user in [each["id"] for each in post(app, "/group/user/query", groupId=group)["users"]],
    ]


def settled(app: App, user: str) -> str:
    """Have the user have all that one can have; the group that he is in."""
    group = new("group")
    post(app, "/user/getToken", userId=user, name="A", portraitUri="p")
    post(app, "/user/tag/set", userId=user, tags=["vip"])
    post(app, "/user/blacklist/add", userId=user, blackUserId="mallory")
    post(app, "/user/blockPushPeriod/set", userId=user, startTime="22:00:00", period=60)
    post(app, "/user/remarks/set", userId=user, remarks='[{"id": "x", "remark": "y"}]')
    for each in (group, new("group"), new("group")):  # some of them at home in either SET
        post(app, "/group/create", userId=[user, "other"], groupId=each, groupName="G")
    return group


def test_who_is_deactivated_is_cut_off_and_has_nothing_left_and_is_refused_until_he_is_reactivated(
    app: App,
) -> None:
    alice, bob = new("alice"), new("bob")
    group, unknown = settled(app, alice), new("unknown")
    assert everything_of(app, alice, group)[-1] is True
    old = post(app, "/user/getToken", userId=alice, name="A")["token"]

    async def call(path: str, **form: Any) -> dict[str, Any]:
        return await asyncio.to_thread(post, app, path, **form)

    async def scenario() -> None:
        async with online(app, [alice, bob]) as (of_alice, of_bob):
            assert (await of_alice.next(ConnAck)).status == ConnStatus.ACCEPTED
            assert (await call("/user/deactivate", userId=f"{alice},{unknown}"))["operateId"]
            # What came later than its SDK is told to it in words that it knows.
            assert (await of_alice.next(Disconnect)).status == DisconnectStatus.USER_BLOCKED
            assert not any(isinstance(packet, Disconnect) for packet in of_bob.packets._queue)  # type: ignore[attr-defined]
        new_token = (await call("/user/getToken", userId=alice, name="again"))["token"]
        for token in (old, new_token):
            assert await connack(app, token) == ConnStatus.ACCOUNT_CANCELLED
            assert await connack(app, token, "4.6.4") == ConnStatus.USER_BLOCKED
        listed = (await call("/user/deactivate/query"))["users"]
        assert {alice, unknown} <= set(listed) and bob not in listed
        pages = [(await call("/user/deactivate/query", pageNo=n, pageSize=1))["users"] for n in (1, 2)]
        assert pages[0] + pages[1] == listed[:2]
        known = [each["userId"] for each in (await call("/user/query", order=1, pageSize=100))["users"]]
        assert bob in known and alice not in known
        await call("/user/reactivate", userId=[alice, new("nobody")])
        await call("/user/activate", userId=unknown)
        await asyncio.sleep(1.0)  # every gateway knows it within a second
        assert await connack(app, new_token) == ConnStatus.ACCEPTED
        assert await connack(app, old) == ConnStatus.TOKEN_INCORRECT
        listed = (await call("/user/deactivate/query"))["users"]
        assert not {alice, unknown} & set(listed)

    asyncio.run(scenario())
    assert everything_of(app, alice, group) == ["again", [], [], 0, 0, [], False]


def test_who_is_deleted_is_cut_off_and_is_a_new_user_when_he_registers_again(app: App) -> None:
    alice, bob = new("alice"), new("bob")
    group, total = settled(app, alice), post(app, "/user/query")["total"]

    async def call(path: str, **form: Any) -> dict[str, Any]:
        return await asyncio.to_thread(post, app, path, **form)

    async def scenario() -> None:
        old = (await call("/user/getToken", userId=alice, name="A"))["token"]
        async with online(app, [alice, bob]) as (of_alice, of_bob):
            assert (await of_alice.next(ConnAck)).status == ConnStatus.ACCEPTED
            await call("/user/delusers", userId=[alice, new("nobody")])
            assert (await of_alice.next(Disconnect)).status == DisconnectStatus.CLOSED_BY_SERVER
            assert not any(isinstance(packet, Disconnect) for packet in of_bob.packets._queue)  # type: ignore[attr-defined]
        left = await asyncio.to_thread(everything_of, app, alice, group)
        assert left == ["", [], [], 0, 0, [], False]
        assert (await call("/user/query"))["total"] == total  # Bob has come and she has gone
        assert await connack(app, old) == ConnStatus.TOKEN_INCORRECT
        again = (await call("/user/getToken", userId=alice, name="B"))["token"]
        assert await connack(app, again) == ConnStatus.ACCEPTED
        newest = (await call("/user/query", order=1, pageSize=1))["users"][0]
        assert (newest["userId"], newest["userName"]) == (alice, "B")

    asyncio.run(scenario())
