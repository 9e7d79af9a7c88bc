"""A gateway as a reader of a SET's log. Sans-I/O: `apps.routing.process` brings hints and reads.

Hints bring the log's rows as they are committed. They may be lost or overtake each other; each says which
range of the log it covers, so that rows are applied in log order, and the log itself is read where a range is
missing. A device must never be shown a message before an earlier one of its inbox: its SDK would move its
cursor over the gap and never ask for what was in it (PROTOCOL 6.2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from apps.routing import metrics
from apps.routing.envelope import Hint, Row, epoch_of, first_seq

logger = logging.getLogger(__name__)

HELD_MAX = 256  # hints held behind a gap; past it they are dropped, and read from the log
BEHIND_MAX = 50_000  # rows; a gateway further behind has its devices pull instead


class Feed:
    """The rows of one SET's log, in order, exactly once each, from where this gateway began.

    `apply(row)` shows one row; `skipped(seq)` says that rows up to seq were passed over; `began(epoch)` comes
    before the first row of a new one, in which the SET has another primary.
    """

    def __init__(
        self,
        server_set: str,
        apply: Callable[[Row], None],
        skipped: Callable[[int], None],
        began: Callable[[int], None],
    ) -> None:
        self.server_set = server_set
        self.covered = -1  # seq up to which rows were applied; -1: where the log ends is not known yet
        self._last = -1  # the last seq that can be of its epoch
        self._apply = apply
        self._skipped = skipped
        self._began = began
        self._held: dict[int, Hint] = {}  # by `before`
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        for metric in metrics.OF_FEED:
            metric.of(server_set)

    @property
    def behind(self) -> bool:
        """Something is known to be missing: if it does not come by itself, the log must be read."""
        return bool(self._held or self._waiting)

    def offer(self, hint: Hint) -> None:
        """Take a hint: apply it, hold it behind a gap, or drop what of it is known."""
        if not hint.upto:
            for row in hint.rows:
                self._show(row)
        elif self.covered < 0 or hint.before > self.covered:
            if self.covered >= 0 and not self._held:
                metrics.FEED_GAPS.add(1, self.server_set)
            if len(self._held) < HELD_MAX:
                self._held[hint.before] = hint
        else:
            self._advance(hint)
            while self._held and (first := min(self._held)) <= self.covered:
                self._advance(self._held.pop(first))
            self._release()

    def read(self, hint: Hint, head: int) -> None:
        """Take what was read from the log past `covered`; `head` is where the log ends."""
        if self.covered < 0:
            self.covered = hint.before
            self._last = first_seq(epoch_of(self.covered) + 1)
        # Between two epochs, no rows have the seqs in between.
        behind = head - max(self.covered, first_seq(epoch_of(head)))
        if behind > BEHIND_MAX:
            logger.error("%s: %d rows behind, devices pull", self.server_set, behind)
            metrics.FEED_SKIPS.add(1, self.server_set)
            self._cover(head)
            self._held.clear()
            self._skipped(head)
            self._release()
        else:
            metrics.FEED_ROWS_READ.add(sum(row.seq > self.covered for row in hint.rows), self.server_set)
            self.offer(hint)

    def when_covered(self, position: int, then: Callable[[], None]) -> None:
        """Call `then` once every row up to `position` has been applied: at once in the ordinary case."""
        if position <= self.covered:
            then()
        else:
            self._waiting.append((position, then))

    def _advance(self, hint: Hint) -> None:
        for row in hint.rows:
            if row.seq > self.covered:
                self._cover(row.seq)
                self._show(row)
            elif not row.seq:
                self._show(row)
        self._cover(max(self.covered, hint.upto))

    def _cover(self, seq: int) -> None:
        self.covered = seq
        if seq > self._last:
            epoch = epoch_of(seq)
            self._last = first_seq(epoch + 1)
            self._began(epoch)

    def _show(self, row: Row) -> None:
        try:
            self._apply(row)
        except Exception:
            # A bug must not stop the log for everybody behind this row; its receivers pull it.
            logger.exception("%s: row %d could not be shown", self.server_set, row.seq)

    def _release(self) -> None:
        if self._waiting:
            ready = [then for position, then in self._waiting if position <= self.covered]
            self._waiting = [entry for entry in self._waiting if entry[0] > self.covered]
            for then in ready:
                then()
