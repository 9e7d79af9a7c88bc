"""`manage.py nodes`: what an import changes, what it refuses, and that it is all or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.accounts import command_line
from apps.routing import node_file, topology
from apps.routing.models import Actor, Cluster, Node, ServerSet, State
from apps.routing.node_file import ActorSpec, NodeSpec
from apps.routing.node_import import stored_nodes
from tests.routing.test_node_file import specs

pytestmark = pytest.mark.django_db
PUBLISH = ActorSpec("ppMsgP", topology.DELIVER, 2, 4, True)
PULL = ActorSpec("pullMsg", topology.ANSWER, 1, 2, False)


def put(spec: NodeSpec, state: str = State.UP) -> None:
    """Store a node by other means than the import."""
    server_set = ServerSet.objects.get(name=spec.server_set)
    node = Node.objects.create(name=spec.name, server_set=server_set, weight=spec.weight, state=state)
    for actor in spec.actors:
        bounds = {"min_concurrency": actor.min_concurrency, "max_concurrency": actor.max_concurrency}
        Actor.objects.create(
            node=node, method=actor.method, task=actor.task, is_message=actor.is_message, **bounds
        )


@pytest.fixture(autouse=True)
def sets() -> None:
    """SETs set1 and set2 without nodes."""
    cluster = Cluster.objects.create(name="main")
    for name in ("set1", "set2"):
        ServerSet.objects.create(cluster=cluster, name=name, database=name)


@pytest.fixture
def nodes(sets: None) -> None:
    """Two in set1, of which one alone serves pullMsg; one in set2."""
    put(NodeSpec("MSG_NODE1", "set1", 1.0, (PUBLISH, PULL)))
    put(NodeSpec("MSG_NODE2", "set1", 1.0, (PUBLISH,)))
    put(NodeSpec("MSG_NODE3", "set2", 2.0, (PUBLISH, PULL)))


class Files:
    """Node files in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, *given: NodeSpec, name: str = "n.conf") -> str:
        file = self.folder / name
        file.write_text(node_file.render(given))
        return str(file)

    def take(self, *given: NodeSpec, dry_run: bool = False) -> list[str]:
        return manage("import", self.write(*given), *["--dry-run"] * dry_run)

    def refused(self, *given: NodeSpec) -> list[str]:
        """The problems without the folder."""
        before = stored()
        with pytest.raises(CommandError) as raised:
            self.take(*given)
        assert stored() == before
        first, *problems = str(raised.value).split("\n")
        assert first == "nothing was imported:"
        return [problem.removeprefix(f"{self.folder}/") for problem in problems]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def manage(*words: str) -> list[str]:
    out = StringIO()
    call_command("nodes", *words, stdout=out)
    return out.getvalue().splitlines()


def stored() -> list[object]:
    """All rows, with their keys."""
    return [*Node.objects.order_by("pk").values(), *Actor.objects.order_by("pk").values()]


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def test_a_new_node_is_made_and_takes_work(nodes: None, files: Files) -> None:
    new = NodeSpec("MSG_NODE4", "set2", 0.5, (PUBLISH, PULL))
    assert files.take(new) == ["MSG_NODE4: new in set2, weight 0.5, 2 actors"]
    made = stored_nodes()["MSG_NODE4"]
    assert (made.spec, made.row.state) == (new, State.UP)


def test_a_known_node_becomes_what_the_file_says_and_the_others_stay(nodes: None, files: Files) -> None:
    others = Node.objects.exclude(name="MSG_NODE2").order_by("pk").values()
    kept = list(others)
    new = NodeSpec("MSG_NODE2", "set1", 2.0, (ActorSpec("ppMsgP", topology.DELIVER, 2, 8, True), PULL))
    assert files.take(new) == [
        "MSG_NODE2: weight 1 -> 2",
        "MSG_NODE2: serves ppMsgP as message by messaging.deliver, 2 to 8; "
        "before: ppMsgP as message by messaging.deliver, 2 to 4",
        "MSG_NODE2: serves pullMsg as query by messaging.answer, 1 to 2",
    ]
    assert stored_nodes()["MSG_NODE2"].spec == new
    assert list(others.all()) == kept
    assert files.take(new) == ["nothing changes: the nodes are as the files say"]


def test_an_import_is_in_the_log_with_who_and_a_dry_run_or_a_refused_one_is_not(
    nodes: None, files: Files
) -> None:
    good = NodeSpec("MSG_NODE2", "set1", 2.0, (PUBLISH,)), NodeSpec("MSG_NODE4", "set2", 1.0, (PUBLISH,))
    files.take(*good, dry_run=True)
    files.refused(*good, NodeSpec("MSG_NODE5", "set9", 1.0, (PUBLISH,)))
    files.refused(*good, NodeSpec("MSG_NODE3", "set2", 0.0, (PUBLISH, PULL)))
    assert not LogEntry.objects.exists()
    files.take(*good)
    files.take(*good)
    entries = LogEntry.objects.order_by("pk").values_list("user__username", "object_repr", "change_message")
    assert list(entries) == [
        (command_line.who(), "MSG_NODE2", "Imported: weight 1 -> 2."),
        (command_line.who(), "MSG_NODE4", "Imported: new in set2, weight 1, 1 actors."),
    ]


def test_an_actor_that_the_file_leaves_out_goes(nodes: None, files: Files) -> None:
    put(NodeSpec("MSG_NODE4", "set2", 1.0, (PUBLISH, PULL)))
    assert files.take(NodeSpec("MSG_NODE4", "set2", 1.0, (PULL,))) == ["MSG_NODE4: no longer serves ppMsgP"]
    assert stored_nodes()["MSG_NODE4"].spec.actors == (PULL,)


def test_the_state_of_a_node_is_not_the_files_to_change(nodes: None, files: Files) -> None:
    Node.objects.filter(name="MSG_NODE2").update(state=State.DRAINING)
    files.take(NodeSpec("MSG_NODE2", "set1", 3.0, (PUBLISH,)))
    assert Node.objects.get(name="MSG_NODE2").state == State.DRAINING


def test_a_dry_run_prints_the_changes_and_makes_none(nodes: None, files: Files) -> None:
    before = stored()
    assert files.take(NodeSpec("MSG_NODE2", "set1", 0.0, (PUBLISH,)), dry_run=True) == [
        "MSG_NODE2: weight 1 -> 0",
        "nothing was changed: this was a dry run",
    ]
    assert stored() == before


def test_an_unknown_set_is_refused_with_the_known_ones_and_nothing_of_the_file_taken(
    nodes: None, files: Files
) -> None:
    good = NodeSpec("MSG_NODE4", "set1", 1.0, (PUBLISH,))
    assert files.refused(good, NodeSpec("MSG_NODE5", "set9", 1.0, (PUBLISH,))) == [
        "n.conf:11: there is no SET 'set9'; the SETs are: set1, set2"
    ]


def test_a_node_cannot_move_to_another_set(nodes: None, files: Files) -> None:
    assert files.refused(NodeSpec("MSG_NODE2", "set2", 1.0, (PUBLISH,))) == [
        "n.conf:1: node MSG_NODE2 belongs to SET set1 for life: its queues bear that name"
    ]


def test_a_name_given_twice_is_refused_in_one_file_and_in_two(nodes: None, files: Files) -> None:
    node = NodeSpec("MSG_NODE2", "set1", 2.0, (PUBLISH,))
    (problem,) = files.refused(node, node)
    assert problem == f"n.conf:13: node MSG_NODE2 is defined twice, first at {files.folder}/n.conf:5"
    one, two = files.write(node, name="1.conf"), files.write(node, name="2.conf")
    with pytest.raises(CommandError, match=f"{two}:3: node MSG_NODE2 is defined twice, first at {one}:3"):
        manage("import", one, two)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("weight = 2", "weight = -1", "13: nodes[1].node.weight must be a number from 0 to 1000, not -1"),
        ("weight = 2", "weight = NaN", "13: nodes[1].node.weight must be a number from 0 to 1000, not 'NaN'"),
        ("weight = 2", "weight = 1001", "13: nodes[1].node.weight must be a number from 0 to 1000, not 1001"),
        (
            "NODE2",
            "NODE 2",
            "14: nodes[1].node.name must be 1 to 64 letters, digits, _ and -",
        ),
        ("MSG_NODE2", "MSG_NODE4", "14: node MSG_NODE4 is defined twice, first at {file}:5"),
        ('= "set1"', '= "set9"', "12: there is no SET 'set9'; the SETs are: set1, set2"),
        (
            '= "set1"',
            '= "set2"',
            "12: node MSG_NODE2 belongs to SET set1 for life",
        ),
    ],
)
def test_one_wrong_node_keeps_the_right_one_of_its_file_out(
    nodes: None, files: Files, old: str, new: str, problem: str
) -> None:
    right = NodeSpec("MSG_NODE4", "set2", 1.0, (PUBLISH, PULL))
    file = Path(files.write(right, NodeSpec("MSG_NODE2", "set1", 2.0, (PUBLISH,))))
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    before = stored()
    with pytest.raises(CommandError) as raised:
        manage("import", str(file))
    (reason,) = str(raised.value).split("\n")[1:]
    assert reason.startswith(f"{file}:{problem.format(file=file)}")
    assert stored() == before


def test_problems_of_all_files_are_told_and_the_good_file_is_not_taken(nodes: None, files: Files) -> None:
    good = files.write(NodeSpec("MSG_NODE2", "set1", 2.0, (PUBLISH,)), name="good.conf")
    wrong = files.folder / "wrong.conf"
    wrong.write_text("node.set = ")
    before = stored()
    with pytest.raises(CommandError) as raised:
        manage("import", good, str(wrong), str(files.folder / "absent.conf"))
    assert str(raised.value).split("\n")[1:] == [
        f"{wrong}:1: expected value",
        f"{files.folder}/absent.conf: No such file or directory",
    ]
    assert stored() == before


def test_the_last_live_node_of_a_set_cannot_be_drained(nodes: None, files: Files) -> None:
    left = "SET set2 would be left without a live node that serves ppMsgP, pullMsg"
    assert files.refused(NodeSpec("MSG_NODE3", "set2", 0.0, (PUBLISH, PULL))) == [f"n.conf:2: {left}"]


def test_the_last_live_node_that_serves_a_method_cannot_give_it_up(nodes: None, files: Files) -> None:
    left = "SET set1 would be left without a live node that serves pullMsg"
    assert files.refused(NodeSpec("MSG_NODE1", "set1", 1.0, (PUBLISH,))) == [f"n.conf:4: {left}"]


def test_all_nodes_of_a_set_cannot_be_drained_at_once(nodes: None, files: Files) -> None:
    drained = [NodeSpec(f"MSG_NODE{n}", "set1", 0.0, (PUBLISH, PULL)) for n in (1, 2)]
    methods = ("ppMsgP, pullMsg", "ppMsgP")
    assert files.refused(*drained) == [
        f"n.conf:{line}: SET set1 would be left without a live node that serves {lost}"
        for line, lost in zip((4, 13), methods, strict=True)
    ]


@pytest.mark.parametrize("state", [State.DRAINING, State.DOWN])
def test_a_node_that_is_not_up_does_not_count_as_live(nodes: None, files: Files, state: str) -> None:
    put(NodeSpec("MSG_NODE4", "set2", 1.0, (PUBLISH, PULL)), state)
    (problem,) = files.refused(NodeSpec("MSG_NODE3", "set2", 0.0, (PUBLISH, PULL)))
    assert problem.startswith("n.conf:2: SET set2 would be left")


def test_a_node_may_be_drained_when_the_same_file_brings_its_successor(nodes: None, files: Files) -> None:
    drained = NodeSpec("MSG_NODE3", "set2", 0.0, (PUBLISH, PULL))
    changes = files.take(drained, NodeSpec("MSG_NODE4", "set2", 1.0, (PUBLISH, PULL)))
    assert changes == ["MSG_NODE3: weight 2 -> 0", "MSG_NODE4: new in set2, weight 1, 2 actors"]


def test_named_nodes_are_exported_in_the_order_of_their_names_given(nodes: None) -> None:
    text = "\n".join(manage("export", "MSG_NODE3", "MSG_NODE1", "MSG_NODE3"))
    assert [node.name for node in node_file.parse(text, "n.conf")] == ["MSG_NODE3", "MSG_NODE1"]


def test_an_unknown_node_cannot_be_exported(nodes: None) -> None:
    known = "MSG_NODE1, MSG_NODE2, MSG_NODE3"
    with pytest.raises(CommandError, match=f"There is no node MSG_NODE9; the nodes are: {known}"):
        manage("export", "MSG_NODE1", "MSG_NODE9")


def test_nothing_can_be_exported_before_there_is_a_node() -> None:
    with pytest.raises(CommandError, match="There is no node yet"):
        manage("export")


def test_what_a_fresh_installation_exports_can_be_imported(files: Files) -> None:
    with connection.cursor() as cursor:  # not the models' delete: that asks the SETs' databases
        cursor.execute("DELETE FROM routing_serverset; DELETE FROM routing_cluster")
    topology.bootstrap()
    file = files.folder / "all.conf"
    file.write_text("\n".join(manage("export")))
    assert manage("import", str(file)) == ["nothing changes: the nodes are as the files say"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(specs(sets=st.sampled_from(["set1", "set2"])), st.sampled_from(State.values))
def test_export_then_import_is_the_identity(files: Files, given: list[NodeSpec], state: str) -> None:
    with undone():
        for spec in given:
            put(spec, state)
        before, text = stored(), "\n".join(manage("export"))
        file = files.folder / "all.conf"
        file.write_text(text)
        assert manage("import", str(file)) == ["nothing changes: the nodes are as the files say"]
        assert stored() == before
        Node.objects.all().delete()
        manage("import", str(file))
        assert sorted(given, key=lambda spec: spec.name) == [node.spec for node in stored_nodes().values()]
        assert "\n".join(manage("export")) == text
