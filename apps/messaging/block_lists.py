"""Block lists: entries in the owner's home SET, where messages to him are judged.

For queries of clients and for calls of the server API alike; `cursor` is of a transaction that holds the
owner's slot (own_state.hold).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apps.messaging import log
from apps.routing.topology import slot

BLOCKED_MAX = 3000  # entries of one owner

_ADD = """
    INSERT INTO accounts_blockentry (tenant_id, owner, slot, blocked)
    SELECT %s::int8, %s::varchar, %s::int2, blocked FROM unnest(%s::varchar[]) AS blocked
    ON CONFLICT DO NOTHING"""
_COUNT = "SELECT count(*) FROM accounts_blockentry WHERE tenant_id = %s AND owner = %s"
_REMOVE = (
    "DELETE FROM accounts_blockentry WHERE tenant_id = %s AND owner = %s AND blocked = ANY(%s::varchar[])"
)
ALL = "SELECT blocked FROM accounts_blockentry WHERE tenant_id = %s AND owner = %s ORDER BY blocked"
_BLOCKED = """
    SELECT b.tenant_id, b.owner, b.blocked FROM accounts_blockentry b
    JOIN unnest(%s::int8[], %s::varchar[], %s::varchar[]) AS w(tenant, owner, other)
    ON b.tenant_id = w.tenant AND b.owner = w.owner AND b.blocked = w.other"""

Pair = tuple[int, str, str]  # tenant, owner, other


class Full(Exception):
    """The list would hold more than BLOCKED_MAX entries; nothing may be committed."""


def add(cursor: Any, tenant: int, owner: str, blocked: Sequence[str]) -> None:
    """Block these users; raises Full."""
    cursor.execute(_ADD, (tenant, owner, slot(str(tenant), owner), list(blocked)))
    cursor.execute(_COUNT, (tenant, owner))
    if cursor.fetchone()[0] > BLOCKED_MAX:
        raise Full


def remove(cursor: Any, tenant: int, owner: str, blocked: Sequence[str]) -> None:
    cursor.execute(_REMOVE, (tenant, owner, list(blocked)))


def columns(pairs: Sequence[Pair]) -> list[list[Any]]:
    """The arrays of which a statement makes the pairs again."""
    return [[pair[n] for pair in pairs] for n in range(3)]


def blocked_pairs(server_set: str, pairs: Iterable[Pair]) -> set[Pair]:
    """Those in which the owner has blocked the other."""
    wanted = list(set(pairs))
    return set(log.of(server_set).read(_BLOCKED, columns(wanted))) if wanted else set()
