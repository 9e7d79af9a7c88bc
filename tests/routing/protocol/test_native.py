"""The native form: the same packets on a stream that may be cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.routing.protocol.native import NativeConnection
from apps.routing.protocol.packets import (
    MAX_FRAME,
    ConnAck,
    Connect,
    Disconnect,
    Downstream,
    PingReq,
    PingResp,
    ProtocolError,
    Publish,
    State,
    Upstream,
)
from tests.routing.protocol.test_packets import downstream_packets, upstream_packets

HELLO = Connect("web-1", "key", "token", 60)


def opened(*, signature: bool = True) -> NativeConnection:
    """A server's side after CONNECT."""
    server = NativeConnection(signature=signature)
    assert server.receive(NativeConnection(server=False).encode(HELLO)) == [HELLO]
    return server


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(marks)]


def test_the_published_examples() -> None:
    server, client = opened(), NativeConnection(server=False)
    assert client.encode(PingReq()).hex() == "c0c000"
    assert server.encode(PingResp()).hex() == "d0d000"
    assert server.encode(ConnAck(4)).hex() == "2022020004"
    assert server.receive(b"\xc0\xc0\x00") == [PingReq()]
    assert client.receive(bytes.fromhex("2022020004")) == [ConnAck(4)]


def test_a_long_body_has_a_length_of_several_bytes() -> None:
    packet = Publish("ppMsgP", "bob", 1, b"x" * 300)
    frame = NativeConnection(server=False, signature=False).encode(packet)
    assert frame[:4] == bytes((0x32, 0x32 ^ 0xBB ^ 0x02, 0xBB, 0x02))
    assert opened(signature=False).receive(frame) == [packet]


def test_the_signature_stands_before_the_fields_of_a_publish() -> None:
    packet = Publish("ppMsgP", "bob", 1, b"x")
    signed = NativeConnection(server=False).encode(packet)
    assert signed[3:11].hex() == "00000000000000ff"
    assert opened().receive(signed) == [packet]
    with pytest.raises(ProtocolError):
        opened().receive(NativeConnection(server=False, signature=False).encode(packet))


def test_what_follows_a_disconnect_is_not_looked_at() -> None:
    server = opened()
    assert server.receive(NativeConnection(server=False).encode(Disconnect(4)) + b"\xff\xff") == [
        Disconnect(4)
    ]
    assert server.state is State.CLOSED
    assert server.receive(b"anything") == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xc0\xc1\x00", "checksum"),
        (b"\x32\x32\x80\x80\x80\x80", "length of more than 4 bytes"),
        (bytes((0x32, 0x32 ^ 0xFF ^ 0xFF ^ 0xFF ^ 0x7F, 0xFF, 0xFF, 0xFF, 0x7F)), "are allowed"),
        (bytes((0x32, 0x32 ^ 0x03, 3)) + b"abc", "too short for its signature"),
        (bytes((0x80, 0x80, 0)), "packet type 8"),
        (NativeConnection(server=False).encode(HELLO), "Connect while OPEN"),
    ],
)
def test_a_bad_stream_is_refused_for_good(data: bytes, reason: str) -> None:
    server = opened()
    for attempt in (data, b"\xc0\xc0\x00"):
        with pytest.raises(ProtocolError, match=reason):
            server.receive(attempt)


def test_nothing_goes_before_connect() -> None:
    with pytest.raises(ProtocolError, match="PingReq while OPENING"):
        NativeConnection().receive(b"\xc0\xc0\x00")


def test_a_length_past_the_bound_is_refused_before_its_body_comes() -> None:
    client = NativeConnection(server=False, signature=False)
    allowed = client.encode(Publish("t", "b", 1, bytes(MAX_FRAME - 9)))
    assert opened(signature=False).receive(allowed[:5]) == []
    with pytest.raises(ProtocolError, match="are allowed"):
        opened(signature=False).receive(client.encode(Publish("t", "b", 1, bytes(MAX_FRAME - 8)))[:5])


@given(st.lists(upstream_packets, max_size=6), st.lists(st.integers(0, 2000)), st.booleans())
def test_a_server_reads_the_same_packets_wherever_the_stream_is_cut(
    packets: list[Upstream], cuts: list[int], signature: bool
) -> None:
    packets = [packet for packet in packets if not isinstance(packet, Connect | Disconnect)]
    client = NativeConnection(server=False, signature=signature)
    data = b"".join(client.encode(packet) for packet in packets)
    server = opened(signature=signature)
    assert [packet for piece in in_pieces(data, cuts) for packet in server.receive(piece)] == packets


@given(st.lists(downstream_packets, max_size=6), st.lists(st.integers(0, 2000)))
def test_a_client_reads_the_same_packets_wherever_the_stream_is_cut(
    packets: list[Downstream], cuts: list[int]
) -> None:
    server, client = NativeConnection(), NativeConnection(server=False)
    data = b"".join(server.encode(packet) for packet in packets)
    assert [packet for piece in in_pieces(data, cuts) for packet in client.receive(piece)] == packets


@given(st.lists(st.binary(max_size=50), max_size=10), st.booleans())
def test_any_bytes_are_packets_or_a_protocol_error(pieces: list[bytes], server: bool) -> None:
    connection = NativeConnection(server=server)
    try:
        for piece in pieces:
            connection.receive(piece)
    except ProtocolError:
        with pytest.raises(ProtocolError):
            connection.receive(b"")
