"""What clients send, as others are shown it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.routing.protocol.im_pb2 import (
    DownStreamMessage,
    ExtMsgData,
    PushExtra,
    ReferenceData,
    UpStreamMessage,
)
from apps.routing.protocol.messages import (
    CHATROOM,
    GROUP,
    PRIVATE,
    RECALL_MAX,
    RECEIVED,
    SENT,
    conversation_type,
    downstream,
    escape_astral,
    for_v2,
    generation,
    is_readable,
    is_status,
    parse_upstream,
    recalled,
    recalls_in,
)
from apps.routing.protocol.packets import ProtocolError

UP = bytes.fromhex("0803120952433a5478744d73671a0f7b22636f6e74656e74223a2278227d4800")
UID = "F42V-EEGK-2247-JP5D"


def shown(
    up: UpStreamMessage | bytes,
    *,
    kind: int = PRIVATE,
    direction: int = RECEIVED,
    status_message: bool = False,
) -> DownStreamMessage:
    payload = up if isinstance(up, bytes) else up.SerializeToString()
    return DownStreamMessage.FromString(
        downstream(
            payload,
            sender="alice",
            kind=kind,
            target="bob",
            time=1795411199812,
            uid=UID,
            direction=direction,
            status_message=status_message,
        )
    )


def test_a_recorded_message_is_shown_as_it_was_recorded() -> None:
    down = downstream(UP, sender="a_dbf6c8_1", kind=PRIVATE, target="b", time=1795411199812, uid=UID)
    assert down.hex() == (
        "0a0a615f6462663663385f311001220952433a5478744d73672a0f7b22636f6e74656e74223a2278227d"
        "30c48ee3b6a03438304a13463432562d4545474b2d323234372d4a5035445002"
    )


def test_a_received_private_message_comes_from_its_sender() -> None:
    down = shown(UP)
    assert (down.fromUserId, down.direction, down.HasField("groupId")) == ("alice", RECEIVED, False)


def test_ones_own_private_message_names_the_peer() -> None:
    down = shown(UP, direction=SENT)
    assert (down.fromUserId, down.direction, down.HasField("groupId")) == ("bob", SENT, False)


@pytest.mark.parametrize("kind", [GROUP, CHATROOM])
@pytest.mark.parametrize("direction", [SENT, RECEIVED])
def test_a_group_message_names_sender_and_group(kind: int, direction: int) -> None:
    down = shown(UP, kind=kind, direction=direction)
    assert (down.type, down.fromUserId, down.groupId) == (kind, "alice", "bob")


@pytest.mark.parametrize(
    ("session", "status"),
    [(0, 0), (1, 0x10), (3, 0x30), (7, 0x70), (0x23, 0x230), (0x43, 0x430), (0x18, 0), (-1, 0x670)],
)
def test_session_bits_become_status_bits(session: int, status: int) -> None:
    assert shown(UpStreamMessage(sessionId=session, classname="c", content=b"{}")).status == status


def test_a_status_message_is_marked_as_one() -> None:
    down = shown(UP, status_message=True)
    assert (down.status, down.extStatus) == (0, 0x40)


def test_required_fields_are_written_even_when_they_are_empty() -> None:
    down = shown(UpStreamMessage())
    for name in ("fromUserId", "type", "classname", "content", "dataTime", "status"):
        assert down.HasField(name), name


def test_what_the_sender_added_reaches_the_receiver() -> None:
    up = UpStreamMessage(
        sessionId=3, classname="c", content=b"{}", pushText="p", extraContent="{}", configFlag=2,
        optionBits=2, busChannel="ch", metadata="m", toUserIds=["x", "y"],
        pushExt=PushExtra(title="t", templateId="5"),
        extMsgData=ExtMsgData(seqId=4), refData=ReferenceData(msgId="r"), clientUniqueId=9, appData="own",
    )  # fmt: skip
    down = shown(up)
    assert (down.pushContent, down.extraContent, down.configFlag, down.busChannel) == ("p", "{}", 2, "ch")
    assert (down.optionBits, down.metadata, list(down.toUserIds)) == (2, "m", ["x", "y"])
    assert (down.pushExt, down.extMsgData, down.refData) == (up.pushExt, up.extMsgData, up.refData)
    assert not down.HasField("clientUniqueId")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff", "no UpStreamMessage"),
        (b"\x08\x03", "without a class"),
        (b"\x12\x01\xff", "not UTF-8"),
        (b"\x12\x01c\x1a\x01\xff", "not UTF-8"),
        (b"\x12\x01c\x1a\x02{}\x22\x01\xff", "not UTF-8"),
        (b"\x12\x01c\x1a\x02{}\x32\x01\xff", "not UTF-8"),
        (b"\x12\x01c\x1a\x02{}\x62\x03\x0a\x01\xff", "not UTF-8"),
        (b"\x12\x01c\x1a\x02{}\xca\x01\x03\x0a\x01\xff", "not UTF-8"),
    ],
)
def test_a_message_that_some_sdk_cannot_read_is_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        parse_upstream(payload)


def test_a_message_that_every_sdk_can_read_is_taken() -> None:
    assert parse_upstream(UP).classname == "RC:TxtMsg"


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda rest: UP + rest))
def test_any_payload_is_shown_or_a_protocol_error(payload: bytes) -> None:
    try:
        parse_upstream(payload)
    except ProtocolError:
        try:
            downstream(payload, sender="a", kind=PRIVATE, target="b", time=1, uid=UID)
        except ProtocolError:
            pass
    else:
        assert shown(payload)


json_values = st.recursive(
    st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('a\\"😀𐀀\U0010ffff'), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values, st.booleans())
def test_escaping_keeps_the_meaning_of_json(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    escaped = escape_astral(text)
    assert json.loads(escaped) == value
    assert not any(byte >= 0xF0 for byte in escaped)


def test_escaping_leaves_alone_what_is_not_utf8() -> None:
    content = "😀".encode() + b"\xff"
    assert escape_astral(content) is content


def test_v2_gets_emoji_as_escapes() -> None:
    up = UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content='{"content":"字😀"}'.encode())
    down = shown(up)
    assert DownStreamMessage.FromString(for_v2(down.SerializeToString())).content == (
        '{"content":"字\\ud83d\\ude00"}'.encode()
    )
    plain = shown(UP).SerializeToString()
    assert for_v2(plain) is plain


@pytest.mark.parametrize(
    ("method", "classname", "status"),
    [
        ("ppMsgP", "RC:TxtMsg", False),
        ("ppMsgS", "RC:TxtMsg", True),
        ("pgMsgS", "", True),
        ("ppMsgP", "RC:TypSts", True),
        ("ppMsgP", "RC:RL", True),
        ("ppMsgP", "RC:InterceptMsg", True),
        ("ppMsgP", "RC:ReadNtf", False),
    ],
)
def test_status_messages(method: str, classname: str, status: bool) -> None:
    assert is_status(method, classname) is status


@pytest.mark.parametrize(
    ("version", "rules"),
    [
        ("2.5.3", 2),
        ("1.0", 2),
        ("3.0", 4),
        ("4.6.4", 4),
        ("5.38.0", 5),
        ("6.0", 5),
        ("", 4),
        ("x", 4),
        ("²", 4),
        ("9" * 5000, 4),
    ],
)
def test_the_rules_a_version_needs(version: str, rules: int) -> None:
    assert generation(version) == rules


def test_conversation_types() -> None:
    assert [conversation_type(method) for method in ("ppMsgP", "pgMsgS", "chatMsg", "ugMsg", "pullMsg")] == [
        1, 3, 4, 10, 0,
    ]  # fmt: skip


def recall(content: bytes) -> bytes:
    return UpStreamMessage(sessionId=1, classname="RC:RcCmd", content=content).SerializeToString()


def test_a_recall_names_its_conversation() -> None:
    payload = recall(b'{"conversationType":3,"targetId":"g","messageUId":"u","sentTime":1}')
    assert recalled(payload) == (3, "g", "u")
    assert recalls_in(payload) == "g"


@given(st.one_of(st.binary(max_size=200), st.text(max_size=50).map(lambda text: recall(text.encode()))))
def test_whatever_a_client_calls_a_recall_it_is_read_or_it_names_nothing(payload: bytes) -> None:
    found = recalled(payload)
    assert recalls_in(payload) == (found.target if found else "")


def test_a_recall_that_is_too_large_to_be_one_is_not_looked_at() -> None:
    content = b'{"conversationType":3,"targetId":"g","messageUId":"u","extra":"%s"}'
    assert recalled(recall(content % b"")) is not None
    assert recalled(recall(content % (b"x" * RECALL_MAX))) is None


@pytest.mark.parametrize(
    ("classname", "content", "readable"),
    [
        ("RC:TxtMsg", '{"content":"hi"}', True),
        ("RC:TxtMsg", b'{"content":"hi"}', True),
        ("RC:TxtMsg", "hi", False),
        ("RC:TxtMsg", '["hi"]', False),
        ("RC:TxtMsg", '{"content":NaN}', False),
        ("RC:TxtMsg", b"\xff", False),
        ("RC:TxtMsg", "[" * 100_000, False),
        ("app:own", "hi", True),
    ],
)
def test_what_sdks_cannot_parse_of_a_built_in_class_is_not_readable(
    classname: str, content: str | bytes, readable: bool
) -> None:
    assert is_readable(classname, content) is readable
