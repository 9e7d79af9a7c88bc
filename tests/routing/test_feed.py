"""A gateway applies the log's rows in order, once each, whatever happens to the hints."""

from hypothesis import given
from hypothesis import strategies as st

from apps.routing.envelope import Hint, Row, first_seq
from apps.routing.feed import BEHIND_MAX, Feed


def row(seq: int) -> Row:
    return Row(seq, f"uid{seq}", 1000 + seq, 1000 + seq, 1, 1, "a", "b", ("b",), True, "ppMsgP", b"")


class Gateway:
    """A log of `length` rows, a feed that began at its row 0, and what it showed."""

    def __init__(self, length: int, page: int = 1000) -> None:
        self.length = length
        self.page = page
        self.shown: list[int] = []
        self.skipped: list[int] = []
        self.feed = Feed("set1", lambda r: self.shown.append(r.seq), self.skipped.append, self._begin)
        self.feed.read(Hint("set1", 0, 0), 0)

    def _begin(self, epoch: int) -> None:
        self.shown.append(-epoch)

    def hint(self, before: int, upto: int) -> Hint:
        return Hint("set1", before, upto, [row(seq) for seq in range(before + 1, upto + 1)])

    def read(self) -> None:
        after = self.feed.covered
        self.feed.read(self.hint(after, min(after + self.page, self.length)), self.length)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.data())
def test_rows_are_shown_in_log_order_once_whatever_hints_are_lost_repeated_or_overtaken(
    sizes: list[int], data: st.DataObject
) -> None:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    gateway = Gateway(ends[-1], page=data.draw(st.integers(1, 20)))
    hints = [gateway.hint(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    arriving = data.draw(st.lists(st.sampled_from([*hints, None]), max_size=30))
    for hint in arriving:
        if hint is None:
            gateway.read()
        else:
            gateway.feed.offer(hint)
        assert gateway.shown == list(range(1, len(gateway.shown) + 1))
    while gateway.feed.covered < gateway.length:
        gateway.read()
    assert gateway.shown == list(range(1, gateway.length + 1))
    assert not gateway.feed.behind


def test_a_gap_is_known_until_what_is_missing_came() -> None:
    gateway = Gateway(6)
    gateway.feed.offer(gateway.hint(3, 6))
    assert gateway.feed.behind
    assert gateway.shown == []
    gateway.feed.offer(gateway.hint(0, 3))
    assert not gateway.feed.behind
    assert gateway.shown == [1, 2, 3, 4, 5, 6]


def test_a_reply_waits_until_the_rows_in_it_have_been_shown() -> None:
    gateway, replied = Gateway(2), []
    gateway.feed.when_covered(0, lambda: replied.append(0))
    gateway.feed.when_covered(2, lambda: replied.append(len(gateway.shown)))
    assert replied == [0]
    gateway.feed.offer(gateway.hint(0, 2))
    assert replied == [0, 2]


def test_a_status_message_is_shown_at_once_and_moves_nothing() -> None:
    gateway = Gateway(5)
    gateway.feed.offer(Hint("set1", rows=[row(0)]))
    assert gateway.shown == [0]
    assert gateway.feed.covered == 0


def test_a_row_that_cannot_be_shown_stops_nobody_and_repeats_nothing() -> None:
    shown: list[int] = []

    def show(each: Row) -> None:
        shown.append(each.seq)
        if each.seq == 2:
            raise ValueError("a bug")

    feed = Feed("set1", show, lambda seq: None, lambda epoch: None)
    feed.read(Hint("set1", 0, 0), 0)
    feed.offer(Hint("set1", 0, 3, [row(1), row(2), row(3)]))
    assert shown == [1, 2, 3]
    assert feed.covered == 3


def test_a_gateway_far_behind_passes_over_rows_and_says_so() -> None:
    gateway = Gateway(BEHIND_MAX + 1)
    gateway.read()
    assert gateway.skipped == [BEHIND_MAX + 1]
    assert gateway.feed.covered == BEHIND_MAX + 1
    assert gateway.shown == []


def test_a_new_epoch_begins_before_its_first_row_and_its_distance_is_no_gap() -> None:
    gateway, first = Gateway(3), first_seq(2)
    gateway.feed.offer(gateway.hint(0, 2))
    gateway.feed.offer(Hint("set1", first, first + 1, [row(first + 1)]))
    assert gateway.feed.behind
    # The new primary had one more of the old log, and the old one more of which nothing is known here.
    gateway.feed.read(Hint("set1", 2, first + 1, [row(3), row(first + 1)]), first + 1)
    assert gateway.shown == [1, 2, 3, -2, first + 1]
    assert not gateway.feed.behind
    assert gateway.skipped == []
    gateway.feed.offer(Hint("set1", first + 1, first + 2, [row(first + 2)]))
    assert gateway.shown[-1] == first + 2


def test_who_is_far_behind_in_a_new_epoch_passes_over_rows_of_it() -> None:
    gateway, first = Gateway(3), first_seq(3)
    gateway.feed.read(Hint("set1", 0, 1, [row(1)]), first + BEHIND_MAX + 1)
    assert gateway.shown == [-3]
    assert gateway.skipped == [first + BEHIND_MAX + 1]
