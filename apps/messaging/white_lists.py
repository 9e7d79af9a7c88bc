"""White lists: from whom a user takes private messages, where his tenant wants that said.

Entries in the owner's home SET, as block lists are. `cursor` is of a transaction that holds the owner's slot
(own_state.hold).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apps.messaging import block_lists, log
from apps.messaging.block_lists import Pair, columns
from apps.routing.topology import slot

ALLOWED_MAX = 3000  # entries of one owner

_ADD = """
    INSERT INTO messaging_whiteentry (tenant, owner, slot, allowed)
    SELECT %s::int8, %s::varchar, %s::int2, allowed FROM unnest(%s::varchar[]) AS allowed
    ON CONFLICT DO NOTHING"""
_COUNT = "SELECT count(*) FROM messaging_whiteentry WHERE tenant = %s AND owner = %s"
_REMOVE = "DELETE FROM messaging_whiteentry WHERE tenant = %s AND owner = %s AND allowed = ANY(%s::varchar[])"
_PAGE = """
    SELECT allowed FROM messaging_whiteentry
    WHERE tenant = %s AND owner = %s AND allowed > %s ORDER BY allowed LIMIT %s"""
_ASKED = "unnest(%s::int8[], %s::varchar[], %s::varchar[]) AS w(tenant, owner, other)"
_BOTH = f"""
    SELECT false, b.tenant_id, b.owner, b.blocked FROM accounts_blockentry b
    JOIN {_ASKED} ON b.tenant_id = w.tenant AND b.owner = w.owner AND b.blocked = w.other
    UNION ALL
    SELECT true, e.tenant, e.owner, e.allowed FROM messaging_whiteentry e
    JOIN {_ASKED} ON e.tenant = w.tenant AND e.owner = w.owner AND e.allowed = w.other"""


class Full(Exception):
    """The list would hold more than ALLOWED_MAX entries; nothing may be committed."""


def add(cursor: Any, tenant: int, owner: str, allowed: Sequence[str]) -> None:
    """Take messages from these users; raises Full."""
    cursor.execute(_ADD, (tenant, owner, slot(str(tenant), owner), list(allowed)))
    cursor.execute(_COUNT, (tenant, owner))
    if cursor.fetchone()[0] > ALLOWED_MAX:
        raise Full


def remove(cursor: Any, tenant: int, owner: str, allowed: Sequence[str]) -> None:
    cursor.execute(_REMOVE, (tenant, owner, list(allowed)))


def page(server_set: str, tenant: int, owner: str, after: str, size: int) -> list[str]:
    """The entries that follow one, in order."""
    return [user for (user,) in log.of(server_set).read(_PAGE, (tenant, owner, after, size))]


def blocked_and_allowed(
    server_set: str, blocked: Iterable[Pair], allowed: Iterable[Pair]
) -> tuple[set[Pair], set[Pair]]:
    """Those of the first in which the owner has blocked the other, and of the second those in which he takes
    his messages. One question, or none when there is nothing to ask.
    """
    wanted = list(set(allowed))
    if not wanted:
        return block_lists.blocked_pairs(server_set, blocked), set()
    asked = [*columns(list(set(blocked))), *columns(wanted)]
    found: tuple[set[Pair], set[Pair]] = set(), set()
    for is_allowed, *pair in log.of(server_set).read(_BOTH, asked):
        found[is_allowed].add(tuple(pair))  # type: ignore[arg-type]
    return found
