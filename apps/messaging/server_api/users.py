"""`/user/…`: registration, tokens, profile, presence, block lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
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
from apps.messaging.server_api.registration import make_room, register
from apps.routing import databases, presence
from apps.routing.topology import home

NAME_MAX = 256  # bytes: 64 characters of any script
PORTRAIT_MAX = 1024  # bytes
USERS_A_CALL = 20

MINUTES_MAX = 43200
BLOCKED_PAGE = 50
PAGES_MAX = 1 << 20

USER = Param("userId", identifier, required=True)
SOME_USERS = Param("userId", identifier, required=True, most=USERS_A_CALL)
BLACK_USERS = Param("blackUserId", identifier, required=True, most=USERS_A_CALL)


@endpoint(
    "/user/getToken",
    USER,
    Param("name", text(NAME_MAX), required=True, may_be_empty=True),
    Param("portraitUri", text(PORTRAIT_MAX), default=""),
)
async def get_token(call: Call) -> Answer:
    await register(call.tenant, call["userId"], call["name"], call["portraitUri"])
    return {"userId": call["userId"], "token": tokens.issue(call.tenant, call["userId"])}


@endpoint("/user/refresh", USER, Param("name", text(NAME_MAX)), Param("portraitUri", text(PORTRAIT_MAX)))
def refresh(call: Call) -> Answer:
    given = {"name": call["name"], "portrait_uri": call["portraitUri"]}
    new = {field: value for field, value in given.items() if value is not None}
    if new:
        _user(call).update(**new)
    return {}


@endpoint("/user/info", USER)
def info(call: Call) -> Answer:
    user = _user(call).first()
    if user is None:
        return {"userName": "", "userPortrait": "", "createTime": ""}
    return {
        "userName": user.name,
        "userPortrait": user.portrait_uri,
        "createTime": clock(int(user.created_at.timestamp() * 1000)),
    }


def _user(call: Call) -> QuerySet[User]:
    return User.objects.filter(tenant_id=call.tenant.id, user_id=call["userId"])


@endpoint("/user/checkOnline", USER)
def check_online(call: Call) -> Answer:
    (online,) = presence.online(call.tenant.id, [call["userId"]])
    return {"status": "1" if online else "0"}  # text: the Go SDK cannot read a number here


@endpoint(
    "/user/token/expire",
    Param("userId", identifier, required=True, most=USERS_A_CALL),
    Param("time", integer(0, LAST_MOMENT), required=True),
)
def expire_tokens(call: Call) -> Answer:
    """Users that are not known have no tokens. An earlier moment does not bring tokens back."""
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
    try:
        return _change_block_list(call, block_lists.add)
    except block_lists.Full:
        raise Refused(PARAMETER, f"A blacklist holds {BLOCKED_MAX} users at most.") from None


@endpoint("/user/blacklist/remove", USER, BLACK_USERS)
def remove_from_blacklist(call: Call) -> Answer:
    return _change_block_list(call, block_lists.remove)


@endpoint(
    "/user/blacklist/query",
    USER,
    Param("pageToken", text(ID_MAX)),
    Param("size", integer(1, BLOCKED_MAX)),
)
def query_blacklist(call: Call) -> Answer:
    """All of it; or a page, when the caller asks for pages: `pageToken` is the last id of the one before."""
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
    """Also a user who is not known yet. His connections end within a second."""
    until = timezone.now() + timedelta(minutes=call["minute"])
    _restrict(call, until)
    return {}


@endpoint("/user/unblock", SOME_USERS)
def unblock(call: Call) -> Answer:
    """Who is not blocked need not be unblocked."""
    with changing() as version:
        _blocked(call).filter(user_id__in=call["userId"]).update(blocked_until=None, changed=version)
    return {}


@endpoint(
    "/user/block/query",
    Param("page", integer(1, PAGES_MAX), default=1),
    Param("size", integer(1, BLOCKED_PAGE), default=BLOCKED_PAGE),
)
def blocked_users(call: Call) -> Answer:
    """By id, with the end of each block."""
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
    return User.objects.filter(tenant_id=call.tenant.id, blocked_until__gt=timezone.now())


def _restrict(call: Call, until: datetime) -> None:
    with changing() as version, connection.cursor() as cursor:
        make_room(cursor, call.tenant, call["userId"])
        User.objects.bulk_create(
            [
                User(tenant_id=call.tenant.id, user_id=user, blocked_until=until, changed=version)
                for user in call["userId"]
            ],
            update_conflicts=True,
            unique_fields=("tenant", "user_id"),
            update_fields=("blocked_until", "changed"),
        )
