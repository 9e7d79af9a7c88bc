"""Registering users: those who come at one time together, and no more than the tenant may have."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

from channels.db import database_sync_to_async
from django.db import connection, transaction

from apps.accounts.directory import TenantEntry
from apps.messaging.server_api.declarations import INTERNAL, TOO_MANY_USERS, Refused

BATCH_MAX = 256  # users in one statement
WAITING_MAX = 4096  # users before it; the next one is told to retry

# One statement, and no write when it changes nothing: callers ask for a token at every login. In one order,
# so that two processes do not wait for each other.
_REGISTER = """
    INSERT INTO accounts_user AS known (tenant_id, user_id, name, portrait_uri)
    SELECT * FROM unnest(%s::int8[], %s::varchar[], %s::varchar[], %s::varchar[]) AS w(t, u, n, p)
    ORDER BY t, u
    ON CONFLICT (tenant_id, user_id) DO UPDATE
    SET name = EXCLUDED.name, portrait_uri = COALESCE(NULLIF(EXCLUDED.portrait_uri, ''), known.portrait_uri),
      registered = true, created_at = CASE WHEN known.registered THEN known.created_at ELSE now() END
    WHERE NOT known.registered OR known.name <> EXCLUDED.name
      OR EXCLUDED.portrait_uri NOT IN ('', known.portrait_uri)"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_KNOWN = "SELECT FROM accounts_user WHERE tenant_id = %s AND user_id = %s AND registered"
_COUNT = "SELECT count(*) FROM (SELECT FROM accounts_user WHERE tenant_id = %s AND registered LIMIT %s) u"


class User(NamedTuple):
    """What is to be known of one. An empty portrait leaves the one that is known."""

    tenant: int
    user: str
    name: str
    portrait: str


class Waiting(NamedTuple):
    user: User
    done: asyncio.Future[None]


class Registrar:
    """Of one event loop. While a batch is written, the next one collects."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def register(self, user: User) -> None:
        """Have it committed. Raises Refused, and what the database raises."""
        if len(self._waiting) >= WAITING_MAX:
            raise Refused(INTERNAL, "Too many calls are waiting, please retry.")
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(user, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
                try:
                    await _put([waiting.user for waiting in batch])
                except Exception as error:
                    _resolve(batch, error)
                else:
                    _resolve(batch, None)
        finally:
            self._writing = None


def _resolve(batch: Sequence[Waiting], error: Exception | None) -> None:
    for _, done in batch:
        if done.done():  # its caller has gone
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


async def _put(users: Sequence[User]) -> None:
    await database_sync_to_async(put, thread_sensitive=False)(users)


def put(users: Sequence[User]) -> None:
    """Register them; of one that is there twice, what came last."""
    last: dict[tuple[int, str], User] = {}
    for user in users:
        before = last.get(user[:2])
        last[user[:2]] = user if user.portrait or before is None else user._replace(portrait=before.portrait)
    columns = [list(column) for column in zip(*last.values(), strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(_REGISTER, columns)


_registrars: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Registrar] = weakref.WeakKeyDictionary()


async def register(tenant: TenantEntry, user: str, name: str, portrait: str) -> None:
    """Register a user, or learn what is new of one. Raises Refused."""
    its = User(tenant.id, user, name, portrait)
    if tenant.users_max is None:
        await _registrars.setdefault(asyncio.get_running_loop(), Registrar()).register(its)
    else:
        await database_sync_to_async(_put_in_room, thread_sensitive=False)(tenant, its)


@transaction.atomic
def _put_in_room(tenant: TenantEntry, user: User) -> None:
    """Those who are new to a tenant that has a limit come one after the other. Raises Refused."""
    with connection.cursor() as cursor:
        if _is_new(cursor, user):
            cursor.execute(_LOCK, (f"users of tenant {tenant.id}",))
            cursor.execute(_COUNT, (tenant.id, tenant.users_max))
            if cursor.fetchone()[0] >= (tenant.users_max or 0) and _is_new(cursor, user):
                raise Refused(TOO_MANY_USERS, f"The app may have {tenant.users_max} users.")
    put([user])


def _is_new(cursor: Any, user: User) -> bool:
    cursor.execute(_KNOWN, user[:2])
    return cursor.fetchone() is None
