"""What watchers are told of users who come, reload their page and go, through a whole stack."""

import asyncio
import time
import uuid
from typing import TypeVar

from google.protobuf.message import Message

from apps.routing.presence_news import SETTLED
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import (
    Downstream,
    Publish,
    Query,
    QueryAck,
    decode_downstream,
    encode_upstream,
)
from bench.client import websocket_url
from bench.tokens import App
from bench.wire import Wire
from tests.conftest import WholeStack

M = TypeVar("M", bound=Message)
DATA_CHANGED = 8
PATIENCE = 20.0  # s
ONLINE = 1


class Client:
    """A user's page; what it is told of others is counted."""

    def __init__(self, app: App, user: str) -> None:
        self._app = app
        self.user = user
        self._number = 0
        self._answers: dict[int, asyncio.Future[QueryAck]] = {}
        self.notices: asyncio.Queue[int] = asyncio.Queue()
        self.wire: Wire

    async def connect(self) -> "Client":
        token = (await asyncio.to_thread(self._app.tokens, [self.user]))[self.user]
        url = websocket_url(self._app.url, self._app.key, token)
        self.wire = await Wire.open(url, self._take, lambda: None)
        return self

    def _take(self, frame: bytes) -> None:
        packet: Downstream = decode_downstream(frame)
        if isinstance(packet, QueryAck):
            self._answers.pop(packet.message_id).set_result(packet)
        elif isinstance(packet, Publish) and packet.topic == "s_cmd":
            notice = im.NotifyMsg.FromString(packet.payload)
            if notice.type == DATA_CHANGED:
                self.notices.put_nowait(notice.time)

    async def ask(self, kind: type[M], method: str, body: Message) -> M:
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        self.wire.send(encode_upstream(Query(method, self.user, self._number, body.SerializeToString())))
        async with asyncio.timeout(PATIENCE):
            packet = await answer
        assert packet.status == 0
        return kind.FromString(packet.payload)

    async def watch(self, user: str) -> None:
        sub_users = [im.UserSubDetail(subUserId=user)]
        wanted = im.UpdateUserSubReq(subType=1, opType=0, expiry=3600, subUsers=sub_users)
        await self.ask(im.UpdateUserSubResp, "updUserSub", wanted)

    async def told(self) -> dict[str, int]:
        """user -> 1 for online, once there is something new."""
        async with asyncio.timeout(PATIENCE):
            await self.notices.get()
        data = await self.ask(im.PullSubDataResp, "pullSubData", im.PullSubDataReq(versionTime=0))
        return {each.subUserId: max(its.value for its in each.data) for each in data.list}


def test_a_page_that_is_loaded_anew_is_no_news_and_one_that_stays_away_is(stack: WholeStack) -> None:
    app = App(stack.url, stack.app_key, stack.app_secret)
    alice, bob = (f"u{uuid.uuid4().hex}" for _ in range(2))

    async def scenario() -> None:
        watcher = await Client(app, alice).connect()
        await watcher.watch(bob)
        page = await Client(app, bob).connect()
        assert await watcher.told() == {bob: ONLINE}
        page.wire.abort()
        page = await Client(app, bob).connect()
        await asyncio.sleep(2 * SETTLED)
        assert watcher.notices.empty()
        page.wire.abort()
        gone_at = time.monotonic()
        assert await watcher.told() == {bob: 0}
        assert time.monotonic() - gone_at >= SETTLED
        watcher.wire.abort()

    asyncio.run(scenario())
