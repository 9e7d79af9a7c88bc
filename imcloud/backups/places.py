"""What the installation is told of restored databases, and what it has to learn of those that went on.

A restored log begins a new epoch, which shuts out whoever still writes in the old one. All that was handed
out of the lost part of the log is behind it: gateways' and other SETs' cursors are seqs of earlier epochs,
devices' cursors are earlier times. So nobody passes over what is stored from now on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from django.conf import settings

from apps.messaging import log
from apps.messaging.standby import beginning, journal, shipping
from apps.messaging.standby.shipping import Head
from apps.routing import placement
from imcloud.backups import BackupError

AHEAD = 1_000  # ms that the new epoch's times begin behind the old log's, when that can be read
# … and behind the clock, when it cannot: where more than a thousand groups' messages come a second, a log's
# times run ahead of the clock.
AHEAD_OF_UNKNOWN = 60_000  # ms
JUMP = 1_000_000  # keys that the control database may have given since the backup

_SETS = """
    SELECT s.id, s.name, s.database, s.standby, s.epoch, c.name FROM routing_serverset s
    JOIN routing_cluster c ON c.id = s.cluster_id ORDER BY s.id"""


@dataclass(frozen=True, slots=True)
class Record:
    """A SET as the control database has it."""

    id: int
    name: str
    database: str
    standby: str
    epoch: int
    cluster: str

    @property
    def url(self) -> str:
        return self.database or str(settings.SET_DATABASE_URL.format(set=self.name))


def records(control: psycopg.Connection[Any]) -> dict[str, Record]:
    return {row[1]: Record(*row) for row in control.execute(_SETS)}


def check_settled(control: psycopg.Connection[Any], names: Sequence[str]) -> None:
    """BackupError while slots of these SETs are on their way, or one of them fails over."""
    query = """
        SELECT s.name FROM routing_serverset s WHERE s.name = ANY(%s) AND (
          EXISTS (SELECT FROM routing_slotmove m WHERE s.id IN (m.source_id, m.destination_id)
                  AND m.step NOT IN ('done', 'cancelled'))
          OR EXISTS (SELECT FROM routing_failover f WHERE f.server_set_id = s.id
                     AND f.step NOT IN ('rejoin', 'done', 'cancelled')))"""
    if found := control.execute(query, (list(names),)).fetchone():
        raise BackupError(
            f"Slots of SET {found[0]} are on their way, or it is failing over: first have that done "
            "(`manage.py slots resume`) or taken back (`manage.py slots cancel`)."
        )


def last_known(record: Record) -> Head | None:
    """How far the SET's log is known to have come: the head of its database or of its standby."""
    found = [head for url in (record.url, record.standby) if url and (head := _head(url))]
    if not found:
        return None
    return Head(
        max(h.seq for h in found), max(h.time for h in found), found[0].slots, max(h.epoch for h in found)
    )


def _head(url: str) -> Head | None:
    try:
        with shipping.connect(url) as connection:
            return shipping.head_of(connection)
    except (psycopg.Error, RuntimeError):
        return None


def begin_epoch(new: psycopg.Connection[Any], record: Record, slots: bytes, known: Head | None) -> int:
    """Have the restored log go on in a new epoch, with no standby behind it; its number."""
    ((own,),) = new.execute("SELECT epoch FROM messaging_head").fetchall()
    number = max(own, record.epoch, known.epoch if known else 0) + 1
    after = max(log.now() + (AHEAD if known else AHEAD_OF_UNKNOWN), known.time + AHEAD if known else 0)
    beginning.begin(new, number, slots, after)
    journal.unwatch(new)
    return number


def slots_of(control: psycopg.Connection[Any], record: Record) -> bytes:
    """A bit for each slot that the control database gives the SET."""
    bits = bytearray(placement.SLOTS // 8)
    for (number,) in control.execute(
        "SELECT number FROM routing_slot WHERE server_set_id = %s", (record.id,)
    ):
        bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits)


def note_epoch(control: psycopg.Connection[Any], record: Record, number: int) -> None:
    """The SET is in this epoch. Its standby, and an old primary that is not back yet, follow another log."""
    control.execute(
        "UPDATE routing_serverset SET epoch = %s, standby = '', degraded_at = NULL WHERE id = %s",
        (number, record.id),
    )
    control.execute(
        """UPDATE routing_failover SET step = 'cancelled', problem = 'The SET was restored from a backup.'
           WHERE server_set_id = %s AND step = 'rejoin'""",
        (record.id,),
    )


# --- a control database that is older than the SETs


def jump(control: psycopg.Connection[Any]) -> None:
    """Give no key again that may have been given since: a new tenant would be shown a lost one's messages."""
    control.execute(
        """SELECT setval(format('%%I.%%I', schemaname, sequencename)::regclass, COALESCE(last_value, 0) + %s)
           FROM pg_sequences WHERE schemaname = current_schema() AND data_type = 'bigint'::regtype""",
        (JUMP,),
    )


def follow_heads(control: psycopg.Connection[Any], restored: Sequence[str]) -> list[str]:
    """Have the control database say of the other SETs what these themselves say: epoch, place, slots.

    What could not be learnt, as sentences.
    """
    doubts: list[str] = []
    owners: dict[tuple[str, int], list[int]] = {}
    for record in records(control).values():
        if record.name in restored:
            continue
        answers = [(url, head) for url in (record.url, record.standby) if url and (head := _primary(url))]
        if not answers:
            doubts.append(
                f"SET {record.name} does not answer: whether it failed over or gave slots away since the "
                "backup is not known."
            )
            continue
        url, head = max(answers, key=lambda answer: answer[1].epoch)
        swapped = url != record.url
        control.execute(
            "UPDATE routing_serverset SET epoch = %s, database = %s, standby = %s WHERE id = %s",
            (
                head.epoch,
                url if swapped else record.database,
                record.url if swapped else record.standby,
                record.id,
            ),
        )
        for number in range(placement.SLOTS):
            if log.owns(head.slots, number):
                owners.setdefault((record.cluster, number), []).append(record.id)
    for (cluster, number), its in owners.items():
        if len(its) == 1:
            control.execute(
                """UPDATE routing_slot SET server_set_id = %s WHERE number = %s AND server_set_id <> %s
                   AND cluster_id = (SELECT id FROM routing_cluster WHERE name = %s)""",
                (its[0], number, its[0], cluster),
            )
    return doubts


def _primary(url: str) -> Head | None:
    """The head of a database that takes writes."""
    try:
        with shipping.connect(url) as connection:
            ((read_only,),) = connection.execute("SHOW default_transaction_read_only").fetchall()
            return None if read_only == "on" else shipping.head_of(connection)
    except (psycopg.Error, RuntimeError):
        return None
