"""`/user/remarks/…`, `/group/remarks/…`: what pushes to a user call his friends and groups.

Kept in the user's home SET, which pushes to him. Nothing is pushed to phones yet: they are only kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from apps.messaging import log
from apps.messaging.server_api.declarations import (
    PARAMETER,
    Answer,
    Call,
    Param,
    Refused,
    described,
    endpoint,
    identifier,
    integer,
    text,
)
from apps.messaging.server_api.homes import change_at_home
from apps.routing.protocol.messages import GROUP, PRIVATE
from apps.routing.topology import home, slot

REMARKS_A_CALL = 100
REMARKS_MAX = 3000  # friends of a user, or groups of his, that have one
REMARK_MAX = 256  # bytes: 64 characters of any script
PAGES_MAX = 1 << 20

_PUT = """
    INSERT INTO messaging_pushremark (tenant, "user", slot, kind, target, remark)
    SELECT %s::int8, %s::varchar, %s::int2, %s::int2, t, r FROM unnest(%s::varchar[], %s::varchar[]) w(t, r)
    ON CONFLICT (tenant, "user", kind, target) DO UPDATE SET remark = EXCLUDED.remark"""
_OF_USER = 'FROM messaging_pushremark WHERE tenant = %s AND "user" = %s AND kind = %s'
_COUNT = f"SELECT count(*) {_OF_USER}"
_PAGE = f"SELECT target, remark {_OF_USER} ORDER BY target OFFSET %s LIMIT %s"
_ONE = f"SELECT remark {_OF_USER} AND target = %s"
_TAKE = f"DELETE {_OF_USER} AND target = %s"

USER = Param("userId", identifier, required=True)
OF_GROUP = Param("groupId", identifier, required=True)
remark_of = text(REMARK_MAX)


@described(type="string", examples=['[{"id": "bob", "remark": "Bobby"}]'])
def remarks(given: str) -> dict[str, str]:
    """A JSON array of {"id", "remark"}, of which SDKs capitalise the keys, as one dict."""
    try:
        found = json.loads(given)
        pairs = [{key.lower(): value for key, value in each.items()} for each in found]
        wanted = {identifier(each["id"]): remark_of(each["remark"]) for each in pairs}
    except (
        json.JSONDecodeError,
        UnicodeEncodeError,
        RecursionError,
        AttributeError,
        KeyError,
        TypeError,
    ):
        raise ValueError('must be a JSON array of {"id", "remark"}') from None
    if not wanted or not all(wanted) or not all(wanted.values()):
        raise ValueError("has an id or a remark that is empty")
    if len(found) > REMARKS_A_CALL:
        raise ValueError(f"has more than {REMARKS_A_CALL} entries")
    return wanted


def _put(call: Call, kind: int, wanted: Mapping[str, str]) -> None:
    tenant, user = call.tenant.id, call["userId"]
    number = slot(str(tenant), user)

    def work(cursor: Any) -> None:
        cursor.execute(_PUT, (tenant, user, number, kind, list(wanted), list(wanted.values())))
        cursor.execute(_COUNT, (tenant, user, kind))
        if cursor.fetchone()[0] > REMARKS_MAX:
            raise Refused(PARAMETER, f"A user has {REMARKS_MAX} remarks of a kind at most.")

    change_at_home(tenant, user, work)


def _take(call: Call, kind: int, target: str) -> None:
    which = (call.tenant.id, call["userId"], kind, target)
    change_at_home(call.tenant.id, call["userId"], lambda cursor: cursor.execute(_TAKE, which))


def _read(call: Call, statement: str, *parameters: Any) -> Sequence[Any]:
    tenant, user = call.tenant.id, call["userId"]
    return log.of(home(tenant, user)).read(statement, (tenant, user, *parameters))


@endpoint("/user/remarks/set", USER, Param("remarks", remarks, required=True))
def set_of_users(call: Call) -> Answer:
    """A friend who has one gets the new one; others keep theirs."""
    _put(call, PRIVATE, call["remarks"])
    return {}


@endpoint("/user/remarks/del", USER, Param("targetId", identifier, required=True))
def delete_of_user(call: Call) -> Answer:
    """Who has none need not lose it."""
    _take(call, PRIVATE, call["targetId"])
    return {}


@endpoint(
    "/user/remarks/get",
    USER,
    Param("page", integer(1, PAGES_MAX), default=1),
    Param("size", integer(1, REMARKS_A_CALL), default=50),
    answer={"total": 1, "users": [{"id": "bob", "remark": "Bobby"}]},
)
def of_users(call: Call) -> Answer:
    """By id of the friend; `total` is of all pages."""
    ((total,),) = _read(call, _COUNT, PRIVATE)
    page = _read(call, _PAGE, PRIVATE, (call["page"] - 1) * call["size"], call["size"])
    return {"total": total, "users": [{"id": target, "remark": remark} for target, remark in page]}


@endpoint("/group/remarks/set", USER, OF_GROUP, Param("remark", remark_of, required=True))
def set_of_group(call: Call) -> Answer:
    """Instead of the one that the group had; the user need not be in it."""
    _put(call, GROUP, {call["groupId"]: call["remark"]})
    return {}


@endpoint("/group/remarks/del", USER, OF_GROUP)
def delete_of_group(call: Call) -> Answer:
    """A group that has none need not lose it."""
    _take(call, GROUP, call["groupId"])
    return {}


@endpoint("/group/remarks/get", USER, OF_GROUP, answer={"remark": "The team"})
def of_group(call: Call) -> Answer:
    """Empty when there is none."""
    found = _read(call, _ONE, GROUP, call["groupId"])
    return {"remark": found[0][0] if found else ""}
