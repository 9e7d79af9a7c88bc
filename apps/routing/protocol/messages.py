"""A message on its way through the server: from the form that clients send to the form that they are shown.

Pure functions over protobuf bodies.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from apps.routing.protocol.im_pb2 import DownStreamMessage, UpStreamMessage
from apps.routing.protocol.kinds import ProtocolError

PRIVATE, DISCUSSION, GROUP, CHATROOM, CUSTOMER_SERVICE, SYSTEM, APP_SERVICE, PUBLIC_SERVICE = range(1, 9)
ULTRA_GROUP, RTC_ROOM = 10, 12
# Conversations of two: their id is the other side's. The others are named by groupId.
_OF_TWO = frozenset((PRIVATE, CUSTOMER_SERVICE, SYSTEM, APP_SERVICE, PUBLIC_SERVICE))

SENT, RECEIVED = 1, 2  # DownStreamMessage.direction
STATUS_MESSAGE = 0x40  # bit of extStatus: never stored, shown to who is online
MODIFIED = 4  # another bit of extStatus
_STATUS_CLASSES = frozenset(("RC:TypSts", "RC:RL", "RC:InterceptMsg"))
# sessionId bits persisted, counted, mention, no push, expandable; in `status` each stands four bits higher.
_SESSION_BITS = 0x01 | 0x02 | 0x04 | 0x20 | 0x40

_CONVERSATION_TYPES = {
    "ppMsgP": PRIVATE,
    "ppMsgN": PRIVATE,
    "ppMsgS": PRIVATE,
    "pgMsgP": GROUP,
    "pgMsgS": GROUP,
    "pdMsgP": DISCUSSION,
    "chatMsg": CHATROOM,
    "chatMsgS": CHATROOM,
    "pcMsgP": CUSTOMER_SERVICE,
    "pcuMsgP": CUSTOMER_SERVICE,
    "pbMsgP": SYSTEM,
    "pmcMsgN": APP_SERVICE,
    "pmpMsgN": PUBLIC_SERVICE,
    "ugMsg": ULTRA_GROUP,
    "prMsgS": RTC_ROOM,
    "prMsgP": RTC_ROOM,
}

_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_ASTRAL_BYTES = re.compile(b"[\xf0-\xf4][\x80-\xbf]{3}")


def conversation_type(method: str) -> int:
    """What kind of conversation a sending method writes into; 0 for every other method."""
    return _CONVERSATION_TYPES.get(method, 0)


def strict_json(text: str | bytes) -> Any:
    """Without Python's NaN and Infinity, which no client can read. Raises ValueError, RecursionError."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def is_readable(classname: str, content: str | bytes) -> bool:
    """Whether SDKs can read the content: that of built-in classes they parse as a JSON object, and other text
    would break their receiving loop.
    """
    if not classname.startswith("RC:"):
        return True
    try:
        return isinstance(strict_json(content), dict)
    except (ValueError, RecursionError):
        return False


def is_status(method: str, classname: str) -> bool:
    """Whether a PUBLISH is a status message ("is typing"): not stored, shown to online devices only."""
    return method.endswith("S") or classname in _STATUS_CLASSES


RECALL = "recallMsg"
RECALL_MAX = 16 << 10  # bytes of a recall: it names a message, and may say who recalls it
_ID_MAX = 64  # characters


class Recalled(NamedTuple):
    """What a recall is about."""

    kind: int  # the conversation's type
    target: str  # the conversation, as the one who recalls names it
    uid: str


def recalled(payload: bytes) -> Recalled | None:
    """What the UpStreamMessage of a recall names (PROTOCOL 4.1); None when that cannot be read."""
    if len(payload) > RECALL_MAX:
        return None
    try:
        content = json.loads(UpStreamMessage.FromString(payload).content.decode())
        found = Recalled(content["conversationType"], content["targetId"], content["messageUId"])
    except (DecodeError, ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = all(isinstance(each, str) and each.isprintable() for each in found[1:])
    lengths = texts and all(0 < len(each) <= _ID_MAX for each in found[1:])
    return found if lengths and type(found.kind) is int else None


def recalls_in(payload: bytes) -> str:
    """The conversation that a recall is about, which clients send to themselves; empty when it names none."""
    found = recalled(payload)
    return found.target if found else ""


def generation(sdk_version: str) -> int:
    """Whose rules a client needs: 2, 4 or 5, by the major number of its sdkVer.

    Above 5 is taken for 5, and 3 for 4. What cannot be read is taken for 4, the narrower of the two that read
    all of UTF-8: it drops a push while a pull is out, which a server that knows it does not send.
    """
    major = sdk_version.partition(".")[0]
    if not (major.isascii() and major.isdigit()) or len(major) > 3:
        return 4
    return 2 if int(major) <= 2 else 4 if int(major) <= 4 else 5


def parse_upstream(payload: bytes) -> UpStreamMessage:
    """A client's message, if every SDK that is shown it can read it: protobuf, a class, UTF-8 all through.

    Raises ProtocolError. One unreadable message in an inbox stops its owner's SDK for good, so it must be
    refused before it is stored.
    """
    try:
        up = UpStreamMessage.FromString(payload)
        up.content.decode()
        "".join(_texts(up))
    except DecodeError as error:
        raise ProtocolError("a message that is no UpStreamMessage") from error
    except (UnicodeDecodeError, TypeError) as error:  # a string field that is not UTF-8 reads as bytes
        raise ProtocolError("a message with text that is not UTF-8") from error
    if not up.classname:
        raise ProtocolError("a message without a class")
    return up


def _texts(up: UpStreamMessage) -> list[str]:
    """Every string of a message: receivers get some, the sender's other devices get all."""
    texts = [up.classname, up.pushText, up.appData, up.delMsgId, up.extraContent, up.busChannel, up.systemId]
    texts += (up.senderPortrait, up.metadata, *up.toUserIds)
    if up.HasField("pushExt"):
        texts += (up.pushExt.title, up.pushExt.pushId, up.pushExt.pushConfigs, up.pushExt.templateId)
    if up.HasField("refData"):
        texts += (up.refData.msgId, up.refData.fromUserId, up.refData.classname)
    return texts


def downstream(
    up: bytes,
    *,
    sender: str,
    kind: int,
    target: str,
    time: int,
    uid: str,
    direction: int = RECEIVED,
    status_message: bool = False,
) -> bytes:
    """The DownStreamMessage of a stored UpStreamMessage, as one side of the conversation is shown it.

    `kind` is the conversation type, `time` in ms, `direction` SENT for the sender's own devices. Raises
    ProtocolError for an `up` that `parse_upstream` would have refused.
    """
    try:
        message = UpStreamMessage.FromString(up)
        # The SDKs take a conversation of two from fromUserId, so in one's own messages it is the peer.
        peer = direction == SENT and kind in _OF_TWO
        down = DownStreamMessage(
            fromUserId=target if peer else sender,
            type=kind,
            classname=message.classname,
            content=message.content,
            dataTime=time,
            status=0 if status_message else (message.sessionId & _SESSION_BITS) << 4,
            msgId=uid,
            direction=direction,
        )
        if kind not in _OF_TWO:
            down.groupId = target
        if status_message:
            down.extStatus = STATUS_MESSAGE
        if direction == SENT and message.clientUniqueId:
            # By it the sending device knows its own message again, when its PUBACK was lost.
            down.clientUniqueId = message.clientUniqueId
        _copy_optional(message, down)
        return down.SerializeToString()
    except (DecodeError, ValueError, TypeError) as error:
        raise ProtocolError(f"a message that cannot be shown: {error}") from error


def _copy_optional(up: UpStreamMessage, down: DownStreamMessage) -> None:
    """What the sender added and the receiver's SDK reads; empty values say nothing and are left out."""
    if up.configFlag:
        down.configFlag = up.configFlag
    if up.pushText:
        down.pushContent = up.pushText
    if up.extraContent:
        down.extraContent = up.extraContent
    if up.busChannel:
        down.busChannel = up.busChannel
    if up.optionBits:
        down.optionBits = up.optionBits
    if up.modifiedAt:
        down.extStatus |= MODIFIED
    if up.metadata:
        down.metadata = up.metadata
    if up.toUserIds:
        down.toUserIds.extend(up.toUserIds)
    if up.HasField("pushExt"):
        down.pushExt.CopyFrom(up.pushExt)
    if up.HasField("extMsgData"):
        down.extMsgData.CopyFrom(up.extMsgData)
    if up.HasField("refData"):
        down.refData.CopyFrom(up.refData)


def in_list(down: bytes) -> bytes:
    """A DownStreamMessage as an element of field 1, the list, of every reply that has one.

    A protobuf's fields may come in any order, so a reply is these and the rest of it, put together.
    """
    length, head = len(down), bytearray(b"\x0a")
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + down


def _escaped(match: re.Match[str]) -> str:
    offset = ord(match[0]) - 0x10000
    return f"\\u{0xD800 + (offset >> 10):04x}\\u{0xDC00 + (offset & 0x3FF):04x}"


def escape_astral(content: bytes) -> bytes:
    """JSON text with its 4-byte characters (emoji) as \\ud83d\\ude00 escapes: the same JSON, readable for v2.

    Content that is not UTF-8 is returned as it is.
    """
    if not _ASTRAL_BYTES.search(content):
        return content
    try:
        return _ASTRAL.sub(_escaped, content.decode()).encode()
    except UnicodeDecodeError:
        return content


def for_v2(down: bytes) -> bytes:
    """A DownStreamMessage for a generation 2 SDK, whose UTF-8 reader loses 4-byte characters."""
    if not _ASTRAL_BYTES.search(down):
        return down
    message = DownStreamMessage.FromString(down)
    message.content = escape_astral(message.content)
    return message.SerializeToString()
