"""The union hash: golden vectors, fair shares, and only what must move moves."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.routing import placement

KEYS = [f"user{i}" for i in range(20_000)]


def test_the_hash_is_the_same_in_every_process_and_version() -> None:
    # A change of any of these moves data that is already stored.
    assert placement.digest("a", "b") == 0xFFC151170352BAA3
    assert [placement.slot("demo", name) for name in ("alice", "bob", "群")] == [788, 879, 226]


def test_slots_are_filled_evenly() -> None:
    counts = Counter(placement.slot("app", key) for key in KEYS)
    assert set(counts) == set(range(placement.SLOTS))
    assert max(counts.values()) < 3 * len(KEYS) / placement.SLOTS


def test_shares_follow_weights() -> None:
    nodes = [("one", 1.0), ("two", 2.0), ("five", 5.0)]
    counts = Counter(placement.ranked(nodes, key)[0] for key in KEYS)
    for name, weight in nodes:
        assert abs(counts[name] / len(KEYS) - weight / 8) < 0.02


@settings(max_examples=20)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, unique=True), st.randoms(use_true_random=False))
def test_a_node_that_goes_moves_only_its_own_keys(names: list[str], rng: random.Random) -> None:
    nodes = [(name, rng.choice([0.5, 1.0, 2.0])) for name in names]
    gone = rng.choice(nodes)
    for key in KEYS[:200]:
        before = placement.ranked(nodes, key)
        after = placement.ranked([node for node in nodes if node != gone], key)
        assert after == [name for name in before if name != gone[0]]


def test_weight_0_takes_nothing() -> None:
    assert all(placement.ranked([("a", 0.0), ("b", 1.0)], key) == ["b"] for key in KEYS[:100])
