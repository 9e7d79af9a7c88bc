"""Heartbeats: what nodes say of themselves in Redis every second, and who has fallen silent.

A node's beat says "I can serve": it is alive, and each kind of work that it is to do has a worker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import msgpack
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.routing import redis_clients

NODES = "imcloud:nodes"  # hash: node -> its latest beat, INCARNATION:COUNTER, or LEFT
LEFT = b""  # in place of a beat: it has ended in order, and nobody needs to wait for its next one
BEAT = 1.0  # s
REPORT_KEPT = 5  # s after which the report of a node that says nothing more is gone
FAULTS = 20  # the newest of a node's workers that its report lists

SUSPECT_AFTER = 1.5  # s without a beat
DOWN_AFTER = 2.5  # s without a beat, seen by looks a second apart: 3 have been missed
LATE = 2.0  # s between two looks after which the later one proves nothing
PATIENCE = 1.0  # s that Redis may take; a beat that comes later is worth no second try

SUSPECTED, DOWN, RECOVERED = "suspected", "down", "recovered"


def report_key(node: str) -> str:
    """msgpack of a node's Report."""
    return f"imcloud:node:{node}"


class KindReport(TypedDict):
    """How the workers of one kind (message or query) of a node are."""

    workers: int  # that have come up
    size: int  # that there are to be
    age: float  # s that the newest probe waited in the queue
    tasks: int  # that wait in the queue; -1: the broker does not tell
    canary: float  # s since a probe last came out of the queue


class Report(TypedDict):
    """What a node says of itself."""

    set: str
    host: str
    pid: int  # of its supervisor
    kinds: dict[str, KindReport]
    faults: list[tuple[int, str, str]]  # the newest: (ms, worker, why it was replaced)


def connect() -> redis.Redis:
    """A client that tells soon when Redis is away."""
    return redis_clients.client(
        socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0)
    )


def report(client: redis.Redis, node: str, its: Report) -> None:
    """Tell how a node is: one that can serve, and one that cannot."""
    client.set(report_key(node), msgpack.packb(its), ex=REPORT_KEPT)


def beat(client: redis.Redis, node: str, incarnation: str, counter: int, its: Report) -> None:
    """Tell that a node can serve, and how it is. One round trip."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.hset(NODES, node, f"{incarnation}:{counter}")
        pipeline.set(report_key(node), msgpack.packb(its), ex=REPORT_KEPT)
        pipeline.execute()


def leave(client: redis.Redis, node: str) -> None:
    """Tell that a node has ended in order."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.hset(NODES, node, LEFT)
        pipeline.delete(report_key(node))
        pipeline.execute()


def reports(client: redis.Redis, nodes: Iterable[str]) -> dict[str, Report]:
    """The reports of those nodes that have told lately. One round trip."""
    names = list(nodes)
    values: Any = client.mget(map(report_key, names)) if names else ()
    return {
        name: msgpack.unpackb(value) for name, value in zip(names, values, strict=True) if value is not None
    }


class Finding(NamedTuple):
    """`finding` is one of HealthEvent.Finding; `reason` says why, in words."""

    name: str
    finding: str
    reason: str


@dataclass(slots=True)
class _Pulse:
    since: float  # monotonic s from which its silence is counted
    value: bytes | None
    state: str  # empty: it beats, as far as is known


class Watch:
    """Who has fallen silent, by values that change with every beat. No I/O; times are monotonic s.

    Only that a value changes counts, not what is in it: machines' clocks do not matter. Three looks prove
    nothing, and all silence is counted anew after them:

    - one without values: Redis could not be read. Whoever looks should write in the same pipeline, so that a
      Redis that is full or read-only, and goes on showing old beats, fails as well;
    - one that comes late: who was stopped himself has not seen the beats between;
    - one that finds no value at all where there were some: Redis was wiped.

    The first values after that are only what the next ones are compared with: those that came back with an
    old file of Redis are no beats.

    When all fall silent together, they are down together, in one look: one after the other, the work of each
    would be sent to the next, only to come back. So nobody is given up while it may be that all are silent,
    which is known within a second. That all are down harms nobody: routing then leaves work where it is
    (Snapshot.without) and gives it to the first that beats again. And it is so: Redis takes writes, and no
    beat comes. To hold all for alive would hide the loss of a whole site, and that of an only node.
    """

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        """`known`: those that were found suspected or down before, by another watch."""
        self.down: frozenset[str] = frozenset()
        self._pulses: dict[str, _Pulse] = {}
        self._known = dict(known or {})
        self._looked_at = float("-inf")  # the last look whose values the next one may be compared with
        self._seen = False  # there were values in it

    def look(
        self, values: Mapping[str, bytes] | None, expected: Collection[str], now: float
    ) -> list[Finding]:
        """What is new about those that should beat. The others are forgotten."""
        usable = values is not None and bool(values or not self._seen)
        comparable = usable and now - self._looked_at <= LATE
        self._looked_at = now if usable else float("-inf")
        self._seen = bool(values)
        values = values or {}
        self._pulses = {
            name: self._pulses.get(name) or _Pulse(now, values.get(name), self._known.pop(name, ""))
            for name in expected
        }
        findings = [
            finding
            for name, pulse in self._pulses.items()
            if (finding := self._take(name, pulse, values.get(name), now, comparable))
        ]
        if comparable:
            findings += self._judge(now)
        self.down = frozenset(name for name, pulse in self._pulses.items() if pulse.state == DOWN)
        return findings

    @staticmethod
    def _take(name: str, pulse: _Pulse, value: bytes | None, now: float, comparable: bool) -> Finding | None:
        """Note what the look shows of one of them."""
        changed = value is not None and value != pulse.value
        pulse.value = pulse.value if value is None else value
        if value == LEFT:
            before, pulse.state = pulse.state, DOWN
            return None if before == DOWN else Finding(name, DOWN, "ended in order")
        if changed or not comparable:
            pulse.since = now
        if changed and comparable and pulse.state:
            pulse.state = ""
            return Finding(name, RECOVERED, "beats again")
        return None

    def _judge(self, now: float) -> Iterable[Finding]:
        """Who has been silent for too long."""
        alive = [
            (name, pulse, now - pulse.since) for name, pulse in self._pulses.items() if pulse.state != DOWN
        ]
        perhaps_all = all(silence >= SUSPECT_AFTER for _, _, silence in alive)
        undecided = perhaps_all and any(silence < DOWN_AFTER for _, _, silence in alive)
        for name, pulse, silence in alive:
            if silence >= DOWN_AFTER and not undecided:
                pulse.state = DOWN
            elif silence >= SUSPECT_AFTER and not pulse.state:
                pulse.state = SUSPECTED
            else:
                continue
            yield Finding(name, pulse.state, f"no beat for {silence:.1f} s")
