"""Every method that a client may name: does it carry a message or ask a question, and whose SET serves it?

What a method means is apps.messaging's; a gateway needs no more of it than this. The topics are those of
PROTOCOL 4; docs/compatibility.md is made from this table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from apps.routing.protocol.messages import RECALL, recalls_in


class Method(NamedTuple):
    """`is_message`: it goes through the message lane, in order and with a uid, and is answered by PUBACK."""

    is_message: bool = False
    by_target: bool = False  # its target's SET serves it; otherwise the home SET of the user who asks
    # What it is about when that is not the packet's target, from its payload; empty when that cannot be read.
    # Clients send such a one to themselves, and it is shown to the user's other devices in this way.
    resource: Callable[[bytes], str] | None = None
    to_all: bool = False  # its target may be empty: it is for everybody
    since: int = 0  # generation of the SDKs that know it when another device of the user has sent it


_SEND = Method(is_message=True, by_target=True)
_ASK = Method()
_ASK_TARGET = Method(by_target=True)

METHODS: dict[str, Method] = {
    # Sending (4.1).
    **dict.fromkeys(("ppMsgP", "ppMsgN", "ppMsgS"), _SEND),
    **dict.fromkeys(("pgMsgP", "pgMsgS", "pdMsgP", "pbMsgP"), _SEND),
    RECALL: Method(is_message=True, by_target=True, resource=recalls_in),
    # How far a user has read (3.6, 4.1); who of a group has read what (4.11).
    **dict.fromkeys(("updRTime", "updRRTime"), Method(is_message=True, since=5)),
    **dict.fromkeys(("rrMsg", "rrList"), _ASK_TARGET),
    # Synchronisation (4.3), history (4.4).
    **dict.fromkeys(("pullMsg", "qryPMsg", "qryGMsg", "qryDMsg", "qrySMsg"), _ASK),
    **dict.fromkeys(("qryMsg", "delMsg"), _ASK),
    **dict.fromkeys(("cleanPMsg", "cleanDMsg", "cleanGMsg", "cleanCMsg", "cleanSMsg"), _ASK),
    **dict.fromkeys(("cleanMCMsg", "cleanMPMsg", "cleanMsgBatch"), _ASK),
    # The list of conversations (4.5). delRelation names the conversation as its target.
    **dict.fromkeys(("qryRelation", "qryRelationR", "qryRelationFilter"), _ASK),
    **dict.fromkeys(("delRelation", "delRelationBatch", "delSessions"), _ASK),
    **dict.fromkeys(("qrySessionsAtt", "reportsdk", "pullEventChange", "pullModifyMsg", "qAppBot"), _ASK),
    # A user's own state: settings (4.3), conversations and tags (4.6), block list (4.8), online status (4.9).
    **dict.fromkeys(("pullUS", "addSeTag", "delSeTag", "addUnpush", "qryUnpush", "delUnpush"), _ASK),
    **dict.fromkeys(("setOfflineMsgDur", "pullSeAtts", "setSeAtt", "setTypeUnpush"), _ASK),
    **dict.fromkeys(("addTag", "delTag", "disTag"), _ASK),
    **dict.fromkeys(("blkPPush", "unblkPPush", "qryPPush", "blkDPush", "unblkDPush", "qryDPush"), _ASK),
    **dict.fromkeys(("addBlack", "rmBlack", "getBlack", "blackStat"), _ASK),
    **dict.fromkeys(("subUserStatus", "getUserStatus", "setUserStatus"), _ASK),
    **dict.fromkeys(("updUserSub", "pullUserSub", "pullSubData", "qrySubData"), _ASK),
    # Discussions (4.8): made in the home SET of who makes them.
    "crDiz": _ASK,
    **dict.fromkeys(("invtDiz", "evctDiz", "quitDiz", "rename", "pdOpen", "dizInf"), _ASK_TARGET),
    # Files (4.10).
    **dict.fromkeys(("qnTkn", "qnUrl", "minioUrl", "s3Url"), _ASK),
    # Chatrooms (4.1, 4.3, 4.4, 4.7).
    **dict.fromkeys(("chatMsg", "chatMsgS"), _SEND),
    **dict.fromkeys(("joinChrm", "joinChrmR", "exitChrm", "queryChrmI", "chrmPull", "qryCHMsg"), _ASK_TARGET),
    **dict.fromkeys(("setKV", "delKV", "setKVS", "delKVS", "pullKV"), _ASK_TARGET),
}
# What gateways ask nodes for themselves. A client that names one is told that there is no such method.
INTERNAL: dict[str, Method] = {
    "canary": _SEND,
    "grpChange": _SEND,
    # System messages, which the server API alone sends: to a user, or to everybody when the target is empty.
    **dict.fromkeys(("sysMsg", "sysMsgS"), _SEND._replace(to_all=True)),
    "modify": _SEND,  # what the server API changes of a message
    "readFeed": _ASK_TARGET,
    "ackCursor": _ASK_TARGET,
    "presence": _ASK_TARGET,
    "sessions": _ASK_TARGET,
    "manageChrm": _ASK_TARGET,  # what the server API does with a chatroom
    "readExpansion": _ASK_TARGET,  # what the server API asks of a message
}
ALL = METHODS | INTERNAL
MESSAGES = tuple(name for name, method in ALL.items() if method.is_message)
QUERIES = tuple(name for name, method in ALL.items() if not method.is_message)
