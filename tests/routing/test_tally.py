"""Counts are kept across processes: sums of all, never falling, gauges of the living only."""

from pathlib import Path

import pytest

from apps.routing import tally
from apps.routing.tally import Book, Registry


class Process:
    """What one process would have: metrics of its own, and a file."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry()
        self.sent = self.registry.counter("sent_total", "", "to")
        self.open = self.registry.gauge("open", "")
        self.took = self.registry.histogram("took_seconds", "", (0.1, 1.0))
        self.folder = folder
        self.book = Book(self.registry, folder)

    def totals(self) -> tally.Totals:
        return self.registry.total(self.folder)


def test_what_processes_count_at_once_is_added_up(tmp_path: Path) -> None:
    one, two = Process(tmp_path), Process(tmp_path)
    one.sent.add(2, "a")
    two.sent.add(3, "a")
    two.sent.add(1, "b")
    one.open.put(5)
    two.open.put(7)
    one.took.observe(0.1)
    two.took.observe(1.5)
    for each in (one, two):
        each.book.write()
    assert one.totals() == {
        "sent_total": {("a",): [5], ("b",): [1]},
        "open": {(): [12]},
        "took_seconds": {(): [1, 0, 1, 1.6]},
    }


def test_a_process_goes_on_counting_where_the_dead_one_before_it_ended(tmp_path: Path) -> None:
    first, other = Process(tmp_path), Process(tmp_path)
    first.sent.add(2, "a")
    first.open.put(5)
    first.book.close()
    other.book.write()
    assert other.totals()["sent_total"] == {("a",): [2]}
    second = Process(tmp_path)
    assert second.book.file == first.book.file
    second.sent.add(1, "a")
    second.book.write()
    assert second.totals()["sent_total"] == {("a",): [3]}
    assert second.totals()["open"] == {(): [0]}


def test_gauges_of_a_silent_process_are_left_out_and_its_counts_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(tmp_path)
    process.sent.add(2, "a")
    process.open.put(5)
    process.book.write()
    monkeypatch.setattr(tally, "FRESH", 0.0)
    assert process.totals() == {
        "sent_total": {("a",): [2]},
        "open": {},
        "took_seconds": {(): [0, 0, 0, 0]},
    }


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x00", b"{"])
def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.counts").write_bytes(content)
    process = Process(tmp_path)
    process.sent.add(1, "a")
    process.book.write()
    assert process.totals()["sent_total"] == {("a",): [1]}


def test_what_another_version_counted_in_another_form_is_left_out(tmp_path: Path) -> None:
    older = Registry()
    older.counter("sent_total", "", "to", "by").add(1, "a", "b")
    older.histogram("took_seconds", "", (1.0,)).observe(0.5)
    older.counter("gone_total", "").add(1)
    Book(older, tmp_path).close()
    process = Process(tmp_path)
    assert process.totals()["sent_total"] == {}
    process.book.write()
    assert process.totals()["took_seconds"] == {(): [0, 0, 0, 0]}


def test_clearing_removes_what_the_dead_have_left_only(tmp_path: Path) -> None:
    dead, living = Process(tmp_path), Process(tmp_path)
    for each in (dead, living):
        each.sent.add(1, "a")
        each.book.write()
    dead.book.close()
    tally.clear(tmp_path)
    assert living.totals()["sent_total"] == {("a",): [1]}
    assert not dead.book.file.exists()
    assert living.book.file.exists()


def test_a_folder_that_is_gone_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = Process(tmp_path / "metrics")
    for file in (tmp_path / "metrics").iterdir():
        file.unlink()
    (tmp_path / "metrics").rmdir()
    process.book.write()
    process.book.write()
    assert [record.message.split(":")[0] for record in caplog.records] == ["metrics are not written"]
