"""Tenants and restricted users as every process holds them: no lookup here asks the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, NamedTuple

from apps.accounts.models import Tenant, User
from apps.accounts.snapshot import OfChanges


@dataclass(frozen=True, slots=True)
class TenantEntry:
    """A tenant as it was when the directory was read."""

    id: int
    name: str
    app_key: str
    app_secret: str = field(repr=False)
    locked: bool = False
    cluster: str = ""
    group_size: int = 3000  # members that a group may have
    whitelist_only: bool = False  # users take private messages only from those in their white lists
    # Quotas; None: no limit.
    call_rate: int | None = None  # a second
    message_rate: int | None = None  # a second
    connections_max: int | None = None
    users_max: int | None = None
    groups_max: int | None = None


class Restriction(NamedTuple):
    """What keeps a user from connecting, or from staying. Times in epoch ms, 0 for nothing."""

    tokens_valid_after_ms: int = 0
    blocked_until_ms: int = 0
    deactivated: bool = False
    deleted_ms: int = 0  # connections of tokens issued at or before it end


NO_RESTRICTION = Restriction()


@dataclass(frozen=True)
class Directory:
    """Immutable; swapped whole when something changes."""

    version: int = 0
    _by_key: Mapping[str, TenantEntry] = field(default_factory=dict)
    _by_id: Mapping[int, TenantEntry] = field(default_factory=dict)
    _restricted: Mapping[tuple[int, str], Restriction] = field(default_factory=dict)
    message_rates: Mapping[int, int] = field(default_factory=dict)  # of the tenants that have one, by id

    def by_key(self, app_key: str) -> TenantEntry | None:
        return self._by_key.get(app_key)

    def by_id(self, tenant_id: int) -> TenantEntry | None:
        return self._by_id.get(tenant_id)

    def oldest(self, number: int) -> list[int]:
        """The ids of the tenants that were made first."""
        return sorted(self._by_id)[:number]

    def user_restriction(self, tenant_id: int, user_id: str) -> Restriction:
        """Zeros when there is none, and for a user that is not known."""
        return self._restricted.get((tenant_id, user_id), NO_RESTRICTION)


_COLUMNS = ("state", *(column.name for column in fields(TenantEntry) if column.name != "locked"))


def _entry(*, state: str, **row: Any) -> TenantEntry:
    return TenantEntry(**row, locked=state == Tenant.State.LOCKED)


def read_directory(version: int, previous: Directory | None) -> Directory:
    """The tenants, and the users changed since."""
    if previous is None or version < previous.version:  # it falls when a backup was restored
        previous = Directory()
    tenants = [_entry(**row) for row in Tenant.objects.values(*_COLUMNS)]
    return Directory(
        version,
        {tenant.app_key: tenant for tenant in tenants},
        {tenant.id: tenant for tenant in tenants},
        _restrictions_since(previous),
        {tenant.id: tenant.message_rate for tenant in tenants if tenant.message_rate is not None},
    )


def _restrictions_since(previous: Directory) -> Mapping[tuple[int, str], Restriction]:
    restricted = dict(previous._restricted)
    rows = User.objects.filter(changed__gt=previous.version).values_list(
        "tenant_id", "user_id", "tokens_valid_after", "blocked_until", "deactivated", "deleted_at"
    )
    for tenant_id, user_id, valid_after, blocked_until, deactivated, deleted in rows.iterator(10_000):
        restriction = Restriction(valid_after, _milliseconds(blocked_until), deactivated, deleted)
        if restriction == NO_RESTRICTION:
            restricted.pop((tenant_id, user_id), None)
        else:
            restricted[(tenant_id, user_id)] = restriction
    return restricted


def _milliseconds(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp() * 1000)


directory: OfChanges[Directory] = OfChanges("directory", read_directory)
