"""The JSON form of packets, which long-polling clients speak (PROTOCOL 2.3). Sans-I/O, like `packets`.

A packet is a JSON object with the fields of its binary form; its protobuf body is a JSON text within, with
the schema's field names. 64-bit numbers are plain numbers, bytes are text. The texts are compact and keep
non-ASCII characters as they are: v4 takes an answer only if writing it again gives the very same text.

Only generations 2 and 4 poll, so names and types are theirs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import (
    MAX_FRAME,
    Disconnect,
    Downstream,
    PingReq,
    PingResp,
    ProtocolError,
    PubAck,
    Publish,
    Query,
    QueryAck,
    QueryCon,
    Upstream,
)

SIGNED_FOR = (
    2  # the generation that stops polling at a DISCONNECT, and knows it by its signed header byte only
)

_Type = type[Message]


class Bodies(NamedTuple):
    """The protobuf types of a topic: what goes up with it, and what comes back; None: nothing does."""

    up: _Type | None
    reply: _Type | None = None


_SEND = Bodies(im.UpStreamMessage)
_HISTORY = Bodies(im.HistoryMsgInput, im.HistoryMsgOuput)
_CLEAN = Bodies(im.CleanHisMsgInput)
_BLOCK_PUSH = Bodies(im.BlockPushInput)
_SESSION_STATES = Bodies(im.SessionStateModifyReq, im.SessionStateModifyResp)
_JOIN = Bodies(im.ChrmInput, im.ChrmOutput)
_CHANGE_KV = Bodies(im.SetChrmKV, im.ChrmOutput)
_CHANGE_KVS = Bodies(im.SetChrmKVS, im.ChrmKVSOutput)
_DOWNLOAD = Bodies(im.GetDownloadUrlInput, im.GetDownloadUrlOutput)
_SESSIONS = Bodies(im.QuerySessionsInput, im.QuerySessionsOutPut)
_FOLLOW = Bodies(im.MPFollowInput, im.MPFollowOutput)

# Every topic that a client may send (PROTOCOL 4).
BODIES: Mapping[str, Bodies] = {
    # 4.1 sending
    **dict.fromkeys(("ppMsgP", "ppMsgN", "ppMsgS", "pgMsgP", "pgMsgS", "pdMsgP", "recallMsg"), _SEND),
    **dict.fromkeys(("chatMsg", "chatMsgS", "pcMsgP", "pcuMsgP", "pbMsgP"), _SEND),
    **dict.fromkeys(("pmcMsgN", "pmpMsgN", "ugMsg"), _SEND),
    **dict.fromkeys(("updRRTime", "updRTime", "updUgRTime"), Bodies(im.SessionMsgReadInput)),
    # 4.3 synchronisation
    "pullMsg": Bodies(im.SyncRequestMsg, im.DownStreamMessages),
    "chrmPull": Bodies(im.ChrmPullMsg, im.DownStreamMessages),
    "qrySessionsAtt": Bodies(im.SessionsAttQryInput, im.SessionsAttOutput),
    "pullUS": Bodies(im.PullUserSettingInput, im.PullUserSettingOutput),
    "pullSeAtts": Bodies(im.SessionReq, im.SessionStates),
    "reportsdk": Bodies(im.ReportSDKInput, im.ReportSDKOutput),
    "pullEventChange": Bodies(im.QueryMsgChange, im.EventChangeList),
    "pullModifyMsg": Bodies(im.PullModifyMsgReq, im.PullModifyMsgResp),
    "qAppBot": Bodies(im.BotInput, im.BotOutput),
    "pullSe": Bodies(im.SessionQryInput, im.SessionsOutput),
    "pullUgMsg": Bodies(im.UltraGrpPullMsg, im.DownStreamMessages),
    "pullUgSes": Bodies(im.UltraGrpPullSes, im.RelationsOutput),
    # 4.4 history
    **dict.fromkeys(("qryPMsg", "qryGMsg", "qryDMsg", "qrySMsg", "qryCMsg", "qryCHMsg"), _HISTORY),
    **dict.fromkeys(("qryMCMsg", "qryMPMsg", "qryUgMsg"), _HISTORY),
    "qryMsg": Bodies(im.MsgQuery, im.MsgQueryAck),
    "delMsg": Bodies(im.DeleteMsgInput, im.DeleteMsgOutput),
    **dict.fromkeys(("cleanPMsg", "cleanDMsg", "cleanGMsg", "cleanCMsg", "cleanSMsg"), _CLEAN),
    **dict.fromkeys(("cleanMCMsg", "cleanMPMsg"), _CLEAN),
    "cleanMsgBatch": Bodies(im.CleanMsgBatchReq),
    # 4.5 conversation list
    "qryRelation": Bodies(im.RelationsInput, im.RelationsOutput),
    "qryRelationR": Bodies(im.RelationQryInput, im.RelationsOutput),
    "qryRelationFilter": Bodies(im.RelationQryFilter, im.RelationsOutput),
    "qryRLBatch": Bodies(im.RelationDelBatchReq, im.RelationsOutput),
    "qrySessions": _SESSIONS,
    "qrySessionsUnread": _SESSIONS,
    "delRelation": Bodies(im.RelationsInput),
    "delRelationBatch": Bodies(im.RelationDelBatchReq),
    "delSessions": Bodies(im.DeleteSessionsInput, im.DeleteSessionsOutput),
    # 4.6 conversation status, tags
    **dict.fromkeys(("setSeAtt", "addTag", "delTag"), _SESSION_STATES),
    "setTypeUnpush": Bodies(im.TypeUnpushInput, im.TypeUnpushOutput),
    **dict.fromkeys(("blkPPush", "unblkPPush", "qryPPush"), _BLOCK_PUSH),
    **dict.fromkeys(("blkDPush", "unblkDPush", "qryDPush"), _BLOCK_PUSH),
    "addSeTag": Bodies(im.SessionTagAddInput, im.SetUserSettingOutput),
    "delSeTag": Bodies(im.SessionTagDelInput, im.SetUserSettingOutput),
    "disTag": Bodies(im.SessionDisTagReq),
    "addUnpush": Bodies(im.AddUnpushPeriodInput),
    "qryUnpush": Bodies(im.QueryUnpushPeriodInput, im.QueryUnpushPeriodOutput),
    "delUnpush": Bodies(im.DeleteUnpushPeriodInput),
    "setOfflineMsgDur": Bodies(im.GetQNupTokenOutput),  # sic
    # 4.7 chatrooms
    **dict.fromkeys(("joinChrm", "joinChrmR", "exitChrm"), _JOIN),
    "queryChrmI": Bodies(im.QueryChatRoomInfoInput, im.QueryChatRoomInfoOutput),
    **dict.fromkeys(("setKV", "delKV"), _CHANGE_KV),
    **dict.fromkeys(("setKVS", "delKVS"), _CHANGE_KVS),
    "pullKV": Bodies(im.QueryChrmKV, im.ChrmKVOutput),
    # 4.8 discussions, groups, blacklist, users
    "crDiz": Bodies(im.CreateDiscussionInput, im.CreateDiscussionOutput),
    "invtDiz": Bodies(im.ChannelInvitationInput),
    "evctDiz": Bodies(im.ChannelEvictionInput),
    "quitDiz": Bodies(im.LeaveChannelInput),
    "rename": Bodies(im.RenameChannelInput),
    "pdOpen": Bodies(im.ModifyPermissionInput),
    "dizInf": Bodies(im.ChannelInfoInput, im.ChannelInfoOutput),
    **dict.fromkeys(("joinGrp", "exitGrp"), Bodies(im.GroupInput, im.GroupOutput)),
    "uGcmpr": Bodies(im.GroupHashInput, im.GroupHashOutput),
    "pGrps": Bodies(im.GroupMembersInput, im.GroupMembersOutput),
    "userInf": Bodies(im.GetUserInfoInput, im.GetUserInfoOutput),
    "addBlack": Bodies(im.Add2BlackListInput),
    "rmBlack": Bodies(im.RemoveFromBlackListInput),
    "getBlack": Bodies(im.QueryBlackListInput, im.QueryBlackListOutput),
    "blackStat": Bodies(im.BlackListStatusInput),
    # 4.9 online status
    "subUserStatus": Bodies(im.SubUserStatusInput, im.SubUserStatusOutput),
    "getUserStatus": Bodies(im.GetUserStatusInput, im.GetUserStatusOutput),
    "setUserStatus": Bodies(im.SetUserStatusInput, im.SetUserStatusOutput),
    "updUserSub": Bodies(im.UpdateUserSubReq, im.UpdateUserSubResp),
    "pullUserSub": Bodies(im.PullUserSubReq, im.PullUserSubResp),
    "pullSubData": Bodies(im.PullSubDataReq, im.PullSubDataResp),
    "qrySubData": Bodies(im.QrySubDataReq, im.PullSubDataResp),
    # 4.10 files
    "qnTkn": Bodies(im.GetQNupTokenInput, im.GetQNupTokenOutput),
    "qnUrl": Bodies(im.GetQNdownloadUrlInput, im.GetQNdownloadUrlOutput),
    **dict.fromkeys(("aliUrl", "s3Url", "stcUrl", "minioUrl"), _DOWNLOAD),
    # 4.11 group read receipts
    "rrMsg": Bodies(im.GrpReadReceiptMsg),
    "rrList": Bodies(im.GrpReadReceiptQryReq, im.GrpReadReceiptQryResp),
    # 4.12 public services
    "pullMp": Bodies(im.PullMpInput, im.PullMpOutput),
    "schMp": Bodies(im.SearchMpInput, im.SearchMpOutput),
    **dict.fromkeys(("mcFollow", "mcUnFollow", "mpFollow", "mpUnFollow"), _FOLLOW),
}
_NOT_KNOWN = Bodies(None)

# What a server sends by itself (4.2).
_NOTICES: Mapping[str, _Type] = {
    "s_msg": im.DownStreamMessage,
    "s_ntf": im.NotifyMsg,
    "s_cmd": im.NotifyMsg,
    "s_us": im.UserSettingNotification,
    "s_stat": im.GetUserStatusOutput,
}

# Names that a generation uses for another field's: v2 declares field 6 of UpStreamMessage as userId.
_ALSO_NAMED = {("UpStreamMessage", "userId"): "toUserIds"}
# A repeated field is written even when it is empty: the SDKs walk it without a look. Those that only v5 knows
# are not.
_LEFT_OUT = {("DownStreamMessage", "toUserIds")}


class Unreadable(ProtocolError):
    """A request whose body does not fit its topic; `packet` is the request, without a body."""

    def __init__(self, packet: Publish | Query, reason: str) -> None:
        super().__init__(reason)
        self.packet = packet


# --- Downstream


def connack(user: str, session: str, time: int) -> str:
    """CONNACK of an accepted session, `time` in ms."""
    packet = {"status": 0, "userId": user, "headerCode": 0x20, "messageId": 0}
    return _text({**packet, "sessionid": session, "timestamp": time})


def connack_refused(status: int) -> str:
    """CONNACK of a refused session."""
    return _text({"headerCode": 0x20, "messageId": 0, "status": int(status)})


def encode_downstream(packet: Downstream, *, topic: str = "", generation: int = 4) -> str:
    """A server's packet; `topic` is the one of the query that a QUERYACK answers."""
    shown: dict[str, Any] = {"headerCode": packet.header, "messageId": 0}
    if isinstance(packet, Publish):
        kind = _NOTICES.get(packet.topic) or BODIES.get(packet.topic, _NOT_KNOWN).up
        shown |= {"messageId": packet.message_id, "topic": packet.topic, "targetId": packet.target}
        shown |= {"date": packet.seconds, "data": from_protobuf(kind, packet.payload)}
    elif isinstance(packet, PubAck):
        shown |= {"messageId": packet.message_id, "status": packet.status}
        shown |= {"timestamp": packet.time, "messageUId": packet.uid}
    elif isinstance(packet, QueryAck):
        kind = BODIES.get(topic, _NOT_KNOWN).reply
        shown |= {"messageId": packet.message_id, "status": packet.status, "date": packet.seconds}
        if packet.payload or (kind is not None and not packet.status):
            shown["data"] = from_protobuf(kind, packet.payload)
    elif isinstance(packet, Disconnect):
        if generation == SIGNED_FOR:
            shown["headerCode"] = packet.header - 0x100
        shown["status"] = packet.status
    elif not isinstance(packet, PingResp):
        raise ProtocolError(f"a {type(packet).__name__} has its own function")
    return _text(shown)


def from_protobuf(kind: _Type | None, payload: bytes) -> str:
    """A protobuf body as JSON text; empty for a topic without one. Raises ProtocolError."""
    if kind is None:
        return ""
    try:
        return _text(_shown(kind.FromString(payload), _plan(kind.DESCRIPTOR)))
    except DecodeError as error:
        raise ProtocolError(f"a body that is no {kind.DESCRIPTOR.name}") from error


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# --- Upstream


def decode_upstream(header: int, message_id: int, topic: str, target: str, body: bytes) -> Upstream:
    """What a client sent, as one packet. Raises Unreadable for a request that can be refused by its number,
    and ProtocolError for what is no packet of this direction.
    """
    kind = header >> 4
    if not 0 <= message_id <= 0xFFFF:
        raise ProtocolError("a message id that has no place in a packet")
    if kind in (3, 5):
        make: Callable[[bytes], Publish | Query] = (
            (lambda payload: Publish(topic, target, message_id, payload, 0, header))
            if kind == 3
            else (lambda payload: Query(topic, target, message_id, payload, header))
        )
        try:
            return make(to_protobuf(BODIES.get(topic, _NOT_KNOWN).up, body))
        except ProtocolError as error:
            raise Unreadable(make(b""), str(error)) from error
    if kind == 4:
        return PubAck(message_id, header=header)
    if kind == 7:
        return QueryCon(message_id, header)
    if kind == 12:
        return PingReq(header)
    if kind == 14:
        return Disconnect(0, header)
    raise ProtocolError(f"packet type {kind} is not sent in this direction")


def to_protobuf(kind: _Type | None, body: bytes) -> bytes:
    """The protobuf body that a JSON text stands for. Raises ProtocolError."""
    if kind is None:
        return b""
    try:
        given = json.loads(body or b"{}")
        message = kind()
        if given != "":  # what some generations send for an empty body
            _fill(message, given, _plan(kind.DESCRIPTOR))
        payload = message.SerializeToString()
    except (ValueError, TypeError, RecursionError) as error:
        raise ProtocolError(f"a body that is no {kind.DESCRIPTOR.name}: {error}") from error
    if len(payload) > MAX_FRAME:
        raise ProtocolError(f"a body of {len(payload)} bytes; {MAX_FRAME} are allowed")
    return payload


# --- Between a protobuf message and what JSON knows


class _Field(NamedTuple):
    name: str
    repeated: bool
    plan: _Plan | None  # of a message
    show: Callable[[Any], Any] | None  # the JSON value of a protobuf one; None: the same
    take: Callable[[Any], Any]  # the protobuf value of a JSON one


class _Plan(NamedTuple):
    by_number: Mapping[int, _Field]  # in this order
    by_name: Mapping[str, _Field]
    always: frozenset[str]  # repeated fields that are written when they are empty too


@functools.cache
def _plan(described: Descriptor) -> _Plan:
    by_number: dict[int, _Field] = {}
    for field in sorted(described.fields, key=lambda each: each.number):
        nested = _plan(field.message_type) if field.message_type else None
        by_number[field.number] = _Field(field.name, bool(field.is_repeated), nested, *_conversions(field))
    by_name = {field.name: field for field in by_number.values()}
    always = frozenset(
        name for name, field in by_name.items() if field.repeated and (described.name, name) not in _LEFT_OUT
    )
    for (message, other_name), name in _ALSO_NAMED.items():
        if message == described.name:
            by_name[other_name] = by_name[name]
    return _Plan(by_number, by_name, always)


def _conversions(field: FieldDescriptor) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any]]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _text_of, _bytes_of
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text_of, _string_of
    if field.type == FieldDescriptor.TYPE_BOOL:
        return None, _bool_of
    return None, _number_of


def _shown(message: Message, plan: _Plan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for described, value in message.ListFields():  # by number
        name, repeated, nested, show, _ = plan.by_number[described.number]
        if repeated:
            value = [_shown(each, nested) if nested else show(each) if show else each for each in value]
        elif nested is not None:
            value = _shown(value, nested)
        elif show is not None:
            value = show(value)
        found[name] = value
    if plan.always - found.keys():
        names = (field.name for field in plan.by_number.values())
        found = {name: found.get(name, []) for name in names if name in found or name in plan.always}
    return found


def _fill(message: Message, given: Any, plan: _Plan) -> None:
    """Names that the schema does not have are passed over, as a protobuf reader passes over their numbers."""
    if not isinstance(given, dict):
        raise TypeError(f"{message.DESCRIPTOR.name} is no object")
    for other_name, value in given.items():
        field = plan.by_name.get(other_name)
        if field is None or value is None:
            continue
        # As on the wire: given once or as a list of one is the same, and of several the last one counts.
        values = value if isinstance(value, list) else [value]
        if field.repeated:
            _fill_repeated(getattr(message, field.name), values, field)
            continue
        for each in values[-1:]:
            if field.plan is not None:
                part = getattr(message, field.name)
                part.SetInParent()
                _fill(part, each, field.plan)
            else:
                setattr(message, field.name, field.take(each))


def _fill_repeated(values: Any, given: list[Any], field: _Field) -> None:
    for each in given:
        if field.plan is not None:
            _fill(values.add(), each, field.plan)
        else:
            values.append(field.take(each))


def _text_of(value: str | bytes) -> str:
    """Text, also of what is not UTF-8: protobuf leaves such a string as bytes."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def _string_of(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError("a text is wanted")
    return given


def _bytes_of(given: Any) -> bytes:
    return _string_of(given).encode()


def _bool_of(given: Any) -> bool:
    if not isinstance(given, bool | int):
        raise TypeError("true or false is wanted")
    return bool(given)


def _number_of(given: Any) -> int:
    """A whole number; JavaScript writes some as 1.0, some as text, and true for 1."""
    if isinstance(given, float):
        if not given.is_integer():
            raise TypeError("a whole number is wanted")
    elif not isinstance(given, int | str):
        raise TypeError("a number is wanted")
    return int(given)
