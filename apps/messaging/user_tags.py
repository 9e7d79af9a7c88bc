"""Tags that a tenant's server gives its users, to find whom to send to.

In the control database, as the users' registrations are: no node needs tags to judge a message, and here one
question finds the users of all SETs.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection, transaction

TAGS_MAX = 20  # of a user
TAG_MAX = 40  # bytes

# Two changes at once of the same user would leave him the tags of both.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('user tags', %s))"
_TAKE = """
    DELETE FROM messaging_usertag
    WHERE tenant = %s AND "user" = ANY(%s::varchar[]) AND NOT tag = ANY(%s::varchar[])"""
_GIVE = """
    INSERT INTO messaging_usertag (tenant, "user", tag)
    SELECT %s::int8, u, t FROM unnest(%s::varchar[]) u, unnest(%s::varchar[]) t ON CONFLICT DO NOTHING"""
_OF = """
    SELECT "user", tag FROM messaging_usertag
    WHERE tenant = %s AND "user" = ANY(%s::varchar[]) ORDER BY "user", tag"""
# One range of the unique index (tenant, tag, user) for each tag.
_FIND = """
    SELECT "user" FROM messaging_usertag
    WHERE tenant = %(tenant)s AND tag = ANY(%(all)s::varchar[] || %(any)s::varchar[])
    GROUP BY "user"
    HAVING count(*) FILTER (WHERE tag = ANY(%(all)s::varchar[])) = cardinality(%(all)s::varchar[])
      AND (%(any)s::varchar[] = '{}' OR bool_or(tag = ANY(%(any)s::varchar[])))
    ORDER BY "user" LIMIT %(most)s"""


def replace(tenant: int, users: Sequence[str], tags: Sequence[str]) -> None:
    """Have each of the users these tags and no others."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK, (tenant,))
        cursor.execute(_TAKE, (tenant, list(users), list(tags)))
        if tags:
            cursor.execute(_GIVE, (tenant, list(users), list(tags)))


def of(tenant: int, users: Sequence[str]) -> dict[str, list[str]]:
    """User -> his tags in their order; an empty list when he has none."""
    found: dict[str, list[str]] = {user: [] for user in users}
    with connection.cursor() as cursor:
        cursor.execute(_OF, (tenant, list(users)))
        for user, tag in cursor:
            found[user].append(tag)
    return found


def find(tenant: int, all_of: Sequence[str], any_of: Sequence[str], most: int) -> list[str]:
    """Users who have all of these tags and, if there are any, one of those; the first `most` by id."""
    if not all_of and not any_of:
        return []
    wanted = {"all": list(dict.fromkeys(all_of)), "any": list(any_of)}
    with connection.cursor() as cursor:
        cursor.execute(_FIND, {"tenant": tenant, "most": most, **wanted})
        return [user for (user,) in cursor]
