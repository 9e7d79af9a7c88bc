"""What one pass to the standby brings, and what is left of one that fails."""

from typing import Any

import pytest

from apps.messaging.log import Log
from apps.messaging.standby import shipping
from tests.messaging.conftest import entry, user
from tests.messaging.sending import group_of, join
from tests.messaging.standby.conftest import Two

ALICE, BOB = user("set1"), user("set1", but=user("set1"))


def test_rows_of_other_tables_come_with_the_end_of_the_log(
    two: Two, sets: dict[str, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "PAGE", 3)
    join(group_of("set1"), ALICE, BOB)
    sets["set1"].append([entry(ALICE, BOB) for _ in range(5)], within=5)
    shipper = shipping.of("set1")
    assert not shipper.ship().whole
    members = "SELECT count(*) FROM messaging_groupmember"
    assert two.rows(two.standby, members) == [(0,)]
    assert two.rows(two.primary, "SELECT count(*) > 0 FROM messaging_changedrow") == [(True,)]
    two.ship()
    assert two.rows(two.standby, members) == [(2,)]
    assert two.is_same()


def test_more_notes_than_a_pass_takes_are_brought_by_the_next_ones(
    two: Two, sets: dict[str, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "NOTES", 2)
    join(group_of("set1"), ALICE, BOB)
    sets["set1"].append([entry(ALICE, BOB)], within=5)
    assert not shipping.of("set1").ship().whole
    two.ship()
    assert two.is_same()
    assert two.rows(two.primary, "SELECT count(*) FROM messaging_changedrow") == [(0,)]


def test_nothing_stays_begun_when_a_pass_fails_in_a_way_of_its_own(
    two: Two, sets: dict[str, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    sets["set1"].append([entry(ALICE, BOB)], within=5)
    copy = shipping._copy_log

    def fails(*args: Any) -> int:
        copy(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(shipping, "_copy_log", fails)
    shipper = shipping.of("set1")
    with pytest.raises(KeyboardInterrupt):
        shipper.ship()
    monkeypatch.undo()
    # Somebody else is not kept from the head, and finds nothing of it.
    assert shipping.Shipper("set1").ship() == (1, 1, 1, True)
    assert shipper.ship() == (1, 1, 0, True)
    assert two.is_same()
