"""The cluster page: what it shows of real tables, Redis and databases, and what an operator does there."""

import os
import re
import signal
import time
from html import unescape
from io import StringIO
from typing import Any

import msgpack
import pytest
import redis
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.routing import heartbeats, monitor, presence, slots
from apps.routing.cluster_drawing import Beats, health
from apps.routing.models import AccessPoint, Cluster, HealthEvent, Node, ServerSet, Slot, SlotMove, State
from apps.routing.topology import bootstrap, topology

PAGE = "/admin/routing/cluster/main/"


@pytest.fixture
def cluster(databases: None, redis_client: redis.Redis) -> Cluster:
    """Two SETs with two nodes each, one gateway."""
    bootstrap(sets=2, nodes=2)
    topology.renew()
    return Cluster.objects.get()


@pytest.fixture
def operator(cluster: Cluster) -> Client:
    return login(User.objects.create_superuser("operator"))


def login(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def clerk(*permissions: str) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return login(user)


def report(node: Node, **kinds: Any) -> heartbeats.Report:
    healthy = {"workers": 2, "size": 2, "age": 0.0034, "tasks": 0, "canary": 0.8}
    return {
        "set": node.server_set.name,
        "host": "db7",
        "pid": 1,
        "kinds": {"message": healthy | kinds.get("message", {}), "query": healthy | kinds.get("query", {})},
        "faults": [(1_700_000_000_000, f"{node}.message.1", "stalled for 61 s")],
    }


def beat(client: redis.Redis, name: str, **kinds: Any) -> None:
    node = Node.objects.select_related("server_set").get(name=name)
    heartbeats.beat(client, name, "1.1", 1, report(node, **kinds))


def gateway(client: redis.Redis, process: str, access_point: str, connections: int) -> None:
    client.zadd(presence.GATEWAYS, {process: time.time() * 1000})
    client.set(presence.load_key(process), msgpack.packb((access_point, connections)), px=60_000)


def text(response: Any) -> str:
    """What a reader sees, in one line."""
    assert response.status_code == 200
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", response.content.decode())).split())


def box(client: Client, name: str) -> str:
    """What the page says of a node."""
    (found,) = [
        part
        for part in re.split(r'<div class="box[^>]*>', client.get(PAGE).content.decode())
        if f"<h3>{name} " in part
    ]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", found)).split())


def do(client: Client, path: str, **form: str) -> str:
    return text(client.post(f"{PAGE}{path}/", form, follow=True))


def test_the_page_shows_each_node_with_health_share_workers_and_queues(
    operator: Client, redis_client: redis.Redis
) -> None:
    Node.objects.filter(name="MSG_NODE2").update(weight=3)
    beat(redis_client, "MSG_NODE1", message={"workers": 1, "tasks": 17, "age": 1.25})
    beat(redis_client, "MSG_NODE2", query={"tasks": -1, "canary": 12.34})
    heartbeats.leave(redis_client, "MSG_NODE4")
    first, second = box(operator, "MSG_NODE1"), box(operator, "MSG_NODE2")
    assert "MSG_NODE1 up live" in first and "25 % of set1" in first and "on db7, process 1" in first
    assert "message 1 of 2 17 1.250 s 0.8 s ago" in first and "query 2 of 2 0 0.003 s 0.8 s ago" in first
    assert "MSG_NODE1.message.1: stalled for 61 s" in first
    assert "75 % of set1 · weight 3" in second and "query 2 of 2 ? 0.003 s 12.3 s ago" in second
    assert "MSG_NODE3 up down not started yet" in box(operator, "MSG_NODE3")
    assert "MSG_NODE4 up down ended in order" in box(operator, "MSG_NODE4")


def test_the_command_lists_each_node_with_health_share_workers_and_process(
    cluster: Cluster, redis_client: redis.Redis
) -> None:
    Node.objects.filter(name="MSG_NODE2").update(weight=3)
    beat(redis_client, "MSG_NODE1", message={"workers": 1, "tasks": 17}, query={"canary": 12.34})
    beat(redis_client, "MSG_NODE2", query={"tasks": -1})
    heartbeats.leave(redis_client, "MSG_NODE4")
    out = StringIO()
    call_command("nodes", "list", stdout=out)
    heads, *rows = (line.split() for line in out.getvalue().splitlines())
    assert (heads[0], heads[-1], len(heads)) == ("name", "process", 12)
    assert rows == [
        ["MSG_NODE1", "set1", "1", "up", "live", "25%", "1/2", "2/2", "17", "12.3", "db7", "1"],
        ["MSG_NODE2", "set1", "3", "up", "live", "75%", "2/2", "2/2", "?", "0.8", "db7", "1"],
        ["MSG_NODE3", "set2", "1", "up", "down", "50%", "-", "-", "?", "?", "-", "-"],
        ["MSG_NODE4", "set2", "1", "up", "down", "50%", "-", "-", "?", "?", "-", "-"],
    ]


def test_a_silent_node_is_suspected_then_down(cluster: Cluster) -> None:
    said = report(Node.objects.select_related("server_set").get(name="MSG_NODE1"))
    seen = [health("MSG_NODE1", Beats(reports={"MSG_NODE1": (age, said)}), ()) for age in (1.0, 1.7, 2.6)]
    assert seen == [("live", ""), ("suspected", "silent for 1.7 s"), ("down", "silent for 2.6 s")]


def test_the_share_of_a_node_that_is_down_is_its_peers(operator: Client, redis_client: redis.Redis) -> None:
    for name in ("MSG_NODE1", "MSG_NODE2"):
        beat(redis_client, name)
    redis_client.pexpire(heartbeats.report_key("MSG_NODE1"), 1500)
    assert "up down silent for " in (gone := box(operator, "MSG_NODE1")) and "0 % of set1" in gone
    assert "100 % of set1" in box(operator, "MSG_NODE2")
    redis_client.delete(heartbeats.report_key("MSG_NODE1"))
    assert "up down silent for 5 s or more" in box(operator, "MSG_NODE1")


def test_a_node_without_workers_is_suspected_until_the_heartbeat_checks_give_it_up(
    operator: Client, redis_client: redis.Redis
) -> None:
    HealthEvent.objects.create(kind=monitor.NODE, name="MSG_NODE2", finding="down")
    beat(redis_client, "MSG_NODE1", message={"workers": 0})
    beat(redis_client, "MSG_NODE2")  # it has come back since
    assert "up suspected no message worker has come up" in box(operator, "MSG_NODE1")
    assert "up live" in box(operator, "MSG_NODE2")
    HealthEvent.objects.create(
        kind=monitor.NODE, name="MSG_NODE1", finding="down", reason="no beat for 2.6 s"
    )
    assert "up down no message worker has come up" in box(operator, "MSG_NODE1")
    assert "down node MSG_NODE1 no beat for 2.6 s" in text(operator.get(PAGE))


def test_the_page_shows_gateways_with_their_shares_and_connections(
    operator: Client, cluster: Cluster, redis_client: redis.Redis
) -> None:
    AccessPoint.objects.create(
        cluster=cluster, name="gateway-2", address=":8001", weight=3, connection_limit=500
    )
    AccessPoint.objects.create(cluster=cluster, name="gateway-3", address=":8002")
    gateway(redis_client, "7", "gateway", 10)
    gateway(redis_client, "8", "gateway-2", 20)
    gateway(redis_client, "9", "gateway-2", 10)
    redis_client.zadd(presence.GATEWAYS, {"5": 1})  # one that ended long ago
    assert "New clients 25 % weight 1 Connections 25 % 10" in box(operator, "gateway")
    assert "live :8001" in (second := box(operator, "gateway-2"))
    assert "New clients 75 % weight 3 Connections 75 % 30 of at most 500" in second
    assert "no gateway beats" in (third := box(operator, "gateway-3")) and "New clients 0 %" in third


def test_the_page_shows_each_sets_slots_and_whether_its_database_answers(
    operator: Client, cluster: Cluster
) -> None:
    mine = Slot.objects.filter(server_set__name="set1").count()
    nowhere = "postgresql://imcloud@127.0.0.1:1/nothing"
    ServerSet.objects.create(cluster=cluster, name="set3", database=nowhere)
    topology.renew()
    page = text(operator.get(PAGE))
    assert f"set1 database answers {mine} of 1024 slots, {mine / 10.24:.0f} % of all · weight 1" in page
    assert "set3 no database Its database does not answer: " in page


def test_without_redis_the_page_opens_and_says_so(operator: Client, redis_client: redis.Redis) -> None:
    pid = redis_client.info("server")["process_id"]
    beat(redis_client, "MSG_NODE1")
    os.kill(pid, signal.SIGSTOP)
    try:
        page = text(operator.get(PAGE))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "Redis does not answer" in page and "MSG_NODE1 up unknown" in page and "gateway up unknown" in page


def test_more_nodes_cost_no_more_queries(
    operator: Client, cluster: Cluster, redis_client: redis.Redis
) -> None:
    def cost() -> tuple[int, int]:
        begun = redis_client.info("commandstats").get("cmdstat_hgetall", {"calls": 0})["calls"]
        with CaptureQueriesContext(connection) as queries:
            assert operator.get(f"{PAGE}now/").status_code == 200
        return len(queries), redis_client.info("commandstats")["cmdstat_hgetall"]["calls"] - begun

    cost()  # what is looked up once in a process
    before = cost()
    server_set = ServerSet.objects.get(name="set1")
    for number in range(10, 30):
        beat(redis_client, Node.objects.create(server_set=server_set, name=f"MSG_NODE{number}").name)
    assert cost() == before and before[0] <= 15


def test_the_page_renews_a_part_of_itself_that_is_no_whole_page(operator: Client) -> None:
    page, part = (operator.get(f"{PAGE}{path}").content.decode() for path in ("", "now/"))
    assert f'data-url="{PAGE}now/"' in page and "MSG_NODE1" in part and "<html" not in part


def test_the_heartbeat_checks_are_missed_when_they_do_not_look(
    operator: Client, redis_client: redis.Redis
) -> None:
    assert "They do not run. Is beat up?" in text(operator.get(PAGE))
    redis_client.set(monitor.KEY, int(time.time() * 1000) - 60_000)
    assert "They do not run: the last look was at " in text(operator.get(PAGE))
    redis_client.set(monitor.KEY, int(time.time() * 1000))
    assert "They do not run" not in text(operator.get(PAGE))


def test_the_list_of_clusters_leads_to_the_page_and_an_unknown_one_has_none(operator: Client) -> None:
    assert f'href="{PAGE}"' in operator.get(reverse("admin:routing_cluster_changelist")).content.decode()
    assert operator.get(reverse("admin:routing_cluster_add")).status_code == 200
    assert operator.get("/admin/routing/cluster/other/").status_code == 404


def test_weight_and_state_are_set_on_the_page_and_logged_with_who_what_and_when(operator: Client) -> None:
    page = do(operator, "set", kind="node", name="MSG_NODE1", field="weight", value="2.5")
    node = Node.objects.get(name="MSG_NODE1")
    assert node.weight == 2.5 and "MSG_NODE1: Weight: 1 → 2.5." in page
    assert "operator node MSG_NODE1 Weight: 1 → 2.5." in page
    assert "State: up → draining." in do(
        operator, "set", kind="node", name=node.name, field="state", value="draining"
    )
    assert "State: draining → up." in do(
        operator, "set", kind="node", name=node.name, field="state", value="up"
    )
    entry = LogEntry.objects.order_by("pk")[0]
    assert (entry.user.get_username(), entry.object_repr) == ("operator", "MSG_NODE1")
    assert "it is so already" in do(operator, "set", kind="node", name=node.name, field="weight", value="2.5")
    assert LogEntry.objects.count() == 3


def test_taking_out_asks_first(operator: Client, cluster: Cluster) -> None:
    AccessPoint.objects.create(cluster=cluster, name="gateway-2", address=":8001")
    form = {"kind": "accesspoint", "name": "gateway", "field": "state", "value": "down"}
    asked = do(operator, "set", **form)
    assert "Take out gateway?" in asked and AccessPoint.objects.get(name="gateway").state == State.UP
    assert "State: up → down." in do(operator, "set", **form, confirmed="1")
    assert AccessPoint.objects.get(name="gateway").state == State.DOWN


def test_a_weight_that_is_none_is_refused(operator: Client) -> None:
    for kind, name in (("node", "MSG_NODE1"), ("accesspoint", "gateway")):
        for weight in ("-1", "nan", "inf", "1001", "much", ""):
            form = {"kind": kind, "name": name, "field": "weight", "value": weight}
            page = operator.post(f"{PAGE}set/", form, follow=True)
            assert 'class="error"' in page.content.decode(), form
    assert {Node.objects.get(name="MSG_NODE1").weight, AccessPoint.objects.get().weight} == {1.0}
    assert not LogEntry.objects.exists()


def test_the_last_live_node_and_access_point_stay(operator: Client) -> None:
    do(operator, "set", kind="node", name="MSG_NODE1", field="weight", value="0")
    for field, value in (("weight", "0"), ("state", "draining"), ("state", "down")):
        page = do(operator, "set", kind="node", name="MSG_NODE2", field=field, value=value, confirmed="1")
        assert "SET set1 would be left without a live node that serves" in page
    page = do(operator, "set", kind="accesspoint", name="gateway", field="state", value="draining")
    assert "Access point gateway is the last one of main that is up." in page
    node = Node.objects.get(name="MSG_NODE2")
    assert (node.weight, node.state, AccessPoint.objects.get().state) == (1.0, State.UP, State.UP)


def test_who_may_only_look_sees_no_buttons_and_changes_nothing(cluster: Cluster) -> None:
    client = clerk("view_cluster")
    page = client.get(PAGE).content.decode()
    assert "MSG_NODE1" in page and "Set weight" not in page and "Rebalance" not in page
    node = {"kind": "node", "name": "MSG_NODE1", "field": "weight", "value": "0"}
    point = {"kind": "accesspoint", "name": "gateway", "field": "weight", "value": "0"}
    assert [client.post(f"{PAGE}set/", form).status_code for form in (node, point)] == [403, 403]
    for form in ({"do": "rebalance"}, {"do": "cancel"}, {"do": "move", "slots": "0", "set": "set2"}):
        assert client.post(f"{PAGE}slots/", form | {"confirmed": "1"}).status_code == 403
    assert Node.objects.get(name="MSG_NODE1").weight == 1 and not SlotMove.objects.exists()


def test_who_may_change_nodes_only_does_so_and_no_more(cluster: Cluster) -> None:
    client = clerk("view_cluster", "change_node")
    do(client, "set", kind="node", name="MSG_NODE1", field="weight", value="0")
    assert Node.objects.get(name="MSG_NODE1").weight == 0
    form = {"kind": "accesspoint", "name": "gateway", "field": "weight", "value": "0"}
    assert client.post(f"{PAGE}set/", form).status_code == 403


def test_strangers_and_staff_without_permission_see_nothing(cluster: Cluster) -> None:
    assert Client().get(PAGE).status_code == Client().get(f"{PAGE}now/").status_code == 302
    client = clerk()
    assert [client.get(f"{PAGE}{path}").status_code for path in ("", "now/")] == [403, 403]


def test_actions_need_a_post_with_a_token(operator: Client) -> None:
    assert [operator.get(f"{PAGE}{path}/").status_code for path in ("set", "slots")] == [405, 405]
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    form = {"kind": "node", "name": "MSG_NODE1", "field": "weight", "value": "0"}
    assert strict.post(f"{PAGE}set/", form).status_code == 403


def test_a_node_of_another_cluster_is_not_changed_from_this_page(operator: Client) -> None:
    other = ServerSet.objects.create(cluster=Cluster.objects.create(name="other"), name="set9")
    Node.objects.create(server_set=other, name="THEIRS")
    form = {"kind": "node", "name": "THEIRS", "field": "weight", "value": "0"}
    assert operator.post(f"{PAGE}set/", form).status_code == 404


def test_nothing_else_can_be_changed(operator: Client) -> None:
    for form in ({}, {"kind": "node", "field": "name", "name": "MSG_NODE1", "value": "x"}):
        assert operator.post(f"{PAGE}set/", form).status_code == 404
    assert operator.post(f"{PAGE}slots/", {"do": "drop"}).status_code == 404


def test_slots_are_moved_after_a_look_at_what_would_move(operator: Client, cluster: Cluster) -> None:
    mine = list(
        Slot.objects.filter(server_set__name="set1").order_by("number").values_list("number", flat=True)
    )
    form = {"do": "move", "slots": f"{mine[0]},{mine[5]}", "set": "set2"}
    asked = do(operator, "slots", **form)
    assert f"set1 to set2, 2 slots: {slots.ranges([mine[0], mine[5]])}" in asked
    assert not SlotMove.objects.exists()
    page = do(operator, "slots", **form, confirmed="1")
    assert "set1 to set2 0 of 2 slots" in page and "by operator" in page
    assert f"operator cluster main Slots to move: set1 to set2, 2 slots: {mine[0]}, {mine[5]}." in page
    assert {(m.number, m.step, m.asked_by) for m in SlotMove.objects.all()} == {
        (mine[0], "copy", "operator"), (mine[5], "copy", "operator")
    }  # fmt: skip


def test_moves_are_shown_until_the_last_one_asked_for_with_them_is_done(
    operator: Client, cluster: Cluster
) -> None:
    numbers = list(Slot.objects.filter(server_set__name="set1").values_list("number", flat=True)[:3])
    moves = slots.ask(slots.plan_move(cluster, numbers, ServerSet.objects.get(name="set2")), "operator")
    SlotMove.objects.filter(pk=moves[0].pk).update(step="done", rows=70)
    SlotMove.objects.filter(pk=moves[1].pk).update(copied=200, head=1000, rows=7, problem="set2 is away")
    page = operator.get(PAGE).content.decode()
    assert '<progress value="1" max="3">' in page and '<progress value="200" max="1000">' in page
    assert "waits: set2 is away" in page and "77 messages" in page
    SlotMove.objects.update(step="done")
    assert "Slots on their way" not in operator.get(PAGE).content.decode()


def test_moves_that_are_still_copying_are_taken_back(operator: Client, cluster: Cluster) -> None:
    numbers = list(
        Slot.objects.filter(server_set__name="set1").order_by("number").values_list("number", flat=True)[:3]
    )
    moves = slots.ask(slots.plan_move(cluster, numbers, ServerSet.objects.get(name="set2")), "operator")
    SlotMove.objects.filter(pk=moves[0].pk).update(step="catch up")
    page = do(operator, "slots", do="cancel", slots=str(numbers[1]))
    assert f"Took back the moves of slots {numbers[1]}." in page
    do(operator, "slots", do="cancel", slots="")
    assert [m.step for m in SlotMove.objects.order_by("number")] == ["catch up", "cancelled", "cancelled"]
    assert "No such move is still copying." in do(operator, "slots", do="cancel", slots="")


def test_rebalancing_follows_the_weights(operator: Client, cluster: Cluster) -> None:
    assert "No slot has to move." in do(operator, "slots", do="rebalance")
    Node.objects.filter(server_set__name="set1").update(weight=1)
    ServerSet.objects.filter(name="set1").update(weight=0)
    mine = Slot.objects.filter(server_set__name="set1").count()
    assert f"set1 to set2, {mine} slots: " in do(operator, "slots", do="rebalance")
    do(operator, "slots", do="rebalance", confirmed="1")
    assert SlotMove.objects.count() == mine


def test_what_cannot_be_moved_is_refused_with_a_sentence(operator: Client, cluster: Cluster) -> None:
    other = ServerSet.objects.create(cluster=Cluster.objects.create(name="other"), name="set9")
    for numbers, destination, sentence in (
        ("0-1024", "set2", "0-1024 is no range of the slots 0 to 1023."),
        ("some", "set2", "Slots are written as 7, 0-99 or 0-99,700; 'some' is none of these."),
        ("0", other.name, "SET set9 is of cluster other, not of main."),
    ):
        assert sentence in do(operator, "slots", do="move", slots=numbers, set=destination)
    assert not SlotMove.objects.exists()


def test_changes_in_the_lists_and_forms_are_logged_with_their_values(operator: Client) -> None:
    nodes = list(Node.objects.order_by("pk"))
    form: dict[str, Any] = {"form-TOTAL_FORMS": len(nodes), "form-INITIAL_FORMS": len(nodes), "_save": "Save"}
    for index, node in enumerate(nodes):
        form |= {f"form-{index}-id": node.pk, f"form-{index}-weight": 1, f"form-{index}-state": "up"}
    form["form-1-weight"] = "0.5"
    operator.post(reverse("admin:routing_node_changelist"), form)
    (entry,) = LogEntry.objects.all()
    assert (entry.object_repr, entry.get_change_message()) == ("MSG_NODE2", "Weight: 1 → 0.5.")
    actor = nodes[0].actors.get(method="pullMsg")
    operator.post(
        reverse("admin:routing_actor_change", args=[actor.pk]),
        {
            "node": nodes[1].pk,
            "method": "pullMsg2",
            "task": actor.task,
            "min_concurrency": 1,
            "max_concurrency": 4,
        },
    )
    page = text(operator.get(PAGE))
    assert "Node: MSG_NODE1 → MSG_NODE2." in page
    assert "Method: pullMsg → pullMsg2." in page and "Max concurrency: 2 → 4." in page


def test_changes_of_a_nodes_actors_are_logged_with_their_values(operator: Client) -> None:
    node = Node.objects.get(name="MSG_NODE1")
    actors = list(node.actors.order_by("pk"))
    form: dict[str, Any] = {
        "weight": 1, "state": "up", "actors-TOTAL_FORMS": len(actors) + 1, "actors-INITIAL_FORMS": len(actors)
    }  # fmt: skip
    for index, actor in enumerate(actors):
        form |= {f"actors-{index}-{key}": getattr(actor, key) for key in ("id", "method", "task")}
        form |= {
            f"actors-{index}-min_concurrency": 1,
            f"actors-{index}-max_concurrency": 2,
            f"actors-{index}-node": node.pk,
        }
        form |= {f"actors-{index}-is_message": "on"} if actor.is_message else {}
    form["actors-0-max_concurrency"] = 5
    new = {
        "method": "more",
        "task": "messaging.answer",
        "min_concurrency": 1,
        "max_concurrency": 1,
        "node": node.pk,
    }
    form |= {f"actors-{len(actors)}-{key}": value for key, value in new.items()}
    assert operator.post(reverse("admin:routing_node_change", args=[node.pk]), form).status_code == 302
    (entry,) = LogEntry.objects.all()
    message = entry.get_change_message()
    assert (
        f"Actor {actors[0]}: Max concurrency: 2 → 5." in message and "Added actor MSG_NODE1:more." in message
    )


def test_the_link_of_an_access_points_action_is_logged_from_what_to_what(
    operator: Client, cluster: Cluster
) -> None:
    second = AccessPoint.objects.create(cluster=cluster, name="gateway-2", address=":8001")
    form = {"action": "drain", "_selected_action": [second.pk]}
    operator.post(reverse("admin:routing_accesspoint_changelist"), form)
    assert LogEntry.objects.get().get_change_message() == "State: up → draining."
