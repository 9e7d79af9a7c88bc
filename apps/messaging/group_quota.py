"""How many groups and discussions a tenant may have: they are counted in all SETs when one is to be made.

Nothing is counted for a tenant without a limit. Groups that are made in several SETs at one moment may pass
the limit together.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgpack

from apps.accounts.directory import directory
from apps.messaging import groups, log
from apps.messaging.log import Unavailable
from apps.routing.envelope import Request
from apps.routing.topology import topology

_KNOWN = 'SELECT "group" FROM messaging_group WHERE tenant = %s AND "group" = ANY(%s::varchar[])'
_COUNT = "SELECT count(*) FROM (SELECT FROM messaging_group WHERE tenant = %s LIMIT %s) g"


def room(tenant: int) -> int | None:
    """How many more it may have; None: as many as it likes. What a SET that is away has is not counted."""
    known = directory.current.by_id(tenant)
    if known is None or known.groups_max is None:
        return None
    number = 0
    for server_set in topology.current.sets_of(known.cluster):
        try:
            ((found,),) = log.of(server_set).read(_COUNT, (tenant, known.groups_max))
        except Unavailable:
            continue
        number += found
    return max(0, known.groups_max - number)


def past(server_set: str, requests: Sequence[Request]) -> set[str]:
    """The uids of those changes of groups (`grpChange`) that would make more groups than there may be."""
    makes: dict[int, dict[str, list[str]]] = {}  # tenant -> group -> uids
    for request in requests:
        known = directory.current.by_id(request.tenant)
        if known is None or known.groups_max is None:
            continue
        if msgpack.unpackb(request.payload)[0] == groups.JOIN:
            makes.setdefault(request.tenant, {}).setdefault(request.target, []).append(request.uid)
    refused: set[str] = set()
    for tenant, its in makes.items():
        for (known_group,) in log.of(server_set).read(_KNOWN, (tenant, list(its))):
            del its[known_group]
        left = room(tenant) if its else None
        if left is not None:
            refused.update(uid for uids in list(its.values())[left:] for uid in uids)
    return refused
