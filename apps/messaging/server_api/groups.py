"""`/group/…`: groups and their members."""

from __future__ import annotations

from collections.abc import Sequence

import msgpack
from asgiref.sync import sync_to_async

from apps.messaging import exchange, groups, log, tenant_rules
from apps.messaging.models import GroupRule
from apps.messaging.server_api.declarations import (
    GROUP_FULL,
    INTERNAL,
    PARAMETER,
    TOO_MANY,
    Answer,
    Call,
    MapParam,
    Param,
    Refused,
    clock,
    endpoint,
    identifier,
    integer,
    text,
)
from apps.messaging.server_api.homes import change_at_home, sets_of
from apps.messaging.server_api.messages import committed
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.protocol.status import AckStatus
from apps.routing.topology import home, slot

USERS_A_CALL = 1000
GROUPS_A_CALL = 20
NAME_MAX = 256  # bytes: 64 characters of any script
MINUTES_MAX = 43200
MUTED_PAGE = 200
PAGES_MAX = 1 << 20
END = 1 << 53  # ms: for ever; clients read 64-bit values as doubles

USER = Param("userId", identifier, required=True)
GROUP = Param("groupId", identifier, required=True)
GROUP_OR_ALL = Param("groupId", identifier)
USERS = Param("userId", identifier, required=True, most=USERS_A_CALL)
SOME_USERS = Param("userId", identifier, required=True, most=20)
SOME_GROUPS = Param("groupId", identifier, required=True, most=GROUPS_A_CALL)
Rule = GroupRule.Kind
Everywhere = tenant_rules.Rule

_OF_USER = """
    SELECT "group", max(joined) FROM messaging_membership
    WHERE tenant = %s AND "user" = %s AND until IS NULL GROUP BY "group" ORDER BY "group" """
_NAMES = 'SELECT "group", name FROM messaging_group WHERE tenant = %s AND "group" = ANY(%s::varchar[])'
_PUT_RULES = """
    INSERT INTO messaging_grouprule (tenant, "group", slot, kind, until, "user")
    SELECT %s::int8, %s::varchar, %s::int2, %s::int2, %s::int8, u FROM unnest(%s::varchar[]) u
    ON CONFLICT (tenant, "group", "user", kind) DO UPDATE SET until = EXCLUDED.until"""
_TAKE_RULES = """
    DELETE FROM messaging_grouprule
    WHERE tenant = %s AND "group" = %s AND kind = %s AND "user" = ANY(%s::varchar[])"""
_RULES = """
    SELECT "user", until FROM messaging_grouprule
    WHERE tenant = %s AND "group" = %s AND kind = %s AND until > %s ORDER BY until, "user" """
_ALL_MUTED = f"""
    SELECT "group" FROM messaging_grouprule
    WHERE tenant = %s AND "user" = '' AND kind = {Rule.ALL_MUTED} AND until > %s"""


async def change(call: Call, how: str, users: Sequence[str], name: str = "") -> Answer:
    """Have the group's SET change it, in order with its messages."""
    return await _change(call, [(call["groupId"], how, users, name)])


async def _change(call: Call, changes: Sequence[tuple[str, str, Sequence[str], str]]) -> Answer:
    """Of each change: group, how, users, name."""
    requests = [
        Request(
            call.tenant.id,
            "",
            "grpChange",
            group,
            msgpack.packb([how, list(users), name]),
            options=FROM_SERVER,
        )
        for group, how, users, name in changes
    ]
    for reply, (group, how, users, _) in zip(await committed(requests), changes, strict=True):
        if reply.status == AckStatus.OPERATION_BLOCKED:
            raise Refused(GROUP_FULL, f"Group {group} would have too many members.")
        if reply.status == AckStatus.NOT_IN_GROUP:  # there is a discussion of that id, and so no such group
            if how == groups.JOIN and users:
                raise Refused(PARAMETER, f"groupId {group} is a discussion, which its members run.")
        elif reply.status == AckStatus.GROUP_ID_INVALID:
            raise Refused(TOO_MANY, f"The app may have {call.tenant.groups_max} groups.")
        elif reply.status:
            raise Refused(INTERNAL, "Not known to be done, please retry.")
    return {}


@endpoint(
    "/group/create",
    USERS,
    GROUP,
    Param("groupName", text(NAME_MAX), required=True),
    errors=(GROUP_FULL, TOO_MANY),
)
async def create(call: Call) -> Answer:
    """Make a group of these members. A group that exists gets these members and this name."""
    return await change(call, groups.JOIN, call["userId"], call["groupName"])


@endpoint(
    "/group/join", USERS, GROUP, Param("groupName", text(NAME_MAX), default=""), errors=(GROUP_FULL, TOO_MANY)
)
async def join(call: Call) -> Answer:
    """Add members to a group. A group that does not exist is made."""
    return await change(call, groups.JOIN, call["userId"], call["groupName"])


@endpoint("/group/quit", USERS, GROUP)
async def quit_group(call: Call) -> Answer:
    """Take members out of a group. Who is no member need not quit."""
    return await change(call, groups.QUIT, call["userId"])


@endpoint("/group/dismiss", USER, GROUP)
async def dismiss(call: Call) -> Answer:
    """Dissolve a group. All members leave; what they were sent stays theirs."""
    return await change(call, groups.DISMISS, ())


@endpoint("/group/refresh", GROUP, Param("groupName", text(NAME_MAX), required=True))
async def refresh(call: Call) -> Answer:
    """Give a group a new name."""
    return await change(call, groups.JOIN, (), call["groupName"])


@endpoint("/group/user/query", GROUP, answer={"id": "friends", "users": [{"id": "alice"}]})
def members(call: Call) -> Answer:
    """A group's members. Those first who came first."""
    found = groups.members(home(call.tenant.id, call["groupId"]), call.tenant.id, call["groupId"])
    return {"id": call["groupId"], "users": [{"id": user} for user in found]}


@endpoint(
    "/group/sync",
    USER,
    MapParam("group", identifier, most=USERS_A_CALL, parse_value=text(NAME_MAX)),
    errors=(GROUP_FULL, TOO_MANY),
)
async def sync(call: Call) -> Answer:
    """Have a user be in these groups and in no others from now on."""
    user, wanted = call["userId"], call["group"]
    now = {name for name, _ in await sync_to_async(_groups_of, thread_sensitive=False)(call.tenant.id, user)}
    changes: list[tuple[str, str, Sequence[str], str]] = [
        *((group, groups.JOIN, [user], name) for group, name in wanted.items()),
        *((group, groups.QUIT, [user], "") for group in sorted(now - wanted.keys())),
    ]
    return await _change(call, changes)


def _groups_of(tenant: int, user: str) -> list[tuple[str, int]]:
    """(group, ms at which he came to it), by name."""
    server_set = home(tenant, user)
    exchange.freshen(server_set)  # he may have come to a group of another SET a moment ago
    return log.of(server_set).read(_OF_USER, (tenant, user))


@endpoint(
    "/user/group/query",
    USER,
    Param("page", integer(1, PAGES_MAX), default=1),
    Param("size", integer(1, USERS_A_CALL), default=USERS_A_CALL),
    answer={"groups": [{"id": "friends", "name": "Friends"}]},
)
def of_user(call: Call) -> Answer:
    """The groups that a user is in.

    By id. The name of a group whose SET is away is not known: the call is to be tried again.
    """
    found = [group for group, _ in _groups_of(call.tenant.id, call["userId"])]
    page = found[(call["page"] - 1) * call["size"] : call["page"] * call["size"]]
    names: dict[str, str] = {}
    for server_set, its in _by_home(call.tenant.id, page).items():
        names.update(log.of(server_set).read(_NAMES, (call.tenant.id, its)))
    return {"groups": [{"id": group, "name": names.get(group, "")} for group in page]}


def _by_home(tenant: int, of: Sequence[str]) -> dict[str, list[str]]:
    """SET -> those of the groups whose home it is."""
    homes: dict[str, list[str]] = {}
    for group in of:
        homes.setdefault(home(tenant, group), []).append(group)
    return homes


# --- who may not send


def _put(call: Call, group: str, users: Sequence[str], kind: int, until: int = END) -> None:
    number = slot(str(call.tenant.id), group)
    parameters = (call.tenant.id, group, number, kind, until, list(users))
    change_at_home(call.tenant.id, group, lambda cursor: cursor.execute(_PUT_RULES, parameters))


def _take(call: Call, group: str, users: Sequence[str], kind: int) -> None:
    parameters = (call.tenant.id, group, kind, list(users))
    change_at_home(call.tenant.id, group, lambda cursor: cursor.execute(_TAKE_RULES, parameters))


def _listed(call: Call, group: str, kind: int) -> list[tuple[str, int]]:
    """(user, ms until when), those whose time ends first first."""
    server_set = home(call.tenant.id, group)
    return log.of(server_set).read(_RULES, (call.tenant.id, group, kind, log.now()))


@endpoint(
    "/group/user/gag/add",
    SOME_USERS,
    GROUP_OR_ALL,
    Param("minute", integer(0, MINUTES_MAX), required=True),
)
def mute(call: Call) -> Answer:
    """Keep users from sending to a group, or to all groups; also who is not in it yet.

    0 minutes: for ever.
    """
    until = log.now() + call["minute"] * 60_000 if call["minute"] else END
    if call["groupId"] is None:
        tenant_rules.add(call.tenant.id, Everywhere.GROUP_MUTED, call["userId"], until)
    else:
        _put(call, call["groupId"], call["userId"], Rule.MUTED, until)
    return {}


@endpoint("/group/user/gag/rollback", SOME_USERS, GROUP_OR_ALL)
def unmute(call: Call) -> Answer:
    """Let muted members send again. Who is not muted need not be unmuted."""
    if call["groupId"] is None:
        tenant_rules.remove(call.tenant.id, Everywhere.GROUP_MUTED, call["userId"])
    else:
        _take(call, call["groupId"], call["userId"], Rule.MUTED)
    return {}


@endpoint(
    "/group/user/gag/list", GROUP_OR_ALL, answer={"users": [{"userId": "bob", "time": "2026-01-31 12:00:00"}]}
)
def muted(call: Call) -> Answer:
    """Who is muted in a group, and until when; in all groups, when none is named."""
    if call["groupId"] is None:
        found = tenant_rules.listed(call.tenant.id, Everywhere.GROUP_MUTED)
    else:
        found = _listed(call, call["groupId"], Rule.MUTED)
    return {"users": [{"userId": user, "time": clock(until)} for user, until in found]}


@endpoint("/group/ban/add", SOME_GROUPS)
def mute_all(call: Call) -> Answer:
    """Mute whole groups.

    Of these groups, only those who are exempt may send; also of groups that are made later.
    """
    for group in call["groupId"]:
        _put(call, group, [""], Rule.ALL_MUTED)
    return {}


@endpoint("/group/ban/rollback", SOME_GROUPS)
def unmute_all(call: Call) -> Answer:
    """Let everybody in these groups send again."""
    for group in call["groupId"]:
        _take(call, group, [""], Rule.ALL_MUTED)
    return {}


@endpoint(
    "/group/ban/query",
    Param("groupId", identifier, most=GROUPS_A_CALL),
    Param("page", integer(1, PAGES_MAX), default=1),
    Param("size", integer(1, MUTED_PAGE), default=MUTED_PAGE),
    answer={"groupinfo": [{"groupId": "friends", "stat": 1}]},
)
def muted_groups(call: Call) -> Answer:
    """Whether each of these groups is muted as a whole; or all that are, by id, when none is named."""
    tenant, wanted = call.tenant.id, call["groupId"]
    found: set[str] = set()
    for server_set in _by_home(tenant, wanted) if wanted else sets_of(call.tenant):
        found.update(group for (group,) in log.of(server_set).read(_ALL_MUTED, (tenant, log.now())))
    if wanted:
        return {"groupinfo": [{"groupId": group, "stat": int(group in found)} for group in wanted]}
    page = sorted(found)[(call["page"] - 1) * call["size"] : call["page"] * call["size"]]
    return {"groupinfo": [{"groupId": group, "stat": 1} for group in page]}


@endpoint("/group/user/ban/whitelist/add", SOME_USERS, GROUP)
def exempt(call: Call) -> Answer:
    """Let these members send while their group is muted."""
    _put(call, call["groupId"], call["userId"], Rule.EXEMPT)
    return {}


@endpoint("/group/user/ban/whitelist/rollback", SOME_USERS, GROUP)
def unexempt(call: Call) -> Answer:
    """Have a group's mute hold for these members too."""
    _take(call, call["groupId"], call["userId"], Rule.EXEMPT)
    return {}


@endpoint("/group/user/ban/whitelist/query", GROUP, answer={"userIds": ["alice"]})
def exempted(call: Call) -> Answer:
    """Who may send while the group is muted."""
    return {"userIds": [user for user, _ in _listed(call, call["groupId"], Rule.EXEMPT)]}
