"""A process with lanes: gateway, web or both. Its number, its lanes and feeds, its heartbeat and canary."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import DatabaseError
from django.db import connection as control_database
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from apps.accounts import webhooks
from apps.accounts.directory import directory
from apps.routing import access_points, heartbeats, hints, metrics, presence, redis_clients
from apps.routing.draining import Drain
from apps.routing.envelope import Answer, Hint, Request, feed_group
from apps.routing.feed import Feed
from apps.routing.hub import Hub
from apps.routing.lanes import SWEEP, Lanes, Pending, Reply
from apps.routing.presence_news import News
from apps.routing.protocol.uid import UidIssuer
from apps.routing.session_news import SessionNews
from apps.routing.topology import Snapshot, topology

logger = logging.getLogger(__name__)

CANARY_AFTER = 2.0  # s without a message in a SET's log after which a canary goes the whole road
ROAD_STALE = 10.0  # s after the last message came back after which the road counts as broken
GAP_PATIENCE = 0.1  # s that a missing hint may take: two workers' hints overtake each other by less
FORGET = 3_600_000  # ms after its last beat that a gateway's name is kept
PRESENCE_DELAY = 0.05  # s in which connects and disconnects are announced together
SPARES = 8  # process numbers that a machine puts by
OPEN_PATIENCE = 5.0  # s that a start waits for the logs of all SETs; then one is enough


def lease_number() -> int:
    """A number that no other process has had; the part of its uids that keeps them apart from others'.

    A few are put by for processes of this machine that start while the database is away.
    """
    spares = settings.DATA_DIR / "remembered" / "numbers"
    missing = SPARES - len(_listed(spares))
    try:
        with control_database.cursor() as cursor:
            query = "SELECT nextval('routing_process_number') FROM generate_series(0, %s)"
            cursor.execute(query, (max(missing, 0),))
            number, *rest = (row[0] for row in cursor.fetchall())
    except DatabaseError:
        for name in _listed(spares):
            with contextlib.suppress(OSError):
                (spares / name).unlink()  # of two who try, one succeeds
                logger.warning("the database is away: process number %s, which was put by, is taken", name)
                return int(name)
        raise
    finally:
        control_database.close()
    try:
        for each in rest:
            spares.mkdir(mode=0o700, parents=True, exist_ok=True)
            (spares / str(each)).touch()
    except OSError as error:
        logger.warning("no process numbers are put by: %s", error)
    return int(number)


def _listed(spares: Path) -> list[str]:
    try:
        return sorted(os.listdir(spares))
    except OSError:
        return []


class Process:
    """One per event loop; see `running`."""

    def __init__(self, number: int, access_point: str) -> None:
        self.id = f"{access_point}.{number}"
        self.access_point = access_point
        loop = asyncio.get_running_loop()
        self._routed: tuple[Snapshot, frozenset[str]] = (topology.current, frozenset())
        self._directory = directory.current  # by which connections were last looked at
        self.message_rates = self._directory.message_rates
        self.lanes = Lanes(self.id, UidIssuer(number & 0x3FFFFF), loop, self.when_covered, topology.current)
        self.hub = Hub(self.lanes)
        self.drained = asyncio.Event()  # its access point is out of service, and no client is left
        self._drain = Drain(access_point, self.hub, self.drained.set)
        self._watch = heartbeats.Watch()
        self.feeds: dict[str, Feed] = {}
        self._road_at: dict[str, float] = {}  # SET -> monotonic s at which the last message came back
        self._layer = get_channel_layer()
        self._redis = redis_clients.async_client(
            socket_timeout=2,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),  # the next beat is the next try
        )
        self._changed = asyncio.Event()
        self._news = News(self.lanes)
        self._session_news = SessionNews(self.lanes)
        self.hub.note = self._session_news.note
        self._owed: dict[str, set[str]] = {}  # SET -> ledger members written at the last beat
        self._canaries: set[str] = set()  # SETs that have one out
        self._reading: set[str] = set()  # SETs whose log is being read
        self._opened = asyncio.Event()  # a feed has learnt where its log ends
        self._channel = ""
        self._tasks: list[asyncio.Future[None]] = []

    def _own_sets(self) -> list[str]:
        """The SETs of this gateway's cluster; of all clusters when its access point has gone."""
        point = access_points.table.current.named(self.access_point)
        sets = topology.current.sets.values()
        return [each.name for each in sets if point is None or each.cluster == point.cluster]

    def _apply(self, server_set: str, row: Any) -> None:
        if row.seq:
            self._road_at[server_set] = time.monotonic()
        self.hub.apply(server_set, row)

    def when_covered(self, server_set: str, position: int, then: Callable[[], None]) -> None:
        """Call `then` when all rows of the log up to seq `position` have been shown here."""
        feed = self.feeds[server_set]
        feed.when_covered(position, then)
        self._read_soon(feed)

    def _read_soon(self, feed: Feed) -> None:
        if feed.behind:
            self.lanes.loop.call_later(GAP_PATIENCE, self._read_if_behind, feed)

    def wake(self) -> None:
        """Somebody came or went: announce it soon."""
        self._changed.set()

    def roads(self) -> dict[str, bool]:
        """SET -> whether a message went gateway, queue, log and back within the last `ROAD_STALE` s."""
        now = time.monotonic()
        return {name: now - self._road_at.get(name, -ROAD_STALE) < ROAD_STALE for name in self.feeds}

    async def start(self) -> None:
        """Subscribe, then read where each log ends; returns when connections may be accepted."""
        while True:
            try:
                self._channel = await self._layer.new_channel()
                for group in (hints.EVERY_GATEWAY, self.id):
                    await self._layer.group_add(group, self._channel)
                for server_set in self._own_sets():
                    await self._subscribe(server_set)
                break
            except (OSError, aioredis.RedisError) as error:
                logger.warning("channel layer not reached, trying again: %s", error)
                await asyncio.sleep(0.5)
        self._tasks = [
            asyncio.ensure_future(self._receive(self._channel)),
            asyncio.ensure_future(self._sweep()),
            asyncio.ensure_future(self._beat()),
        ]
        while not self.lanes.opened:
            await self._log_found(1.0)
        give_up_at = time.monotonic() + OPEN_PATIENCE
        while self.lanes.opened < self.feeds.keys() and time.monotonic() < give_up_at:
            await self._log_found(1.0)

    async def _log_found(self, seconds: float) -> None:
        """Until a feed learns where its log ends, or for so long."""
        self._opened.clear()
        try:
            await asyncio.wait_for(self._opened.wait(), seconds)
        except TimeoutError:
            pass

    async def _subscribe(self, server_set: str) -> None:
        """Follow a SET's log, from where it ends."""
        await self._layer.group_add(feed_group(server_set), self._channel)
        if server_set not in self.feeds:
            self.feeds[server_set] = Feed(
                server_set,
                partial(self._apply, server_set),
                partial(self.hub.skipped, server_set),
                partial(self.hub.new_epoch, server_set),
            )
            self._read(self.feeds[server_set])

    async def follow(self, server_set: str) -> None:
        """Follow the log of another cluster's SET too: its messages are acknowledged by their rows."""
        if server_set in self.feeds or server_set not in topology.current.sets:
            return
        await self._subscribe(server_set)
        give_up_at = time.monotonic() + OPEN_PATIENCE
        while server_set not in self.lanes.opened and time.monotonic() < give_up_at:
            await self._log_found(1.0)

    async def _receive(self, channel: str) -> None:
        takes = {
            "hint": self._on_hint,
            "notify": self._on_notify,
            "drop": self._on_drop,
            "newer": self._on_newer,
            "signal": self._on_signal,
            "judged": self._on_judged,
            "room": self.hub.rooms.told,
        }
        while True:
            message: dict[str, Any] = {}
            try:
                message = await self._layer.receive(channel)
                takes[message["type"]](message)
            except Exception:
                # One bad message must not end the loop that everything hangs on.
                logger.exception("a message of the channel layer failed: %s", message.get("type"))
                await asyncio.sleep(0 if message else 0.5)

    def _on_hint(self, message: dict[str, Any]) -> None:
        hint = Hint.unpack(message["data"])
        feed = self.feeds.get(hint.server_set)
        own = hint.gateway == self.id
        if own:
            self.lanes.back(hint.number)
        if feed is not None:
            feed.offer(hint)
        if own:
            self.lanes.answered(hint.number, list(hint.answers))
        if feed is not None:
            self._read_soon(feed)

    def _read_if_behind(self, feed: Feed) -> None:
        if feed.behind:
            metrics.FEED_REREADS.add(1, feed.server_set)
            self._read(feed)

    def _read(self, feed: Feed) -> None:
        """Read the log past the feed's cursor. Every second too: the last hint may be lost."""
        if feed.server_set not in self._reading:
            self._reading.add(feed.server_set)
            after = msgpack.packb(feed.covered)
            request = Request(0, "", "readFeed", feed.server_set, after)
            self.lanes.enter(
                request, lambda pending, answer: self._on_read(feed, answer), server_set=feed.server_set
            )

    def _on_read(self, feed: Feed, answer: Answer) -> None:
        self._reading.discard(feed.server_set)
        if not answer.status:
            feed.read(Hint.unpack(answer.payload), answer.position)
            self.lanes.opened.add(feed.server_set)
            self._opened.set()
            if feed.covered < answer.position:
                self._read(feed)

    def _on_notify(self, message: dict[str, Any]) -> None:
        for name in message["connections"]:
            connection = self.hub.connections.get(name)
            if connection is not None:
                connection.compensate()

    def _on_drop(self, message: dict[str, Any]) -> None:
        for name in message["connections"]:
            connection = self.hub.connections.get(name)
            if connection is not None:
                connection.close()

    def _on_signal(self, message: dict[str, Any]) -> None:
        for tenant, user, topic, payload, but in message["signals"]:
            for connection in self.hub.users.get((tenant, user), ()):
                if connection.id != but:
                    connection.signal(topic, payload)

    def _on_judged(self, message: dict[str, Any]) -> None:
        self.lanes.judged(message["answers"])

    def _on_newer(self, message: dict[str, Any]) -> None:
        for tenant, user, platform, device, newer_id, since in message["connections"]:
            for other in list(self.hub.users.get((tenant, user), ())):
                # Of two that came in one millisecond, both gateways let the same one stay.
                if (other.since, other.id) < (since, newer_id):
                    self.hub.yield_to(other, platform, device, newer_id, since)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            try:
                await self._route()
                self._expel()
                self.lanes.sweep()
            except Exception:
                logger.exception("a look at the lanes failed")

    def _expel(self) -> None:
        """Who was shut out since the last look is not to stay connected (directory, PROTOCOL 7.2)."""
        known = directory.current
        if known is not self._directory:
            self._directory, self.message_rates = known, known.message_rates
            self.hub.expel(known.user_restriction)

    async def _route(self) -> None:
        """Follow the topology: its tables, and who of the nodes is alive."""
        seen = (topology.current, self._watch.down)
        if seen == self._routed:
            return
        before, self._routed = self._routed[0], seen
        for server_set in self._own_sets():
            if server_set not in self.feeds:
                await self._subscribe(server_set)
        self.lanes.follow(seen[0].without(seen[1]))
        if seen[0].clusters != before.clusters:
            self.hub.rehome(seen[0], {name: feed.covered for name, feed in self.feeds.items()})

    async def _beat(self) -> None:
        beaten = 0.0
        while True:
            now = time.monotonic()
            try:
                if now - beaten >= presence.BEAT:
                    beaten = now
                    self._every_second(now)
                    await self._announce(beat=True)
                else:
                    await self._announce(beat=False)
            except (OSError, aioredis.RedisError, TimeoutError) as error:
                logger.warning("presence not announced: %s", error)
                await asyncio.sleep(PRESENCE_DELAY)
            except Exception:
                logger.exception("a beat failed")
                await asyncio.sleep(PRESENCE_DELAY)
            self._changed.clear()
            left = presence.BEAT - (time.monotonic() - beaten)
            try:
                await asyncio.wait_for(self._changed.wait(), max(left, 0.0))
                await asyncio.sleep(PRESENCE_DELAY)
            except TimeoutError:
                pass

    def _every_second(self, now: float) -> None:
        self._measure()
        for feed in self.feeds.values():
            self._read(feed)
        self.hub.drop_dead(now)
        self._drain.step()
        self.hub.rooms.every_second(now)
        for name in self.lanes.opened - self._canaries:
            if now - self._road_at.get(name, 0.0) > CANARY_AFTER:
                self._canaries.add(name)
                request = Request(0, "", "canary", "canary", b"")
                self.lanes.enter(request, self._on_canary, server_set=name)
        for server_set, moved in self.hub.take_cursors().items():
            request = Request(0, "", "ackCursor", "cursors", msgpack.packb(moved))
            self.lanes.enter(request, lambda pending, answer: None, server_set=server_set)

    def _measure(self) -> None:
        metrics.USERS.put(len(self.hub.users))
        self.lanes.measure()
        metrics.traffic.hand_over()

    def _on_canary(self, pending: Pending, answer: Answer) -> None:
        self._canaries.discard(pending.server_set)

    async def _announce(self, *, beat: bool) -> None:
        """Write this gateway's beat, presence and ledger; all of it again when Redis has lost it."""
        changed, self.hub.changed = self.hub.changed, set()
        key = presence.presence_key(self.id)
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.exists(key)  # before anything makes it again
                self._put_presence(pipeline, key, changed)
                if beat:
                    now = time.time_ns() // 1_000_000
                    pipeline.zadd(presence.GATEWAYS, {self.id: now})
                    pipeline.zremrangebyscore(presence.GATEWAYS, "-inf", now - FORGET)
                    load = msgpack.packb([self.access_point, len(self.hub.connections)])
                    pipeline.set(presence.load_key(self.id), load, px=int(presence.MISSED * 1000))
                    self._put_ledger(pipeline)
                    self.hub.rooms.announce(pipeline)
                pipeline.expire(key, 10)
                pipeline.hgetall(heartbeats.NODES)
                kept, *_, nodes = await pipeline.execute()
            self._look_at_nodes({name.decode(): value for name, value in nodes.items()})
            if not kept and self.hub.users.keys() - changed:
                self.hub.changed.update(self.hub.users)
                self._owed.clear()
                self.hub.rooms.forgotten()
                self.wake()
        except BaseException:
            self.hub.changed |= changed
            self._look_at_nodes(None)
            raise
        self._news.tell(changed, self.hub.users, time.monotonic())
        self._session_news.tell()
        newer = [self._newer(c) for key_ in changed for c in self.hub.users.get(key_, ())]
        if newer:
            await self._layer.group_send(hints.EVERY_GATEWAY, {"type": "newer", "connections": newer})

    def _look_at_nodes(self, beats: dict[str, bytes] | None) -> None:
        expected = [node.name for node in topology.current.nodes]
        for finding in self._watch.look(beats, expected, time.monotonic()):
            logger.warning("node %s is %s: %s", *finding)

    def _put_presence(self, pipeline: Any, key: str, changed: set[tuple[int, str]]) -> None:
        for tenant, user in changed:
            its = self.hub.users.get((tenant, user))
            if its:
                value = [[c.id, c.platform, c.sdk, c.address, c.since] for c in its]
                pipeline.hset(key, presence.user_field(tenant, user), msgpack.packb(value))
            else:
                pipeline.hdel(key, presence.user_field(tenant, user))

    @staticmethod
    def _newer(connection: Any) -> list[Any]:
        c = connection
        return [c.tenant, c.user, c.platform, c.device, c.id, c.since]

    def _put_ledger(self, pipeline: Any) -> None:
        """What is unacknowledged for a second is owed; healthy connections never enter the ledger."""
        mono, wall = time.monotonic(), time.time()
        owed: dict[str, dict[str, int]] = {name: {} for name in self.feeds}
        for connection in self.hub.busy | {c for c in self.hub.connections.values() if c.notified_at}:
            due = connection.due_at()
            if due is not None and due - connection.backoff < mono - presence.BEAT:
                owed.setdefault(connection.home, {})[f"{self.id}/{connection.id}"] = int(
                    (wall + due - mono) * 1000
                )
        for server_set, its in owed.items():
            gone = self._owed.get(server_set, set()) - its.keys()
            if gone:
                pipeline.zrem(presence.ledger_key(server_set), *gone)
            if its:
                pipeline.zadd(presence.ledger_key(server_set), its)
            self._owed[server_set] = set(its)


_processes: dict[asyncio.AbstractEventLoop, asyncio.Future[Process]] = {}


async def running() -> Process:
    """This event loop's process, started by whoever asks first."""
    loop = asyncio.get_running_loop()
    if loop not in _processes:
        _processes[loop] = asyncio.ensure_future(_start())
    return await asyncio.shield(_processes[loop])


async def _start() -> Process:
    @sync_to_async(thread_sensitive=False)
    def prepare() -> tuple[int, str]:
        directory.start()
        topology.start()
        webhooks.table.start()
        access_point = access_points.start()
        return lease_number(), access_point

    while True:
        try:
            process = Process(*await prepare())
        except Exception as error:
            logger.warning("gateway cannot start yet: %s", error)
            await asyncio.sleep(0.5)
        else:
            metrics.start(settings.DATA_DIR / "metrics")
            await process.start()
            logger.info("%s is open", process.id)
            return process


async def submit(request: Request, server_set: str = "") -> Reply:
    """Send a request from this process on its road and wait for its answer: the server API's way in.

    It goes to its target's SET, or to the one that is named.
    """
    (reply,) = await submit_all([request], server_set)
    return reply


async def submit_all(requests: Sequence[Request], server_set: str = "") -> list[Reply]:
    """The same with several, whose answers are waited for together: a call may have a thousand receivers."""
    process = await running()
    followed: set[str] = set()
    for request in requests:
        its = server_set or topology.current.home(request.tenant, request.target)
        if its not in followed:
            followed.add(its)
            await process.follow(its)
    replies: list[Reply | None] = [None] * len(requests)
    left = len(requests)
    answered = asyncio.get_running_loop().create_future()

    def resolve(place: int, pending: Pending, answer: Answer) -> None:
        nonlocal left
        if answer.status:
            metrics.refused(answer.status, is_message=bool(pending.request.uid))
        replies[place] = Reply(answer.status, answer.time, pending.request.uid, answer.payload)
        left -= 1
        if not left and not answered.done():
            answered.set_result(None)

    for place, request in enumerate(requests):
        process.lanes.enter(request, partial(resolve, place), server_set=server_set)
    if left:
        await answered
    return [reply for reply in replies if reply is not None]
