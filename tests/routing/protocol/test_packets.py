"""Packets against frames recorded from the published SDKs, and against anything else."""

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apps.routing.protocol import im_pb2, packets
from apps.routing.protocol.packets import (
    MAX_FRAME,
    MAY_SEND,
    ConnAck,
    Connect,
    ConnStatus,
    Disconnect,
    DisconnectStatus,
    Downstream,
    PingReq,
    PingResp,
    ProtocolError,
    PubAck,
    Publish,
    Query,
    QueryAck,
    QueryCon,
    State,
    Upstream,
    decode_downstream,
    decode_upstream,
    encode_downstream,
    encode_upstream,
)

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())
MORE_VECTORS = Path(__file__).parents[4] / "shared" / "protocol" / "vectors.json"

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFF_FFFF)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
low = st.integers(0, 15)  # dup, QoS and retain, whatever they say


def headed(high: int) -> st.SearchStrategy[int]:
    return low.map(lambda bits: high << 4 | bits)


upstream_packets: st.SearchStrategy[Upstream] = st.one_of(
    st.builds(
        Connect, texts, texts, texts, u16, st.just(0xC4), texts, texts, texts, st.integers(0, 255), headed(1)
    ),
    st.builds(Publish, texts, texts, u16, st.binary(), st.just(0), headed(3)),
    st.builds(lambda number, header: PubAck(number, header=header), u16, headed(4)),
    st.builds(Query, texts, texts, u16, st.binary(), headed(5)),
    st.builds(QueryCon, u16, headed(7)),
    st.builds(PingReq, headed(12)),
    st.builds(Disconnect, st.integers(0, 255), headed(14)),
)
times = st.integers(0, 0xFFFF_FFFF * 1000 + 999)
downstream_packets: st.SearchStrategy[Downstream] = st.one_of(
    st.builds(lambda status, header: ConnAck(status, header=header), st.integers(1, 255), headed(2)),
    st.builds(ConnAck, st.just(0), texts, texts, st.integers(0, 2**64 - 1), st.none(), st.just(0), headed(2)),
    st.builds(Publish, texts, texts, u16, st.binary(), u32, headed(3)),
    st.builds(PubAck, u16, times, u16, texts, headed(4)),
    st.builds(QueryAck, u16, u32, u16, st.binary(), headed(6)),
    st.builds(PingResp, headed(13)),
    st.builds(Disconnect, st.integers(0, 255), headed(14)),
)


def again(vector: dict[str, Any]) -> tuple[Upstream | Downstream, bytes]:
    """A recorded frame, decoded, and the bytes that it encodes to again."""
    frame = bytes.fromhex(vector["hex"])
    if vector["from"] == "client":
        sent = decode_upstream(frame)
        return sent, encode_upstream(sent)
    received = decode_downstream(frame, vector.get("protocolVer", 3))
    return received, encode_downstream(received)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['from']}-{vector['type']}")
def test_a_recorded_packet_encodes_to_the_same_bytes_again(vector: dict[str, Any]) -> None:
    packet, frame = again(vector)
    assert frame.hex() == vector["hex"]
    assert type(packet).__name__.upper() == vector["type"]
    if "body" in vector:
        assert isinstance(packet, Publish | Query | QueryAck)
        body = getattr(im_pb2, vector["body"]).FromString(packet.payload)
        if vector["from"] == "server":
            assert body.SerializeToString() == packet.payload


@pytest.mark.skipif(not MORE_VECTORS.exists(), reason="no further recordings beside this tree")
def test_every_further_recording_encodes_to_the_same_bytes_again() -> None:
    for vector in json.loads(MORE_VECTORS.read_text()):
        if vector["hex"]:
            origin = "client" if vector["direction"] == "c2s" else "server"
            version = 4 if "flags" in vector["decoded"] else 3
            _, frame = again({"from": origin, "hex": vector["hex"], "protocolVer": version})
            assert frame.hex() == vector["hex"]


def test_what_a_recorded_publish_says() -> None:
    packet = decode_upstream(
        bytes.fromhex(
            "32000670704d736750000a625f6462663663385f320002"
            "0803120952433a5478744d73671a0f7b22636f6e74656e74223a2278227d4800"
        )
    )
    assert isinstance(packet, Publish)
    assert packet[:3] == ("ppMsgP", "b_dbf6c8_2", 2)
    assert (packet.qos, packet.dup, packet.retain) == (1, False, False)
    assert im_pb2.UpStreamMessage.FromString(packet.payload).content == b'{"content":"x"}'


def test_what_a_recorded_puback_says() -> None:
    frame = bytes.fromhex("4000a06b03cc130000011e0013463432562d434c51502d4a4559372d55444557")
    assert decode_downstream(frame) == PubAck(160, 1795410963286, 0, "F42V-CLQP-JEY7-UDEW")
    assert packets.encode_puback(160, 1795410963286, 0, "F42V-CLQP-JEY7-UDEW") == frame


def test_what_a_server_writes_reads_as_what_it_meant() -> None:
    sync = packets.encode_sync(7, "ppMsgP", "bob", 9, b"up")
    assert decode_downstream(sync) == Publish("ppMsgP", "bob", 9, b"up", 7, 0x3A)
    push = decode_downstream(packets.encode_push(7, "bob", 9, b"down", qos=1))
    assert push == Publish("s_msg", "bob", 9, b"down", 7, 0x33)
    notice = decode_downstream(packets.encode_notify(7, "bob", b"notice"))
    assert notice == Publish("s_ntf", "bob", 65535, b"notice", 7, 0x31)
    reply = decode_downstream(packets.encode_queryack(3, 7999, 20606, b"", qos=0))
    assert reply == QueryAck(3, 7, 20606, b"")
    accepted = packets.encode_connack("bob", "s", 5)
    assert decode_downstream(accepted) == ConnAck(0, "bob", "s", 5)
    flagged = packets.encode_connack("bob", "s", 5, flagged=True)
    assert decode_downstream(flagged, 4) == ConnAck(0, "bob", "s", 5, 0x0F)
    assert packets.encode_connack_refused(ConnStatus.TOKEN_INCORRECT) == bytes.fromhex("200004")
    assert packets.encode_disconnect(DisconnectStatus.OTHER_DEVICE) == bytes.fromhex("e00001")


def test_an_astral_id_is_the_same_in_utf8_and_in_the_sdks_cesu8() -> None:
    cesu8 = b"\xed\xa0\xbd\xed\xb8\x80"
    packet = decode_upstream(b"\x32\x00\x06ppMsgP\x00\x06" + cesu8 + b"\x00\x01")
    assert isinstance(packet, Publish)
    assert packet.target == "😀"
    assert decode_upstream(encode_upstream(packet)) == packet


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "an empty packet"),
        (b"\x00", "packet type 0 is not sent in this direction"),
        (b"\x80\x00\x01", "packet type 8 is not sent in this direction"),
        (b"\xf0", "packet type 15 is not sent in this direction"),
        (b"\xd0", "PINGRESP is not sent in this direction"),
        (b"\x20\x00\x00", "CONNACK is not sent in this direction"),
        (b"\xc0\x00", "PINGREQ of 2 bytes that is cut off, too long or out of range"),
        (b"\x40\x01", "PUBACK of 2 bytes that is cut off, too long or out of range"),
        (b"\x40\x00\x01\x00", "PUBACK of 4 bytes that is cut off, too long or out of range"),
        (b"\x32\xff\xffppMsgP", "PUBLISH of 9 bytes that is cut off, too long or out of range"),
        (b"\x32\x00\x01a\x00\x01b\x00", "PUBLISH of 8 bytes that is cut off, too long or out of range"),
        (b"\x50\x00\x01a\x00\x02\xff\xfe\x00\x01", "QUERY with a string that is not UTF-8"),
        (b"\x50\x00\x01a\x00\x03\xed\xa0\xbd\x00\x01", "QUERY with a string that is not UTF-8"),
        (b"\xe0\x00", "DISCONNECT of 2 bytes that is cut off, too long or out of range"),
        (b"\xe0\x01\x00", "DISCONNECT of 3 bytes that is cut off, too long or out of range"),
        (b"\x10\x00\x00\x03\xc0", "CONNECT of 5 bytes that is cut off, too long or out of range"),
    ],
)
def test_a_bad_packet_is_refused_with_its_reason(frame: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode_upstream(frame)
    assert str(refused.value) == reason


def test_a_packet_may_have_max_frame_bytes_and_no_more() -> None:
    head = b"\x32\x00\x01a\x00\x01b\x00\x01"
    packet = decode_upstream(head.ljust(MAX_FRAME, b"x"))
    assert isinstance(packet, Publish)
    assert len(packet.payload) == MAX_FRAME - len(head)
    with pytest.raises(ProtocolError, match="are allowed"):
        decode_upstream(head.ljust(MAX_FRAME + 1, b"x"))


def test_a_length_that_lies_allocates_nothing() -> None:
    frames = [bytes((high << 4,)) + b"\xff" * 12 for high in range(16)]
    tracemalloc.start()
    try:
        for frame in frames:
            for decode in (decode_upstream, decode_downstream):
                try:
                    decode(frame)
                except ProtocolError:
                    pass
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "encode",
    [
        lambda: packets.encode_push(-1, "b", 1, b"", qos=1),
        lambda: packets.encode_push(1, "b" * 65536, 1, b"", qos=1),
        lambda: packets.encode_push(1, "\ud83d", 1, b"", qos=1),
        lambda: packets.encode_puback(65536, 1, 0, ""),
        lambda: packets.encode_queryack(1, 1, 65536, b"", qos=0),
        lambda: encode_upstream(Query("t" * 65536, "b", 1, b"")),
        lambda: encode_downstream(ConnAck(0, "b", "s", -1)),
    ],
)
def test_what_has_no_place_in_a_packet_is_refused(encode: Any) -> None:
    with pytest.raises(ProtocolError):
        encode()


def test_a_client_may_send_only_what_its_state_allows() -> None:
    assert set(MAY_SEND) == set(State)
    assert MAY_SEND[State.OPENING] == {Connect: State.OPEN}
    assert Connect not in MAY_SEND[State.OPEN]
    assert MAY_SEND[State.OPEN][Disconnect] is State.CLOSED
    assert not MAY_SEND[State.CLOSED]


@given(upstream_packets)
def test_a_clients_packet_survives_the_wire(packet: Upstream) -> None:
    assert decode_upstream(encode_upstream(packet)) == packet


@given(downstream_packets)
def test_a_servers_packet_survives_the_wire(packet: Downstream) -> None:
    assert decode_downstream(encode_downstream(packet)) == packet


@given(
    flags=st.integers(0, 15), user_id=texts, session_id=texts, time=st.integers(0, 2**64 - 1), message_id=u16
)
def test_a_flagged_connack_carries_what_its_flags_say(
    flags: int, user_id: str, session_id: str, time: int, message_id: int
) -> None:
    packet = decode_downstream(encode_downstream(ConnAck(0, user_id, session_id, time, flags, message_id)), 4)
    shown = [flags >> bit & 1 for bit in range(4)]
    assert packet == ConnAck(
        0, user_id * shown[0], session_id * shown[1], time * shown[2], flags, message_id * shown[3]
    )


frames = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda head, rest: bytes((head,)) + rest, st.integers(0, 255), st.binary(max_size=60)),
    # Nearly right: a real packet cut short, extended, or with one byte changed.
    st.builds(
        lambda frame, at, byte, size: (
            frame[: at % len(frame)] + bytes((byte,)) + frame[at % len(frame) + 1 :]
        )[: size % (len(frame) + 4)],
        st.one_of(upstream_packets.map(encode_upstream), downstream_packets.map(encode_downstream)),
        st.integers(0, 300),
        st.integers(0, 255),
        st.integers(0, 300),
    ),
)


@given(frames)
@example(struct.pack(">BHIHH", 0x40, 1, 1, 0, 1000) + b"\0\0")
def test_any_bytes_are_a_packet_or_a_protocol_error(frame: bytes) -> None:
    """… and what is a packet encodes to the same bytes, unless a string came as CESU-8."""
    try:
        assert encode_upstream(decode_upstream(frame)) == frame or b"\xed" in frame
    except ProtocolError:
        pass
    for version in (3, 4):
        try:
            assert encode_downstream(decode_downstream(frame, version)) == frame or b"\xed" in frame
        except ProtocolError:
            pass
