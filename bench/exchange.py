"""How far the exchange between two SETs is behind, read from their databases."""

import psycopg

_READ_UP_TO = "SELECT seq FROM messaging_exchangecursor WHERE origin = %s"
_WAITING = "SELECT count(*) FROM messaging_message WHERE export AND seq > %s"


def behind(databases: str, one: str, other: str) -> int:
    """Messages in the logs of two SETs that the other one has not taken yet.

    `databases` is their URL with {set} for a SET's name.
    """
    return _waiting(databases, one, other) + _waiting(databases, other, one)


def _waiting(databases: str, origin: str, destination: str) -> int:
    with psycopg.connect(databases.format(set=destination)) as connection:
        cursor = connection.execute(_READ_UP_TO, (origin,)).fetchone()
    with psycopg.connect(databases.format(set=origin)) as connection:
        ((count,),) = connection.execute(_WAITING, (cursor[0] if cursor else 0,))
    return int(count)
