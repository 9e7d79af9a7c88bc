"""The JSON form of packets: what was recorded from the SDKs, and what a client may make up."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.routing import methods
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol import json_form
from apps.routing.protocol.json_form import BODIES, Unreadable
from apps.routing.protocol.packets import (
    ConnAck,
    Disconnect,
    PingReq,
    PingResp,
    ProtocolError,
    PubAck,
    Publish,
    Query,
    QueryAck,
    QueryCon,
)

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "comet_vectors.json").read_text()
)
REPLIES = {"syncTime": "pullMsg", "state": "pullSeAtts"}  # what tells a recorded reply's topic


@pytest.mark.parametrize("vector", VECTORS["up"], ids=lambda v: f"{v['sdk']}-{v['topic'] or v['header']}")
def test_what_an_sdk_posts_is_read_as_the_packet_that_it_means(vector: dict[str, Any]) -> None:
    packet = json_form.decode_upstream(
        vector["header"], vector["messageid"], vector["topic"], vector["targetid"], vector["body"].encode()
    )
    assert packet.header == vector["header"]
    if not isinstance(packet, Publish | Query):
        assert isinstance(packet, PubAck | QueryCon)
        assert packet.message_id == vector["messageid"]
        return
    assert (packet.topic, packet.target) == (vector["topic"], vector["targetid"])
    known = json.loads(json_form.from_protobuf(BODIES[packet.topic].up, packet.payload))
    wanted = json.loads(vector["body"])
    assert {name: value for name, value in known.items() if value != []} == wanted


@pytest.mark.parametrize("vector", VECTORS["down"], ids=lambda v: f"{v['sdk']}-{v['text'][:40]}")
def test_what_an_sdk_was_sent_is_written_to_the_letter(vector: dict[str, Any]) -> None:
    shown = json.loads(vector["text"])
    header = shown["headerCode"] & 0xFF
    number = shown["messageId"]
    topic = shown.get("topic") or next((REPLIES[name] for name in REPLIES if name in vector["text"]), "")
    kind = {"s_msg": im.DownStreamMessage, "s_ntf": im.NotifyMsg, "s_cmd": im.NotifyMsg}.get(topic)
    kind = im.GetUserStatusOutput if topic == "s_stat" else kind or (topic and BODIES[topic].reply) or None
    payload = json_form.to_protobuf(kind, shown.get("data", "").encode())
    if header == 0x20:
        assert json_form.connack(shown["userId"], shown["sessionid"], shown["timestamp"]) == vector["text"]
        return
    packet: Any = {
        0x30: lambda: Publish(topic, shown["targetId"], number, payload, shown["date"], header),
        0x40: lambda: PubAck(number, shown["timestamp"], shown["status"], shown["messageUId"], header),
        0x60: lambda: QueryAck(number, shown["date"], shown["status"], payload, header),
        0xE0: lambda: Disconnect(shown["status"], header),
    }[header & 0xF0]()
    text = json_form.encode_downstream(packet, topic=topic, generation=int(vector["sdk"][1:]))
    if topic == "s_stat":  # recorded with its fields in another order
        assert json.loads(json.loads(text)["data"]) == json.loads(shown["data"])
    else:
        assert text == vector["text"]


def test_a_refused_connect_has_nothing_but_its_status() -> None:
    assert json_form.connack_refused(4) == '{"headerCode":32,"messageId":0,"status":4}'


def test_a_packet_that_belongs_to_no_poll_is_not_written() -> None:
    with pytest.raises(ProtocolError):
        json_form.encode_downstream(ConnAck(0))


def test_every_method_of_the_gateway_has_its_types() -> None:
    assert methods.METHODS.keys() <= BODIES.keys()


def test_content_is_a_text_within_a_text_with_its_characters_as_they_are() -> None:
    message = im.DownStreamMessage(fromUserId="爱丽丝", content='{"content":"😀 \u2028"}'.encode())
    text = json_form.encode_downstream(Publish("s_msg", "b", 1, message.SerializeToString(), 1, 0x33))
    assert "爱丽丝" in text and "😀" in text
    assert json.loads(json.loads(json.loads(text)["data"])["content"]) == {"content": "😀 \u2028"}


def test_an_empty_list_is_written_and_an_empty_body_of_a_refusal_is_not() -> None:
    answered = json_form.encode_downstream(QueryAck(7, 1, 0, b""), topic="qryRelation")
    assert json.loads(json.loads(answered)["data"]) == {"info": []}
    refused = json_form.encode_downstream(QueryAck(7, 1, 20606, b""), topic="qryRelation")
    assert "data" not in json.loads(refused)
    assert "data" not in json.loads(json_form.encode_downstream(QueryAck(7, 1, 0, b""), topic="addBlack"))


def test_a_refusal_with_a_body_shows_it() -> None:
    body = im.UpdateUserSubResp(subUsers=[im.UserSubDetail(subUserId="u")], subTime=9).SerializeToString()
    shown = json.loads(json_form.encode_downstream(QueryAck(7, 1, 26021, body), topic="updUserSub"))
    assert (shown["status"], json.loads(shown["data"])) == (
        26021,
        {"subUsers": [{"subUserId": "u"}], "subTime": 9},
    )


def test_a_ping_and_its_answer() -> None:
    assert json_form.decode_upstream(0xC0, 0, "", "", b"") == PingReq()
    assert json_form.encode_downstream(PingResp()) == '{"headerCode":208,"messageId":0}'


def test_v2_names_the_receivers_of_a_directed_message_otherwise() -> None:
    body = json.dumps({"sessionId": 3, "classname": "RC:TxtMsg", "content": "x", "userId": ["a", "b"]})
    packet = json_form.decode_upstream(0x32, 1, "pgMsgP", "g", body.encode())
    assert isinstance(packet, Publish)
    assert list(im.UpStreamMessage.FromString(packet.payload).toUserIds) == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "syncTime"), [(5, 5), (5.0, 5), ("5", 5), (True, 1), ([4, 5], 5), (1 << 62, 1 << 62)]
)
def test_numbers_as_javascript_may_write_them(value: Any, syncTime: int) -> None:
    payload = json_form.to_protobuf(im.SyncRequestMsg, json.dumps({"syncTime": value}).encode())
    assert im.SyncRequestMsg.FromString(payload).syncTime == syncTime


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b"[]",
        b"7",
        b'"text"',
        b'{"syncTime":"later"}',
        b'{"syncTime":1.5}',
        b'{"syncTime":99999999999999999999999999}',
        b'{"syncTime":NaN}',
        b'{"syncTime":Infinity}',
        b'{"syncTime":{}}',
        b'{"isPullSend":"yes"}',
        b"[" * 100_000,
        b'{"syncTime":' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_that_does_not_fit_leaves_a_request_that_can_be_refused(body: bytes) -> None:
    with pytest.raises(Unreadable) as refused:
        json_form.decode_upstream(0x50, 9, "pullMsg", "me", body)
    assert refused.value.packet == Query("pullMsg", "me", 9, b"", 0x50)


@pytest.mark.parametrize(
    "body",
    [
        b'{"classname":7,"content":"x"}',
        b'{"classname":"c","content":{"content":"x"}}',
        b'{"classname":"c","content":"\\ud83d"}',
        b'{"classname":"c","pushExt":"x"}',
        b'{"classname":"c","content":"' + b"x" * 200_000 + b'"}',
    ],
)
def test_a_message_that_does_not_fit_leaves_a_message_that_can_be_refused(body: bytes) -> None:
    with pytest.raises(Unreadable) as refused:
        json_form.decode_upstream(0x32, 9, "ppMsgP", "b", body)
    assert refused.value.packet == Publish("ppMsgP", "b", 9, b"", 0, 0x32)


@pytest.mark.parametrize(
    ("header", "message_id"), [(0x10, 1), (0x20, 1), (0x60, 1), (0xD0, 1), (0x50, 1 << 16)]
)
def test_what_is_no_packet_of_a_client_is_a_protocol_error(header: int, message_id: int) -> None:
    with pytest.raises(ProtocolError) as error:
        json_form.decode_upstream(header, message_id, "pullMsg", "me", b"{}")
    assert not isinstance(error.value, Unreadable)


def test_an_unknown_topic_is_a_request_all_the_same() -> None:
    assert json_form.decode_upstream(0x50, 1, "nonsense", "me", b"{}") == Query(
        "nonsense", "me", 1, b"", 0x50
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "key"]), inner),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    topic=st.sampled_from(sorted(BODIES)),
    fill=st.dictionaries(
        st.sampled_from(["type", "content", "list", "state", "entry", "msgs", "tags", "time", "userId"]),
        json_values,
        max_size=4,
    ),
)
def test_whatever_json_comes_it_is_read_or_refused(topic: str, fill: dict[str, Any]) -> None:
    try:
        packet = json_form.decode_upstream(0x50, 1, topic, "me", json.dumps(fill).encode())
    except Unreadable:
        return
    assert isinstance(packet, Query)
    up = BODIES[topic].up
    if up is not None:
        up.FromString(packet.payload)
