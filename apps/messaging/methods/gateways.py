"""What gateways ask for themselves: the log past their cursor, and to keep their devices' cursors.

Never called by a client: the gateway refuses these names from a connection.
"""

from __future__ import annotations

import msgpack

from apps.messaging import log
from apps.messaging.standby import shipping
from apps.routing.envelope import Answer, Hint, Request
from apps.routing.topology import slot

FEED_PAGE = 1000  # rows a read
FEED_BYTES = 1 << 20  # of messages a read; it ends with the row that passes it
DEVICE_KEPT = 7  # days that the cursor of a silent device stays; a browser's page is a new device each time

_FEED = f"""
    SELECT h.seq, m.* FROM messaging_head h LEFT JOIN LATERAL (
      SELECT {log.ROW_COLUMNS} FROM (
        SELECT *, sum(octet_length(up)) OVER (ORDER BY seq) - octet_length(up) AS ahead FROM (
          SELECT * FROM messaging_message WHERE seq > %s ORDER BY seq LIMIT {FEED_PAGE}) limited_rows) sized
      WHERE ahead < {FEED_BYTES}) m ON true ORDER BY m.seq"""
_MOVE = """
    INSERT INTO messaging_devicecursor (tenant, "user", device, time, slot)
    SELECT * FROM unnest(%s::int8[], %s::varchar[], %s::varchar[], %s::int8[], %s::int2[])
    ON CONFLICT (tenant, "user", device) DO UPDATE
    SET time = EXCLUDED.time, moved_at = now() WHERE messaging_devicecursor.time < EXCLUDED.time"""


def read_feed(server_set: str, request: Request) -> Answer:
    """The log after seq `after` (-1: just where it ends), as the hint that a gateway may have missed."""
    after: int = msgpack.unpackb(request.payload)
    # What its standby is to have first is shown to nobody before: it might never have been.
    covered = shipping.covered(server_set)
    rows = log.of(server_set).read(_FEED, (after if after >= 0 else 1 << 62,))
    head = rows[0][0] if covered is None else min(rows[0][0], covered)
    found = [log.row(*columns) for _, *columns in rows if columns[0] is not None and columns[0] <= head]
    # Cut short or not, the next read goes on behind the last row; after none there is nothing left.
    upto = found[-1].seq if found else head
    hint = Hint(server_set, upto if after < 0 else after, upto, found)
    return Answer(0, 0, 0, hint.pack(), head)


def move_cursors(server_set: str, request: Request) -> Answer:
    """Note how far devices have acknowledged: [[tenant, user, device, time in ms], ...], each once."""
    moved = sorted(msgpack.unpackb(request.payload, use_list=False))  # one lock order for all writers
    columns = [list(column) for column in zip(*moved, strict=True)]
    columns.append([slot(str(tenant), user) for tenant, user, *_ in moved])
    log.of(server_set).run(lambda connection: connection.execute(_MOVE, columns), within=2.0)
    return Answer(0, 0)


def forget_devices(server_set: str) -> None:
    """Remove the cursors of devices that have not moved for `DEVICE_KEPT` days."""
    sql = "DELETE FROM messaging_devicecursor WHERE moved_at < now() - make_interval(days => %s)"
    log.of(server_set).run(lambda connection: connection.execute(sql, (DEVICE_KEPT,)), within=2.0)
