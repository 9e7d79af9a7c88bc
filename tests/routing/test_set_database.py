"""A SET without a database of its own that has its tables is refused where it is made."""

import html
import socket

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import User as Operator
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from apps.routing import set_database
from apps.routing.models import Cluster, ServerSet
from imcloud.config import Config
from tests.conftest import DATABASES

pytestmark = pytest.mark.django_db(databases=DATABASES)


@pytest.fixture
def operator(db: None) -> Client:
    """There is set1, whose database is as the setting says; that of set2 is there too, and nobody's."""
    ServerSet.objects.create(cluster=Cluster.objects.create(name="main"), name="set1")
    browser = Client()
    browser.force_login(Operator.objects.create_superuser("operator"))
    return browser


def add(operator: Client, name: str, database: str) -> str:
    """What the operator sees after adding a SET."""
    form = {"cluster": Cluster.objects.get().pk, "name": name, "database": database, "weight": "1"}
    response = operator.post(reverse("admin:routing_serverset_add"), form, follow=True)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def url(server_set: str) -> str:
    return str(settings.SET_DATABASE_URL.format(set=server_set))


@pytest.mark.parametrize(
    ("name", "database", "sentence"),
    [
        ("set9", "", "SET set9 has no database that can be opened: "),
        ("set9", "postgresql://nobody@127.0.0.1:1/x", "SET set9 has no database that can be opened: "),
        ("set9", "{control}", "The database of SET set9 lacks the tables "),
        ("set9", "{set1}", "SET set1 has this database: each has its own."),
        ("set9", "db7", "A database is named by a URL such as "),
        ("set1", "", "SET with this Name already exists."),
        ("a set", "", "The name is in queues and keys: "),
    ],
)
def test_a_set_without_a_database_is_refused_with_a_sentence(
    operator: Client, servers: Config, name: str, database: str, sentence: str
) -> None:
    shown = add(operator, name, database.format(control=servers.control_database, set1=url("set1")))
    assert sentence in shown
    assert ServerSet.objects.count() == 1


def test_a_set_whose_database_has_the_tables_is_made(operator: Client) -> None:
    assert "was added successfully" in add(operator, "set2", "")
    assert "SET set2 has this database" in add(operator, "set9", url("set2"))
    assert list(ServerSet.objects.order_by("pk").values_list("name", flat=True)) == ["set1", "set2"]


def test_what_is_changed_later_does_not_hang_on_the_database(operator: Client) -> None:
    ServerSet.objects.update(database="postgresql://nobody@127.0.0.1:1/x")
    path = reverse("admin:routing_serverset_change", args=[ServerSet.objects.get().pk])
    form = {
        "weight": "3", "durability": "local", "when_standby_away": "refuse", "standby_patience": "5",
        "probes": "5",
    }  # fmt: skip
    operator.post(path, form)
    assert ServerSet.objects.get().weight == 3.0


def test_the_tables_that_a_database_lacks_are_named(operator: Client, servers: Config) -> None:
    with psycopg.connect(url("set2"), autocommit=True) as connection:
        connection.execute("ALTER TABLE messaging_head RENAME TO elsewhere")
        try:
            with pytest.raises(ValidationError) as refused:
                set_database.check("set2", "")
        finally:
            connection.execute("ALTER TABLE elsewhere RENAME TO messaging_head")
    assert refused.value.messages == ["The database of SET set2 lacks the tables messaging_head."]
    set_database.check("set2", "")


def test_a_server_that_says_nothing_is_not_waited_for(operator: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ValidationError, match="timeout expired"):
            set_database.check("set9", f"postgresql://imcloud@127.0.0.1:{port}/x")
