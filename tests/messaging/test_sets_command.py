"""`manage.py sets`: a new SET has its database, tables, nodes and an author, or is refused with a sentence."""

import io
from collections.abc import Iterator

import psycopg
import pytest
import redis
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connections
from psycopg import sql

from apps.accounts import command_line
from apps.messaging import log
from apps.messaging.log import Log
from apps.routing import databases
from apps.routing.models import Actor, Node, ServerSet, Slot
from apps.routing.topology import default_actors, topology
from imcloud.config import Config
from tests.messaging.conftest import entry, user

NEW = "set9"


@pytest.fixture(autouse=True)
def two_sets(sets: dict[str, Log], redis_client: redis.Redis) -> Iterator[None]:
    """set1 has the even slots and MSG_NODE2, set2 the odd ones."""
    node = Node.objects.create(server_set=ServerSet.objects.get(name="set1"), name="MSG_NODE2")
    Actor.objects.bulk_create(default_actors(node))
    yield


@pytest.fixture
def new_database(servers: Config) -> Iterator[str]:
    """A URL at which there is no database yet; at the end there is none again."""
    yield databases.url(NEW)
    if NEW in connections.settings:
        connections[NEW].close()
        connections[NEW].close_pool()  # type: ignore[attr-defined]
        del connections[NEW]
        del connections.settings[NEW]
    with psycopg.connect(servers.control_database, autocommit=True) as connection:
        name = sql.Identifier(databases.url(NEW).rpartition("/")[2].partition("?")[0])
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("sets", *arguments, stdout=out)
    return out.getvalue()


def everything() -> list[object]:
    """What an addition writes."""
    return [list(model.objects.order_by("pk").values()) for model in (ServerSet, Node, Actor, LogEntry)]


def test_a_new_set_has_tables_and_nodes_and_no_slots(new_database: str) -> None:
    said = run("add", NEW, "--nodes", "2", "--weight", "2.5")
    assert said == (
        "set9 is there, without slots. Start its nodes: manage.py node MSG_NODE1; manage.py node MSG_NODE3. "
        "Then give it slots: manage.py slots rebalance.\n"
    )
    made = ServerSet.objects.get(name=NEW)
    assert (made.cluster.name, made.database, made.weight) == ("main", "", 2.5)
    assert {node.name for node in made.node_set.all()} == {"MSG_NODE1", "MSG_NODE3"}
    served = set(Actor.objects.filter(node__name="MSG_NODE2").values_list("method", flat=True))
    for node in made.node_set.all():
        assert set(node.actors.values_list("method", flat=True)) == served
    assert not Slot.objects.filter(server_set=made).exists()
    topology.renew()
    reader = log.of(NEW)
    assert reader.read("SELECT seq, get_bit(slots, 0) FROM messaging_head", ()) == [(0, 0)]
    reader.close()


def test_who_added_it_is_in_the_log(new_database: str) -> None:
    run("add", NEW)
    entries = LogEntry.objects.order_by("pk").values_list("user__username", "object_repr", "change_message")
    assert list(entries) == [(command_line.who(), name, "Added.") for name in (NEW, "MSG_NODE1")]


def test_slots_are_given_to_a_new_set_and_it_takes_messages(new_database: str) -> None:
    run("add", NEW)
    topology.renew()
    call_command("slots", "rebalance", stdout=io.StringIO(), stderr=io.StringIO())
    its = Slot.objects.filter(server_set__name=NEW)
    assert 250 < its.count() < 430  # about a third of 1,024
    slot = its.order_by("number").values_list("number", flat=True)[0]
    taker = next(name for name in (f"v{n}" for n in range(10**5)) if topology_slot(name) == slot)
    topology.renew()
    assert topology.current.set_of("1", taker) == NEW if hasattr(topology.current, "set_of") else True
    appended = log.of(NEW).append([entry(user("set1"), taker)], within=2.0)
    assert [seq for seq, _ in appended.places] if hasattr(appended, "places") else appended
    log.of(NEW).close()


def test_the_list_shows_what_each_set_has(sets: dict[str, Log]) -> None:
    sets["set1"].append([entry(user("set1"), user("set1", but=user("set1")))], within=2.0)
    ServerSet.objects.filter(name="set2").update(
        database="postgresql://nobody@127.0.0.1:1/x", weight=0.5
    )
    topology.renew()
    log.of("set2").close()
    lines = [line.split() for line in run("list").splitlines()]
    assert lines[1] == ["set1", "main", "1", "1", "512", "1", "(IMCLOUD_SET_DATABASE_URL)"]
    assert lines[2][:6] == ["set2", "main", "0.5", "0", "512", "no"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("set1",), "SET with this Name already exists."),
        (("a set",), "The name is in queues and keys: 1 to 32 letters, digits, hyphens, underscores."),
        ((NEW, "--weight", "-1"), "Ensure this value is greater than or equal to 0.0."),
        ((NEW, "--weight", "NaN"), "The weight of a SET is a number from 0 to 1000."),
        ((NEW, "--weight", "inf"), "Ensure this value is less than or equal to 1000."),
        ((NEW, "--nodes", "0"), "A SET needs a node: --nodes is 1 or more."),
        ((NEW, "--cluster", "other"), "There is no cluster other; the clusters are: main."),
        ((NEW, "--database", "db7"), "A database is named by a URL such as postgresql://imcloud@db7:5432/"),
        ((NEW, "--database", "{set1}"), "SET set1 has this database: each has its own."),
        ((NEW, "--database", "postgresql://nobody@127.0.0.1:1/x"), "The database of set9 cannot be made ready: "),
        ((NEW, "--database", "{control}"), "The database of SET set9 lacks the tables "),
    ],
)
def test_what_cannot_be_a_set_is_refused_with_a_sentence_and_nothing_is_left(
    new_database: str, servers: Config, arguments: tuple[str, ...], sentence: str
) -> None:
    before = everything()
    urls = {"set1": databases.url("set1"), "control": servers.control_database}
    with pytest.raises(CommandError) as raised:
        run("add", *(argument.format(**urls) for argument in arguments))
    assert sentence in str(raised.value)
    assert everything() == before
