"""`manage.py sets`: a new SET has its database, tables and nodes, or is refused with a sentence."""

import io
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
import redis
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from apps.accounts import command_line
from apps.messaging import log
from apps.messaging.log import Elsewhere, Log
from apps.routing import databases
from apps.routing.models import Actor, Node, ServerSet, Slot
from apps.routing.topology import default_actors, home, slot, topology
from imcloud.config import Config
from tests.conftest import ROOT
from tests.messaging.conftest import entry, user

NEW = "set9"


@pytest.fixture(autouse=True)
def two_sets(sets: dict[str, Log], redis_client: redis.Redis) -> Iterator[None]:
    """set1 has the even slots and MSG_NODE2, set2 the odd ones."""
    node = Node.objects.create(server_set=ServerSet.objects.get(name="set1"), name="MSG_NODE2")
    Actor.objects.bulk_create(default_actors(node))
    yield


@pytest.fixture
def new_database(servers: Config) -> Iterator[None]:
    """There is none of set9 yet; at the end there is none again."""
    yield
    name = sql.Identifier(str(conninfo_to_dict(databases.url(NEW))["dbname"]))
    with psycopg.connect(servers.control_database, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("sets", *arguments, stdout=out)
    return out.getvalue()


def add(*arguments: str) -> str:
    """In a process of its own: this one may use Django's connections to set1 and set2 only."""
    command = [sys.executable, "manage.py", "sets", "add", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    topology.renew()
    return done.stdout


def everything() -> list[object]:
    """What an addition writes."""
    return [list(model.objects.order_by("pk").values()) for model in (ServerSet, Node, Actor, LogEntry)]


def test_a_new_set_has_tables_and_nodes_and_no_slots(new_database: None) -> None:
    said = add(NEW, "--nodes", "2", "--weight", "2.5")
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
    reader = log.of(NEW)
    assert reader.read("SELECT seq, get_bit(slots, 0) FROM messaging_head", ()) == [(0, 0)]
    reader.close()
    entries = LogEntry.objects.order_by("pk").values_list("user__username", "object_repr", "change_message")
    names = (NEW, "MSG_NODE1", "MSG_NODE3")
    assert list(entries) == [(command_line.who(), name, "Added.") for name in names]


def test_a_slot_is_given_to_a_new_set_and_it_takes_messages(new_database: None) -> None:
    add(NEW)
    receiver = user("set1")
    call_command("slots", "move", str(slot("1", receiver)), NEW, stdout=io.StringIO(), stderr=io.StringIO())
    topology.renew()
    assert home(1, receiver) == NEW
    message = entry("sender", receiver)
    with pytest.raises(Elsewhere):
        log.of("set1").append([message], within=2.0)
    log.of(NEW).append([message], within=2.0)
    assert log.of(NEW).read("SELECT target FROM messaging_message", ()) == [(receiver,)]
    log.of(NEW).close()


def test_the_list_shows_what_each_set_has(sets: dict[str, Log]) -> None:
    sets["set1"].append([entry(user("set1"), user("set1", but=user("set1")))], within=2.0)
    ServerSet.objects.filter(name="set2").update(database="postgresql://nobody@127.0.0.1:1/x", weight=0.5)
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
        (
            (NEW, "--database", "postgresql://nobody@127.0.0.1:1/x"),
            "The database of set9 cannot be made ready: connection",
        ),
        ((NEW, "--database", "{control}"), "The database of SET set9 would be a control database."),
    ],
)
def test_what_cannot_be_a_set_is_refused_with_a_sentence_and_nothing_is_left(
    new_database: None, servers: Config, arguments: tuple[str, ...], sentence: str
) -> None:
    before = everything()
    urls = {"set1": databases.url("set1"), "control": servers.control_database}
    with pytest.raises(CommandError) as raised:
        run("add", *(argument.format(**urls) for argument in arguments))
    assert sentence in str(raised.value)
    assert everything() == before
