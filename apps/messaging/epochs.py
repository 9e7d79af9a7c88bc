"""What a device has read when its SET's log goes on in another database.

With a failover (see `standby`) a new epoch begins, all of whose messages have later times than those that the
new primary had from the old one. Behind the fork the old primary may have had more: some devices were shown
it, and their cursors are times of its log; when the old primary is back, it is appended to the new log.

So a device that comes to a new epoch gets a mark, how far it was in the old log. It is shown all of the new
epoch, and of what came from the old primary what is behind its mark. A device comes from the old log when its
gateway says so, or when its cursor is before the epoch; where a site that was cut off went on for a while,
its devices' cursors may be later than that, and their marks are made of those when the site is back.

When the epoch that a device was in last is over, what was appended in that from a still older primary goes by
the mark that the device had there: the new mark keeps it as the earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from apps.messaging import log
from apps.messaging.log import Began
from apps.routing.envelope import FROM_OLD_LOG, Request, first_seq
from apps.routing.topology import slot, topology

_MARKS = """
    SELECT device = %(device)s, time, sent, upto FROM messaging_epochmark
    WHERE tenant = %(tenant)s AND "user" = %(user)s AND epoch = %(epoch)s"""
# The epoch that the cursor is of, and the mark there.
_EARLIER = """
    SELECT was.number,
           COALESCE(CASE m.epoch WHEN was.number THEN m.time WHEN %(epoch)s THEN m.earlier END, 0),
           COALESCE(CASE m.epoch WHEN was.number THEN m.sent WHEN %(epoch)s THEN m.sent_earlier END, 0)
    FROM (SELECT max(number) AS number FROM messaging_epoch WHERE time < %(inbox)s) was
    LEFT JOIN messaging_epochmark m
    ON m.tenant = %(tenant)s AND m."user" = %(user)s AND m.device = %(device)s"""
_PUT = """
    INSERT INTO messaging_epochmark
      (tenant, "user", device, time, sent, slot, epoch, upto, earlier, sent_earlier)
    VALUES (%(tenant)s, %(user)s, %(device)s, %(mark)s, %(sent_mark)s, %(slot)s, %(epoch)s, %(upto)s,
            %(earlier)s, %(sent_earlier)s)
    ON CONFLICT (tenant, "user", device) DO UPDATE SET
      time = EXCLUDED.time, sent = EXCLUDED.sent, epoch = EXCLUDED.epoch, upto = EXCLUDED.upto,
      earlier = EXCLUDED.earlier, sent_earlier = EXCLUDED.sent_earlier"""
_PUT_ALL = """
    INSERT INTO messaging_epochmark AS known
      (tenant, "user", device, time, slot, sent, epoch, upto, earlier, sent_earlier)
    SELECT tenant, "user", device, time, slot, time, %s, 0, 0, 0
    FROM unnest(%s::int8[], %s::varchar[], %s::varchar[], %s::int8[], %s::int2[])
      AS its (tenant, "user", device, time, slot)
    ON CONFLICT (tenant, "user", device) DO UPDATE SET
      time = EXCLUDED.time, sent = EXCLUDED.sent, epoch = EXCLUDED.epoch, upto = EXCLUDED.upto,
      earlier = EXCLUDED.earlier, sent_earlier = EXCLUDED.sent_earlier
    WHERE known.epoch < EXCLUDED.epoch"""
KEPT = 7 * 24 * 3_600_000  # ms that a mark is kept when its epoch is over


class Where(NamedTuple):
    """What a pull goes by. Times in ms."""

    old: bool  # its cursors are those of the old log
    marks: bool  # its mark is to be kept
    inbox: int  # it has everything up to here
    sendbox: int
    mark: int  # of what came from the old primary, everything sent up to here
    sent_mark: int
    since: int = 0  # the seq from which these marks hold; before it …
    earlier: int = 0  # … hold those of the epoch that it was in last
    sent_earlier: int = 0


def where(server_set: str, request: Request, began: Began, inbox: int, sendbox: int) -> Where:
    """Of a device whose cursors are these."""
    end = began.time - 1  # of the old log
    if inbox <= end:
        # Who has not come farther than what both logs have needs no mark.
        marks = max(inbox, sendbox) > began.before
        key = _key(server_set, request) | {"inbox": inbox}
        ((was, earlier, sent_earlier),) = log.of(server_set).read(_EARLIER, key)
        since = first_seq(was + 1) if was else 0
        return Where(True, marks, inbox, sendbox, inbox, sendbox, since, earlier, sent_earlier)
    key = _key(server_set, request)
    rows = log.of(server_set).read(_MARKS, key)
    own = next((row[1:] for row in rows if row[0]), None)
    # To a node that has not heard of the newest epoch yet, the old log is the one that it reads itself.
    from_old_log = request.options & FROM_OLD_LOG and request.epoch <= key["epoch"]
    if own is None and (from_old_log or any(time >= inbox for _, time, _, _ in rows)):
        # It was at the site that was cut off, perhaps by another name: a browser's page is a new device.
        return Where(True, True, end, min(sendbox, end), inbox, sendbox)
    time, sent, upto = own or (0, 0, 0)
    if own is not None and time >= inbox:  # its cursor is the old log's still
        return Where(True, True, max(upto, end), max(upto, end), time, sent)
    return Where(False, False, inbox, sendbox, time, sent)


def note(server_set: str, request: Request, at: Where, newest: int) -> None:
    """Keep a device's mark, and how far it has read the new log by its reply."""
    values = _key(server_set, request) | {
        "mark": at.mark,
        "sent_mark": at.sent_mark,
        "upto": max(at.inbox, newest),
        "earlier": at.earlier,
        "sent_earlier": at.sent_earlier,
        "slot": slot(str(request.tenant), request.user),
    }
    log.of(server_set).run(lambda connection: connection.execute(_PUT, values), within=2.0)


def put(server_set: str, epoch: int, marks: Iterable[tuple[int, str, str, int, int]]) -> None:
    """Marks of devices that have none in this epoch: (tenant, user, device, ms, slot)."""
    if columns := [list(column) for column in zip(*marks, strict=True)]:
        log.of(server_set).run(lambda connection: connection.execute(_PUT_ALL, (epoch, *columns)), within=2.0)


def _key(server_set: str, request: Request) -> dict[str, Any]:
    entry = topology.current.sets.get(server_set)
    epoch = entry.epoch if entry else 1
    return {"tenant": request.tenant, "user": request.user, "device": request.device, "epoch": epoch}


def forget(server_set: str) -> None:
    """Timed: remove the marks of epochs that have been over for `KEPT`."""
    sql = """DELETE FROM messaging_epochmark
             WHERE epoch < (SELECT COALESCE(max(number), 1) FROM messaging_epoch WHERE time < %s)"""
    log.of(server_set).run(lambda connection: connection.execute(sql, (log.now() - KEPT,)), within=2.0)
