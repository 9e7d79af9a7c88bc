"""The block list of the user who asks (PROTOCOL 4.8): calls of v2; later SDKs leave it to the server API."""

from __future__ import annotations

from apps.messaging import block_lists, log
from apps.messaging.own_state import Refusal, answers, change, identifier
from apps.routing.envelope import Request
from apps.routing.protocol import im_pb2 as im
from apps.routing.protocol.kinds import ProtocolError
from apps.routing.protocol.packets import AckStatus


@answers
def add(server_set: str, request: Request) -> None:
    """addBlack."""
    other = identifier(im.Add2BlackListInput.FromString(request.payload).userId)
    if other == request.user:
        raise ProtocolError("a user who blocks himself")
    try:
        change(
            server_set, request, lambda cursor: block_lists.add(cursor, request.tenant, request.user, [other])
        )
    except block_lists.Full:
        raise Refusal(AckStatus.OPERATION_BLOCKED) from None


@answers
def remove(server_set: str, request: Request) -> None:
    """rmBlack."""
    other = identifier(im.RemoveFromBlackListInput.FromString(request.payload).userId)
    change(
        server_set, request, lambda cursor: block_lists.remove(cursor, request.tenant, request.user, [other])
    )


@answers
def everybody(server_set: str, request: Request) -> im.QueryBlackListOutput:
    """getBlack."""
    im.QueryBlackListInput.FromString(request.payload)
    rows = log.of(server_set).read(block_lists.ALL, (request.tenant, request.user))
    return im.QueryBlackListOutput(userIds=[blocked for (blocked,) in rows])


@answers
def status(server_set: str, request: Request) -> None:
    """blackStat: the status is the answer, OK when the other user is blocked."""
    other = identifier(im.BlackListStatusInput.FromString(request.payload).userId)
    if not block_lists.blocked_pairs(server_set, [(request.tenant, request.user, other)]):
        raise Refusal(AckStatus.NOT_BLACKLISTED)


METHODS = {"addBlack": add, "rmBlack": remove, "getBlack": everybody, "blackStat": status}
