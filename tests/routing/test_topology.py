"""The snapshot that processes route by: immutable, new after each change; who is left when nodes are down."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts import command_line
from apps.routing import topology
from apps.routing.models import AccessPoint, Actor, Cluster, Node, ServerSet, Slot, State
from apps.routing.placement import SLOTS
from apps.routing.topology import NodeEntry, SetEntry, Snapshot, read_snapshot


@pytest.fixture
def installed(db: None) -> Snapshot:
    """Two SETs with two nodes each."""
    topology.bootstrap(sets=2, nodes=2)
    return read_snapshot(None)


def test_a_new_installation_serves_every_slot_and_method(installed: Snapshot) -> None:
    assert list(installed.sets) == ["set1", "set2"]
    assert [node.name for node in installed.nodes] == [f"MSG_NODE{n}" for n in range(1, 5)]
    assert len(installed.clusters["main"]) == SLOTS
    assert set(installed.clusters["main"]) == {"set1", "set2"}
    for server_set in installed.sets:
        for method in installed.messages | installed.queries:
            node = installed.node_for(server_set, "alice", method)
            assert node is not None and node.server_set == server_set


def test_a_new_installation_of_two_sites_has_databases_and_a_gateway_where_it_is_told(db: None) -> None:
    topology.bootstrap(sets=3, databases={"set1": "postgresql://a/1", "set2": "postgresql://b/2"}, site="a")
    topology.bootstrap(sets=3, databases={"set3": "postgresql://c/3"}, site="c")  # once made, it is left
    kept = dict(ServerSet.objects.values_list("name", "database"))
    assert kept == {"set1": "postgresql://a/1", "set2": "postgresql://b/2", "set3": ""}
    assert list(AccessPoint.objects.values_list("name", "site")) == [("gateway", "a")]


def test_nobody_can_change_a_snapshot(installed: Snapshot) -> None:
    for row, field in (
        (installed, "version"),
        (installed.nodes[0], "weight"),
        (installed.sets["set1"], "name"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(row, field, 0)


def test_without_a_change_the_snapshot_stays_the_same_object(
    installed: Snapshot, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        assert read_snapshot(installed) is installed


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE routing_node SET weight = 3 WHERE name = 'MSG_NODE1'",
        "UPDATE routing_node SET state = 'draining' WHERE name = 'MSG_NODE1'",
        "UPDATE routing_serverset SET weight = 0 WHERE name = 'set2'",
        "UPDATE routing_serverset SET database = 'postgresql://db7/x' WHERE name = 'set2'",
        "UPDATE routing_slot SET server_set_id = (SELECT min(id) FROM routing_serverset)",
        "UPDATE routing_actor SET max_concurrency = 9 WHERE method = 'pullMsg'",
        "DELETE FROM routing_actor WHERE method = 'pullMsg'",
        "INSERT INTO routing_cluster (name) VALUES ('second')",
    ],
)
def test_every_change_makes_a_new_version_even_one_that_is_made_with_sql(
    installed: Snapshot, change: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(change)
    newer = read_snapshot(installed)
    assert newer.version > installed.version
    assert read_snapshot(newer) is newer


def test_a_node_that_is_not_up_or_has_no_weight_gets_no_work(installed: Snapshot) -> None:
    Node.objects.filter(name="MSG_NODE1").update(state=State.DRAINING)
    Node.objects.filter(name="MSG_NODE3").update(weight=0)
    newer = read_snapshot(installed)
    chosen = {newer.node_for(s, f"u{n}", "ppMsgP") for s in newer.sets for n in range(50)}
    assert {node.name for node in chosen if node} == {"MSG_NODE2", "MSG_NODE4"}


def test_a_cluster_whose_slots_are_not_all_given_routes_nothing(installed: Snapshot) -> None:
    second = Cluster.objects.create(name="second")
    its = ServerSet.objects.create(cluster=second, name="set3")
    Slot.objects.create(cluster=second, number=0, server_set=its)
    newer = read_snapshot(installed)
    assert "second" not in newer.clusters and "set3" in newer.sets
    assert newer.set_of("second", "1", "alice") in ("set1", "set2")  # the first cluster's


METHODS = ("ppMsgP", "pullMsg", "qnTkn")
nodes = st.lists(
    st.builds(
        NodeEntry,
        name=st.sampled_from([f"N{n}" for n in range(5)]),
        server_set=st.sampled_from(["set1", "set2"]),
        weight=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        methods=st.frozensets(st.sampled_from(METHODS)),
    ),
    max_size=5,
    unique_by=lambda node: node.name,
)


@given(nodes, st.frozensets(st.sampled_from([f"N{n}" for n in range(6)])))
def test_work_of_nodes_that_are_down_goes_to_their_peers_and_only_that(
    given: list[NodeEntry], down: frozenset[str]
) -> None:
    sets = {name: SetEntry(name, "main", "") for name in ("set1", "set2")}
    before = Snapshot(1, {}, sets, tuple(given), frozenset(METHODS), frozenset())
    after = before.without(down)
    for server_set in sets:
        for method in METHODS:
            for resource in ("a", "b", "c", "d"):
                was, now = (each.node_for(server_set, resource, method) for each in (before, after))
                able = {
                    n.name for n in given if n.server_set == server_set and method in n.methods and n.weight
                }
                if was is None:
                    assert now is None
                elif was.name not in down or able <= down:
                    assert now is not None and now.name == was.name  # where it was, or it waits there
                else:
                    assert now is not None and now.name in able - down


def test_nodes_get_the_methods_that_a_new_version_brings_and_no_others(installed: Snapshot) -> None:
    Actor.objects.filter(method="ppMsgP").delete()  # as before the version that brought it
    Actor.objects.filter(method="pullMsg", node__name="MSG_NODE1").delete()  # an operator's decision
    Actor.objects.filter(node__server_set__name="set2").update(min_concurrency=3, max_concurrency=6)
    topology.adopt_new_methods()
    new = Actor.objects.filter(method="ppMsgP").order_by("node__name")
    assert list(new.values_list("node__name", "min_concurrency", "is_message")) == [
        ("MSG_NODE1", 1, True),
        ("MSG_NODE2", 1, True),
        ("MSG_NODE3", 3, True),
        ("MSG_NODE4", 3, True),
    ]
    assert not Actor.objects.filter(method="pullMsg", node__name="MSG_NODE1").exists()
    entries = LogEntry.objects.order_by("pk").values_list("user__username", "object_repr", "change_message")
    told = "Serves what this version brings: ppMsgP."
    assert list(entries) == [(command_line.who(), f"MSG_NODE{n}", told) for n in range(1, 5)]
    topology.adopt_new_methods()
    assert LogEntry.objects.count() == 4
