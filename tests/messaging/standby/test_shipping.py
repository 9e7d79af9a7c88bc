"""The standby has what the primary has: rows, changes, deletions, and its place; whoever dies in between."""

import threading
from contextlib import ExitStack, suppress
from typing import Any

import msgpack
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from apps.messaging.log import Log, Unavailable
from apps.messaging.methods import gateways
from apps.messaging.standby import adding, journal, replication, shipping
from apps.messaging.standby.shipping import StandbyAway
from apps.routing.envelope import Request
from apps.routing.models import ServerSet
from apps.routing.topology import topology
from tests.messaging.conftest import away, entry, user
from tests.messaging.sending import group_of, join, say
from tests.messaging.standby.conftest import Two, make_empty

ALICE, BOB = user("set1"), user("set1", but=user("set1"))


def test_what_is_appended_is_shipped_in_order_with_its_place(two: Two, sets: dict[str, Log]) -> None:
    sets["set1"].append([entry(ALICE, BOB) for _ in range(5)], within=5)
    two.ship()
    assert two.is_same()
    assert len(two.contents(two.standby)["messaging_message"]) == 5
    assert shipping.of("set1").ship() == (5, 5, 0, True)


def test_a_standby_that_is_far_behind_gets_the_log_page_by_page(
    two: Two, sets: dict[str, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "PAGE", 3)
    for _ in range(5):
        sets["set1"].append([entry(ALICE, BOB), entry(BOB, ALICE)], within=5)
    shipped = [shipping.of("set1").ship() for _ in range(4)]
    assert [(each.position, each.rows) for each in shipped] == [(3, 3), (6, 3), (9, 3), (10, 1)]
    assert [each.whole for each in shipped] == [False, False, False, True]
    assert two.is_same()


def test_rows_that_change_or_go_do_so_at_the_standby(two: Two) -> None:
    group = group_of("set1")
    join(group, ALICE, BOB)
    uid = say(ALICE, group, method="pgMsgP")
    two.ship()
    assert two.contents(two.standby)["messaging_groupmember"]
    two.change(two.primary, "UPDATE messaging_message SET flags = flags | 32 WHERE uid = %s", uid)
    two.change(two.primary, "DELETE FROM messaging_groupmember")
    two.ship()
    assert two.is_same()
    assert not two.contents(two.standby)["messaging_groupmember"]
    assert two.rows(two.standby, "SELECT flags & 32 FROM messaging_message WHERE uid = %s", uid) == [(32,)]
    assert two.rows(two.primary, "SELECT count(*) FROM messaging_changedrow") == [(0,)]


def test_what_was_there_before_there_was_a_standby_is_brought_too(two: Two, sets: dict[str, Log]) -> None:
    adding.remove("set1")
    two.change(two.primary, "DELETE FROM messaging_changedrow")
    join(group_of("set1"), ALICE)
    sets["set1"].append([entry(ALICE, BOB)], within=5)
    third = two.standby.replace("set1_standby", "set1_third")
    make_empty(third)
    adding.add("set1", third)
    two.ship()
    assert two.contents(third) == two.contents(two.primary)
    adding.remove("set1")
    shipping.of("set1").close()
    with psycopg.connect(two.primary, dbname="postgres", autocommit=True) as admin:
        name = str(conninfo_to_dict(third)["dbname"])
        admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@pytest.mark.parametrize("breaks", range(1, 12))
def test_a_pass_that_is_cut_off_anywhere_is_made_again(
    two: Two, sets: dict[str, Log], monkeypatch: pytest.MonkeyPatch, breaks: int
) -> None:
    """Its connection to the standby, or to the primary, breaks at the n-th statement."""
    sets["set1"].append([entry(ALICE, BOB) for _ in range(3)], within=5)
    join(group_of("set1"), ALICE)
    shipper = shipping.of("set1")
    shipper.position()
    left = breaks
    execute = psycopg.Connection.execute

    def failing(self: psycopg.Connection[Any], *args: Any, **how: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            self.close()
        return execute(self, *args, **how)

    monkeypatch.setattr(psycopg.Connection, "execute", failing)
    try:
        shipper.ship()
    except (StandbyAway, psycopg.Error):
        pass
    monkeypatch.undo()
    assert left <= 0 or two.is_same(), "there are no more statements to break at"
    two.ship()
    assert two.is_same()


@pytest.mark.parametrize("within_a_copy", [True, False])
def test_a_worker_that_stands_still_within_a_pass_keeps_the_others_waiting_for_seconds_only(
    two: Two, sets: dict[str, Log], monkeypatch: pytest.MonkeyPatch, within_a_copy: bool
) -> None:
    sets["set1"].append([entry(ALICE, BOB)], within=5)
    shipped: list[shipping.Shipped] = []

    def pass_of_another() -> None:
        other = shipping.Shipper("set1")
        while not shipped:
            with suppress(StandbyAway):
                shipped.append(other.ship())
        other.close()

    others = threading.Thread(target=pass_of_another, daemon=True)

    def stand_still(_: Any, standby: psycopg.Connection[Any], *rest: Any) -> None:
        monkeypatch.undo()
        with ExitStack() as opened:
            if within_a_copy:
                opened.enter_context(standby.cursor().copy("COPY messaging_message (seq) FROM STDIN"))
            others.start()
            others.join(timeout=25)

    monkeypatch.setattr(shipping, "_copy_log", stand_still)
    with pytest.raises(StandbyAway):
        shipping.of("set1").ship()
    assert [each.position for each in shipped] == [1]
    assert two.is_same()


def test_a_standby_takes_writes_from_nobody_else(two: Two) -> None:
    with shipping.connect(two.standby) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM messaging_message")


def test_a_standby_of_another_epoch_is_given_nothing(two: Two, sets: dict[str, Log]) -> None:
    sets["set1"].append([entry(ALICE, BOB)], within=5)
    two.change(two.standby, "UPDATE messaging_head SET epoch = 7")
    with pytest.raises(StandbyAway, match="not in epoch 1"):
        shipping.of("set1").ship()
    two.change(two.standby, "UPDATE messaging_head SET epoch = 1, seq = 5")
    with pytest.raises(StandbyAway, match="not one of this primary"):
        shipping.of("set1").ship()


class TestDurability:
    """Messages are acknowledged when the standby has them too."""

    @pytest.fixture(autouse=True)
    def on_standby(self, two: Two) -> None:
        ServerSet.objects.filter(name="set1").update(durability="standby", standby_patience=0.3)
        topology.renew()

    def test_what_is_appended_is_at_the_standby_when_that_returns(
        self, two: Two, sets: dict[str, Log]
    ) -> None:
        appended = sets["set1"].append([entry(ALICE, BOB)], within=5)
        assert two.rows(two.standby, "SELECT max(seq) FROM messaging_message") == [(appended.upto,)]

    def test_while_it_is_away_messages_are_refused_and_shown_to_nobody(
        self, two: Two, sets: dict[str, Log]
    ) -> None:
        sets["set1"].append([entry(ALICE, BOB)], within=5)
        with away(two.standby), pytest.raises(Unavailable, match="standby"):
            sets["set1"].append([entry(ALICE, BOB, uid="later")], within=5)
        assert shipping.covered("set1") == 1
        found = sets["set1"].append([entry(ALICE, BOB, uid="later")], within=5)
        assert found.repeated["later"][0] == 2
        assert two.is_same()

    def test_a_gateway_reads_no_more_of_the_log_than_the_standby_has(
        self, two: Two, sets: dict[str, Log]
    ) -> None:
        sets["set1"].append([entry(ALICE, BOB)], within=5)
        with away(two.standby), pytest.raises(Unavailable):
            sets["set1"].append([entry(ALICE, BOB)], within=5)
        answer = gateways.read_feed("set1", read_after(0))
        assert answer.position == 1

    def test_while_it_is_away_for_long_they_may_be_acknowledged_without_it(
        self, two: Two, sets: dict[str, Log]
    ) -> None:
        ServerSet.objects.filter(name="set1").update(when_standby_away="degrade")
        topology.renew()
        with away(two.standby):
            sets["set1"].append([entry(ALICE, BOB)], within=5)
            assert ServerSet.objects.get(name="set1").degraded_at is not None
        two.ship()
        shipping.restore("set1")
        assert ServerSet.objects.get(name="set1").degraded_at is None


def read_after(seq: int) -> Request:
    return Request(0, "", "readFeed", "set1", msgpack.packb(seq))


def test_while_the_standby_is_away_a_row_that_changes_often_is_noted_once(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "COMPACT_FROM", 10)
    join(group_of("set1"), ALICE)
    two.ship()
    with away(two.standby):
        for number in range(20):
            two.change(two.primary, "UPDATE messaging_group SET name = %s", str(number))
        replication.run("set1")
        assert two.rows(two.primary, "SELECT count(*) FROM messaging_changedrow") == [(1,)]
    replication.run("set1")
    assert two.is_same()
