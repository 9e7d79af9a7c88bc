"""`/user/blockPushPeriod/…` against a running stack: the quiet hours that devices know."""

import asyncio
import uuid

import pytest

from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import Publish
from bench.tokens import ApiRefused, App
from tests.conftest import WholeStack
from tests.messaging.server_api.live import Client, online, post

NONE = {"startTime": "", "period": 0, "unPushLevel": 0}


@pytest.fixture(scope="module")
def app(stack: WholeStack) -> App:
    return App(stack.url, stack.app_key, stack.app_secret)


def test_what_the_server_sets_devices_are_told_and_what_they_set_the_server_reads(app: App) -> None:
    alice, bob = (f"user-{uuid.uuid4().hex[:8]}" for _ in range(2))

    def read(user: str = alice) -> object:
        return post(app, "/user/blockPushPeriod/get", userId=user)["data"]

    async def asked(client: Client) -> im.QueryUnpushPeriodOutput:
        wanted = im.QueryUnpushPeriodInput(nothing=0).SerializeToString()
        return im.QueryUnpushPeriodOutput.FromString((await client.ask("qryUnpush", alice, wanted)).payload)

    async def scenario() -> None:
        async with online(app, [alice]) as (client,):
            period = {"startTime": "23:59:59", "period": 120, "level": 5}
            await asyncio.to_thread(post, app, "/user/blockPushPeriod/set", userId=alice, **period)
            await client.next(Publish, "s_us")
            found = await asked(client)
            assert (found.isUnpush, found.startTime, found.spanMinutes, found.level) == (
                1,
                "23:59:59",
                120,
                5,
            )
            own = im.AddUnpushPeriodInput(startTime="22:00:00", spanMinutes=60, level=1)
            await client.ask("addUnpush", alice, own.SerializeToString())
            there = await asyncio.to_thread(read)
            assert there == {"startTime": "22:00:00", "period": 60, "unPushLevel": 1}
            for _ in range(2):
                await asyncio.to_thread(post, app, "/user/blockPushPeriod/delete", userId=alice)
            assert (await asked(client)).isUnpush == 0

    asyncio.run(scenario())
    assert read() == read(bob) == NONE
    post(app, "/user/blockPushPeriod/set", userId=bob, startTime="00:00:00", period=1439)
    assert read(bob) == {"startTime": "00:00:00", "period": 1439, "unPushLevel": 1}
    assert read() == NONE


@pytest.mark.parametrize(
    "form",
    [
        {"startTime": "24:00:00", "period": 1},
        {"startTime": "23:59", "period": 1},
        {"startTime": "٠٠:00:00", "period": 1},
        {"startTime": "23:59:59", "period": 0},
        {"startTime": "23:59:59", "period": 1440},
        {"startTime": "23:59:59", "period": 1, "level": 2},
        {"startTime": "23:59:59"},
        {"period": 1},
    ],
)
def test_what_is_not_valid_is_refused(app: App, form: dict[str, str]) -> None:
    with pytest.raises(ApiRefused) as refused:
        post(app, "/user/blockPushPeriod/set", userId="alice", **form)
    assert "1002" in str(refused.value)
