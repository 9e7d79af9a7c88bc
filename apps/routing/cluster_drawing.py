"""What the page of a cluster draws: what the cluster is made of, and how that is.

All of it costs one round trip to Redis and a fixed number of queries, however many nodes there are: an open
page asks for it every two seconds.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgpack
import psycopg
import redis
from django.db.models import Count, Q, Sum
from django.utils import timezone

from apps.routing import access, audit, databases, heartbeats, monitor, presence, slots
from apps.routing.heartbeats import KindReport, Report
from apps.routing.models import AccessPoint, Cluster, HealthEvent, Node, ServerSet, SlotMove, State
from apps.routing.placement import SLOTS

LISTED = 20  # events, entries of the log, slots under way
UNCHECKED = timedelta(seconds=10)  # without a look of the heartbeat checks, which look every second
DATABASE_PATIENCE = 1.0  # s that the page waits for the SETs' databases, all together
CONNECT_WITHIN = 3  # s after which one of them is found to be away
KINDS = ("message", "query")

LIVE, SUSPECTED, DOWN, UNKNOWN = "live", heartbeats.SUSPECTED, heartbeats.DOWN, "unknown"


@dataclass(frozen=True, slots=True)
class Beats:
    """What nodes and gateways say of themselves in Redis."""

    problem: str = ""  # a sentence, when Redis could not be read
    said: Mapping[str, bytes] = field(default_factory=dict)  # node -> its latest beat
    reports: Mapping[str, tuple[float, Report]] = field(default_factory=dict)  # node -> s since, what it said
    loads: Mapping[str, int] = field(default_factory=dict)  # access point -> connections
    checked: datetime | None = None  # the heartbeat checks' latest look


@functools.cache
def _client() -> redis.Redis:
    return heartbeats.connect()


def read_beats(nodes: Sequence[str]) -> Beats:
    """One round trip."""
    try:
        with _client().pipeline(transaction=False) as pipeline:
            pipeline.get(monitor.KEY)
            pipeline.hgetall(heartbeats.NODES)
            # A gateway's load is under a key with its name; SORT … GET follows from the names to the keys.
            pipeline.sort(presence.GATEWAYS, by="nosort", get=[presence.load_key("*")])
            for node in nodes:
                pipeline.get(heartbeats.report_key(node))
                pipeline.pttl(heartbeats.report_key(node))
            checked, said, loads, *of_nodes = pipeline.execute()
    except redis.RedisError as error:
        return Beats(problem=f"Redis does not answer: {error}.")
    reports = {
        node: (heartbeats.REPORT_KEPT - left / 1000, msgpack.unpackb(value))
        for node, value, left in zip(nodes, of_nodes[::2], of_nodes[1::2], strict=True)
        if value is not None
    }
    return Beats(
        said={name.decode(): value for name, value in said.items()},
        reports=reports,
        loads=_sums(loads),
        checked=_time(int(checked)) if checked else None,
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.get_current_timezone())


def _sums(loads: Iterable[bytes | None]) -> dict[str, int]:
    """Access point -> connections of its live gateways; see presence.loads."""
    found: dict[str, int] = {}
    for packed in loads:
        if packed is not None:
            access_point, connections_ = msgpack.unpackb(packed)
            found[access_point] = found.get(access_point, 0) + connections_
    return found


def health(node: str, beats: Beats, given_up: Container[str]) -> tuple[str, str]:
    """How a node is, and why it is thought to be so. `given_up`: what the heartbeat checks found down."""
    if beats.problem:
        return UNKNOWN, "Redis does not answer"
    if node not in beats.reports:
        silent = f"silent for {heartbeats.REPORT_KEPT} s or more"
        known = {None: "not started yet", heartbeats.LEFT: "ended in order"}
        return DOWN, known.get(beats.said.get(node), silent)
    silence, report = beats.reports[node]
    if silence >= heartbeats.SUSPECT_AFTER:
        return DOWN if silence >= heartbeats.DOWN_AFTER else SUSPECTED, f"silent for {silence:.1f} s"
    if kinds := _without_workers(report):
        # It says so for a moment, too, while a worker is started again.
        return DOWN if node in given_up else SUSPECTED, f"no {' and no '.join(kinds)} worker has come up"
    return LIVE, ""


def _without_workers(report: Report) -> list[str]:
    return [kind for kind, its in report["kinds"].items() if its["size"] and not its["workers"]]


@dataclass(frozen=True, slots=True)
class NodeView:
    row: Node
    health: str
    reason: str
    share: float  # of its SET's work
    kinds: Sequence[tuple[str, KindReport]] = ()
    host: str = ""
    pid: int = 0  # of its supervisor, there
    fault: tuple[datetime, str, str] | None = None  # the newest: when, which worker, why


@dataclass(frozen=True, slots=True)
class SetView:
    row: ServerSet
    slots: int
    database: str  # why it does not serve; empty: it does
    nodes: list[NodeView]

    @property
    def share(self) -> float:
        return self.slots / SLOTS


@dataclass(frozen=True, slots=True)
class GatewayView:
    row: AccessPoint
    connections: int | None  # None: no gateway beats
    share: float  # of the new clients, by weight
    carries: float  # of the connections


@dataclass(frozen=True, slots=True)
class Batch:
    """Slots that were asked for together and go the same way."""

    source: str
    destination: str
    asked_by: str
    asked_at: datetime
    slots: int
    moved: int  # the destination serves them
    messages: int


def draw(cluster: Cluster) -> dict[str, Any]:
    """The context of the page's template."""
    sets = list(ServerSet.objects.filter(cluster=cluster).annotate(slots=Count("slot")).order_by("pk"))
    nodes = list(Node.objects.filter(server_set__in=sets).select_related("server_set").order_by("name"))
    points = list(AccessPoint.objects.filter(cluster=cluster).order_by("pk"))
    beats = read_beats([node.name for node in nodes])
    answers = database_problems([each.name for each in sets])
    views = _node_views(nodes, beats)
    return {
        "cluster": cluster,
        "at": timezone.localtime(),
        "problem": beats.problem,
        "checked": beats.checked,
        "unchecked": beats.checked is None or timezone.now() - beats.checked > UNCHECKED,
        "sets": [
            SetView(
                each,
                each.slots,
                answers[each.name],
                [view for view in views if view.row.server_set_id == each.pk],
            )
            for each in sets
        ],
        "gateways": _gateway_views(points, beats.loads),
        "slots": SLOTS,
        "batches": _batches(cluster),
        "moves": _under_way(cluster),
        "events": HealthEvent.objects.all()[:LISTED],
        "entries": audit.entries(LISTED),
    }


def node_views(nodes: Sequence[Node]) -> list[NodeView]:
    """How these nodes are, with their SETs. One round trip to Redis."""
    return _node_views(nodes, read_beats([node.name for node in nodes]))


def _node_views(nodes: Sequence[Node], beats: Beats) -> list[NodeView]:
    unable = [name for name, (_, report) in beats.reports.items() if _without_workers(report)]
    newest = HealthEvent.objects.filter(kind=monitor.NODE, name__in=unable).order_by("name", "-at", "-pk")
    given_up = {event.name for event in newest.distinct("name") if event.finding == DOWN}
    found = {node.name: health(node.name, beats, given_up) for node in nodes}
    takers = [node for node in nodes if node.state == State.UP and node.weight > 0]
    alive = [node for node in takers if found[node.name][0] != DOWN]
    # While all nodes of a SET are down its work waits for them as it is: see Snapshot.without.
    served = {node.server_set_id for node in alive}
    shares = _shares(
        (node.name, node.server_set_id, node.weight)
        for node in takers
        if node in alive or node.server_set_id not in served
    )
    return [_node_view(node, found[node.name], shares.get(node.name, 0.0), beats) for node in nodes]


def _node_view(node: Node, found: tuple[str, str], share: float, beats: Beats) -> NodeView:
    if node.name not in beats.reports:
        return NodeView(node, *found, share)
    _, report = beats.reports[node.name]
    kinds = [(kind, report["kinds"][kind]) for kind in KINDS if kind in report["kinds"]]
    faults = [(_time(at), worker, reason) for at, worker, reason in report["faults"]]
    newest = faults[-1] if faults else None
    return NodeView(node, *found, share, kinds, report["host"], report["pid"], newest)


def _shares(weighed: Iterable[tuple[str, int, float]]) -> dict[str, float]:
    """(name, group, weight) -> each one's share of its group."""
    weighed = list(weighed)
    sums: dict[int, float] = {}
    for _, group, weight in weighed:
        sums[group] = sums.get(group, 0.0) + weight
    return {name: weight / sums[group] for name, group, weight in weighed}


def _gateway_views(rows: Sequence[AccessPoint], loads: Mapping[str, int]) -> list[GatewayView]:
    points = [
        access.Point(row.name, weight=row.weight, limit=row.connection_limit, state=row.state) for row in rows
    ]
    handed_out = access.handed_out(points, loads)
    shares = _shares((point.name, 0, point.weight) for point in handed_out if point.weight > 0)
    total = sum(loads.get(row.name, 0) for row in rows)
    return [
        GatewayView(
            row,
            loads.get(row.name),
            shares.get(row.name, 0.0),
            loads.get(row.name, 0) / total if total else 0.0,
        )
        for row in rows
    ]


def _batches(cluster: Cluster) -> list[Batch]:
    """Those of which a slot is still on its way, with what has arrived of them."""
    begun = slots.open_moves(cluster).order_by().values("created_at")
    moves = SlotMove.objects.filter(cluster=cluster, created_at__in=begun).exclude(
        step=SlotMove.Step.CANCELLED
    )
    moved = Q(step__in=(SlotMove.Step.CLEAN, SlotMove.Step.DONE))
    return [
        Batch(*row)
        for row in moves.values_list("source__name", "destination__name", "asked_by", "created_at")
        .annotate(slots=Count("pk"), moved=Count("pk", filter=moved), messages=Sum("rows"))
        .order_by("created_at", "source__name", "destination__name")
    ]


def _under_way(cluster: Cluster) -> list[SlotMove]:
    """Slots whose moves have begun, or could not."""
    begun = slots.open_moves(cluster).exclude(step=SlotMove.Step.COPY, copied=0, problem="")
    return list(begun.select_related("source", "destination")[:LISTED])


_askers = ThreadPoolExecutor(max_workers=16, thread_name_prefix="set-database")
_asked: dict[str, Future[str]] = {}  # SET -> the latest question about its database
_asking = threading.Lock()


def database_problems(names: Sequence[str]) -> dict[str, str]:
    """SET -> why its database does not serve, or nothing. All are asked at once.

    One that has not answered an earlier page yet is not asked another time meanwhile.
    """
    with _asking:
        for name in names:
            if name not in _asked or _asked[name].done():
                _asked[name] = _askers.submit(_database_problem, databases.url(name))
        asked = {name: _asked[name] for name in names}
    wait(asked.values(), DATABASE_PATIENCE)
    return {name: answer.result() if answer.done() else "no answer yet" for name, answer in asked.items()}


def _database_problem(url: str) -> str:
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_WITHIN):
            return ""
    except psycopg.Error as error:
        return " ".join(str(error).split())
