"""An old primary comes back: what it alone has goes to the new one, then it follows that as its standby.

Both have the same log up to the fork. What the old one has behind it was acknowledged, and perhaps shown to
devices, but never shipped: its messages are appended to the new log under their uids, each once, marked
REPAIRED, with the time that users saw as `sent`. A device is shown them unless it had come that far in the
old log (EpochMark; see methods.pull). Copies of other SETs' messages are not among them: their exchange reads
these SETs again from where the new primary is.

Of the other tables, rows that were changed at the old primary only (its journal tells) are brought over as
they are there. Where both have changed a row, that of the new primary stays.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import psycopg

from apps.messaging import changes, epochs, log
from apps.messaging.log import Entry
from apps.messaging.models import CANARY, CHANGES, GROUP_CHANGE, MENDED, REPAIRED, SLOT_GONE
from apps.messaging.standby import journal, shipping
from apps.messaging.standby.journal import Table
from apps.routing import databases, hints
from apps.routing.envelope import Hint, feed_group, hint_message
from apps.routing.topology import topology

logger = logging.getLogger(__name__)

PAGE = 500  # messages appended in one transaction
WITHIN = 5.0  # s that the new primary may be away
_OWN = (CANARY, SLOT_GONE, MENDED)  # rows that mean nothing to anybody later

_TAIL = f"""
    SELECT seq, uid, time, sent, tenant, kind, sender, target, flags, sendbox, method, up, reach
    FROM messaging_message WHERE seq > %s AND inbox AND kind <> ALL(%s) ORDER BY seq LIMIT {PAGE}"""


def rejoin(server_set: str, source: str, fork: int, epoch: int) -> int:
    """All of it, from a fenced old primary; how many messages it alone had. May be repeated.

    Raises Unavailable and psycopg.Error when one of the databases is away.
    """
    with shipping.connect(source, shipping.WRITING) as old:
        if shipping.head_of(old).epoch >= epoch:
            return 0  # it follows already
        recovered = _append_tail(server_set, old, fork)
        _bring_rows(server_set, old)
        if recovered:
            _tell_all(server_set)
        _mark_devices(server_set, old, epoch)
        _rewind(server_set, old, fork, epoch)
    logger.warning("%s: its old primary follows; %d messages came from it", server_set, recovered)
    return recovered


def _append_tail(server_set: str, old: psycopg.Connection[Any], fork: int) -> int:
    recovered, after = 0, fork
    while rows := old.execute(_TAIL, (after, list(_OWN))).fetchall():
        entries = [_entry(*row[1:]) for row in rows]
        recovered += _append(server_set, entries)
        after = rows[-1][0]
    return recovered


def _entry(
    uid: str, at: int, sent: int, tenant: int, kind: int, sender: str, target: str, flags: int,
    sendbox: bool, method: str, up: bytes, reach: bytes | None,
) -> Entry:  # fmt: skip
    effect = None
    if flags & CHANGES:
        effect = changes.effect(changes.Row(uid, tenant, kind, sender, target, method, up, sent))
    return Entry(
        uid, tenant, kind, sender, target, flags | REPAIRED, method, up, sent=sent, effect=effect,
        reach=reach if kind == GROUP_CHANGE else None,
    )  # fmt: skip


def _append(server_set: str, entries: Sequence[Entry]) -> int:
    """Append those that are not there, each at the SET that its slot is of by now."""
    its = log.of(server_set)

    def work(connection: psycopg.Connection[Any]) -> int:
        return len(log.append(connection, entries, look=True).rows)

    try:
        return its.run(work, within=WITHIN)
    except log.Denied as denied:
        # What it would change is changed, or gone, by now.
        logger.warning("%s: %d changes of its old primary have no effect", server_set, len(denied.statuses))
        left = [entry for i, entry in enumerate(entries) if i not in denied.statuses]
        return _append(server_set, left) if left else 0
    except log.Elsewhere as moved:
        here = [entry for i, entry in enumerate(entries) if i not in moved.indexes]
        appended = _append(server_set, here) if here else 0
        for i in moved.indexes:
            home = topology.current.home(entries[i].tenant, entries[i].target)
            if home and home != server_set:
                appended += _append(home, [entries[i]])
        return appended


def _tell_all(server_set: str) -> None:
    """Everybody of the SET pulls: gateways come to know it by a row of the log, as of all that is in it."""
    row = Entry(f"mended-{log.now()}", 0, MENDED, "", "", 0, "", b"")

    def work(connection: psycopg.Connection[Any]) -> Any:
        return log.append(connection, [row], look=False)

    appended = log.of(server_set).run(work, within=WITHIN)
    hint = Hint(server_set, appended.before, appended.upto, appended.rows)
    hints.tell(feed_group(server_set), hint_message(hint))


def _bring_rows(server_set: str, old: psycopg.Connection[Any]) -> None:
    """Rows of other tables that were changed at the old primary only."""
    query = 'SELECT DISTINCT "table", key FROM messaging_changedrow'
    changed: dict[str, set[str]] = {}
    for table, key in old.execute(query):
        changed.setdefault(table, set()).add(key)
    with shipping.connect(databases.url(server_set)) as new:
        for name, keys in changed.items():
            table = journal.tables().get(name)
            if table is None or table == journal.log_table():
                continue
            here = {
                key
                for (key,) in new.execute('SELECT key FROM messaging_changedrow WHERE "table" = %s', (name,))
            }
            if both := keys & here:
                logger.warning("%s: %d rows of %s were changed at both", server_set, len(both), name)
            for key in sorted(keys - here):
                _bring(old, new, table, key)


def _bring(old: psycopg.Connection[Any], new: psycopg.Connection[Any], table: Table, key: str) -> None:
    try:
        with new.transaction():
            shipping.copy_rows(old, new, table, [key])
    except psycopg.errors.UniqueViolation:
        # The new primary has made a row of its own for the same thing.
        logger.warning("%s: the new primary's own row stays instead of %s", table.name, key)


def _mark_devices(server_set: str, old: psycopg.Connection[Any], epoch: int) -> None:
    """Devices that read the old log while there was a new one bring cursors that may be of either."""
    query = """
        SELECT c.tenant, c."user", c.device, c.time, c.slot FROM messaging_devicecursor c
        JOIN (SELECT DISTINCT key FROM messaging_changedrow WHERE "table" = 'messaging_devicecursor') its
        ON c.id = its.key::int8 WHERE c.time >= %s"""
    marks = old.execute(query, (log.of(server_set).began().time,)).fetchall()
    epochs.put(server_set, epoch, marks)


def _rewind(server_set: str, old: psycopg.Connection[Any], fork: int, epoch: int) -> None:
    """The old primary is the new one at the fork, and has what has changed there since still to come."""
    query = 'SELECT "table", array_agg(DISTINCT key) FROM messaging_changedrow GROUP BY "table"'
    changed = old.execute(query).fetchall()
    with shipping.connect(databases.url(server_set)) as new, new.transaction():
        for name, keys in changed:
            journal.note(new, name, keys)
    with old.transaction():
        old.execute("SELECT FROM messaging_head FOR UPDATE")
        old.execute("DELETE FROM messaging_message WHERE seq > %s", (fork,))
        journal.unwatch(old)
        old.execute("UPDATE messaging_head SET seq = %s, epoch = %s", (fork, epoch))
