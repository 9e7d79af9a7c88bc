"""A gateway's news of connections that began and ended, for the SETs of users whose tenants want to know.

Nothing is kept of the others. What a SET has not taken goes again, in its order; a SET that is away for long
loses the oldest of it, and finds out by itself whose connections are not there any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgpack

from apps.accounts import webhooks
from apps.routing.envelope import Answer, Request
from apps.routing.lanes import Lanes, Pending
from apps.routing.sessions import Connection

METHOD = "sessions"
ONLINE, OFFLINE, LOGOUT = 0, 1, 2  # as tenants' servers are told it (SERVER_API 6.4)
WAITING_MAX = 50_000  # events of one SET
EVENTS_A_REQUEST = 500

# tenant, user, status, connection, platform, address, ms
Event = tuple[int, str, int, str, str, str, int]


class SessionNews:
    """Of one gateway process."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._waiting: dict[str, list[Event]] = defaultdict(list)
        self._out: dict[str, int] = {}  # SET -> how many of its events are on their way

    def note(self, connection: Connection, status: int, at: int) -> None:
        """A connection has begun or ended; at ms."""
        c = connection
        if not webhooks.table.current.hooks(c.tenant).online_url:
            return
        its = self._waiting[self._lanes.snapshot.home(c.tenant, c.user)]
        its.append((c.tenant, c.user, status, c.id, c.platform, f"{c.address}:{c.port}", at))
        if len(its) > WAITING_MAX:
            del its[EVENTS_A_REQUEST]  # the first ones may be on their way

    def tell(self) -> None:
        """To be called now and then: send what waits, one request at a time to each SET."""
        for server_set, its in self._waiting.items():
            if its and server_set not in self._out:
                part = its[:EVENTS_A_REQUEST]
                self._out[server_set] = len(part)
                request = Request(0, "", METHOD, METHOD, msgpack.packb(part))
                self._lanes.enter(request, self._told(server_set), server_set=server_set)

    def _told(self, server_set: str) -> Callable[[Pending, Answer], Any]:
        def told(pending: Pending, answer: Answer) -> None:
            number = self._out.pop(server_set)
            if not answer.status:
                del self._waiting[server_set][:number]

        return told
