"""`/user/chat/fb/…`: users who may not send private messages; known in all workers within a second."""

from __future__ import annotations

from apps.messaging import tenant_rules
from apps.messaging.server_api.declarations import (
    Answer,
    Call,
    Param,
    described,
    endpoint,
    flag,
    identifier,
    integer,
)
from apps.messaging.tenant_rules import Rule

USERS_A_CALL = 20
PAGE_MAX = 200
OFFSET_MAX = 1 << 31


@described(type="string", enum=["PERSON"])
def person(text: str) -> str:
    if text != "PERSON":
        raise ValueError("must be PERSON")
    return text


TYPE = Param("type", person, required=True)


@endpoint(
    "/user/chat/fb/set",
    Param("userId", identifier, required=True, most=USERS_A_CALL),
    Param("state", flag, required=True),
    TYPE,
)
def set_muted(call: Call) -> Answer:
    """Mute users in private chats (`state` 1), or end that (0)."""
    if call["state"]:
        tenant_rules.add(call.tenant.id, Rule.PRIVATE_MUTED, call["userId"])
    else:
        tenant_rules.remove(call.tenant.id, Rule.PRIVATE_MUTED, call["userId"])
    return {}


@endpoint(
    "/user/chat/fb/querylist",
    Param("num", integer(1, PAGE_MAX), default=100),
    Param("offset", integer(0, OFFSET_MAX), default=0),
    TYPE,
    answer={"total": 1, "users": ["bob"]},
)
def muted(call: Call) -> Answer:
    """By id: `num` of them after the first `offset`, and how many there are."""
    found = [user for user, _ in tenant_rules.listed(call.tenant.id, Rule.PRIVATE_MUTED)]
    return {"total": len(found), "users": found[call["offset"] : call["offset"] + call["num"]]}
