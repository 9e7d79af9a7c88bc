"""What holds everywhere in a tenant: users who may not send, classes that chatrooms drop first or never.

They are in the control database. Every worker has all of them in memory, as every process has the tenants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from apps.accounts.models import changing
from apps.accounts.snapshot import OfChanges
from apps.messaging import chatrooms, log
from apps.messaging.models import TenantRule

Rule = TenantRule.Kind


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules, as every worker holds them: immutable, swapped whole."""

    version: int = 0
    until: Mapping[tuple[int, int, str], int] = field(default_factory=dict)  # (tenant, Rule, name) -> ms

    def hold(self, tenant: int, rule: int, name: str = "") -> bool:
        return bool(self.until) and self.until.get((tenant, rule, name), 0) > log.now()


def _read_rules(version: int, previous: Rules | None) -> Rules:
    rows = TenantRule.objects.filter(until__gt=log.now()).values_list("tenant", "kind", "name", "until")
    return Rules(version, {(tenant, kind, name): until for tenant, kind, name, until in rows.iterator()})


rules: OfChanges[Rules] = OfChanges("tenant rules", _read_rules)


def add(tenant: int, rule: int, names: Iterable[str], until: int = chatrooms.END) -> None:
    """Have a rule hold for classes or users; known in all workers within a second.

    Those of its kind whose time is over are forgotten.
    """
    made = [TenantRule(tenant=tenant, kind=rule, name=name, until=until) for name in dict.fromkeys(names)]
    with changing():
        TenantRule.objects.filter(tenant=tenant, kind=rule, until__lte=log.now()).delete()
        TenantRule.objects.bulk_create(
            made,
            update_conflicts=True,
            unique_fields=("tenant", "kind", "name"),
            update_fields=("until",),
        )


def remove(tenant: int, rule: int, names: Iterable[str]) -> None:
    with changing():
        TenantRule.objects.filter(tenant=tenant, kind=rule, name__in=list(names)).delete()


def listed(tenant: int, rule: int) -> list[tuple[str, int]]:
    """(name, until when in ms) of those that hold."""
    found = TenantRule.objects.filter(tenant=tenant, kind=rule, until__gt=log.now()).order_by("name")
    return list(found.values_list("name", "until"))
