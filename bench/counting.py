"""How work is counted: calls, memory, statements, commands and tasks, with no clock in it."""

from __future__ import annotations

import gc
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import CodeType, FrameType
from typing import Any
from unittest import mock

import redis
from django.conf import settings
from django.db import connections
from kombu import Producer
from psycopg import pq

from apps.messaging import log
from bench.road import SET
from bench.stack import ROOT

Work = Callable[[], object]
PROJECT = (f"{ROOT}/apps/", f"{ROOT}/imcloud/")
# A connection that was idle for seconds is asked whether it is there: that hangs on how busy the machine is.
NOT_WORK = ("info", "ping")
STATEMENTS = (b"Query", b"Execute")  # the messages of PostgreSQL's protocol that run one
COMMITTED = b' "COMMIT"'


@contextmanager
def uncollected() -> Iterator[None]:
    """The garbage collector runs neither in between nor behind what is counted."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def calls(work: Work) -> Counter[str]:
    """Function -> how often the project's code calls it, or a library does that is called by the project.

    What libraries do among themselves is not counted: it changes with their versions, and where they wait for
    a socket, with its pace.
    """
    known: dict[CodeType, bool] = {}
    found: Counter[str] = Counter()

    def is_ours(code: CodeType) -> bool:
        ours = known.get(code)
        if ours is None:
            ours = known[code] = code.co_filename.startswith(PROJECT)
        return ours

    def see(frame: FrameType, event: str, called: Any) -> None:
        code = frame.f_code
        if event == "call":
            if is_ours(code) or (frame.f_back is not None and is_ours(frame.f_back.f_code)):
                found[f"{code.co_qualname} ({code.co_filename.removeprefix(f'{ROOT}/')})"] += 1
        elif event == "c_call" and is_ours(code):
            found[called.__qualname__] += 1

    with uncollected():
        sys.setprofile(see)
        try:
            work()
        finally:
            sys.setprofile(None)
    return found


def memory(work: Work) -> int:
    """The bytes of Python's objects that exist at once, at most, beyond those that were there before."""
    with uncollected():
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            work()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    return most - before


def traffic(work: Work) -> Counter[str]:
    """Statements, commits and round trips to PostgreSQL, commands to Redis by name, tasks for Celery."""
    found: Counter[str] = Counter()

    def publish(producer: Producer, *what: Any, **how: Any) -> Any:
        found["Celery tasks"] += 1
        return sent(producer, *what, **how)

    def executed(execute: Any, *how: Any) -> Any:
        found["statements of Django"] += 1
        return execute(*how)

    with redis.Redis.from_url(settings.REDIS_URL) as client, ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(executed))
        sent = Producer.publish
        stack.enter_context(mock.patch.object(Producer, "publish", publish))
        messages = stack.enter_context(_to_database())
        before = _commands(client)
        work()
        commands = _commands(client)
        commands.subtract(before)
    found.update({f"Redis {name}": number for name, number in commands.items()})
    fields = [line.split(b"\t") for line in messages]
    found["SQL statements"] = sum(its[0] == b"F" and its[2] in STATEMENTS for its in fields)
    found["SQL commits"] = sum(its[2:] == [b"CommandComplete", COMMITTED] for its in fields)
    found["SQL round trips"] = b"".join(its[0] for its in fields).count(b"FB")
    return found


@contextmanager
def _to_database() -> Iterator[list[bytes]]:
    """libpq's trace of the worker's connection: F for what goes to the server, B for what comes back."""
    lines: list[bytes] = []
    connection = log.of(SET).run(lambda its: its.pgconn, within=5)
    with tempfile.TemporaryFile() as file:
        connection.trace(file.fileno())
        connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        try:
            yield lines
        finally:
            connection.untrace()
        file.seek(0)
        lines += file.read().splitlines()


def _commands(client: redis.Redis) -> Counter[str]:
    told: Any = client.info("commandstats")
    named = {name.removeprefix("cmdstat_"): its["calls"] for name, its in told.items()}
    return Counter({name: number for name, number in named.items() if name not in NOT_WORK})
