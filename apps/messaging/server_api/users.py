"""`/user/…`: registration, tokens, profile, presence, block lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Greatest
from django.utils import timezone

from apps.accounts import tokens
from apps.accounts.models import BlockEntry, User, changing
from apps.messaging import block_lists
from apps.messaging.block_lists import BLOCKED_MAX
from apps.messaging.server_api.declarations import (
    ID_MAX,
    LAST_MOMENT,
    PARAMETER,
    TOO_MANY_USERS,
    Answer,
    Call,
    Param,
    Refused,
    clock,
    endpoint,
    identifier,
    integer,
    text,
)
from apps.messaging.server_api.homes import change_at_home
from apps.messaging.server_api.registration import register
from apps.routing import databases, presence
from apps.routing.topology import home

NAME_MAX = 256  # bytes: 64 characters of any script
PORTRAIT_MAX = 1024  # bytes
USERS_A_CALL = 20

MINUTES_MAX = 43200
BLOCKED_PAGE = 50
USERS_PAGE = 100
PAGES_MAX = 1 << 20

USER = Param("userId", identifier, required=True)
SOME_USERS = Param("userId", identifier, required=True, most=USERS_A_CALL)
BLACK_USERS = Param("blackUserId", identifier, required=True, most=USERS_A_CALL)


@endpoint(
    "/user/getToken",
    USER,
    Param("name", text(NAME_MAX), required=True, may_be_empty=True),
    Param("portraitUri", text(PORTRAIT_MAX), default=""),
    answer={"userId": "alice", "token": "Zm9yZXhhbXBsZQ=="},
    errors=(TOO_MANY_USERS,),
)
async def get_token(call: Call) -> Answer:
    """Register a user, or refresh what is known of him, and get a token that his client connects with."""
    await register(call.tenant, call["userId"], call["name"], call["portraitUri"])
    return {"userId": call["userId"], "token": tokens.issue(call.tenant, call["userId"])}


@endpoint("/user/refresh", USER, Param("name", text(NAME_MAX)), Param("portraitUri", text(PORTRAIT_MAX)))
def refresh(call: Call) -> Answer:
    """Change a user's name or picture; what is not given stays."""
    given = {"name": call["name"], "portrait_uri": call["portraitUri"]}
    new = {field: value for field, value in given.items() if value is not None}
    if new:
        _user(call).update(**new)
    return {}


@endpoint(
    "/user/info",
    USER,
    answer={
        "userName": "Alice",
        "userPortrait": "https://example.com/alice.png",
        "createTime": "2026-01-31 12:00:00",
    },
)
def info(call: Call) -> Answer:
    """A registered user's name and picture; empty texts when he is not known."""
    user = _user(call).first()
    if user is None:
        return {"userName": "", "userPortrait": "", "createTime": ""}
    return {
        "userName": user.name,
        "userPortrait": user.portrait_uri,
        "createTime": clock(int(user.created_at.timestamp() * 1000)),
    }


def _user(call: Call) -> QuerySet[User]:
    return User.objects.filter(tenant_id=call.tenant.id, user_id=call["userId"], registered=True)


@endpoint(
    "/user/query",
    Param("page", integer(1, PAGES_MAX), default=1),
    Param("pageSize", integer(1, USERS_PAGE), default=20),
    Param("order", integer(0, 1), default=0),
    answer={
        "total": 1,
        "users": [
            {
                "userId": "alice",
                "userName": "Alice",
                "userPortrait": "https://…",
                "regTime": "2026-01-11 01:28:20",
            }
        ],
    },
)
def registered_users(call: Call) -> Answer:
    """Those first who registered first, or last with `order` 1; `total` is of all pages."""
    known = User.objects.filter(tenant_id=call.tenant.id, registered=True, deactivated=False)
    ordered = known.order_by(*(("-created_at", "-user_id") if call["order"] else ("created_at", "user_id")))
    begin = (call["page"] - 1) * call["pageSize"]
    page = ordered.values_list("user_id", "name", "portrait_uri", "created_at")
    return {
        "total": known.count(),
        "users": [
            {
                "userId": user,
                "userName": name,
                "userPortrait": portrait,
                "regTime": clock(int(created.timestamp() * 1000)),
            }
            for user, name, portrait, created in page[begin : begin + call["pageSize"]]
        ],
    }


@endpoint("/user/checkOnline", USER, answer={"status": "1"})
def check_online(call: Call) -> Answer:
    """Whether a user is connected now: 1 or 0, as a text."""
    (online,) = presence.online(call.tenant.id, [call["userId"]])
    return {"status": "1" if online else "0"}  # text: the Go SDK cannot read a number here


@endpoint(
    "/user/token/expire",
    Param("userId", identifier, required=True, most=USERS_A_CALL),
    Param("time", integer(0, LAST_MOMENT), required=True),
)
def expire_tokens(call: Call) -> Answer:
    """Refuse tokens that were issued before a moment.

    Users that are not known have no tokens. An earlier moment does not bring tokens back.
    """
    with changing() as version:
        User.objects.filter(tenant_id=call.tenant.id, user_id__in=call["userId"]).update(
            tokens_valid_after=Greatest("tokens_valid_after", call["time"]), changed=version
        )
    return {}


def _block_list(call: Call) -> QuerySet[BlockEntry]:
    """The owner's entries, in the database of the SET where messages to the owner are appended."""
    entries = BlockEntry.objects.using(databases.alias(home(call.tenant.id, call["userId"])))
    return entries.filter(tenant_id=call.tenant.id, owner=call["userId"])


def _change_block_list(call: Call, change: Callable[[Any, int, str, Sequence[str]], None]) -> Answer:
    owner = (call.tenant.id, call["userId"])
    change_at_home(*owner, lambda cursor: change(cursor, *owner, call["blackUserId"]))
    return {}


@endpoint("/user/blacklist/add", USER, BLACK_USERS)
def add_to_blacklist(call: Call) -> Answer:
    """Have these users' messages to a user refused."""
    try:
        return _change_block_list(call, block_lists.add)
    except block_lists.Full:
        raise Refused(PARAMETER, f"A blacklist holds {BLOCKED_MAX} users at most.") from None


@endpoint("/user/blacklist/remove", USER, BLACK_USERS)
def remove_from_blacklist(call: Call) -> Answer:
    """Take users off a user's blacklist."""
    return _change_block_list(call, block_lists.remove)


@endpoint(
    "/user/blacklist/query",
    USER,
    Param("pageToken", text(ID_MAX)),
    Param("size", integer(1, BLOCKED_MAX)),
    answer={"users": ["bob"], "next?": "bob"},
)
def query_blacklist(call: Call) -> Answer:
    """A user's blacklist.

    All of it; or a page, when the caller asks for pages: `pageToken` is the last id of the one before.
    """
    users = _block_list(call).order_by("blocked").values_list("blocked", flat=True)
    if call["pageToken"] is None and call["size"] is None:
        return {"users": list(users)}
    if call["pageToken"]:
        users = users.filter(blocked__gt=call["pageToken"])
    size = call["size"] or 1000
    page = list(users[: size + 1])
    return {"users": page[:size], "next": page[size - 1] if len(page) > size else ""}


# --- who may not connect


@endpoint("/user/block", SOME_USERS, Param("minute", integer(1, MINUTES_MAX), required=True))
def block(call: Call) -> Answer:
    """Keep users from connecting for some minutes.

    Also a user who is not known yet. His connections end within a second.
    """
    until = timezone.now() + timedelta(minutes=call["minute"])
    _restrict(call, until)
    return {}


@endpoint("/user/unblock", SOME_USERS)
def unblock(call: Call) -> Answer:
    """Let users connect again. Who is not blocked need not be unblocked."""
    with changing() as version:
        _blocked(call).filter(user_id__in=call["userId"]).update(blocked_until=None, changed=version)
    return {}


@endpoint(
    "/user/block/query",
    Param("page", integer(1, PAGES_MAX), default=1),
    Param("size", integer(1, BLOCKED_PAGE), default=BLOCKED_PAGE),
    answer={"users": [{"userId": "bob", "blockEndTime": "2026-01-31 12:00:00"}]},
)
def blocked_users(call: Call) -> Answer:
    """Who may not connect, by id, and until when."""
    begin = (call["page"] - 1) * call["size"]
    found = _blocked(call).order_by("user_id").values_list("user_id", "blocked_until")
    return {
        "users": [
            {"userId": user, "blockEndTime": clock(int(until.timestamp() * 1000))}
            for user, until in found[begin : begin + call["size"]]
            if until is not None
        ]
    }


def _blocked(call: Call) -> QuerySet[User]:
    restricted = User.objects.filter(tenant_id=call.tenant.id, changed__gt=0)  # there is an index of these
    return restricted.filter(blocked_until__gt=timezone.now())


def _restrict(call: Call, until: datetime) -> None:
    with changing() as version:
        User.objects.bulk_create(
            [
                User(
                    tenant_id=call.tenant.id,
                    user_id=user,
                    blocked_until=until,
                    registered=False,
                    changed=version,
                )
                for user in call["userId"]
            ],
            update_conflicts=True,
            unique_fields=("tenant", "user_id"),
            update_fields=("blocked_until", "changed"),
        )
