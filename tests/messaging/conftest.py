"""The logs of two SETs in a cluster of their own: users of even slots are at home in set1, others in set2."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import django
import pytest

django.setup()  # pytest reads this file before it configures anything when the folder is named to it

import psycopg  # noqa: E402
from django.db import connections  # noqa: E402
from psycopg import sql  # noqa: E402
from psycopg.conninfo import conninfo_to_dict  # noqa: E402

from apps.messaging import log, slot_moves  # noqa: E402
from apps.messaging.log import Entry, Log  # noqa: E402
from apps.messaging.methods.pull import pull  # noqa: E402
from apps.messaging.models import PRIVATE  # noqa: E402
from apps.routing import databases, topology  # noqa: E402
from apps.routing.envelope import Request  # noqa: E402
from apps.routing.models import Cluster, ServerSet  # noqa: E402
from apps.routing.placement import SLOTS  # noqa: E402
from apps.routing.protocol.im_pb2 import (  # noqa: E402
    DownStreamMessages,
    SyncRequestMsg,
    UpStreamMessage,
)
from apps.routing.protocol.messages import SENT  # noqa: E402

SETS = ("set1", "set2")


def users(server_set: str, number: int) -> list[str]:
    """Users of tenant 1 whose home is this SET, always the same ones; no two of them share a slot."""
    parity = SETS.index(server_set)
    by_slot: dict[int, str] = {}
    for name in (f"u{n}" for n in count()):
        if (slot := topology.slot("1", name)) % 2 == parity:
            by_slot.setdefault(slot, name)
        if len(by_slot) == number:
            return list(by_slot.values())
    raise AssertionError


def user(server_set: str, *, but: str = "") -> str:
    """The first of them, unless it is `but`."""
    return next(name for name in users(server_set, 2) if name != but)


@pytest.fixture
def sets(databases: None) -> Iterator[dict[str, Log]]:
    """SET -> its log."""
    cluster = Cluster.objects.create(name="main")
    made = [ServerSet.objects.create(cluster=cluster, name=name) for name in SETS]
    with connections["default"].cursor() as cursor:  # 1,024 objects would take longer than most of the tests
        cursor.execute(
            "INSERT INTO routing_slot (cluster_id, number, server_set_id)"
            " SELECT %s, n, (%s)[1 + n %% 2] FROM generate_series(0, %s - 1) n",
            [cluster.pk, [each.pk for each in made], SLOTS],
        )
    topology.topology.renew()
    for name in SETS:
        with connections[name].cursor() as cursor:
            cursor.execute(
                "INSERT INTO messaging_head (id, epoch, seq, time, slots) VALUES (1, 1, 0, 0, %s)"
                " ON CONFLICT (id) DO NOTHING",
                [bytes(SLOTS // 8)],
            )
    slot_moves.hand_out()
    yield {name: log.of(name) for name in SETS}
    for name in SETS:
        log.of(name).close()


@pytest.fixture
def three(sets: dict[str, Log], redis_client: object) -> Iterator[list[str]]:
    """The names of the two SETs, and of a third one that has no slots yet."""
    ServerSet.objects.create(cluster=Cluster.objects.get(), name="set3")
    topology.topology.renew()
    model, new = (str(conninfo_to_dict(databases.url(name))["dbname"]) for name in ("set2", "set3"))
    with psycopg.connect(databases.url("set3"), dbname="postgres", autocommit=True) as admin:
        for name in ("set2", "set3"):
            log.of(name).close()
        # A database is copied while nobody is connected to it.
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (model,))
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(new), sql.Identifier(model))
        )
        connections["set2"].close()
        nothing = "UPDATE messaging_head SET slots = %s"
        log.of("set3").run(lambda c: c.execute(nothing, (bytes(SLOTS // 8),)), within=5)
        yield [*sets, "set3"]
        log.of("set3").close()
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(new)))


def text(content: bytes = b"x") -> bytes:
    """What a client sends: an UpStreamMessage."""
    return UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=content).SerializeToString()


def entry(sender: str, target: str, up: bytes = b"", uid: str = "", **facts: Any) -> Entry:
    """A private message, with a uid of its own unless one is given."""
    return Entry(uid or uuid.uuid4().hex, 1, PRIVATE, sender, target, 3, "ppMsgP", up or text(), **facts)


class Shown(NamedTuple):
    """A message as a device is shown it."""

    time: int
    uid: str
    sent: bool


def pulled(server_set: str, name: str) -> list[Shown]:
    """Everything that a new device of the user pulls from a SET, in the order in which it comes."""
    shown: list[Shown] = []
    inbox = sendbox = 0
    while True:
        wanted = SyncRequestMsg(ispolling=False, isPullSend=True, syncTime=inbox, sendBoxSyncTime=sendbox)
        request = Request(1, name, "pullMsg", name, wanted.SerializeToString(), generation=4)
        answer = pull(server_set, request)
        assert answer.status == 0, answer
        reply = DownStreamMessages.FromString(answer.payload)
        shown += [Shown(each.dataTime, each.msgId, each.direction == SENT) for each in reply.list]
        inbox = reply.syncTime
        sendbox = max((each.time for each in shown if each.sent), default=0)
        if reply.finished:
            return shown


@contextmanager
def away(database: str) -> Iterator[None]:
    """While a database, named by its SET or by its URL, takes no connections."""
    url = databases.url(database) if database in SETS else database
    name = str(conninfo_to_dict(url)["dbname"])
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(url, dbname="postgres", autocommit=True) as admin:
        admin.execute(allow.format(sql.Identifier(name), False))
        try:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            yield
        finally:
            admin.execute(allow.format(sql.Identifier(name), True))
            for server_set in SETS:
                if databases.url(server_set) == url:
                    connections[server_set].close()  # it is broken
