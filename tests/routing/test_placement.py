"""The union hash: golden vectors, fair shares, and only what must move moves."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.routing import placement
from apps.routing.placement import Candidates

KEYS = [f"user{i}" for i in range(100_000)]
FEW = KEYS[:2_000]
METHOD = "ppMsgP"
NODES = [("MSG_NODE1", 1.0), ("MSG_NODE2", 1.0), ("MSG_NODE3", 2.0), ("MSG_NODE4", 0.5)]

names = st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=9, unique=True)
weights = st.sampled_from([0.5, 1.0, 2.0, 7.5])
nodes = names.flatmap(lambda drawn: st.tuples(*(st.tuples(st.just(name), weights) for name in drawn)))


def test_the_hash_is_the_same_in_every_process_and_version() -> None:
    # A change of any of these moves data that is already stored.
    assert placement.digest("a", "b") == 0xFFC151170352BAA3
    assert placement.digest() == 0xE4A6A0577479B2B4
    assert placement.digest("\ud800") == 0x4208783E927D0D68
    assert [placement.slot("demo", name) for name in ("alice", "bob", "群")] == [788, 879, 226]
    assert [placement.slot(app, "alice") for app in ("demo", "Demo", "")] == [788, 423, 982]


def test_the_order_of_nodes_is_the_same_in_every_process_and_version() -> None:
    # Processes of two versions run side by side while one is replaced by the other.
    nodes = [("N1", 1.0), ("N2", 1.0), ("N3", 2.0), ("N4", 0.5)]
    for resource, method, expected in (
        ("alice", "ppMsgP", "N3 N1 N2 N4"),
        ("alice", "pullMsg", "N3 N4 N1 N2"),
        ("bob", "ppMsgP", "N3 N2 N4 N1"),
        ("群", "ppMsgP", "N3 N1 N2 N4"),
    ):
        assert placement.ranked(nodes, resource, method) == expected.split()
    equal = [(f"N{number}", 1.0) for number in range(8)]
    assert placement.ranked(equal, "alice", "ppMsgP") == ["N5", "N3", "N1", "N7", "N2", "N6", "N4", "N0"]


def test_a_tenants_cluster_is_the_same_in_every_process_and_version() -> None:
    clusters = ["east", "main", "west"]
    assert [placement.cluster(clusters, key) for key in ("demo", "Demo", "")] == ["west", "main", "east"]
    assert placement.cluster(reversed(clusters), "demo") == placement.cluster(clusters, "demo")
    assert placement.cluster([], "demo") is None


def test_slots_are_filled_evenly() -> None:
    counts = Counter(placement.slot("app", key) for key in KEYS)
    expected = len(KEYS) / placement.SLOTS
    assert set(counts) == set(range(placement.SLOTS))
    # Of 1,024 slots the fullest is 3 to 4 standard deviations (10 keys each) above the mean.
    assert 0.5 * expected < min(counts.values()) and max(counts.values()) < 1.5 * expected


@pytest.mark.parametrize(
    "shares", [(1, 1), (1, 2, 5), (0.5, 0.25), (1,) * 8, (3, 0, 1), (1, 1, 2, 2, 3), (0.001, 0.002)], ids=str
)
def test_shares_follow_weights_within_2_percent(shares: tuple[float, ...]) -> None:
    candidates = Candidates((f"MSG_NODE{number}", weight) for number, weight in enumerate(shares))
    counts = Counter(candidates.best(key, METHOD) for key in KEYS)
    for number, weight in enumerate(shares):
        expected = len(KEYS) * weight / sum(shares)
        assert counts[f"MSG_NODE{number}"] == pytest.approx(expected, rel=0.02)


def test_what_a_dead_node_leaves_is_shared_by_weight_too() -> None:
    candidates = Candidates([("dead", 3.0), ("one", 1.0), ("two", 2.0)])
    heirs = Counter(
        second for first, second, _ in (candidates.ranked(key, METHOD) for key in KEYS) if first == "dead"
    )
    assert heirs["two"] / heirs.total() == pytest.approx(2 / 3, rel=0.02)


def test_one_resource_has_its_methods_on_all_nodes() -> None:
    candidates = Candidates(NODES[:2])
    together = sum(candidates.best(key, METHOD) == candidates.best(key, "pullMsg") for key in FEW)
    assert together / len(FEW) == pytest.approx(0.5, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(nodes, st.randoms(use_true_random=False))
def test_a_node_that_goes_moves_only_its_own_keys(
    before: tuple[tuple[str, float], ...], rng: random.Random
) -> None:
    gone = rng.choice(before)
    with_it, without = Candidates(before), Candidates(node for node in before if node != gone)
    for key in FEW[:100]:
        assert without.ranked(key) == [name for name in with_it.ranked(key) if name != gone[0]]


def test_a_node_that_comes_takes_its_share_and_moves_no_other_key() -> None:
    before, after = Candidates(NODES), Candidates([*NODES, ("MSG_NODE5", 1.5)])
    moved = [(before.best(key), after.best(key)) for key in KEYS if before.best(key) != after.best(key)]
    assert {to for _, to in moved} == {"MSG_NODE5"}
    assert len(moved) / len(KEYS) == pytest.approx(1.5 / 6, rel=0.02)
    assert {taken for taken, _ in moved} == {name for name, _ in NODES}


def test_a_heavier_node_takes_keys_and_gives_none() -> None:
    before, after = Candidates(NODES), Candidates([*NODES[:3], ("MSG_NODE4", 2.0)])
    moved = [key for key in FEW if before.best(key) != after.best(key)]
    assert moved and all(after.best(key) == "MSG_NODE4" for key in moved)


@settings(max_examples=50, deadline=None)
@given(nodes, st.lists(st.text(max_size=10), max_size=3))
def test_the_best_is_the_first_of_the_ranked_in_whatever_order_they_are_named(
    named: tuple[tuple[str, float], ...], key: list[str]
) -> None:
    candidates = Candidates(named)
    ranked = candidates.ranked(*key)
    assert candidates.best(*key) == ranked[0]
    assert sorted(ranked) == sorted(name for name, _ in named)
    assert placement.ranked(reversed(named), *key) == ranked


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_node_without_weight_takes_nothing(weight: float) -> None:
    candidates = Candidates([("drained", weight), ("b", 1.0), ("c", 2.0)])
    assert all("drained" not in candidates.ranked(key) and candidates.best(key) != "drained" for key in FEW)
    assert Candidates([("drained", weight)]).best("alice") is None
    assert Candidates([("drained", weight)]).ranked("alice") == []


@pytest.mark.parametrize("weight", [5e-324, 1e308])
def test_the_extremes_of_weight_still_choose_somebody(weight: float) -> None:
    candidates = Candidates([("a", weight), ("b", weight / 2 or weight), ("c", weight)])
    assert all(candidates.best(key) == candidates.ranked(key)[0] for key in FEW)
