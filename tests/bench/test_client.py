"""The load client must have the published v4 SDK's manners: the fault tests' verdict rests on them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

from apps.routing.protocol.im_pb2 import DownStreamMessage, DownStreamMessages, NotifyMsg, SyncRequestMsg
from apps.routing.protocol.packets import (
    ConnStatus,
    DisconnectStatus,
    PingReq,
    PubAck,
    Publish,
    Query,
    Upstream,
    decode_upstream,
    encode_connack,
    encode_connack_refused,
    encode_disconnect,
    encode_notify,
    encode_puback,
    encode_push,
    encode_queryack,
    encode_sync,
)
from bench.client import OWN, Client, Navigate, text_message, websocket_url
from bench.wire import frame

SECONDS = 5.0
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class ScriptedServer:
    """The server's end of one connection after another; the test says what it answers."""

    def __init__(self) -> None:
        self.packets: asyncio.Queue[Upstream] = asyncio.Queue()
        self.url = ""
        self.greetings = [encode_connack("bob", "session-1", 1)]  # the last one stays
        self.writers: list[asyncio.StreamWriter] = []
        self._writer: asyncio.StreamWriter
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/websocket"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.writers.append(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            # In one piece with the first packet, as a fast server's answer arrives.
            writer.write(UPGRADED)
            self.send(self.greetings.pop(0) if self.greetings[1:] else self.greetings[0])
            while True:
                _, length = await reader.readexactly(2)
                size = length & 0x7F
                if size >= 126:
                    size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
                assert await reader.readexactly(4) == bytes(4)
                packet = decode_upstream(await reader.readexactly(size))
                if not isinstance(packet, PingReq):
                    self.packets.put_nowait(packet)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def send(self, packet: bytes) -> None:
        """One packet to the client, in an unmasked frame."""
        masked = frame(packet)
        header = 2 + {126: 2, 127: 8}.get(masked[1] & 0x7F, 0)
        self._writer.write(bytes((masked[0], masked[1] & 0x7F)) + masked[2:header] + packet)

    def close(self) -> None:
        """End the connection, not the server."""
        self._writer.close()

    async def next(self) -> Any:
        """What the client sent next, pings left out."""
        async with asyncio.timeout(SECONDS):
            return await self.packets.get()

    async def pull(self) -> tuple[int, SyncRequestMsg]:
        """The client's pull, which must be what it sends next: message id and request."""
        query = await self.next()
        assert isinstance(query, Query) and (query.topic, query.target) == ("pullMsg", "bob")
        return query.message_id, SyncRequestMsg.FromString(query.payload)

    def reply(self, message_id: int, *messages: DownStreamMessage, until: int, finished: bool = True) -> None:
        """The answer to a pull."""
        payload = DownStreamMessages(list=messages, syncTime=until, finished=finished).SerializeToString()
        self.send(encode_queryack(message_id, 1000, 0, payload, qos=0))

    def push(self, message_id: int, message: DownStreamMessage) -> None:
        """A direct push."""
        self.send(encode_push(1, "bob", message_id, message.SerializeToString(), qos=1))

    def notify(self) -> None:
        self.send(encode_notify(1, "bob", NotifyMsg(type=1, time=1).SerializeToString()))


def message(time: int, *, own: bool = False, content: bytes = b"{}") -> DownStreamMessage:
    return DownStreamMessage(
        fromUserId="alice",
        type=1,
        classname="RC:TxtMsg",
        content=content,
        dataTime=time,
        status=0,
        msgId=f"uid-{time}",
        direction=OWN if own else 2,
    )


class Bob(Client):
    """The client under test; what its user saw and heard."""

    def __init__(self, url: str, navigate: Navigate | None = None):
        self.seen: list[int] = []
        self.heard: list[tuple[Any, int, str, int]] = []
        super().__init__(
            url,
            "bob",
            lambda *answer: self.heard.append(answer),
            lambda shown: self.seen.append(shown.dataTime),
            navigate,
        )


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
async def bob(server: ScriptedServer) -> AsyncIterator[Bob]:
    bob = Bob(server.url)
    bob.start()
    yield bob
    await bob.stop()


async def finish_first_pull(server: ScriptedServer, bob: Bob, *, until: int = 100) -> None:
    message_id, _ = await server.pull()
    server.reply(message_id, until=until)
    async with asyncio.timeout(SECONDS):
        await bob.ready.wait()


async def test_a_push_after_the_first_pull_is_shown_and_acknowledged(
    server: ScriptedServer, bob: Bob
) -> None:
    await finish_first_pull(server, bob)
    server.push(65535, message(200))
    assert await server.next() == PubAck(65535)
    assert bob.seen == [200]


async def test_a_push_before_the_first_pull_is_finished_is_acknowledged_and_dropped(
    server: ScriptedServer, bob: Bob
) -> None:
    message_id, _ = await server.pull()
    server.push(65535, message(200))
    assert await server.next() == PubAck(65535)
    server.reply(message_id, message(200), until=200)
    async with asyncio.timeout(SECONDS):
        await bob.ready.wait()
    assert (bob.seen, bob.dropped) == ([200], 1)


async def test_a_push_during_a_pull_is_dropped(server: ScriptedServer, bob: Bob) -> None:
    await finish_first_pull(server, bob)
    server.notify()
    await server.pull()
    server.push(65535, message(200))
    assert await server.next() == PubAck(65535)
    assert (bob.seen, bob.dropped) == ([], 1)


async def test_a_push_moves_the_cursor_and_so_does_a_reply(server: ScriptedServer, bob: Bob) -> None:
    await finish_first_pull(server, bob, until=150)
    server.notify()
    message_id, request = await server.pull()
    assert request.syncTime == 150
    server.reply(message_id, until=170)
    server.push(65535, message(200))
    server.notify()
    assert await server.next() == PubAck(65535)
    _, request = await server.pull()
    assert request.syncTime == 200


async def test_an_unfinished_reply_is_followed_by_the_next_pull_at_once(
    server: ScriptedServer, bob: Bob
) -> None:
    message_id, request = await server.pull()
    assert (request.syncTime, request.isPullSend) == (0, True)
    server.reply(message_id, message(10), message(20), until=20, finished=False)
    message_id, request = await server.pull()
    assert request.syncTime == 20
    assert not bob.ready.is_set()
    server.reply(message_id, message(30), until=30)
    async with asyncio.timeout(SECONDS):
        await bob.ready.wait()
    assert bob.seen == [10, 20, 30]


async def test_a_notice_during_a_pull_leads_to_one_more_pull(server: ScriptedServer, bob: Bob) -> None:
    message_id, _ = await server.pull()
    server.notify()
    server.notify()
    server.reply(message_id, until=10)
    message_id, _ = await server.pull()
    server.reply(message_id, until=10)
    server.push(65535, message(20))
    assert await server.next() == PubAck(65535)


async def test_what_comes_twice_is_shown_twice(server: ScriptedServer, bob: Bob) -> None:
    await finish_first_pull(server, bob)
    server.push(65535, message(200))
    server.notify()
    assert await server.next() == PubAck(65535)
    message_id, _ = await server.pull()
    server.reply(message_id, message(200), until=200)
    server.push(65534, message(300))
    assert await server.next() == PubAck(65534)
    assert bob.seen == [200, 200, 300]


async def test_own_messages_of_this_page_are_not_shown_and_others_are(
    server: ScriptedServer, bob: Bob
) -> None:
    await finish_first_pull(server, bob)
    assert bob.send("alice", text_message(b"{}"), "context")
    sent = await server.next()
    assert isinstance(sent, Publish) and (sent.topic, sent.target) == ("ppMsgP", "alice")
    server.send(encode_puback(sent.message_id, 300, 0, "uid-300"))
    server.notify()
    message_id, request = await server.pull()
    assert request.sendBoxSyncTime == 300
    server.reply(message_id, message(300, own=True), message(310, own=True), until=310)
    server.notify()
    _, request = await server.pull()
    assert (request.sendBoxSyncTime, bob.seen) == (310, [310])
    assert bob.heard == [("context", 0, "uid-300", 300)]


async def test_what_another_device_sent_is_shown_with_its_receipt_once(
    server: ScriptedServer, bob: Bob
) -> None:
    await finish_first_pull(server, bob)
    server.send(encode_sync(1, "ppMsgP", "alice", 65535, text_message(b"{}")))
    server.send(encode_sync(1, "ppMsgP", "alice", 65534, text_message(b"{}")))
    server.send(encode_puback(65535, 200, 0, "uid-200"))
    server.send(encode_puback(65535, 200, 0, "uid-200"))
    server.notify()
    _, request = await server.pull()
    assert (bob.seen, bob.heard) == ([200], [])
    assert (request.sendBoxSyncTime, request.syncTime) == (200, 100)


def test_a_second_device_names_its_platform() -> None:
    assert "&platform=PC&" in websocket_url("http://im.example:80", "key", "token", "PC")
    assert "platform" not in websocket_url("http://im.example:80", "key", "token")


async def test_a_lost_connection_fails_what_is_unanswered_and_is_made_again(
    server: ScriptedServer, bob: Bob
) -> None:
    await finish_first_pull(server, bob, until=100)
    bob.send("alice", text_message(b"{}"), "context")
    await server.next()
    server.close()
    _, request = await server.pull()
    assert request.syncTime == 100
    assert [status > 0 for _, status, _, _ in bob.heard] == [True]
    assert bob.connections == 2


async def test_the_late_end_of_a_connection_that_was_sent_elsewhere_ends_no_other(
    server: ScriptedServer,
) -> None:
    server.greetings.insert(0, encode_connack_refused(ConnStatus.REDIRECT))
    asked = []

    async def navigate() -> list[str]:
        asked.append(len(server.writers))
        return [server.url]

    bob = Bob(server.url, navigate)
    bob.start()
    await finish_first_pull(server, bob)
    server.writers[0].close()
    await asyncio.sleep(0.1)
    server.push(65535, message(200))
    assert await server.next() == PubAck(65535)
    assert (asked, bob.connections, bob.refused, bob.ready.is_set()) == ([0, 1], 1, 0, True)
    await bob.stop()


async def test_a_kicked_client_stays_away(server: ScriptedServer, bob: Bob) -> None:
    await finish_first_pull(server, bob)
    server.send(encode_disconnect(DisconnectStatus.OTHER_DEVICE))
    server.close()
    await asyncio.sleep(0.2)
    assert (bob.refused, bob.online, bob.connections) == (DisconnectStatus.OTHER_DEVICE, False, 1)


@pytest.mark.parametrize("size", [1, 100, 200, 40_000, 70_000, 400_000])
async def test_frames_of_every_length_arrive_whole(size: int, server: ScriptedServer, bob: Bob) -> None:
    await finish_first_pull(server, bob)
    server.push(65535, message(200, content=b"x" * size))
    server.push(65534, message(300))
    assert await server.next() == PubAck(65535)
    assert await server.next() == PubAck(65534)
    assert bob.seen == [200, 300]
    bob.send("alice", text_message(b"x" * min(size, 100_000)), None)
    sent = await server.next()
    assert isinstance(sent, Publish) and len(sent.payload) > min(size, 100_000)
