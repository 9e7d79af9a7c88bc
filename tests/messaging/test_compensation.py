"""A device that was pushed a message and says nothing is told again, in time; the body is sent once."""

import asyncio
import time

from apps.routing.protocol.im_pb2 import SyncRequestMsg
from apps.routing.protocol.packets import (
    Downstream,
    PubAck,
    Publish,
    Query,
    decode_downstream,
    encode_upstream,
)
from bench.client import text_message, websocket_url
from bench.stack import Stack
from bench.tokens import App
from bench.wire import Wire

DUE = 5.0  # s without acknowledgement after which a device is notified
LATE = 5.0  # s more that the ledger, beat and a busy machine may take
PULL = SyncRequestMsg(syncTime=0, ispolling=False, isPullSend=True, sendBoxSyncTime=0).SerializeToString()


class Device:
    """A device that reads everything and acknowledges only when told to."""

    def __init__(self) -> None:
        self.came: list[tuple[float, Publish]] = []
        self.news = asyncio.Event()
        self.wire: Wire

    def take(self, frame: bytes) -> None:
        packet: Downstream = decode_downstream(frame)
        if isinstance(packet, Publish):
            self.came.append((time.monotonic(), packet))
            self.news.set()

    @classmethod
    async def connect(cls, app: App, user: str) -> "Device":
        device = cls()
        tokens = await asyncio.to_thread(app.tokens, [user])
        url = websocket_url(app.url, app.key, tokens[user])
        device.wire = await Wire.open(url, device.take, lambda: None)
        device.wire.send(encode_upstream(Query("pullMsg", user, 1, PULL)))
        await asyncio.sleep(0.5)
        return device

    async def until(self, topic: str, within: float) -> tuple[float, Publish]:
        async with asyncio.timeout(within):
            while not (found := [pair for pair in self.came if pair[1].topic == topic]):
                self.news.clear()
                await self.news.wait()
        return found[0]


def test_a_push_that_is_not_acknowledged_is_announced_after_five_seconds(stack: Stack) -> None:
    app = App(stack.url, stack.describe()["app_key"], stack.describe()["app_secret"])

    async def scenario() -> None:
        alice, bob = await Device.connect(app, "comp-alice"), await Device.connect(app, "comp-bob")
        alice.wire.send(encode_upstream(Publish("ppMsgP", "comp-bob", 2, text_message(b'{"content":"x"}'))))
        pushed_at, _ = await bob.until("s_msg", 5.0)
        notified_at, _ = await bob.until("s_ntf", DUE + LATE)
        assert notified_at - pushed_at >= DUE - 0.1
        assert [packet.topic for _, packet in bob.came] == ["s_msg", "s_ntf"]
        alice.wire.abort()
        bob.wire.abort()

    asyncio.run(scenario())


def test_a_push_that_is_acknowledged_is_not_announced(stack: Stack) -> None:
    app = App(stack.url, stack.describe()["app_key"], stack.describe()["app_secret"])

    async def scenario() -> None:
        alice, bob = await Device.connect(app, "calm-alice"), await Device.connect(app, "calm-bob")
        alice.wire.send(encode_upstream(Publish("ppMsgP", "calm-bob", 2, text_message(b'{"content":"x"}'))))
        _, push = await bob.until("s_msg", 5.0)
        bob.wire.send(encode_upstream(PubAck(push.message_id)))
        await asyncio.sleep(DUE + 2.5)
        assert [packet.topic for _, packet in bob.came] == ["s_msg"]
        alice.wire.abort()
        bob.wire.abort()

    asyncio.run(scenario())
