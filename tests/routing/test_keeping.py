"""What the topology keeps: each way to take it away is refused with a sentence and changes nothing."""

import html
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User as Operator
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Model, ProtectedError
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Tenant
from apps.routing import databases, keeping, topology
from apps.routing.models import Actor, Cluster, Node, ServerSet, Slot, SlotMove, State
from apps.routing.node_file import NodeSpec
from tests.conftest import wait_for
from tests.routing.test_node_import import PUBLISH, PULL, put

SET1_LOST = "SET set1 would be left without a live node that serves pullMsg."
SET2_LOST = "SET set2 would be left without a live node that serves ppMsgP, pullMsg."
NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture
def nodes(db: None) -> None:
    """Two in set1, of which MSG_NODE1 alone serves pullMsg; MSG_NODE3 alone in set2."""
    topology.topology.renew()  # while there is none: a SET that goes would ask those of an earlier test
    cluster = Cluster.objects.create(name="main")
    for name in ("set1", "set2"):
        ServerSet.objects.create(cluster=cluster, name=name)
    put(NodeSpec("MSG_NODE1", "set1", 1.0, (PUBLISH, PULL)))
    put(NodeSpec("MSG_NODE2", "set1", 1.0, (PUBLISH,)))
    put(NodeSpec("MSG_NODE3", "set2", 2.0, (PUBLISH, PULL)))


def stored() -> list[object]:
    """All rows, with their keys."""
    models: tuple[Any, ...] = (Cluster, ServerSet, Slot, Node, Actor)
    return [row for model in models for row in model.objects.order_by("pk").values()]


def problems(row: Model) -> list[str]:
    """What is wrong with the row as it is."""
    try:
        row.full_clean()
    except ValidationError as refused:
        return refused.messages
    return []


# --- the last live node


@pytest.mark.parametrize(
    ("name", "change", "sentences"),
    [
        ("MSG_NODE3", {"state": State.DRAINING}, [SET2_LOST]),
        ("MSG_NODE3", {"state": State.DOWN}, [SET2_LOST]),
        ("MSG_NODE3", {"weight": 0.0}, [SET2_LOST]),
        ("MSG_NODE3", {"weight": 0.0, "state": State.DOWN}, [SET2_LOST]),
        ("MSG_NODE1", {"weight": "0"}, [SET1_LOST]),
        ("MSG_NODE2", {"weight": 0.0}, []),
        ("MSG_NODE3", {"weight": 0.5}, []),
    ],
)
def test_the_last_live_node_stays_live(
    nodes: None, name: str, change: dict[str, Any], sentences: list[str]
) -> None:
    node = Node.objects.get(name=name)
    for field, value in change.items():
        setattr(node, field, value)
    assert problems(node) == sentences


@pytest.mark.parametrize("other", [{"state": State.DRAINING}, {"state": State.DOWN}, {"weight": 0.0}])
def test_a_node_that_takes_no_work_replaces_none(nodes: None, other: dict[str, Any]) -> None:
    put(NodeSpec("MSG_NODE4", "set2", 1.0, (PUBLISH, PULL)))
    last = Node.objects.get(name="MSG_NODE3")
    last.state = State.DOWN
    assert problems(last) == []
    Node.objects.filter(name="MSG_NODE4").update(**other)
    assert problems(last) == [SET2_LOST]


def test_a_node_that_takes_no_work_may_go_on_without_it(nodes: None) -> None:
    Node.objects.filter(name="MSG_NODE3").update(state=State.DRAINING)
    node = Node.objects.get(name="MSG_NODE3")
    node.state = State.DOWN
    assert problems(node) == []
    node.delete()


def test_the_last_live_node_is_not_deleted(nodes: None) -> None:
    before = stored()
    for name, sentence in (("MSG_NODE3", SET2_LOST), ("MSG_NODE1", SET1_LOST)):
        with pytest.raises(ValidationError) as refused:
            Node.objects.get(name=name).delete()
        assert refused.value.messages == [sentence]
    assert stored() == before
    Node.objects.get(name="MSG_NODE2").delete()


def test_of_two_that_take_the_last_two_nodes_away_at_once_the_second_is_refused(
    databases: None, nodes: None
) -> None:
    put(NodeSpec("MSG_NODE4", "set2", 1.0, (PUBLISH, PULL)))
    refused: list[str] = []

    def take_away() -> None:
        try:
            with keeping.all_served():
                Node.objects.filter(name="MSG_NODE4").update(weight=0.0)
        except ValidationError as error:
            refused.extend(error.messages)
        finally:
            connection.close()

    second = threading.Thread(target=take_away)
    with keeping.all_served():
        Node.objects.filter(name="MSG_NODE3").update(weight=0.0)
        second.start()
        wait_for(someone_waits, 30, "the second did not wait for the first")
        Node.objects.filter(name="MSG_NODE4").update(weight=2.0)  # which the second must not hold by now
    second.join(30)
    assert refused == [SET2_LOST]
    assert dict(Node.objects.filter(server_set__name="set2").values_list("name", "weight")) == {
        "MSG_NODE3": 0.0,
        "MSG_NODE4": 2.0,
    }


def someone_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


# --- the admin pages


@pytest.fixture
def operator(nodes: None) -> Client:
    browser = Client()
    browser.force_login(Operator.objects.create_superuser("operator"))
    return browser


def page(browser: Client, view: str, *key: object, **form: object) -> str:
    """What the operator sees after posting the form."""
    response = browser.post(reverse(f"admin:routing_{view}", args=key), form, follow=True)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def node(name: str) -> Node:
    return Node.objects.get(name=name)


def node_form(row: Node, *, without: str = "", **change: object) -> dict[str, object]:
    """What the page of a node posts; `without`: the method whose actor is ticked for deletion."""
    actors = list(row.actors.order_by("pk"))
    form: dict[str, object] = {"weight": row.weight, "state": row.state}
    form |= {"actors-TOTAL_FORMS": len(actors), "actors-INITIAL_FORMS": len(actors)}
    for index, each in enumerate(actors):
        fields = ("method", "task", "min_concurrency", "max_concurrency")
        form |= {f"actors-{index}-{field}": getattr(each, field) for field in fields}
        form |= {f"actors-{index}-id": each.pk, f"actors-{index}-node": row.pk}
        form |= {f"actors-{index}-is_message": "on"} if each.is_message else {}
        form |= {f"actors-{index}-DELETE": "on"} if each.method == without else {}
    return form | change


def list_form(**weights: float) -> dict[str, object]:
    """What the list of nodes posts."""
    rows = list(Node.objects.order_by("-pk"))
    form: dict[str, object] = {"_save": "Save"}
    form |= {"form-TOTAL_FORMS": len(rows), "form-INITIAL_FORMS": len(rows)}
    for index, row in enumerate(rows):
        form |= {f"form-{index}-id": row.pk, f"form-{index}-state": row.state}
        form |= {f"form-{index}-weight": weights.get(row.name, row.weight)}
    return form


def chosen(*rows: Model) -> dict[str, object]:
    return {"action": "delete_selected", "_selected_action": [row.pk for row in rows], "post": "yes"}


def actor(of: Node, method: str) -> Actor:
    return of.actors.get(method=method)


Way = tuple[str, Model | None, dict[str, object]]  # the page, its row, what is posted
WAYS: dict[str, Callable[[Node], Way]] = {
    "page: state": lambda last: ("node_change", last, node_form(last, state="down")),
    "page: weight": lambda last: ("node_change", last, node_form(last, weight=0)),
    "page: actor": lambda last: ("node_change", last, node_form(last, without="pullMsg")),
    "list": lambda last: ("node_changelist", None, list_form(MSG_NODE3=0)),
    "list, both at once": lambda last: ("node_changelist", None, list_form(MSG_NODE3=0, MSG_NODE4=0)),
    "delete": lambda last: ("node_delete", last, {"post": "yes"}),
    "delete, with another": lambda last: ("node_changelist", None, chosen(node("MSG_NODE2"), last)),
    "actor: delete": lambda last: ("actor_delete", actor(last, "pullMsg"), {"post": "yes"}),
    "actor: delete chosen": lambda last: ("actor_changelist", None, chosen(actor(last, "pullMsg"))),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_page_takes_the_last_live_node_away(operator: Client, way: str) -> None:
    if "both" in way:  # each of them could go
        put(NodeSpec("MSG_NODE4", "set2", 1.0, (PUBLISH, PULL)))
    before = stored()
    view, row, form = WAYS[way](node("MSG_NODE3"))
    shown = page(operator, view, *([row.pk] if row else []), **form)
    lost = "pullMsg" if "actor" in way else "ppMsgP, pullMsg"
    assert f"SET set2 would be left without a live node that serves {lost}." in shown
    assert "successfully" not in shown
    assert stored() == before and not LogEntry.objects.exists()


def test_what_leaves_a_live_node_is_done_on_every_page(operator: Client) -> None:
    put(NodeSpec("MSG_NODE4", "set2", 1.0, (PUBLISH, PULL)))
    page(operator, "node_changelist", **list_form(MSG_NODE4=0))
    page(operator, "node_change", node("MSG_NODE4").pk, **node_form(node("MSG_NODE4"), weight=3))
    page(operator, "actor_delete", actor(node("MSG_NODE3"), "pullMsg").pk, post="yes")
    assert not node("MSG_NODE3").actors.filter(method="pullMsg").exists()
    page(operator, "node_delete", node("MSG_NODE3").pk, post="yes")
    page(operator, "node_changelist", **chosen(node("MSG_NODE2")))
    assert dict(Node.objects.values_list("name", "weight")) == {"MSG_NODE1": 1.0, "MSG_NODE4": 3.0}


# --- SETs and clusters


@pytest.fixture
def spare(nodes: None) -> ServerSet:
    """A SET with a node and no slot; set1 and set2 share them."""
    sets = {each.name: each for each in ServerSet.objects.all()}
    cluster = sets["set1"].cluster
    Slot.objects.create(cluster=cluster, number=0, server_set=sets["set1"])
    Slot.objects.bulk_create(
        Slot(cluster=cluster, number=number, server_set=sets["set2"]) for number in range(1, 1024)
    )
    made = ServerSet.objects.create(cluster=cluster, name="set3", database=databases.url("set2"))
    put(NodeSpec("MSG_NODE5", "set3", 1.0, (PUBLISH, PULL)))
    return made


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("set1", "1 slot belongs to SET set1: move them to other SETs first."),
        ("set2", "1023 slots belong to SET set2: move them to other SETs first."),
    ],
)
def test_a_set_with_slots_stays(spare: ServerSet, operator: Client, name: str, sentence: str) -> None:
    before = stored()
    with pytest.raises(ValidationError) as refused:
        ServerSet.objects.get(name=name).delete()
    assert refused.value.messages == [sentence]
    assert sentence in page(operator, "serverset_delete", ServerSet.objects.get(name=name).pk, post="yes")
    assert stored() == before and not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("step", "stays"), [(SlotMove.Step.COPY, True), (SlotMove.Step.CLEAN, True), (SlotMove.Step.DONE, False)]
)
@pytest.mark.parametrize("way", ["source", "destination"])
def test_a_set_stays_while_slots_are_on_their_way(spare: ServerSet, step: str, stays: bool, way: str) -> None:
    other = ServerSet.objects.get(name="set1")
    ends = {"source": other, "destination": other, way: spare}
    SlotMove.objects.create(cluster=spare.cluster, number=0, step=step, **ends)
    if not stays:
        spare.delete()
        return
    with pytest.raises(ValidationError, match=r"Slots are on their way to or from SET set3\."):
        spare.delete()


def test_the_last_set_stays(operator: Client) -> None:
    ServerSet.objects.get(name="set2").delete()
    last = ServerSet.objects.get(name="set1")
    with pytest.raises(ValidationError) as refused:
        last.delete()
    assert refused.value.messages == ["SET set1 is the last one."]
    assert "SET set1 is the last one." in page(operator, "serverset_delete", last.pk, post="yes")
    assert ServerSet.objects.exists()


def test_not_all_sets_can_be_deleted_at_once(operator: Client) -> None:
    before = stored()
    assert "is the last one." in page(operator, "serverset_changelist", **chosen(*ServerSet.objects.all()))
    assert stored() == before


def test_a_set_without_slots_goes_with_its_nodes(spare: ServerSet, operator: Client) -> None:
    asked = operator.get(reverse("admin:routing_serverset_delete", args=[spare.pk])).content.decode()
    assert "SET set3" in asked and "node MSG_NODE5" in asked
    page(operator, "serverset_delete", spare.pk, post="yes")
    assert not ServerSet.objects.filter(name="set3").exists()
    assert not Node.objects.filter(name="MSG_NODE5").exists()


@pytest.fixture
def second(nodes: None) -> Cluster:
    return Cluster.objects.create(name="second")


@pytest.mark.parametrize(
    ("tenants", "named"),
    [
        (["shop"], "shop"),
        (["game", "shop"], "game, shop"),
        ([f"app{n}" for n in range(7)], "app0, app1, app2, app3, app4 and 2 more"),
    ],
)
def test_a_cluster_with_tenants_stays(
    second: Cluster, operator: Client, tenants: list[str], named: str
) -> None:
    for name in tenants:
        Tenant.objects.create(name=name, cluster="second")
    sentence = f"Cluster second serves tenants, for life: {named}."
    with pytest.raises(ValidationError) as refused:
        second.delete()
    assert refused.value.messages == [sentence]
    assert sentence in page(operator, "cluster_delete", second.pk, post="yes")
    assert sentence in page(operator, "cluster_changelist", **chosen(second))
    assert Cluster.objects.filter(name="second").exists()


def test_a_cluster_with_sets_stays_and_an_empty_one_goes(second: Cluster) -> None:
    with pytest.raises(ProtectedError):
        Cluster.objects.get(name="main").delete()
    second.delete()


# --- rows that are wrong by themselves

NEGATIVE = "Ensure this value is greater than or equal to 0.0."
TOO_MUCH = "Ensure this value is less than or equal to 1000."
QUEUE_NAME = "The name is in queues and keys: 1 to 32 letters, digits, hyphens, underscores."
NODE_NAME = "The name of a node has 1 to 64 letters, digits, hyphens or underscores."
DATABASE = "A database is named by a URL such as postgresql://imcloud@db7:5432/imcloud_set2."


@pytest.mark.parametrize(
    ("model", "fields", "sentence"),
    [
        (Node, {"name": "a node"}, NODE_NAME),
        (Node, {"name": "../x"}, NODE_NAME),
        (Node, {"name": "x\n"}, NODE_NAME),
        (Node, {"name": "n" * 65}, NODE_NAME),
        (Node, {"name": ""}, "This field cannot be blank."),
        (Node, {"name": "MSG_NODE1"}, "Node with this Name already exists."),
        (Node, {"weight": -0.5}, NEGATIVE),
        (Node, {"weight": -INFINITY}, NEGATIVE),
        (Node, {"weight": 1000.5}, TOO_MUCH),
        (Node, {"weight": INFINITY}, TOO_MUCH),
        (Node, {"weight": NAN}, "The weight of a node is a number from 0 to 1000."),
        (Node, {"weight": "heavy"}, "“heavy” value must be a float."),
        (Node, {"weight": None}, "This field cannot be null."),
        (Node, {"state": "gone"}, "Value 'gone' is not a valid choice."),
        (ServerSet, {"name": "a set"}, QUEUE_NAME),
        (ServerSet, {"name": "s" * 33}, QUEUE_NAME),
        (ServerSet, {"name": "set1"}, "SET with this Name already exists."),
        (ServerSet, {"weight": -1.0}, NEGATIVE),
        (ServerSet, {"weight": 1001.0}, TOO_MUCH),
        (ServerSet, {"weight": INFINITY}, TOO_MUCH),
        (ServerSet, {"weight": NAN}, "The weight of a SET is a number from 0 to 1000."),
        (ServerSet, {"database": "db7"}, DATABASE),
        (ServerSet, {"database": "mysql://db7/x"}, DATABASE),
        (ServerSet, {"database": "postgresql://db7"}, DATABASE),
        (Cluster, {"name": "a cluster"}, QUEUE_NAME),
        (Cluster, {"name": "main"}, "Cluster with this Name already exists."),
        (Slot, {"number": 1024}, "Ensure this value is less than or equal to 1023."),
        (Slot, {"number": -1}, "Ensure this value is greater than or equal to 0."),
    ],
)
def test_a_wrong_row_is_refused_with_a_sentence(
    nodes: None, model: type[Model], fields: dict[str, Any], sentence: str
) -> None:
    cluster, server_set = Cluster.objects.get(), ServerSet.objects.get(name="set1")
    right: dict[type[Model], dict[str, Any]] = {
        Cluster: {"name": "east"},
        ServerSet: {"cluster": cluster, "name": "set9"},
        Slot: {"cluster": cluster, "server_set": server_set, "number": 1},
        Node: {"server_set": server_set, "name": "MSG_NODE9"},
    }
    assert problems(model(**right[model])) == []
    assert sentence in problems(model(**right[model] | fields))
