"""Which slots a move or a rebalance would move, what is refused, and how a move is taken back."""

from collections import Counter

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from apps.routing import slots
from apps.routing.models import Cluster, ServerSet, Slot, SlotMove
from apps.routing.placement import SLOTS
from apps.routing.topology import bootstrap

NOWHERE = "postgresql://imcloud@127.0.0.1:1/nothing"


@pytest.fixture
def main(databases: None) -> Cluster:
    """One cluster, all of whose slots are in set1; set2 is new."""
    bootstrap(sets=1)
    cluster = Cluster.objects.get()
    ServerSet.objects.create(cluster=cluster, name="set2")
    return cluster


def the(name: str) -> ServerSet:
    return ServerSet.objects.get(name=name)


def carry_out(moves: list[SlotMove]) -> None:
    for move in moves:
        Slot.objects.filter(cluster=move.cluster, number=move.number).update(server_set=move.destination)


def refusal(cluster: Cluster, numbers: list[int], destination: ServerSet) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        slots.plan_move(cluster, numbers, destination)
    return refused.value.messages


@given(st.sets(st.integers(0, SLOTS - 1), min_size=1))
def test_what_is_written_is_what_is_read(numbers: set[int]) -> None:
    assert slots.parse(slots.ranges(numbers)) == sorted(numbers)


def test_slots_are_written_as_ranges() -> None:
    assert slots.ranges([700, 3, 1, 2, 0]) == "0-3, 700" and slots.ranges([]) == ""
    assert slots.parse(" 7 , 5-6,6 - 8") == [5, 6, 7, 8]


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1-", "1--2", "1,,2", "5-4", "0-1024", "1024", "0-99999999999", "٣"]
)
def test_what_names_no_slots_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        slots.parse(text)


def test_a_move_is_planned_for_those_slots_that_the_set_does_not_have(main: Cluster) -> None:
    carry_out(slots.plan_move(main, [5], the("set2")))
    moves = slots.plan_move(main, [4, 5, 6], the("set2"))
    assert [(m.number, m.source.name, m.destination.name, m.step) for m in moves] == [
        (4, "set1", "set2", "copy"), (6, "set1", "set2", "copy")
    ]  # fmt: skip
    assert slots.plan_move(main, [5], the("set2")) == []
    assert slots.summary(moves) == ["set1 to set2, 2 slots: 4, 6"]
    assert not SlotMove.objects.exists()


def test_slots_outside_the_range_are_refused(main: Cluster) -> None:
    assert refusal(main, [-1, 0, SLOTS], the("set2")) == ["The slots are 0 to 1023; -1, 1024 is outside."]


def test_a_set_of_another_cluster_is_refused(main: Cluster) -> None:
    other = ServerSet.objects.create(cluster=Cluster.objects.create(name="other"), name="set9")
    assert "SET set9 is of cluster other, not of main." in refusal(main, [0], other)


def test_a_set_without_database_is_refused(main: Cluster) -> None:
    empty = ServerSet.objects.create(cluster=main, name="set3", database=NOWHERE)
    (sentence,) = refusal(main, [0], empty)
    assert "set3" in sentence and "database" in sentence


def test_a_slot_that_is_on_its_way_is_refused_until_its_move_has_ended(main: Cluster) -> None:
    (move,) = slots.ask(slots.plan_move(main, [7], the("set2")), "somebody")
    assert refusal(main, [6, 7], the("set2")) == ["Slots that are being moved already: 7."]
    with pytest.raises(ValidationError, match="being moved already: 7"):
        slots.plan_rebalance(main)
    SlotMove.objects.filter(pk=move.pk).update(step="cancelled")
    assert len(slots.plan_move(main, [6, 7], the("set2"))) == 2


def test_of_two_who_ask_for_one_slot_the_second_is_refused_and_nothing_of_theirs_moves(main: Cluster) -> None:
    first, second = slots.plan_move(main, [7], the("set2")), slots.plan_move(main, [6, 7], the("set2"))
    slots.ask(first, "alice")
    with pytest.raises(ValidationError, match="Somebody else"):
        slots.ask(second, "mallory")
    assert [(move.number, move.asked_by) for move in SlotMove.objects.all()] == [(7, "alice")]


def test_a_new_set_takes_its_share_and_nothing_else_moves(main: Cluster) -> None:
    moves = slots.plan_rebalance(main)
    assert {(m.source.name, m.destination.name) for m in moves} == {("set1", "set2")}
    assert abs(len(moves) - SLOTS / 2) < 80  # 5 standard deviations
    carry_out(moves)
    assert slots.plan_rebalance(main) == []


def test_shares_follow_weights_and_a_set_of_weight_0_is_emptied(main: Cluster) -> None:
    carry_out(slots.plan_rebalance(main))
    ServerSet.objects.filter(name="set2").update(weight=3)
    moves = slots.plan_rebalance(main)
    assert {m.destination.name for m in moves} == {"set2"}
    carry_out(moves)
    shares = Counter(Slot.objects.values_list("server_set__name", flat=True))
    assert abs(shares["set2"] - SLOTS * 3 / 4) < 70
    ServerSet.objects.filter(name="set1").update(weight=0)
    carry_out(slots.plan_rebalance(main))
    assert not Slot.objects.filter(server_set__name="set1").exists()
    ServerSet.objects.update(weight=0)
    with pytest.raises(ValidationError, match="has a weight above 0"):
        slots.plan_rebalance(main)


def test_a_set_without_database_gets_nothing_in_a_rebalance_either(main: Cluster) -> None:
    ServerSet.objects.create(cluster=main, name="set3", database=NOWHERE)
    with pytest.raises(ValidationError, match="set3"):
        slots.plan_rebalance(main)


def test_only_moves_that_are_still_copying_are_taken_back(main: Cluster) -> None:
    moves = slots.ask(slots.plan_move(main, [1, 2, 3], the("set2")), "somebody")
    SlotMove.objects.filter(pk=moves[2].pk).update(step="switch")
    assert slots.cancel(main, [2, 3, 4]) == [2]
    assert slots.cancel() == [1] and slots.cancel() == []
    assert [move.step for move in SlotMove.objects.order_by("number")] == ["cancelled", "cancelled", "switch"]
    assert [move.number for move in slots.open_moves(main)] == [3]
