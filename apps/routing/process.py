"""A process with lanes: gateway, web or both. Its number, its lanes and feeds, its heartbeat and canary."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import msgpack
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection as control_database
from redis import asyncio as aioredis

from apps.accounts.directory import directory
from apps.routing import access_points, hints, metrics, presence
from apps.routing.draining import Drain
from apps.routing.envelope import Answer, Hint, Request, feed_group
from apps.routing.feed import Feed
from apps.routing.hub import Hub
from apps.routing.lanes import SWEEP, Lanes, Pending, Reply
from apps.routing.protocol.uid import UidIssuer
from apps.routing.topology import topology

logger = logging.getLogger(__name__)

CANARY_AFTER = 2.0  # s without a message of anybody's after which a canary goes the whole road
ROAD_STALE = 10.0  # s after the last message came back after which the road counts as broken
GAP_PATIENCE = 0.1  # s that a missing hint may take: two workers' hints overtake each other by less
FORGET = 3_600_000  # ms after its last beat that a gateway's name is kept
PRESENCE_DELAY = 0.05  # s in which connects and disconnects are announced together


def lease_number() -> int:
    """A number that no other process has had; the part of its uids that keeps them apart from others'."""
    with control_database.cursor() as cursor:
        cursor.execute("SELECT nextval('routing_process_number')")
        number: int = cursor.fetchone()[0]
    control_database.close()
    return number


class Process:
    """One per event loop; see `running`."""

    def __init__(self, number: int, access_point: str) -> None:
        self.id = f"{access_point}.{number}"
        self.access_point = access_point
        loop = asyncio.get_running_loop()
        self.lanes = Lanes(self.id, UidIssuer(number & 0x3FFFFF), loop, self.when_covered)
        self.hub = Hub(self.lanes)
        self._drain = Drain(access_point, self.hub)
        self.feeds = {name: self._feed(name) for name in topology.current.sets}
        self.road_at = 0.0  # monotonic s at which the last message came back from the log
        self._layer = get_channel_layer()
        self._redis = aioredis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
        self._changed = asyncio.Event()
        self._owed: dict[str, set[str]] = {}  # SET -> ledger members written at the last beat
        self._canary_out = False
        self._reading: set[str] = set()  # SETs whose log is being read
        self._opened = asyncio.Event()  # every feed knows where its log ends
        self._tasks: list[asyncio.Task[None]] = []

    def _feed(self, server_set: str) -> Feed:
        return Feed(server_set, self._apply, self.hub.skipped)

    def _apply(self, row: Any) -> None:
        if row.seq:
            self.road_at = time.monotonic()
        self.hub.apply(row)

    def when_covered(self, server_set: str, position: int, then: Callable[[], None]) -> None:
        """Call `then` when all rows of the log up to seq `position` have been shown here."""
        feed = self.feeds[server_set]
        feed.when_covered(position, then)
        if feed.behind:
            self.lanes.loop.call_later(GAP_PATIENCE, self._read_if_behind, feed)

    def wake(self) -> None:
        """Somebody came or went: announce it soon."""
        self._changed.set()

    @property
    def road_open(self) -> bool:
        """Whether a message went gateway, queue, log and back within the last `ROAD_STALE` s."""
        return self.road_at > 0 and time.monotonic() - self.road_at < ROAD_STALE

    async def start(self) -> None:
        """Subscribe, then read where each log ends; returns when connections may be accepted."""
        channel = await self._subscribe()
        self._tasks = [
            asyncio.ensure_future(self._receive(channel)),
            asyncio.ensure_future(self._sweep()),
            asyncio.ensure_future(self._beat()),
        ]
        await self._opened.wait()

    async def _subscribe(self) -> str:
        groups = [hints.EVERY_GATEWAY, self.id, *map(feed_group, self.feeds)]
        while True:
            try:
                channel: str = await self._layer.new_channel()
                for group in groups:
                    await self._layer.group_add(group, channel)
            except (OSError, aioredis.RedisError) as error:
                logger.warning("channel layer not reached, trying again: %s", error)
                await asyncio.sleep(0.5)
            else:
                return channel

    async def _receive(self, channel: str) -> None:
        takes = {
            "hint": self._on_hint,
            "notify": self._on_notify,
            "drop": self._on_drop,
            "newer": self._on_newer,
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
        feed = self.feeds[hint.server_set]
        feed.offer(hint)
        if hint.gateway == self.id:
            self.lanes.answered(hint.number, list(hint.answers))
        if feed.behind:
            self.lanes.loop.call_later(GAP_PATIENCE, self._read_if_behind, feed)

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
            self.lanes.enter(request, lambda pending, answer: self._on_read(feed, answer))

    def _on_read(self, feed: Feed, answer: Answer) -> None:
        self._reading.discard(feed.server_set)
        if not answer.status:
            feed.read(Hint.unpack(answer.payload), answer.position)
            if all(each.covered >= 0 for each in self.feeds.values()):
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
                self.lanes.sweep()
            except Exception:
                logger.exception("a look at the lanes failed")

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
        # Not before the feeds know where their logs end: no row from before that is shown or acknowledged.
        if self._opened.is_set() and now - self.road_at > CANARY_AFTER and not self._canary_out:
            self._canary_out = True
            self.lanes.enter(Request(0, "", "canary", "canary", b""), self._on_canary)
        moved = self.hub.take_cursors()
        if moved:
            request = Request(0, "", "ackCursor", "cursors", msgpack.packb(moved))
            self.lanes.enter(request, lambda pending, answer: None)

    def _measure(self) -> None:
        metrics.USERS.put(len(self.hub.users))
        self.lanes.measure()
        metrics.traffic.hand_over()

    def _on_canary(self, pending: Pending, answer: Answer) -> None:
        self._canary_out = False

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
                pipeline.expire(key, 10)
                kept = (await pipeline.execute())[0]
            if not kept and self.hub.users.keys() - changed:
                self.hub.changed.update(self.hub.users)
                self._owed.clear()
                self.wake()
        except BaseException:
            self.hub.changed |= changed
            raise
        newer = [self._newer(c) for key_ in changed for c in self.hub.users.get(key_, ())]
        if newer:
            await self._layer.group_send(hints.EVERY_GATEWAY, {"type": "newer", "connections": newer})

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
                owed[connection.home][f"{self.id}/{connection.id}"] = int((wall + due - mono) * 1000)
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


async def submit(request: Request) -> Reply:
    """Send a request from this process on its road and wait for its answer: the server API's way in."""
    process = await running()
    answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def resolve(pending: Pending, answer: Answer) -> None:
        if answer.status:
            metrics.refused(answer.status, is_message=bool(pending.request.uid))
        if not answered.done():
            answered.set_result(Reply(answer.status, answer.time, pending.request.uid, answer.payload))

    process.lanes.enter(request, resolve)
    return await answered
