"""The road of a batch of messages within one process, step by step, so that each step can be counted.

The parts are those of the gateway and of the message worker, over real PostgreSQL and Redis. Only what would
bring chance in is another: the gateway's event loop takes a turn when it is told to, and sockets keep what is
written to them. Not on this road: Daphne's framing, and Celery's own work around a task in the worker.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from celery import current_app
from channels.layers import get_channel_layer

from apps.accounts.directory import directory
from apps.accounts.models import Tenant
from apps.messaging import log, slot_moves, tasks
from apps.routing.gateway import Handler
from apps.routing.process import Process
from apps.routing.protocol.im_pb2 import SyncRequestMsg
from apps.routing.protocol.packets import (
    PubAck,
    Publish,
    Query,
    QueryAck,
    QueryCon,
    decode_downstream,
    encode_upstream,
)
from apps.routing.sessions import Connection, Reading
from apps.routing.topology import bootstrap, topology
from bench.load import numbered
from imcloud.celery import app  # noqa: F401  the broker is its business

SET = "set1"
TENANT = 1
USERS = 100  # in pairs: each sends to the other
READS, PUBLISHES, STORES, SHOWS, HEARS = (
    "gateway reads", "gateway publishes", "worker stores", "gateway shows", "gateway hears",
)  # fmt: skip

Step = tuple[str, Callable[[], object]]


class Turns:
    """What lanes ask of an event loop. Callbacks run when `turn` is called, the work of threads at once."""

    def __init__(self) -> None:
        self._due: deque[asyncio.Handle] = deque()

    def turn(self) -> None:
        """Run what is due, and what that makes due."""
        while self._due:
            self._due.popleft()._run()

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)  # type: ignore[arg-type]
        self._due.append(handle)
        return handle

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        done: asyncio.Future[Any] = asyncio.Future(loop=self)  # type: ignore[arg-type]
        done.set_result(func(*args))
        return done


class Device:
    """A client's end: its connection at the gateway, and the frames that were written to it."""

    def __init__(self, process: Process, number: int) -> None:
        self.user, self.peer = f"user{number:03}", f"user{number ^ 1:03}"
        self.frames: list[bytes] = []
        self._last_id = 0
        self.connection = Connection(
            id=f"{process.id}-{number}", tenant=TENANT, app_key="k", user=self.user, home=SET, send=_unused
        )
        self.connection.generation = 4
        self.connection.socket = self
        self.handle = Handler(process, self.connection).take_frame
        process.hub.add(self.connection)

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)

    def unsent(self) -> int:
        return 0

    def message(self) -> bytes:
        """The frame of a text to the other one of the pair."""
        packet = Publish("ppMsgP", self.peer, self._next_id(), numbered(self._last_id))
        return encode_upstream(packet)

    def pull(self) -> bytes:
        """The frame of a pull."""
        wanted = SyncRequestMsg(ispolling=False, isPullSend=True, syncTime=0, sendBoxSyncTime=0)
        return encode_upstream(Query("pullMsg", self.user, self._next_id(), wanted.SerializeToString()))

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def receipts(self) -> list[bytes]:
        """The frames that answer what was written since the last call."""
        frames, self.frames = self.frames, []
        found: list[bytes] = []
        for packet in map(decode_downstream, frames):
            if isinstance(packet, Publish):
                found.append(encode_upstream(PubAck(packet.message_id, 0, 0, "")))
            elif isinstance(packet, QueryAck):
                found.append(encode_upstream(QueryCon(packet.message_id)))
            else:
                assert isinstance(packet, PubAck), packet
                assert not packet.status, packet
        return found


async def _unused(message: dict[str, Any]) -> None:
    raise AssertionError(f"{message} goes past the socket")


class Road:
    """A gateway with `USERS` connected, who have pulled, and the queues of the one node."""

    def __init__(self, runner: asyncio.Runner, queues: tuple[Any, Any]) -> None:
        self._runner = runner
        self._messages, self._queries = queues
        self._layer = get_channel_layer()
        self._channel: str = runner.run(self._layer.new_channel())
        self._loop = Turns()
        self._process = runner.run(self._start())
        self._settle()
        self._devices = [Device(self._process, number) for number in range(USERS)]
        for device in self._devices:
            device.handle(device.pull())
        self._settle()
        self._hear()
        assert all(device.connection.reading is Reading.LIVE for device in self._devices)
        self.bytes: dict[str, int] = {}  # of the last batch: its task, its hint, the frames to clients

    async def _start(self) -> Process:
        process = Process(1, "counts")
        process.lanes.loop = self._loop  # type: ignore[assignment]
        process._channel = self._channel
        await self._layer.group_add(process.id, self._channel)
        await process._subscribe(SET)
        return process

    def close(self) -> None:
        for device in self._devices:
            self._process.hub.remove(device.connection)
        self._process.lanes.follow(replace(topology.current, nodes=()))

    def steps(self, number: int) -> Iterator[Step]:
        """What so many messages lead to, one after the other; each step is to be run before the next."""
        frames = [(device.handle, device.message()) for device in self._devices[:number]]
        yield READS, lambda: [handle(frame) for handle, frame in frames]
        yield PUBLISHES, self._loop.turn
        task = _taken(self._messages)
        assert task is not None, "the batch is not in the node's queue"
        yield STORES, lambda: tasks.deliver(task)
        hint = self._receive()
        time.sleep(0.005)  # what is pushed within its own millisecond takes a call less (Traffic.pushed)
        yield SHOWS, lambda: self._process._on_hint(hint)
        written = [frame for device in self._devices for frame in device.frames]
        assert len(written) == 2 * number, "not every message was acknowledged and shown"
        self.bytes = {"task": len(task), "hint": len(hint["data"]), "frames": sum(map(len, written))}
        receipts = [(device.handle, frame) for device in self._devices for frame in device.receipts()]
        yield HEARS, lambda: [handle(frame) for handle, frame in receipts]

    def _receive(self) -> dict[str, Any]:
        found: dict[str, Any] = self._runner.run(
            asyncio.wait_for(self._layer.receive(self._channel), timeout=10)
        )
        return found

    def _settle(self) -> None:
        """Have the queries that are under way answered."""
        self._loop.turn()
        while (task := _taken(self._queries)) is not None:
            tasks.answer(task)
            self._process._on_hint(self._receive())
            self._loop.turn()

    def _hear(self) -> None:
        for device in self._devices:
            for frame in device.receipts():
                device.handle(frame)


def _taken(queue: Any) -> bytes | None:
    """The body of the next task; None when there is none."""
    try:
        (body,), *_ = queue.get_nowait().payload
    except queue.Empty:
        return None
    return bytes(body)


@contextmanager
def opened() -> Iterator[Road]:
    """A road through databases that are migrated and empty, and a Redis that is empty."""
    Tenant(id=TENANT, name="counts").save()
    bootstrap()
    slot_moves.hand_out()
    directory.renew()
    (node,) = topology.renew().nodes
    with asyncio.Runner() as runner, current_app.connection_for_read() as connection:
        queues = [
            connection.SimpleQueue(node.queue(is_message), no_ack=True, accept=["msgpack"])
            for is_message in (True, False)
        ]
        with closing(Road(runner, (queues[0], queues[1]))) as road:
            yield road
    log.of(SET).close()
