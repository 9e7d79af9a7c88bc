"""`/user/deactivate`, `/user/delusers` and what undoes them: users who go.

Both shut the user out first, and then delete what is his: tags, block list, settings, remarks, his places in
groups. Messages stay: they are the other side's too. All is done when the call is answered, and a call that
fails half-way is repeated without harm.
"""

from __future__ import annotations

import logging
import time
import uuid
from functools import partial
from typing import Any

import msgpack
from channels.db import database_sync_to_async
from django.db import connection

from apps.accounts.models import User, changing
from apps.messaging import exchange, groups, log, user_tags
from apps.messaging.server_api.declarations import (
    INTERNAL,
    Answer,
    Call,
    Param,
    Refused,
    endpoint,
    identifier,
    integer,
)
from apps.messaging.server_api.homes import change_at_home
from apps.messaging.server_api.messages import committed
from apps.routing.envelope import FROM_SERVER, Request
from apps.routing.topology import home

logger = logging.getLogger(__name__)

USERS_A_CALL = 100
BATCH = 1_000  # groups that are left at once
PAGE_MAX = 100
PAGES_MAX = 1 << 20
USERS = Param("userId", identifier, required=True, most=USERS_A_CALL)
OPERATION = {"operateId": "7c9e6679f91c4d0c8a1a1b9a3f0f5f9e"}

# Also ids that are not known yet: nobody can register and use them.
_DEACTIVATE = """
    INSERT INTO accounts_user AS known
      (tenant_id, user_id, name, portrait_uri, registered, deactivated,
       tokens_valid_after, deleted_at, changed)
    SELECT %(tenant)s::int8, u, '', '', false, true, %(now)s::int8, %(now)s::int8, %(version)s::int8
    FROM unnest(%(users)s::varchar[]) u
    ON CONFLICT (tenant_id, user_id) DO UPDATE
    SET name = '', portrait_uri = '', registered = false, deactivated = true,
      deleted_at = EXCLUDED.deleted_at, changed = EXCLUDED.changed,
      tokens_valid_after = GREATEST(known.tokens_valid_after, EXCLUDED.tokens_valid_after)"""
# The row stays: with it would go what has ended the user's tokens.
_DELETE = """
    UPDATE accounts_user
    SET name = '', portrait_uri = '', registered = false, deleted_at = %(now)s::int8,
      tokens_valid_after = GREATEST(tokens_valid_after, %(now)s::int8), changed = %(version)s::int8
    WHERE tenant_id = %(tenant)s::int8 AND user_id = ANY(%(users)s::varchar[])"""
# In the users' home SETs.
_IN_GROUPS = """
    SELECT DISTINCT "group", "user" FROM messaging_membership
    WHERE tenant = %s AND "user" = ANY(%s::varchar[]) AND until IS NULL"""
_OWN = (
    "DELETE FROM accounts_blockentry WHERE tenant_id = %s AND owner = %s",
    'DELETE FROM messaging_usersetting WHERE tenant = %s AND "user" = %s',
    'DELETE FROM messaging_conversationstate WHERE tenant = %s AND "user" = %s',
    'DELETE FROM messaging_pushremark WHERE tenant = %s AND "user" = %s',
)


async def _go(call: Call, how: str) -> None:
    await database_sync_to_async(_shut_out, thread_sensitive=False)(call, how)
    changes = await database_sync_to_async(_memberships, thread_sensitive=False)(call)
    for begin in range(0, len(changes), BATCH):
        requests = [
            Request(call.tenant.id, "", "grpChange", group, payload, options=FROM_SERVER)
            for group, payload in changes[begin : begin + BATCH]
        ]
        if any(reply.status for reply in await committed(requests)):
            raise Refused(INTERNAL, "Not known to be done, please retry.")


def _shut_out(call: Call, how: str) -> None:
    tenant, users = call.tenant.id, call["userId"]
    with changing() as version, connection.cursor() as cursor:
        now = time.time_ns() // 1_000_000
        cursor.execute(how, {"tenant": tenant, "users": users, "now": now, "version": version})
    user_tags.replace(tenant, users, ())
    for user in users:
        change_at_home(tenant, user, partial(_forget, (tenant, user)))


def _memberships(call: Call) -> list[tuple[str, bytes]]:
    """(group, change by which those of the users who are in it leave it)."""
    homes: dict[str, list[str]] = {}
    for user in call["userId"]:
        homes.setdefault(home(call.tenant.id, user), []).append(user)
    leaving: dict[str, list[str]] = {}
    for server_set, its in homes.items():
        exchange.freshen(server_set)  # they may have come to groups of other SETs a moment ago
        for group, user in log.of(server_set).read(_IN_GROUPS, (call.tenant.id, its)):
            leaving.setdefault(group, []).append(user)
    return [(group, msgpack.packb([groups.DEPART, users, ""])) for group, users in leaving.items()]


def _forget(owner: tuple[int, str], cursor: Any) -> None:
    for statement in _OWN:
        cursor.execute(statement, owner)


def _operation(call: Call, what: str) -> Answer:
    operation = uuid.uuid4().hex
    logger.info(
        "operation %s: tenant %d has %s %d users", operation, call.tenant.id, what, len(call["userId"])
    )
    return {"operateId": operation}


@endpoint("/user/deactivate", USERS, answer=OPERATION)
async def deactivate(call: Call) -> Answer:
    """Their connections end within a second, and no token of theirs is taken until they are reactivated."""
    await _go(call, _DEACTIVATE)
    return _operation(call, "deactivated")


@endpoint(
    "/user/deactivate/query",
    Param("pageNo", integer(1, PAGES_MAX), default=1),
    Param("pageSize", integer(1, PAGE_MAX), default=PAGE_MAX),
    answer={"users": ["alice"]},
)
def deactivated(call: Call) -> Answer:
    """By id."""
    gone = User.objects.filter(tenant_id=call.tenant.id, deactivated=True, changed__gt=0).order_by("user_id")
    begin = (call["pageNo"] - 1) * call["pageSize"]
    return {"users": list(gone.values_list("user_id", flat=True)[begin : begin + call["pageSize"]])}


@endpoint("/user/activate", USERS, answer=OPERATION)  # the older name
@endpoint("/user/reactivate", USERS, answer=OPERATION)
def reactivate(call: Call) -> Answer:
    """Tokens issued meanwhile are good from then on; what was deleted does not come back."""
    with changing() as version:
        gone = User.objects.filter(tenant_id=call.tenant.id, user_id__in=call["userId"], deactivated=True)
        gone.update(deactivated=False, changed=version)
    return _operation(call, "reactivated")


@endpoint("/user/delusers", USERS)
async def delete_users(call: Call) -> Answer:
    """Their connections and tokens end; who registers again is a new user of the same id."""
    await _go(call, _DELETE)
    return {}
