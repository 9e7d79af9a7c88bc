"""The tenants' webhooks as every process holds them: whether there are any costs nothing to ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from apps.accounts.models import Webhooks
from apps.accounts.snapshot import OfChanges


class Hooks(NamedTuple):
    """One tenant's; docs/webhooks.md and the model say what each means."""

    tenant: int
    messages_url: str = ""
    from_server: bool = False
    status_messages: bool = False
    online_url: str = ""
    chatrooms_url: str = ""
    judge_url: str = ""
    judge_kinds: str = ""
    judge_classes: str = ""
    judge_timeout: int = 5000
    judge_open: bool = True
    messages_since: int = 0  # ms

    def judges(self, channel: str, classname: str) -> bool:
        """Whether the pre-message hook is asked about such a message."""
        classes = self.judge_classes
        return self.covers(channel) and (not classes or _listed(classname, classes))

    def covers(self, channel: str) -> bool:
        """Whether it is asked about some message of such conversations."""
        return bool(self.judge_url) and _listed(channel, self.judge_kinds)


def _listed(name: str, names: str) -> bool:
    return name in (each.strip() for each in names.split(","))


NONE = Hooks(0)


@dataclass(frozen=True, slots=True)
class Table:
    """Immutable; swapped whole when something changes. It has those tenants that have a webhook."""

    version: int = 0
    of: Mapping[int, Hooks] = field(default_factory=dict)
    judged: frozenset[int] = frozenset()  # tenants with a pre-message hook

    def hooks(self, tenant: int) -> Hooks:
        return self.of.get(tenant, NONE)


def _read(version: int, previous: Table | None) -> Table:
    columns = ("tenant_id", *Hooks._fields[1:])
    found = [Hooks(*row) for row in Webhooks.objects.values_list(*columns)]
    some = {h.tenant: h for h in found if h.messages_url or h.online_url or h.chatrooms_url or h.judge_url}
    return Table(version, some, frozenset(h.tenant for h in some.values() if h.judge_url))


table: OfChanges[Table] = OfChanges("webhooks", _read)
