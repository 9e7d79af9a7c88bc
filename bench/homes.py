"""Which SET is a user's home, by the slot table in the control database; and names with a wanted home."""

import secrets
from collections.abc import Iterator, Sequence
from itertools import count

import psycopg

from apps.routing import placement

_SLOTS = """
    SELECT t.id, s.name FROM accounts_tenant t
    JOIN routing_cluster c ON c.name = t.cluster
    JOIN routing_slot l ON l.cluster_id = c.id JOIN routing_serverset s ON s.id = l.server_set_id
    WHERE t.app_key = %s ORDER BY l.number"""


class Homes:
    """The homes of one tenant's users, as they were when this was made."""

    def __init__(self, database_url: str, app_key: str):
        with psycopg.connect(database_url) as connection:
            rows = connection.execute(_SLOTS, (app_key,)).fetchall()
        self._app = str(rows[0][0])
        self._sets = [name for _, name in rows]  # by slot

    def slot(self, user: str) -> int:
        """The slot of a user."""
        return placement.slot(self._app, user)

    def of(self, user: str) -> str:
        """The name of the SET that is a user's home."""
        return self._sets[self.slot(user)]

    def users(self, sets: Sequence[str]) -> list[str]:
        """A new name for each of the SETs, whose home it is."""
        names = _names()
        return [next(name for name in names if self.of(name) == home) for home in sets]

    def neighbours(self, user: str, number: int) -> list[str]:
        """So many new names in the slot of a user."""
        names = _names()
        return [next(name for name in names if self.slot(name) == self.slot(user)) for _ in range(number)]


def _names() -> Iterator[str]:
    prefix = f"bench-{secrets.token_hex(4)}"
    return (f"{prefix}-{number}" for number in count())
