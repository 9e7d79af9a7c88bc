"""How many users a tenant may have registered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apps.accounts.directory import TenantEntry
from apps.messaging.server_api.declarations import TOO_MANY_USERS, Refused

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_NEW = """
    SELECT count(*) FROM unnest(%s::varchar[]) AS w(name)
    WHERE NOT EXISTS (SELECT FROM accounts_user u WHERE u.tenant_id = %s AND u.user_id = w.name)"""
_COUNT = "SELECT count(*) FROM (SELECT FROM accounts_user WHERE tenant_id = %s LIMIT %s) u"


def make_room(cursor: Any, tenant: TenantEntry, users: Sequence[str]) -> None:
    """To be called in the transaction that registers those of the users who are new. Raises Refused.

    Asks nothing for a tenant without a limit; new users of one that has a limit come one after the other.
    """
    if tenant.users_max is None or not _new(cursor, tenant, users):
        return
    cursor.execute(_LOCK, (f"users of tenant {tenant.id}",))
    new = _new(cursor, tenant, users)
    cursor.execute(_COUNT, (tenant.id, tenant.users_max))
    if new and cursor.fetchone()[0] + new > tenant.users_max:
        raise Refused(TOO_MANY_USERS, f"The app may have {tenant.users_max} users.")


def _new(cursor: Any, tenant: TenantEntry, users: Sequence[str]) -> int:
    cursor.execute(_NEW, (list(users), tenant.id))
    return int(cursor.fetchone()[0])
