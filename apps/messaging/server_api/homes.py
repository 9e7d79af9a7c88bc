"""Changes of what is kept in the home SET of a user or a group, while its slot stays there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.db import transaction

from apps.accounts.directory import TenantEntry
from apps.messaging import own_state
from apps.messaging.server_api.declarations import TIMEOUT, Refused
from apps.routing import databases
from apps.routing.topology import home, topology

MOVE_PATIENCE = 3.0  # s that a call waits for what is being moved to another SET


def change_at_home(tenant: int, resource: str, work: Callable[[Any], None]) -> None:
    """Do `work` with a cursor, in a transaction that holds the resource's slot. Raises Refused."""
    give_up_at = time.monotonic() + MOVE_PATIENCE
    while time.monotonic() < give_up_at:
        alias = databases.alias(home(tenant, resource))
        with transaction.atomic(using=alias), transaction.get_connection(alias).cursor() as cursor:
            if own_state.hold(cursor, tenant, resource):
                work(cursor)
                return
        time.sleep(0.1)  # the topology will say in a moment where the slot went
    raise Refused(TIMEOUT, "It is being moved to another SET; try again in a moment.")


def sets_of(tenant: TenantEntry) -> list[str]:
    """The SETs of the app's cluster."""
    return topology.current.sets_of(tenant.cluster)
