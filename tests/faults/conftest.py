"""One stack for all tests that break things; nobody else's tests run against it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.stack import Stack, running
from bench.tokens import App


@pytest.fixture(scope="package")
def broken_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running server that the tests of this folder may kill parts of; each leaves it working."""
    with running(tmp_path_factory.mktemp("faults") / "var") as started:
        yield started


@pytest.fixture
def app(broken_stack: Stack) -> App:
    """The demo tenant of the stack."""
    described = broken_stack.describe()
    return App(described["url"], described["app_key"], described["app_secret"])


@pytest.fixture
def log_since(broken_stack: Stack) -> "LogSince":
    """What the server's processes log from now on."""
    return LogSince(broken_stack.log)


class LogSince:
    """The part of a log file that was written after this was made."""

    def __init__(self, path: Path):
        self._path = path
        self._start = path.stat().st_size

    def __call__(self) -> str:
        with self._path.open("rb") as file:
            file.seek(self._start)
            return file.read().decode(errors="replace")
