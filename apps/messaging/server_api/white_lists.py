"""`/user/whitelist/…`: from whom users take private messages, where the tenant is `whitelist_only`."""

from __future__ import annotations

from apps.messaging import white_lists
from apps.messaging.server_api.declarations import (
    ID_MAX,
    PARAMETER,
    Answer,
    Call,
    Param,
    Refused,
    endpoint,
    identifier,
    integer,
    text,
)
from apps.messaging.server_api.homes import change_at_home
from apps.messaging.white_lists import ALLOWED_MAX
from apps.routing.topology import home

PAGE = 1000  # users, where pages are asked for without their size

USER = Param("userId", identifier, required=True)
WHITE_USERS = Param("whiteUserId", identifier, required=True, most=20)


@endpoint("/user/whitelist/add", USER, WHITE_USERS)
def add(call: Call) -> Answer:
    """He takes private messages from these users from then on."""
    owner = (call.tenant.id, call["userId"])
    try:
        change_at_home(*owner, lambda cursor: white_lists.add(cursor, *owner, call["whiteUserId"]))
    except white_lists.Full:
        raise Refused(PARAMETER, f"A whitelist holds {ALLOWED_MAX} users at most.") from None
    return {}


@endpoint("/user/whitelist/remove", USER, WHITE_USERS)
def remove(call: Call) -> Answer:
    """Who is not in it need not be removed."""
    owner = (call.tenant.id, call["userId"])
    change_at_home(*owner, lambda cursor: white_lists.remove(cursor, *owner, call["whiteUserId"]))
    return {}


@endpoint(
    "/user/whitelist/query",
    USER,
    Param("pageToken", text(ID_MAX)),
    Param("size", integer(1, ALLOWED_MAX)),
    answer={"users": ["bob"], "next?": "bob"},
)
def query(call: Call) -> Answer:
    """All of it; or a page, when the caller asks for pages: `pageToken` is the last id of the one before."""
    paged = call["pageToken"] is not None or call["size"] is not None
    size = (call["size"] or PAGE) if paged else ALLOWED_MAX
    server_set = home(call.tenant.id, call["userId"])
    found = white_lists.page(server_set, call.tenant.id, call["userId"], call["pageToken"] or "", size + 1)
    answer: Answer = {"users": found[:size]}
    if paged:
        answer["next"] = found[size - 1] if len(found) > size else ""
    return answer
