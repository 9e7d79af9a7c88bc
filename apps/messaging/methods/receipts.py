"""What users have read: updRTime, updRRTime to their own devices (PROTOCOL 3.6, 4.1), rrMsg and rrList in
groups (4.11). Receipts that are messages (RC:ReadNtf, RC:RRReqMsg, RC:RRRspMsg) need nothing of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from apps.messaging import changes, chatrooms, conversation_reads, log
from apps.messaging.changes import Asked
from apps.messaging.log import Entry
from apps.messaging.methods import Refused, Verdict
from apps.messaging.methods.group import standings
from apps.messaging.models import CHANGES, GROUP, READ_TIME, RECALLED
from apps.messaging.own_state import Refusal, answers, identifier
from apps.routing.envelope import Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.packets import AckStatus, ProtocolError
from apps.routing.topology import slot

IDS_MAX = 100  # messages of one request
WITHIN = 2.0  # s that the database may be away

_PUT = """
    INSERT INTO messaging_groupread (tenant, "group", slot, uid, "user", time)
    SELECT %(tenant)s, %(group)s, %(slot)s, u, %(user)s, %(time)s FROM unnest(%(uids)s::varchar[]) u
    ON CONFLICT DO NOTHING"""
_LIST = """
    SELECT "user", min(time) FROM messaging_groupread
    WHERE tenant = %(tenant)s AND "group" = %(group)s AND uid = ANY(%(uids)s::varchar[])
    GROUP BY "user" ORDER BY 2, 1"""
_SIZE = 'SELECT size FROM messaging_group WHERE tenant = %(tenant)s AND "group" = %(group)s'


def admit(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """updRTime, updRRTime: rows of the log that the user's other devices are shown."""
    return [_verdict(request) for request in requests]


def _verdict(request: Request) -> Verdict:
    try:
        conversation_reads.told(request.payload)
    except ProtocolError:
        return Refused(AckStatus.MALFORMED)
    r = request
    row = changes.Row(r.uid, r.tenant, READ_TIME, r.user, r.user, r.method, r.payload)
    return Entry(*row[:5], CHANGES, *row[5:7], seen=r.seen, effect=changes.effect(row))


@answers
def read(server_set: str, request: Request) -> None:
    """rrMsg: the asker has read these messages of the group. Of those that are not there, nothing is kept."""
    uids = _known(
        server_set, request, im.GrpReadReceiptMsg.FromString(request.payload).msgId, but=request.user
    )
    parameters = _of_group(request, uids) | {"user": request.user, "time": log.now()}

    def work(connection: psycopg.Connection[Any]) -> None:
        chatrooms.hold(connection, request.tenant, request.target)
        connection.execute(_PUT, parameters)

    try:
        log.of(server_set).run(work, within=WITHIN)
    except chatrooms.Refusal as refusal:
        raise Refusal(refusal.status) from None


@answers
def readers(server_set: str, request: Request) -> im.GrpReadReceiptQryResp:
    """rrList: who has read a message of the group (of several: one of them), those first who did so first."""
    uids = _known(server_set, request, im.GrpReadReceiptQryReq.FromString(request.payload).msgId)
    parameters = _of_group(request, uids)
    rows = log.of(server_set).read(_LIST, parameters)
    ((size,),) = log.of(server_set).read(_SIZE, parameters) or [(0,)]
    users = [im.GrpMsgReadUser(readTime=at, userId=user) for user, at in rows]
    return im.GrpReadReceiptQryResp(totalMemberNum=size, list=users)


def _of_group(request: Request, uids: Sequence[str]) -> dict[str, Any]:
    number = slot(str(request.tenant), request.target)
    return {"tenant": request.tenant, "group": request.target, "slot": number, "uids": list(uids)}


def _known(server_set: str, request: Request, named: Sequence[str], *, but: str = "") -> list[str]:
    """Those of the uids that are messages of the group, in which the asker must be; without those of `but`.

    Raises Refusal when there are none.
    """
    if not 0 < len(named) <= IDS_MAX:
        raise ProtocolError(f"receipts of {len(named)} messages")
    uids = list(dict.fromkeys(identifier(uid) for uid in named))
    key = (request.tenant, identifier(request.target), request.user)
    standing = standings(server_set, [key]).get(key)
    if standing is None or standing.muted_until is None:
        raise Refusal(AckStatus.NOT_IN_GROUP)
    found = changes.find(server_set, [Asked(request.tenant, uid, request.user) for uid in uids])
    if any(original is None for original in found.values()):
        raise Refusal(AckStatus.BUSY)
    its = {
        uid: original
        for (_, uid), original in found.items()
        if original is not None
        and original.kind == GROUP
        and original.target == request.target
        and not original.flags & RECALLED
    }
    if not its:
        raise Refusal(AckStatus.EXPANSION_NOT_FOUND)
    return [uid for uid, original in its.items() if original.sender != but]


METHODS = {"rrMsg": read, "rrList": readers}
