"""Who counts as silent, in whatever order looks, beats and losses come; and what Redis holds of nodes."""

import re
from collections.abc import Collection, Iterable

import msgpack
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.routing import heartbeats
from apps.routing.heartbeats import DOWN, DOWN_AFTER, LATE, LEFT, RECOVERED, SUSPECT_AFTER, SUSPECTED, Watch

NODES = ("A", "B", "C")
SECOND = st.floats(0.9, 1.1)  # s between two looks, as they come
WHILE = st.floats(0.05, LATE)
BEATING = st.sets(st.sampled_from(NODES))


class Scene:
    """A watch, a clock that stands still between looks, and a Redis that nodes beat in."""

    def __init__(self, *names: str, known: dict[str, str] | None = None) -> None:
        self.watch = Watch(known)
        self.names: Collection[str] = names
        self.now = 1000.0
        self.redis: dict[str, bytes] = {}
        self.beats = 0
        self.story: dict[str, str] = dict.fromkeys(NODES, "")  # the initials of each one's findings

    def beat(self, names: Iterable[str]) -> None:
        self.beats += 1
        self.redis |= dict.fromkeys(names, b"1.1:%d" % self.beats)

    def look(self, after: float = 1.0, *, readable: bool = True) -> dict[str, str]:
        """Name -> finding, of a look so many seconds after the last one."""
        self.now += after
        found = self.watch.look(dict(self.redis) if readable else None, self.names, self.now)
        for name, finding, _ in found:
            self.story[name] += finding[0]
        assert len({name for name, _, _ in found}) == len(found)
        return {name: finding for name, finding, _ in found}

    def seconds(self, number: int, beating: Iterable[str] = ()) -> dict[str, str]:
        """The latest finding of each in so many looks a second apart; before each one these have beaten."""
        found: dict[str, str] = {}
        for _ in range(number):
            self.beat(beating)
            found |= self.look()
        return found


# --- what happens when


def test_one_that_falls_silent_is_suspected_then_down_and_recovers_with_its_next_beat() -> None:
    scene = Scene("A", "B")
    assert scene.seconds(3, "AB") == {}
    assert scene.seconds(1, "A") == {}
    assert scene.seconds(1, "A") == {"B": SUSPECTED}
    assert scene.watch.down == frozenset()
    assert scene.seconds(1, "A") == {"B": DOWN}
    assert scene.watch.down == {"B"}
    assert scene.seconds(60, "A") == {}
    assert scene.seconds(1, "AB") == {"B": RECOVERED}
    assert scene.watch.down == frozenset()


def test_a_suspicion_ends_with_the_next_beat() -> None:
    scene = Scene("A", "B")
    scene.seconds(2, "AB")
    assert scene.seconds(2, "A") == {"B": SUSPECTED}
    assert scene.seconds(1, "AB") == {"B": RECOVERED}
    assert scene.seconds(9, "AB") == {}


def test_one_that_never_beat_is_missed_from_when_it_is_expected() -> None:
    scene = Scene("A")
    scene.seconds(9, "A")
    scene.names = ("A", "B")
    assert scene.seconds(2, "A") == {}
    assert scene.seconds(2, "A") == {"B": DOWN}
    assert scene.seconds(1, "AB") == {"B": RECOVERED}


def test_one_that_ended_in_order_is_down_at_once_even_when_the_look_comes_late() -> None:
    scene = Scene("A", "B", "C")
    scene.seconds(2, "ABC")
    scene.redis["B"] = LEFT
    assert scene.look() == {"B": DOWN}
    scene.redis["C"] = LEFT
    assert scene.look(after=60) == {"C": DOWN}
    assert scene.seconds(1, "ABC") == {"B": RECOVERED, "C": RECOVERED}


def test_one_that_is_expected_no_longer_is_forgotten() -> None:
    scene = Scene("A", "B")
    scene.seconds(2, "AB")
    assert scene.seconds(3, "A") == {"B": DOWN}
    scene.names = ("A",)
    assert scene.seconds(1, "A") == {}
    assert scene.watch.down == frozenset()
    scene.names = ("A", "B")
    assert scene.seconds(1, "A") == {}, "its silence of before counts no longer"


def test_redis_away_proves_nobodys_silence() -> None:
    scene = Scene("A", "B")
    scene.seconds(3, "AB")
    for _ in range(30):
        assert scene.look(readable=False) == {}
    assert scene.look() == {}
    assert scene.seconds(1, "A") == {}
    assert scene.seconds(1, "A") == {"B": SUSPECTED}


def test_a_looker_that_slept_suspects_nobody() -> None:
    scene = Scene("A", "B")
    scene.seconds(3, "AB")
    assert scene.look(after=60) == {}
    assert scene.seconds(9, "AB") == {}


def test_a_wiped_redis_proves_nobodys_silence() -> None:
    scene = Scene("A", "B")
    scene.seconds(3, "AB")
    assert scene.look() == {}
    scene.redis.clear()
    assert scene.look() == {}
    assert scene.look() == {}
    assert scene.seconds(9, "AB") == {}
    scene.redis.clear()
    assert scene.seconds(1) == {}
    assert scene.seconds(5) == {"A": DOWN, "B": DOWN}, "they had the time to write again"


def test_values_from_an_old_file_of_redis_are_no_beats() -> None:
    scene = Scene("A", "B")
    scene.seconds(2, "AB")
    old = dict(scene.redis)
    scene.seconds(2, "AB")
    scene.seconds(5, "A")
    scene.look(readable=False)
    scene.redis = old
    assert scene.seconds(5, "A") == {}
    assert scene.watch.down == {"B"}


def test_who_was_found_down_by_another_watch_is_told_once_and_recovers() -> None:
    scene = Scene("A", "B", "C", known={"B": DOWN, "C": SUSPECTED})
    scene.redis = dict.fromkeys(NODES, b"0.0:1")
    scene.look()
    assert scene.watch.down == {"B"}
    assert scene.seconds(4, "A") == {"C": DOWN}
    assert scene.seconds(1, "AB") == {"B": RECOVERED}


def test_silence_of_all_is_told_once_and_the_first_that_beats_is_back_at_once() -> None:
    scene = Scene(*NODES)
    scene.seconds(2, NODES)
    assert scene.seconds(9) == dict.fromkeys(NODES, DOWN)
    assert scene.seconds(1, "B") == {"B": RECOVERED}
    assert scene.watch.down == {"A", "C"}


# --- what always holds


@st.composite
def scenes(draw: st.DrawFn) -> list[tuple[float, bool, bool, set[str], set[str], set[str]]]:
    """Looks: (s since the last one, readable, wiped before, who beats, who leaves, who is expected)."""
    step = st.tuples(
        st.one_of(WHILE, st.floats(LATE, 60.0)),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([False] * 9 + [True]),
        BEATING,
        st.one_of(st.just(set()), st.just(set()), BEATING),
        st.one_of(st.just(set(NODES)), st.just(set(NODES)), BEATING),
    )
    return draw(st.lists(step, max_size=40))


@settings(deadline=None)
@given(scenes())
def test_nobody_is_suspected_or_given_up_without_enough_seen_silence(
    steps: list[tuple[float, bool, bool, set[str], set[str], set[str]]],
) -> None:
    scene = Scene(*NODES)
    heard: dict[str, float] = {}  # the latest time at which nothing could be held against it
    for after, readable, wiped, beating, leaving, scene.names in steps:
        if wiped:
            scene.redis.clear()
        scene.beat(beating)
        scene.redis |= dict.fromkeys(leaving, LEFT)
        found = scene.look(after, readable=readable)
        heard = {name: heard.get(name, scene.now) for name in scene.names}
        excused = set(scene.names) if not readable or after > LATE else beating
        heard |= dict.fromkeys(excused & heard.keys(), scene.now)
        for name, finding in found.items():
            silence = scene.now - heard[name]
            if scene.redis.get(name) == LEFT and readable:
                assert finding == DOWN
            elif finding == RECOVERED:
                assert name in beating
            else:
                assert silence >= (SUSPECT_AFTER if finding == SUSPECTED else DOWN_AFTER)


@settings(deadline=None)
@given(scenes())
def test_findings_take_turns_and_down_is_what_they_say(
    steps: list[tuple[float, bool, bool, set[str], set[str], set[str]]],
) -> None:
    scene = Scene(*NODES)
    for after, readable, wiped, beating, leaving, _ in steps:
        if wiped:
            scene.redis.clear()
        scene.beat(beating)
        scene.redis |= dict.fromkeys(leaving, LEFT)
        scene.look(after, readable=readable)
        for name, story in scene.story.items():
            assert re.fullmatch("(s?d?r)*s?d?", story) and not story.startswith("r") and "rr" not in story
            assert (name in scene.watch.down) == story.endswith("d")


@settings(deadline=None)
@given(st.lists(SECOND, min_size=4, max_size=20), st.sampled_from(NODES))
def test_one_silent_one_is_out_within_four_seconds_whenever_looks_come(gaps: list[float], dead: str) -> None:
    scene = Scene(*NODES)
    scene.seconds(2, NODES)
    scene.beat(NODES)
    died_at = scene.now  # right after its last beat, which the next look is the first to see
    for gap in gaps:
        scene.look(gap)
        if scene.now - died_at >= 4.4:  # 4 s, and a tenth for each look that came late
            assert scene.watch.down == {dead}
        scene.beat(set(NODES) - {dead})
    assert scene.story[dead] in ("", "s", "sd")
    assert all(not story for name, story in scene.story.items() if name != dead)


@settings(deadline=None)
@given(
    st.lists(st.tuples(WHILE, BEATING), max_size=20),
    st.permutations(NODES),
    st.tuples(st.floats(0.0, 0.45), st.floats(0.0, 0.45)),
    st.lists(WHILE, min_size=80, max_size=80),
)
def test_all_that_fall_silent_within_a_beat_are_given_up_in_one_look(
    before: list[tuple[float, set[str]]], order: list[str], apart: tuple[float, float], gaps: list[float]
) -> None:
    scene = Scene(*NODES)
    for after, beating in before:
        scene.beat(beating)
        scene.look(after)
    scene.beat(order)
    scene.look(0.1)
    scene.beat(order[1:])
    scene.look(apart[0])
    scene.beat(order[2:])
    scene.look(apart[1])
    looks = [scene.look(gap) for gap in gaps]
    assert [set(found) for found in looks if DOWN in found.values()] == [set(NODES)]


# --- what Redis holds


REPORT: heartbeats.Report = {
    "set": "set1",
    "host": "here",
    "pid": 7,
    "kinds": {"message": {"workers": 1, "size": 2, "age": 0.25, "tasks": -1, "canary": 0.5}},
    "faults": [(1_700_000_000_000, "set1.A.message.0", "exit code 1")],
}


def test_each_beat_changes_the_value_and_brings_the_report(redis_client: redis.Redis) -> None:
    heartbeats.beat(redis_client, "A", "7.1", 1, REPORT)
    assert redis_client.hgetall(heartbeats.NODES) == {b"A": b"7.1:1"}
    heartbeats.beat(redis_client, "A", "7.1", 2, REPORT)
    assert redis_client.hgetall(heartbeats.NODES) == {b"A": b"7.1:2"}
    assert 0 < redis_client.ttl(heartbeats.report_key("A")) <= heartbeats.REPORT_KEPT
    read = heartbeats.reports(redis_client, ["B", "A"])
    assert read.keys() == {"A"}
    assert msgpack.packb(read["A"]) == msgpack.packb(REPORT)


def test_a_node_that_cannot_serve_reports_and_does_not_beat(redis_client: redis.Redis) -> None:
    heartbeats.report(redis_client, "A", REPORT)
    assert redis_client.hgetall(heartbeats.NODES) == {}
    assert heartbeats.reports(redis_client, ["A"]).keys() == {"A"}


def test_one_that_leaves_takes_its_report_along(redis_client: redis.Redis) -> None:
    heartbeats.beat(redis_client, "A", "7.1", 1, REPORT)
    heartbeats.leave(redis_client, "A")
    assert redis_client.hgetall(heartbeats.NODES) == {b"A": LEFT}
    assert heartbeats.reports(redis_client, ["A"]) == {}
    assert heartbeats.reports(redis_client, []) == {}
