"""The way around ASGI: what is framed, and what becomes of messages that came before it was taken."""

import asyncio
import select
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet import tcp
from twisted.internet.testing import StringTransport
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader
from websockets.utils import apply_mask

from imcloud.management.commands.serve import Socket, framed, reactor


@given(st.binary(max_size=300))
@example(b"x" * 125)
@example(b"x" * 126)
@example(b"x" * 65_535)
@example(b"x" * 65_536)
def test_a_message_is_one_frame_that_other_software_reads(message: bytes) -> None:
    reader = StreamReader()
    reader.feed_data(framed(message))
    with pytest.raises(StopIteration) as parsed:
        next(Frame.parse(reader.read_exact, mask=False))
    assert parsed.value.value == Frame(Opcode.BINARY, message)
    assert not reader.buffer


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def masked(message: bytes, key: bytes, header: int = 0x82) -> bytes:
    """A frame as a client sends it."""
    frame = framed(message)
    length = frame[1 : len(frame) - len(message)]
    return bytes((header, length[0] | 0x80)) + length[1:] + key + apply_mask(message, key)


keys = st.binary(min_size=4, max_size=4)
messages = st.binary(max_size=140) | st.sampled_from([b"y" * size for size in (125, 126, 65_535, 65_536)])
frames = st.builds(masked, messages, keys)
others = st.one_of(
    st.builds(masked, messages, keys, st.sampled_from([0x81, 0x02, 0x80, 0xC2, 0x83])),  # text, a part
    st.builds(masked, st.binary(max_size=125), keys, st.sampled_from([0x89, 0x8A])),
    st.builds(masked, st.just(b"\x03\xe8"), keys, st.just(0x88)),
    st.builds(framed, messages),  # not masked
    st.just(b"\x82\xfe\x00\x05keys12345"),  # a length that has a shorter form
    st.binary(max_size=20),
)


class Transport(StringTransport):
    def unregisterProducer(self) -> None:
        """A real one does not mind that there is none."""


class Peer:
    """An open websocket of Autobahn's: what it was sent as messages, and what it has answered."""

    def __init__(self, *, directly: bool) -> None:
        factory = WebSocketServerFactory("ws://localhost:80")
        factory.protocol = WebSocketServerProtocol
        built: Any = factory.buildProtocol(None)
        self.protocol = built
        self.protocol.application_queue = asyncio.Queue()
        self.transport = Transport()
        self.protocol.makeConnection(self.transport)
        self.taken: list[bytes] = []
        self.protocol.onMessage = lambda message, is_binary: self.taken.append(message if is_binary else b"")
        self.protocol.dataReceived(UPGRADE)
        assert self.protocol.state == self.protocol.STATE_OPEN
        self.transport.clear()
        if directly:
            Socket(self.protocol).listen(self.taken.append)


@given(st.lists(frames | frames | frames | others, max_size=8), st.lists(st.integers(1, 400), max_size=30))
def test_what_is_taken_directly_is_what_autobahn_would_have_handed_on(
    sent: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(sent)
    own, theirs = Peer(directly=True), Peer(directly=False)
    while stream:
        size = cuts.pop() if cuts else len(stream)
        for peer in (own, theirs):
            peer.protocol.dataReceived(stream[:size])
        stream = stream[size:]
    assert own.taken == theirs.taken
    assert own.protocol.state == theirs.protocol.state
    assert own.transport.value() == theirs.transport.value()


class Plain(SimpleNamespace):
    """As much of Twisted's as a Socket uses."""

    __hash__ = object.__hash__  # type: ignore[assignment]


class Protocol(SimpleNamespace):
    """As much of Daphne's as a Socket uses, over a real socket."""

    STATE_OPEN = 3

    def __init__(self, *came: dict[str, Any]) -> None:
        super().__init__(state=3, application_queue=asyncio.Queue(), onMessage=None)
        own, self.client = socket.socketpair()
        own.setblocking(False)
        self.transport = Plain(socket=own, dataBuffer=b"", _tempDataLen=0, write=self._write)
        for event in came:
            self.application_queue.put_nowait(event)

    def _write(self, data: bytes) -> None:
        self.transport.dataBuffer += data

    def heard(self) -> bytes:
        """What the client has been sent."""
        found = b""
        while select.select([self.client], [], [], 0)[0]:
            found += self.client.recv(1 << 20)
        return found


@pytest.fixture
def opened() -> Iterator[Callable[..., Protocol]]:
    protocols: list[Protocol] = []

    def open_(*came: dict[str, Any]) -> Protocol:
        protocols.append(Protocol(*came))
        return protocols[-1]

    yield open_
    for protocol in protocols:
        protocol.transport.socket.close()
        protocol.client.close()


async def test_messages_that_wait_come_first_and_the_end_stays_to_be_received(
    opened: Callable[..., Protocol],
) -> None:
    end = {"type": "websocket.disconnect", "code": 1006}
    protocol = opened(
        {"type": "websocket.receive", "bytes": b"1"}, {"type": "websocket.receive", "text": "2"}, end
    )
    taken: list[bytes] = []
    Socket(protocol).listen(taken.append)
    protocol.onMessage(b"3", True)
    protocol.onMessage(b"text", False)
    assert taken == [b"1", b"", b"3", b""]
    assert protocol.application_queue.get_nowait() == end
    assert protocol.application_queue.empty()


async def test_the_event_loop_reads_a_client_directly_and_hears_that_it_has_gone() -> None:
    factory = WebSocketServerFactory("ws://localhost:80")
    factory.protocol = WebSocketServerProtocol
    protocol: Any = factory.buildProtocol(None)
    protocol.application_queue = asyncio.Queue()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        own, address = listener.accept()
    own.setblocking(False)
    number = own.fileno()
    port: Any = SimpleNamespace(_realPortNumber=80)
    the_reactor: Any = reactor
    protocol.makeConnection(tcp.Server(own, protocol, address, port, 1, the_reactor))
    protocol.dataReceived(UPGRADE)
    taken: list[bytes] = []
    try:
        Socket(protocol).listen(taken.append)
        client.send(masked(b"1", b"keys") + masked(b"2", b"keys"))
        await asyncio.sleep(0.05)
        assert taken == [b"1", b"2"]
        client.close()
        await asyncio.sleep(0.05)
        assert protocol.state == protocol.STATE_CLOSED
    finally:
        asyncio.get_running_loop().remove_reader(number)
        own.close()


async def test_what_is_written_in_a_turn_is_sent_behind_it_to_each_its_own(
    opened: Callable[..., Protocol],
) -> None:
    one, other = opened(), opened()
    sockets = Socket(one), Socket(other)
    for message in (b"1", b"2"):
        for each in sockets:
            each.write(message)
    sockets[0].write(b"3")
    assert sockets[0].unsent() == 9 and not one.heard()
    await asyncio.sleep(0)
    assert one.heard() == framed(b"1") + framed(b"2") + framed(b"3")
    assert other.heard() == framed(b"1") + framed(b"2")
    assert sockets[0].unsent() == 0
    sockets[1].write(b"4")
    await asyncio.sleep(0)
    assert (one.heard(), other.heard()) == (b"", framed(b"4"))


async def test_what_a_socket_does_not_take_waits_and_all_that_follows_behind_it(
    opened: Callable[..., Protocol],
) -> None:
    protocol = opened()
    written = Socket(protocol)
    messages = [bytes([number]) * 50_000 for number in range(40)]
    for message in messages:
        written.write(message)
        await asyncio.sleep(0)
    waits = protocol.transport.dataBuffer
    assert written.unsent() == len(waits) > 0
    assert protocol.heard() + waits == b"".join(map(framed, messages))


async def test_a_broken_socket_is_left_to_its_transport(opened: Callable[..., Protocol]) -> None:
    protocol = opened()
    protocol.client.close()
    Socket(protocol).write(b"a")
    await asyncio.sleep(0)
    assert protocol.transport.dataBuffer == framed(b"a")


async def test_a_socket_that_fails_keeps_nobody_else_waiting(opened: Callable[..., Protocol]) -> None:
    failing, other = opened(), opened()
    del failing.transport.dataBuffer
    for protocol in (failing, other):
        Socket(protocol).write(b"a")
    await asyncio.sleep(0)
    assert other.heard() == framed(b"a")


async def test_nothing_is_written_to_a_socket_that_is_closing(opened: Callable[..., Protocol]) -> None:
    protocol = opened()
    written = Socket(protocol)
    written.write(b"a")
    protocol.state = 2
    written.write(b"b")
    await asyncio.sleep(0)
    assert (protocol.heard(), protocol.transport.dataBuffer) == (b"", b"")
