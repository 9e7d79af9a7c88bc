import asyncio
import logging
import threading
import time
from typing import NamedTuple

import pytest

from apps.accounts import snapshot
from apps.accounts.models import changing
from apps.accounts.snapshot import OfChanges, Renewed
from tests.conftest import wait_for


def eventually(value: Renewed[int], expected: int) -> bool:
    end = time.monotonic() + 2
    while value.current != expected and time.monotonic() < end:
        time.sleep(0.005)
    return value.current == expected


def test_the_first_look_reads_and_later_ones_do_not() -> None:
    reads = iter([1, 2])
    value = Renewed("numbers", lambda previous: next(reads))
    assert [value.current, value.current] == [1, 1]


def test_reading_is_given_the_previous_value() -> None:
    value: Renewed[int] = Renewed("numbers", lambda previous: (previous or 0) + 1)
    assert [value.renew(), value.renew()] == [1, 2]


def test_a_first_read_that_fails_is_the_callers_trouble() -> None:
    def fail(previous: int | None) -> int:
        raise OSError("no database")

    with pytest.raises(OSError, match="no database"):
        _ = Renewed("numbers", fail).current


async def test_on_an_event_loop_the_first_read_takes_place_in_another_thread() -> None:
    here = threading.get_ident()
    value = Renewed("threads", lambda previous: threading.get_ident())
    assert asyncio.get_running_loop()
    assert value.current != here


def test_started_it_follows_and_keeps_the_old_value_through_failures(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source: list[int | Exception] = [1]

    def read(previous: int | None) -> int:
        if isinstance(source[0], Exception):
            raise source[0]
        return source[0]

    value = Renewed("numbers", read, every=0.01)
    value.start()
    value.start()
    assert eventually(value, 1)
    with caplog.at_level(logging.INFO, "apps.accounts.snapshot"):
        source[0] = OSError("database away")
        time.sleep(0.1)
        assert value.current == 1
        source[0] = 2
        assert eventually(value, 2)
    value.stop()
    own = [record.levelname for record in caplog.records if record.getMessage().startswith("numbers:")]
    assert own == ["WARNING", "INFO"]


def test_stopped_it_is_read_no_more_until_it_is_started_again() -> None:
    value: Renewed[int] = Renewed("numbers", lambda previous: (previous or 0) + 1, every=0.001)
    value.start()
    wait_for(lambda: value.current > 3, 5, "it is not read")
    value.stop()
    value.stop()
    time.sleep(0.1)
    last = value.current
    time.sleep(0.1)
    assert value.current == last
    value.start()
    wait_for(lambda: value.current > last, 5, "it is not read again")
    value.stop()


class Made(NamedTuple):
    version: int
    reads: int


def counting(name: str) -> OfChanges[Made]:
    """A value that counts how often it was made anew."""

    def read(version: int, previous: Made | None) -> Made:
        return Made(version, previous.reads + 1 if previous else 1)

    return OfChanges(name, read)


def test_what_is_made_of_changes_is_made_anew_after_one_and_after_nothing_else(databases: None) -> None:
    value = counting("made")
    first = value.renew()
    assert value.renew() is first
    with changing():
        pass
    assert value.renew() == (first.version + 1, 2)


def test_all_that_is_made_of_changes_is_followed_by_one_thread_and_one_question(
    databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, failing = [], [True, True, False, False, False]
    one, other = counting("one"), counting("other")
    values = [one.renew(), other.renew()]
    with changing():
        pass
    version = snapshot._newest_version()

    def newest() -> int:
        if not failing:
            raise SystemExit  # the thread has nothing more to do
        asked.append(failing.pop(0))
        if asked[-1]:
            raise OSError("no database")
        return version

    assert not snapshot._followed, "a test before has not stopped what it has started"
    monkeypatch.setattr(snapshot, "_followed", [one, other])
    monkeypatch.setattr(snapshot, "_newest_version", newest)
    monkeypatch.setattr(snapshot, "EVERY", 0.001)
    with pytest.raises(SystemExit):
        snapshot._follow()
    assert len(asked) == 5
    assert [one.current.reads, other.current.reads] == [2, 2]
    assert [before.reads for before in values] == [1, 1]


def test_the_thread_ends_with_the_last_that_is_followed(
    databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "EVERY", 0.001)
    monkeypatch.setattr(snapshot, "_newest_version", lambda: 0)
    one, other = counting("one"), counting("other")
    one.start()
    other.start()
    (thread,) = (each for each in threading.enumerate() if each.name == "renew-changes")
    one.stop()
    thread.join(0.1)
    assert thread.is_alive()
    other.stop()
    thread.join(5)
    assert not thread.is_alive()
    one.start()
    (again,) = (each for each in threading.enumerate() if each.name == "renew-changes")
    one.stop()
    again.join(5)
    assert not again.is_alive()
