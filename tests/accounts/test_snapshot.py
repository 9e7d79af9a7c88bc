import asyncio
import logging
import threading
import time

import pytest

from apps.accounts.snapshot import Renewed


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
    # Watchers that other tests have started go on in their threads, and log what they meet.
    own = [record.levelname for record in caplog.records if record.getMessage().startswith("numbers:")]
    assert own == ["WARNING", "INFO"]
