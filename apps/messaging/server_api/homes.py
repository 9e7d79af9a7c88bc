"""What is asked of SETs: changes of what is kept in a home, while its slot stays there; and all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
from django.db import transaction

from apps.accounts.directory import TenantEntry
from apps.messaging import own_state
from apps.messaging.server_api.declarations import INTERNAL, TIMEOUT, Call, Refused
from apps.messaging.server_api.messages import PATIENCE
from apps.routing import databases
from apps.routing.envelope import Request
from apps.routing.lanes import Reply
from apps.routing.process import submit
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


async def results_of_all_sets(call: Call, request: Request) -> list[Any]:
    """What each SET of the app's cluster answers. Raises Refused."""
    try:
        async with asyncio.timeout(PATIENCE):
            return results(await asyncio.gather(*(submit(request, name) for name in sets_of(call.tenant))))
    except TimeoutError:
        raise Refused(TIMEOUT, "Not known in time, please retry.") from None


def results(replies: Sequence[Reply]) -> list[Any]:
    """What nodes have answered in msgpack. Raises Refused."""
    failed = sum(reply.status != 0 for reply in replies)
    if failed:
        raise Refused(INTERNAL, f"{failed} of {len(replies)} could not be reached, please retry.")
    return [msgpack.unpackb(reply.payload) for reply in replies]
