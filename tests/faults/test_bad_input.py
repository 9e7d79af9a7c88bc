"""Clients that break the rules of the wire: each gets the documented answer or is put out, in time, alone."""

import asyncio
import http.client
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from apps.routing.protocol.im_pb2 import DownStreamMessages, SyncRequestMsg, UpStreamMessage
from apps.routing.protocol.packets import (
    MAX_CONTENT,
    MAX_FRAME,
    AckStatus,
    ConnAck,
    ConnStatus,
    Disconnect,
    Downstream,
    PingResp,
    PubAck,
    Publish,
    Query,
    QueryAck,
    decode_downstream,
    encode_upstream,
)
from bench.client import text_message, websocket_url
from bench.stack import Stack
from bench.tokens import App
from bench.traffic import Traffic
from bench.wire import PING, Wire, frame

pytestmark = pytest.mark.faults

ANSWER_SECONDS = 15.0
PINGREQ = b"\xc0"
TEXT_FRAME = 0x81
TEXT = text_message(b'{"content":"hello"}')
GOOD = encode_upstream(Publish("ppMsgP", "somebody", 1, TEXT))
BAD_PROTOBUF = b"\x0a\xff\xff\xff\xff\x0f"  # field 1 claims 4 GB


class Rude:
    """A websocket on which anything can be sent; `packets` is what came back."""

    def __init__(self) -> None:
        self.packets: asyncio.Queue[Downstream | None] = asyncio.Queue()  # None: the connection is closed
        self.session = ""
        self.wire: Wire

    @classmethod
    async def connect(cls, url: str) -> "Rude":
        rude = cls()
        rude.wire = await Wire.open(
            url,
            lambda data: rude.packets.put_nowait(decode_downstream(data)),
            lambda: rude.packets.put_nowait(None),
        )
        return rude

    async def next(self) -> Downstream | None:
        """The next packet, None for the end; TimeoutError when neither comes in time."""
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self.packets.get()

    async def end(self) -> list[Downstream]:
        """What came until the connection was closed."""
        came = []
        while (packet := await self.next()) is not None:
            came.append(packet)
        return came


@asynccontextmanager
async def connected(app: App, user: str = "mallory") -> AsyncIterator[Rude]:
    """An accepted connection of `user` on which nothing was sent yet."""
    tokens = await asyncio.to_thread(app.tokens, [user])
    rude = await Rude.connect(websocket_url(app.url, app.key, tokens[user]))
    try:
        accepted = await rude.next()
        assert isinstance(accepted, ConnAck) and accepted.status == ConnStatus.ACCEPTED
        rude.session = accepted.session_id
        yield rude
    finally:
        rude.wire.abort()


def health(app: App) -> int:
    """Status of /healthz."""
    connection = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


UNREADABLE = {
    "empty": b"",
    "reserved type 0": b"\x00",
    "SUBSCRIBE": b"\x82\x00\x01",
    "reserved type 15": b"\xf0",
    "CONNECT on a websocket": b"\x10\x00\x06RCloud\x03\x00\x00\x00\x00\x00",
    "CONNACK from a client": b"\x20\x00\x00",
    "QUERYACK from a client": b"\x60\x00\x01\x00\x00\x00\x00\x00\x00",
    "PUBLISH without fields": b"\x32",
    "PUBLISH cut in the topic": GOOD[:5],
    "PUBLISH cut in the target": GOOD[:12],
    "PUBLISH cut before its id": GOOD[:19],
    "PUBLISH with a topic longer than all": b"\x32\xff\xffppMsgP",
    "PUBLISH with a topic that is no UTF-8": GOOD.replace(b"ppMsgP", b"pp\xff\xfegP"),
    "PUBLISH with a target that is no UTF-8": GOOD.replace(b"somebody", b"some\xc3\x28dy"),
    "QUERY cut in the target": b"\x50\x00\x07pullMsg\x00\x09mal",
    "PUBACK of one byte": b"\x40\x00",
    "PINGREQ with a tail": b"\xc0\xc0\x00",
    "DISCONNECT cut": b"\xe0",
}


@pytest.mark.parametrize("packet", [pytest.param(data, id=name) for name, data in UNREADABLE.items()])
def test_an_unreadable_packet_ends_the_connection_and_is_logged(
    packet: bytes, app: App, log_since: Callable[[], str]
) -> None:
    async def scenario() -> None:
        async with connected(app) as mallory:
            mallory.wire.send(packet)
            came = await mallory.end()
            assert [type(answer) for answer in came] == [Disconnect]
            assert mallory.session in log_since()

    asyncio.run(scenario())
    assert "Traceback" not in log_since()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(frame(GOOD, TEXT_FRAME), "text", id="text frame"),
        pytest.param(frame(GOOD.ljust(MAX_FRAME + 1, b" ")), "big", id="more than the largest packet"),
        pytest.param(
            b"\x82\xff" + (1 << 40).to_bytes(8) + bytes(4), "big", id="frame of a terabyte announced"
        ),
        pytest.param(b"\xf2\x80" + bytes(4), "frame", id="reserved bits of the frame"),
        pytest.param(b"\x82\x01\xc0", "frame", id="unmasked frame"),
    ],
)
def test_a_bad_frame_ends_the_connection(data: bytes, reason: str, app: App) -> None:
    async def scenario() -> None:
        async with connected(app) as mallory:
            mallory.wire.write(data)
            assert all(isinstance(answer, Disconnect) for answer in await mallory.end()), reason

    asyncio.run(scenario())


REFUSED = {
    "body that is no protobuf": (Publish("ppMsgP", "bob", 7, BAD_PROTOBUF), AckStatus.MALFORMED),
    "body without a class": (
        Publish("ppMsgP", "bob", 7, UpStreamMessage(sessionId=3).SerializeToString()),
        None,
    ),
    "empty body": (Publish("ppMsgP", "bob", 7, b""), None),
    "no receiver": (Publish("ppMsgP", "", 7, TEXT), None),
    "receiver of 65 characters": (Publish("ppMsgP", "b" * 65, 7, TEXT), None),
    "unknown topic": (Publish("noSuch", "bob", 7, TEXT), AckStatus.NOT_SUPPORTED),
    "query as a message": (Publish("pullMsg", "bob", 7, TEXT), AckStatus.NOT_SUPPORTED),
    "content over 128 KB": (
        Publish("ppMsgP", "bob", 7, text_message(b"x" * (MAX_CONTENT + 1))),
        AckStatus.TOO_BIG,
    ),
    "unknown query": (Query("noSuch", "mallory", 7, b""), AckStatus.NOT_SUPPORTED),
    "message as a query": (Query("ppMsgP", "bob", 7, TEXT), AckStatus.NOT_SUPPORTED),
    "pull that is no protobuf": (Query("pullMsg", "mallory", 7, BAD_PROTOBUF), AckStatus.MALFORMED),
    "history that is no protobuf": (Query("qryPMsg", "mallory", 7, BAD_PROTOBUF), AckStatus.MALFORMED),
}


@pytest.mark.parametrize(
    ("packet", "status"), [pytest.param(*case, id=name) for name, case in REFUSED.items()]
)
def test_a_readable_packet_that_asks_for_nonsense_is_refused_and_the_connection_lives(
    packet: Publish | Query, status: AckStatus | None, app: App, log_since: Callable[[], str]
) -> None:
    async def scenario() -> None:
        async with connected(app) as mallory:
            mallory.wire.send(encode_upstream(packet))
            answer = await mallory.next()
            assert isinstance(answer, PubAck if isinstance(packet, Publish) else QueryAck)
            assert answer.message_id == 7
            assert answer.status == status if status else answer.status > 0
            mallory.wire.send(PINGREQ)
            assert isinstance(await mallory.next(), PingResp)

    asyncio.run(scenario())
    assert "Traceback" not in log_since()


def test_acknowledgements_of_what_was_never_sent_are_ignored(app: App) -> None:
    async def scenario() -> None:
        async with connected(app) as mallory:
            for message_id in (0, 1, 40000, 65535):
                mallory.wire.send(b"\x40" + message_id.to_bytes(2))
                mallory.wire.send(b"\x70" + message_id.to_bytes(2))
            mallory.wire.send(PINGREQ)
            assert isinstance(await mallory.next(), PingResp)

    asyncio.run(scenario())


def test_a_websocket_ping_is_answered_by_the_frame_layer(app: App) -> None:
    async def scenario() -> None:
        async with connected(app) as mallory:
            mallory.wire.write(frame(b"", PING))
            mallory.wire.send(PINGREQ)
            assert isinstance(await mallory.next(), PingResp)

    asyncio.run(scenario())


def test_nothing_after_a_disconnect_is_looked_at(app: App) -> None:
    async def scenario() -> None:
        async with connected(app) as mallory:
            mallory.wire.send(b"\xe0\x00\x04")
            mallory.wire.send(encode_upstream(Publish("ppMsgP", "bob", 7, TEXT)))
            assert await mallory.end() == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("query", "status"),
    [
        pytest.param("", None, id="no query"),
        pytest.param("appId=nobody&token=x", ConnStatus.APP_ID_REJECTED, id="unknown app key"),
        pytest.param("appId={key}&token=", ConnStatus.TOKEN_INCORRECT, id="no token"),
        pytest.param("appId={key}&token=%ff%fe%00@", ConnStatus.TOKEN_INCORRECT, id="token that is no text"),
        pytest.param("appId={key}&token=" + "A" * 4000, ConnStatus.TOKEN_INCORRECT, id="token without end"),
        pytest.param(
            "appId={key}&token=x&sdkVer=banana&protocolVer=99", ConnStatus.TOKEN_INCORRECT, id="nonsense"
        ),
    ],
)
def test_bad_credentials_get_a_connack_and_then_the_end(
    query: str, status: ConnStatus | None, app: App, log_since: Callable[[], str]
) -> None:
    async def scenario() -> None:
        host = urlsplit(app.url).netloc
        rude = await Rude.connect(f"ws://{host}/websocket?" + query.format(key=app.key))
        refusal = await rude.next()
        assert isinstance(refusal, ConnAck)
        assert refusal.status == status if status else refusal.status > 0
        assert await rude.end() == []

    asyncio.run(scenario())
    assert "Traceback" not in log_since()


def test_others_notice_nothing_of_a_crowd_of_rude_clients(
    broken_stack: Stack, app: App, log_since: Callable[[], str]
) -> None:
    """40 rude connections at a time among traffic: nothing lost, nobody else is cut off."""
    gateway = broken_stack.describe()["pids"]["gateway"]

    async def rude(number: int, packet: bytes) -> None:
        async with connected(app, f"mallory-{number}") as mallory:
            for _ in range(3):
                mallory.wire.send(packet)
            await mallory.end()

    async def scenario() -> None:
        async with Traffic(app) as traffic:
            await traffic.flows(within=15)
            await asyncio.gather(*(rude(n, data) for n, data in enumerate([*UNREADABLE.values()] * 2)))
            await traffic.flows(within=5)
            assert [client.connections for client in traffic.clients] == [1] * len(traffic.clients)
            verdict = await traffic.settle(20)
            assert verdict.faults == {}
            assert (verdict.refused, verdict.unanswered) == (0, 0)

    asyncio.run(scenario())
    assert health(app) == 200
    assert broken_stack.describe()["pids"]["gateway"] == gateway
    assert "Traceback" not in log_since()
    assert "Task was destroyed" not in log_since()
    assert "never retrieved" not in log_since()


def test_a_message_that_asks_for_no_answer_gets_none_whatever_becomes_of_it(app: App) -> None:
    async def scenario() -> None:
        async with connected(app) as mallory:
            silent = Publish("ppMsgP", "somebody", 1, TEXT, header=0x30)
            mallory.wire.send(encode_upstream(silent))
            mallory.wire.send(encode_upstream(silent._replace(topic="noSuch")))
            mallory.wire.send(encode_upstream(Publish("ppMsgP", "somebody", 2, TEXT)))
            answer = await mallory.next()
            assert isinstance(answer, PubAck) and answer.message_id == 2

    asyncio.run(scenario())


def test_a_client_that_does_not_read_is_dropped_before_it_fills_the_gateway(
    app: App, log_since: Callable[[], str]
) -> None:
    """Status messages wait for no acknowledgement: nothing but what lies unread tells that it is slow."""
    big = UpStreamMessage(sessionId=0, classname="RC:TypSts", content=b'{"x":"%s"}' % (b"y" * 100_000))
    typing = big.SerializeToString()
    first_pull = SyncRequestMsg(syncTime=0, ispolling=False, isPullSend=True).SerializeToString()

    async def scenario() -> None:
        async with connected(app, "deaf") as deaf, connected(app, "loud") as loud:
            deaf.wire.send(encode_upstream(Query("pullMsg", "deaf", 1, first_pull)))
            assert isinstance(await deaf.next(), QueryAck)
            deaf.wire.pause()
            for _ in range(40):
                for number in range(10):
                    loud.wire.send(encode_upstream(Publish("ppMsgS", "deaf", number + 1, typing)))
                for _ in range(10):
                    await loud.next()
                if "reads too slowly" in log_since():
                    break
            for _ in range(50):
                if f"{deaf.session}: reads too slowly" in log_since():
                    return
                await asyncio.sleep(0.1)
            pytest.fail("the gateway keeps what the client does not read")

    asyncio.run(scenario())


def test_a_flood_is_refused_past_the_bound_and_what_is_refused_is_not_stored(app: App) -> None:
    """All in one write, before any can be answered."""
    flood, receiver = 600, "flooded"

    async def scenario() -> None:
        async with connected(app, "flooder") as rude:
            frames = [
                frame(encode_upstream(Publish("ppMsgP", receiver, n, TEXT))) for n in range(1, flood + 1)
            ]
            assert rude.wire.transport is not None
            rude.wire.transport.write(b"".join(frames))
            answers = [await rude.next() for _ in range(flood)]
            statuses = {each.message_id: each.status for each in answers if isinstance(each, PubAck)}
            assert statuses.keys() == set(range(1, flood + 1))  # each once
            refused = [status for status in statuses.values() if status]
            assert refused and set(refused) == {AckStatus.TOO_FAST}
            rude.wire.send(PINGREQ)
            assert isinstance(await rude.next(), PingResp)
        async with connected(app, receiver) as reader:
            shown = 0
            since = 0
            while True:
                wanted = SyncRequestMsg(syncTime=since, ispolling=False, isPullSend=True).SerializeToString()
                reader.wire.send(encode_upstream(Query("pullMsg", receiver, 1, wanted)))
                packet = await reader.next()
                assert isinstance(packet, QueryAck)
                page = DownStreamMessages.FromString(packet.payload)
                shown, since = shown + len(page.list), page.syncTime
                if page.finished:
                    break
            assert shown == flood - len(refused)

    asyncio.run(scenario())
