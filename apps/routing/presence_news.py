"""A gateway's news of who came and who went, for these users' home SETs: there it is known who watches them.

Who came is told at once. A while after his last change each user is told of again: until then he may have
been loading his page anew. What is lost on the way the nodes find out by themselves, later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgpack

from apps.routing.envelope import Request
from apps.routing.lanes import Lanes

METHOD = "presence"
SETTLED = 3.0  # s without a change after which it is told that somebody has gone
USERS_A_REQUEST = 1000

User = tuple[int, str]  # tenant, user id


class News:
    """Of one gateway process."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._settle_at: dict[User, float] = {}  # the ones that changed last are the last ones

    def tell(self, changed: Iterable[User], here: Mapping[User, object], now: float) -> None:
        """To be called when presence was announced, and every second; `here`: those who have connections."""
        came = []
        for user in changed:
            self._settle_at.pop(user, None)
            self._settle_at[user] = now + SETTLED
            if user in here:
                came.append(user)
        self._submit(came, settled=False)
        settled = []
        for user, at in self._settle_at.items():
            if at > now:
                break
            settled.append(user)
        for user in settled:
            del self._settle_at[user]
        self._submit(settled, settled=True)

    def _submit(self, users: Iterable[User], *, settled: bool) -> None:
        by_home: dict[str, list[User]] = defaultdict(list)
        for tenant, user in users:
            by_home[self._lanes.snapshot.home(tenant, user)].append((tenant, user))
        for server_set, its in by_home.items():
            for start in range(0, len(its), USERS_A_REQUEST):
                payload = msgpack.packb((settled, its[start : start + USERS_A_REQUEST]))
                request = Request(0, "", METHOD, METHOD, payload)
                self._lanes.enter(request, lambda pending, answer: None, server_set=server_set)
