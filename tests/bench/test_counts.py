"""What a batch of messages costs, in counts: no more than is recorded, and no less."""

import pytest

from bench import counts

CALLS = f"batch, step: calls, {counts.python()}"
MEMORY = f"batch, step: bytes of memory, {counts.python()}"
SAME = {"batch, step: SQL statements": 5, CALLS: 1000, MEMORY: 1000}


def test_a_batch_costs_what_is_recorded(databases: None, redis_client: object) -> None:
    recorded = counts.recorded()
    different = counts.differences(counts.measure(), recorded)
    assert not different, "\n".join(
        ("What a batch costs has changed:", *different, f"If that is meant, record it: {counts.HOW}")
    )
    if not any(name.endswith(counts.python()) for name in recorded):
        pytest.skip(f"calls and memory are not recorded for {counts.python()}: {counts.HOW}")


def test_a_batch_of_many_asks_the_servers_no_more_often_than_one_message() -> None:
    kinds = ("SQL", "Redis", "Celery", "Django")
    asked: dict[str, dict[str, int]] = {}
    for name, count in counts.recorded().items():
        batch, _, what = name.partition(", ")
        if any(kind in what for kind in kinds):
            asked.setdefault(batch, {})[what] = count
    one, many = asked.values()
    assert one == many
    assert one["worker stores: SQL statements"] > 0


@pytest.mark.parametrize(("name", "now"), [(CALLS, 994), (CALLS, 1006), (MEMORY, 979), (MEMORY, 1021)])
def test_a_count_that_is_another_is_told(name: str, now: int) -> None:
    (line,) = counts.differences(SAME | {name: now}, SAME)
    assert line.startswith(f"{name}: {now}, recorded 1000 (")


@pytest.mark.parametrize(("name", "now"), [(CALLS, 995), (CALLS, 1005), (MEMORY, 980), (MEMORY, 1020)])
def test_within_the_tolerance_a_count_is_the_same(name: str, now: int) -> None:
    assert not counts.differences(SAME | {name: now}, SAME)


@pytest.mark.parametrize("now", [4, 6])
def test_small_counts_are_exact(now: int) -> None:
    assert counts.differences(SAME | {"batch, step: SQL statements": now}, SAME)


def test_what_is_new_and_what_is_gone_is_told() -> None:
    assert counts.differences(SAME | {"batch, step: Redis get": 1}, SAME) == [
        "batch, step: Redis get: 1, recorded 0"
    ]
    assert counts.differences({}, {"batch, step: Redis get": 1}) == [
        "batch, step: Redis get: 0, recorded 1 (-100.0%)"
    ]


def test_counts_of_other_pythons_are_kept_and_not_compared(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"batch, step: calls, Python 2.7": 7}
    assert not counts.differences(SAME, SAME | other)
    file = counts.Path(str(tmp_path)) / "counts.json"
    monkeypatch.setattr(counts, "RECORDED", file)
    counts.record(SAME, {"batch, step: gone": 1} | other)
    assert counts.recorded() == SAME | other


def test_of_a_python_that_is_not_recorded_only_traffic_is_compared() -> None:
    statements = {"batch, step: SQL statements": 5}
    assert not counts.differences(SAME, statements)
    assert counts.differences(SAME | {"batch, step: SQL statements": 6}, statements)
