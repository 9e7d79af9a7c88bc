"""What a process knew is there for one that starts while the database is away, and for nobody else."""

from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from apps.accounts import remembered
from apps.accounts.remembered import Keeper
from apps.accounts.snapshot import Renewed


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path / "remembered"


def away(previous: object) -> Any:
    raise OperationalError("away")


def test_a_process_that_starts_while_the_database_is_away_has_what_another_one_knew(folder: Path) -> None:
    Keeper("what").put({"a": 1})
    new: Renewed[Any] = Renewed("what", away, kept=True)
    assert new.current == {"a": 1}
    assert new.remembered
    assert folder.stat().st_mode & 0o077 == (folder / "what").stat().st_mode & 0o077 == 0


def test_while_the_database_answers_nobody_looks_there() -> None:
    Keeper("what").put({"a": 1})
    new: Renewed[Any] = Renewed("what", lambda previous: {"a": 2}, kept=True)
    assert new.current == {"a": 2}
    assert not new.remembered


def test_what_was_remembered_is_replaced_when_the_database_is_back() -> None:
    Keeper("what").put({"a": 1})
    answers: list[Any] = [OperationalError("away"), {"a": 2}]

    def read(previous: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    new: Renewed[Any] = Renewed("what", read, kept=True)
    assert new.current == {"a": 1}
    assert new.renew() == new.current == {"a": 2}
    assert not new.remembered


def test_who_has_read_once_is_not_given_what_is_older() -> None:
    Keeper("what").put({"a": 1})
    new: Renewed[Any] = Renewed("what", lambda previous: away(previous) if previous else {"a": 2}, kept=True)
    assert new.current == {"a": 2}
    with pytest.raises(OperationalError):
        new.renew()
    assert new.current == {"a": 2}


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04K\x01.", b"no pickle", b"\x80\x04K\x01.cnowhere\nNothing\n."]
)
def test_a_file_that_cannot_be_read_is_as_good_as_none(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "what").write_bytes(content)
    new: Renewed[Any] = Renewed("what", away, kept=True)
    with pytest.raises(OperationalError):
        _ = new.current


def test_values_are_not_written_again_and_again(folder: Path) -> None:
    keeper = Keeper("what")
    keeper.put([1])
    keeper.put([2])  # too soon
    assert remembered.get("what") == [1]
    (folder / "what").unlink()
    Keeper("what").put([3])
    assert remembered.get("what") == [3]
