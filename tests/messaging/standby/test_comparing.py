"""What differs between a SET's two databases is found, whatever it is, told apart and mended."""

import json
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.messaging.log import Log
from apps.messaging.standby import comparing
from apps.messaging.standby.comparing import Result
from apps.routing.models import Comparison
from tests.messaging.conftest import away, entry, user
from tests.messaging.sending import group_of, join, say
from tests.messaging.standby.conftest import Two

ALICE, BOB = user("set1"), user("set1", but=user("set1"))
ROWS = 300


def differing(result: Result) -> dict[str, tuple[int, int, int]]:
    """table -> (missing, too many, different)"""
    return {each.table: (each.missing, each.extra, each.different) for each in result.tables if each.wrong}


@pytest.fixture
def filled(two: Two, sets: dict[str, Log]) -> Two:
    sets["set1"].append([entry(ALICE, BOB) for _ in range(ROWS)], within=5)
    join(group_of("set1"), ALICE, BOB)
    two.ship()
    return two


def test_two_that_are_equal_are_said_to_be(filled: Two) -> None:
    result = comparing.compare("set1", repair=False)
    assert (result.wrong, result.position) == (0, ROWS + 1)
    assert result.rows > ROWS
    assert Comparison.objects.get().result == result.as_dict()


@pytest.mark.parametrize("size", [10, 64, comparing.RANGE])
def test_what_differs_is_found_told_apart_and_mended(
    filled: Two, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(comparing, "RANGE", size)
    filled.change(filled.standby, "DELETE FROM messaging_message WHERE seq IN (1, 77, 300)")
    filled.change(filled.standby, "UPDATE messaging_message SET flags = 0 WHERE seq = 150")
    filled.change(filled.standby, "UPDATE messaging_message SET uid = 'other' WHERE seq = 151")
    filled.change(filled.standby, "UPDATE messaging_groupmember SET id = id + 1000")
    result = comparing.compare("set1", repair=False)
    assert differing(result) == {"messaging_message": (3, 0, 2), "messaging_groupmember": (2, 2, 0)}
    with pytest.raises(AssertionError):
        assert filled.is_same()
    result = comparing.compare("set1", repair=True)
    assert result.wrong == 9
    assert filled.is_same()
    assert comparing.compare("set1", repair=False).wrong == 0


def test_rows_that_change_meanwhile_are_not_taken_for_wrong_ones(filled: Two, sets: dict[str, Log]) -> None:
    over = threading.Event()

    change = "UPDATE messaging_message SET flags = flags # 32 WHERE seq < 50"

    def write() -> None:
        its = Log("set1")
        while not over.is_set():
            its.append([entry(ALICE, BOB)], within=5)
            its.run(lambda connection: connection.execute(change), within=5)
        its.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            assert comparing.compare("set1", repair=False).wrong == 0
    finally:
        over.set()
        writer.join()


@given(
    broken=st.lists(
        st.tuples(st.sampled_from(["drop", "change", "shift"]), st.integers(1, ROWS)),
        max_size=12,
        unique_by=lambda each: each[1],
    )
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_mended(filled: Two, broken: list[tuple[str, int]]) -> None:
    does = {
        "drop": "DELETE FROM messaging_message WHERE seq = %s",
        "change": "UPDATE messaging_message SET up = '\\x00', time = time + 1 WHERE seq = %s",
        "shift": "UPDATE messaging_message SET seq = -seq WHERE seq = %s",
    }
    for what, seq in broken:
        filled.change(filled.standby, does[what], seq)
    wrong = len(broken) + sum(what == "shift" for what, _ in broken)
    assert comparing.compare("set1", repair=True).wrong == wrong
    assert filled.is_same()


def test_the_command_tells_it_to_people_and_to_programs(filled: Two) -> None:
    filled.change(filled.standby, "DELETE FROM messaging_message WHERE seq = 7")
    out = StringIO()
    call_command("sets", "compare", "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert (told["set"], told["wrong"], told["repaired"]) == ("set1", 1, False)
    assert told["tables"] == [
        {
            "table": "messaging_message",
            "rows": ROWS + 1,
            "missing": 1,
            "extra": 0,
            "different": 0,
            "keys": ["7"],
        }
    ]
    out = StringIO()
    call_command("sets", "compare", "set1", "--repair", stdout=out, stderr=StringIO())
    assert "messaging_message: 1 missing, 0 too many, 0 different: 7" in out.getvalue()
    assert "1 rows differ; brought over again" in out.getvalue()
    out = StringIO()
    call_command("sets", "compare", stdout=out, stderr=StringIO())
    assert "they are equal" in out.getvalue()


def test_what_cannot_be_compared_says_why(filled: Two) -> None:
    with pytest.raises(CommandError, match="SET set2 has no standby"):
        call_command("sets", "compare", "set2")
    with pytest.raises(CommandError, match="There is no SET set9"):
        call_command("sets", "compare", "set9")
    with away(filled.standby), pytest.raises(CommandError, match="standby cannot be reached"):
        call_command("sets", "compare", stderr=StringIO())
    assert not Comparison.objects.exists()
    assert say(ALICE, BOB)
