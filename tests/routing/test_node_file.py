"""Node files: the talk's form read and written, and what is wrong with a file, by line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.routing import methods, node_file, topology
from apps.routing.node_file import ActorSpec, NodeFileError, NodeSpec

TALK = """\
# A node as the talk writes it.
node.set = "set1"
node.weight = 1
node.name = "MSG_NODE1"
app.actors = [
  {method = "ppMsgP", class = "messaging.deliver", minConcurrency = 2, maxConcurrency = 4, isMessage = true}
  {
    method = "pullMsg"
    class = "messaging.answer"
    minConcurrency = 1
    maxConcurrency = 2
    isMessage = false
  }
]
"""
NODE1 = NodeSpec(
    name="MSG_NODE1",
    server_set="set1",
    weight=1.0,
    actors=(
        ActorSpec("ppMsgP", "messaging.deliver", 2, 4, True),
        ActorSpec("pullMsg", "messaging.answer", 1, 2, False),
    ),
)


def refused(text: str) -> list[str]:
    with pytest.raises(NodeFileError) as raised:
        node_file.parse(text, "n.conf")
    return str(raised.value).split("\n")


@st.composite
def actors(draw: st.DrawFn) -> tuple[ActorSpec, ...]:
    served = draw(st.sets(st.sampled_from(methods.MESSAGES + methods.QUERIES)))
    made = []
    for method in sorted(served):
        low, high = sorted(draw(st.tuples(*[st.integers(1, node_file.CONCURRENCY_MAX)] * 2)))
        is_message = method in methods.MESSAGES
        task = topology.DELIVER if is_message else topology.ANSWER
        made.append(ActorSpec(method, task, low, high, is_message))
    return tuple(made)


def specs(*, sets: st.SearchStrategy[str]) -> st.SearchStrategy[list[NodeSpec]]:
    node = st.builds(
        NodeSpec,
        name=st.from_regex(node_file.NAME, fullmatch=True),
        server_set=sets,
        weight=st.floats(0, 1000) | st.integers(0, 1000).map(float),
        actors=actors(),
    )
    return st.lists(node, min_size=1, max_size=4, unique_by=lambda spec: spec.name)


def test_a_node_is_read_as_the_talk_writes_it() -> None:
    assert node_file.parse(TALK, "n.conf") == [NODE1]


def test_blocks_colons_and_unquoted_words_mean_the_same() -> None:
    text = """
        node : {set : set1, name : MSG_NODE1, weight : 1.0}
        app { actors : [
          {method : pullMsg, class : messaging.answer
           minConcurrency : 1, maxConcurrency : 2, isMessage : false}
        ] }
        app.actors += {method : ppMsgP, class : messaging.deliver
                       minConcurrency : 2, maxConcurrency : 4, isMessage : true}
    """
    assert node_file.parse(text, "n.conf") == [NODE1]


def test_a_file_of_several_nodes_lists_them() -> None:
    text = f"nodes = [{{\n{TALK}}}, {{\n{TALK.replace('MSG_NODE1', 'MSG_NODE2')}}}]"
    assert [node.name for node in node_file.parse(text, "n.conf")] == ["MSG_NODE1", "MSG_NODE2"]


@settings(max_examples=50, deadline=None)
@given(specs(sets=st.text(min_size=1, max_size=32)))
def test_what_is_written_is_read_again_as_it_was(nodes: list[NodeSpec]) -> None:
    text = node_file.render(nodes)
    again = node_file.parse(text, "n.conf")
    assert again == nodes
    assert node_file.render(again) == text


def test_one_node_is_written_as_the_talk_writes_it() -> None:
    assert node_file.render([NODE1]).splitlines() == [
        'node.set = "set1"',
        "node.weight = 1  # 1 = 1 CPU and 2 GB",
        'node.name = "MSG_NODE1"',
        "app.actors = [",
        '  {method = "ppMsgP", class = "messaging.deliver", minConcurrency = 2, maxConcurrency = 4'
        ", isMessage = true}",
        '  {method = "pullMsg", class = "messaging.answer", minConcurrency = 1, maxConcurrency = 2'
        ", isMessage = false}",
        "]",
    ]


NAMED = "node.name must be 1 to 64 letters, digits, _ and -, in quotes if they are all digits"
WEIGHED = "3: node.weight must be a number from 0 to 1000"
LOW = "10: app.actors[1].minConcurrency must be a whole number from 1 to 32767"
HIGH = "11: app.actors[1].maxConcurrency must be a whole number from 1 to 32767"
FLAG = "12: app.actors[1].isMessage must be true or false"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("weight = 1", "weight = -1", f"{WEIGHED}, not -1"),
        ("weight = 1", "weight = NaN", f"{WEIGHED}, not 'NaN'"),
        ("weight = 1", "weight = inf", f"{WEIGHED}, not 'inf'"),
        ("weight = 1", "weight = Infinity", f"{WEIGHED}, not 'Infinity'"),
        ("weight = 1", "weight = -Infinity", f"{WEIGHED}, not '-Infinity'"),
        ("weight = 1", "weight = -0.001", f"{WEIGHED}, not -0.001"),
        ("weight = 1", "weight = 1000.001", f"{WEIGHED}, not 1000.001"),
        ("weight = 1", "weight = 1001", f"{WEIGHED}, not 1001"),
        ("weight = 1", "weight = true", f"{WEIGHED}, not true"),
        ("weight = 1", "weight = yes", f"{WEIGHED}, not 'yes'"),
        ("weight = 1", "weight = null", f"{WEIGHED}, not null"),
        ("weight = 1", "weight = [1]", f"{WEIGHED}, not a list"),
        ("weight = 1", 'weight = "1"', f"{WEIGHED}, not '1'"),
        ("weight = 1", "weight = 1e999", '3: invalid float "1e999"'),
        ("weight = 1", "wieght = 1", "3: unknown key node.wieght: did you mean weight?"),
        ("weight = 1", "colour = red", "3: unknown key node.colour: known are set, weight, name"),
        ("node.weight = 1", "", "4: node.weight is missing"),
        ('"set1"', "null", "2: node.set must be a text, not null"),
        ('"set1"', "[set1]", "2: node.set must be a text, not a list"),
        ('"MSG_NODE1"', "1", f"4: {NAMED}, not 1"),
        ('"MSG_NODE1"', '"../x"', f"4: {NAMED}, not '../x'"),
        ('"MSG_NODE1"', '"MSG_NODE1\\n"', f"4: {NAMED}, not 'MSG_NODE1\\n'"),
        ('"MSG_NODE1"', '""', f"4: {NAMED}, not ''"),
        ('"MSG_NODE1"', "true", f"4: {NAMED}, not true"),
        ('"MSG_NODE1"', "a b", f"4: {NAMED}, not 'a b'"),
        ('"MSG_NODE1"', f'"{"n" * 65}"', f"4: {NAMED}, not '{'n' * 64}…'"),
        ("minConcurrency = 1", "minConcurrency = 3", "10: minConcurrency 3 is above maxConcurrency 2"),
        ("minConcurrency = 1", "minConcurrency = 0", f"{LOW}, not 0"),
        ("minConcurrency = 1", "minConcurrency = 1.5", f"{LOW}, not 1.5"),
        ("minConcurrency = 1", "minConcurrency = yes", f"{LOW}, not 'yes'"),
        ("maxConcurrency = 2", "maxConcurrency = 32768", f"{HIGH}, not 32768"),
        ("isMessage = false", "isMessage = no", f"{FLAG}, not 'no'"),
        ("isMessage = false", "isMessage = true", "12: pullMsg is a query: isMessage must be false"),
        ("isMessage = true", "isMessage = false", "6: ppMsgP is a message: isMessage must be true"),
        ("isMessage = f", "message = f", "12: unknown key app.actors[1].message: did you mean isMessage?"),
        ('"messaging.answer"', "Pull", "9: pullMsg is served by the class messaging.answer, not 'Pull'"),
        ('"pullMsg"', '"ppMsgP"', "8: method ppMsgP is listed twice, first at line 6"),
        ("app.actors = [", "app.actors = [ 3,", "5: app.actors[0] must be an object, not 3"),
        ("app.actors = [", "app.actors = 7\napp.x = [", "5: app.actors must be a list, not 7"),
        ("app.actors = [", "app.actors = # [", "7: expected key, got lbrace"),
        ("app.actors", "app.actor", "5: unknown key app.actor: did you mean actors?"),
        ("node.set", "nod.set", "2: unknown key nod: did you mean node?"),
        ("# A node", 'include "other.conf" # A node', "1: a node file includes no other file"),
        ("]\n", "", "14: expected ]"),
        ("]\n", "]\n}\n", "15: this } closes nothing"),
        ('"set1"', '"set1', "2: unterminated string"),
        ('"set1"', "${HOME}", "2: could not resolve substitution: ${HOME}"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line_and_the_reason(old: str, new: str, problem: str) -> None:
    assert old in TALK
    assert f"n.conf:{problem}" in refused(TALK.replace(old, new, 1))


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    (problem,) = refused(TALK.replace("pullMsg", "pullMgs"))
    assert problem.startswith("n.conf:8: app.actors[1].method must be one of the methods: ppMsgP, ")
    assert problem.endswith(", not 'pullMgs'")


def test_all_problems_of_a_file_are_told() -> None:
    text = f"nodes = [{{\n{TALK}}}, {{\n{TALK}}}]".replace("weight = 1", "weight = x").replace("= 4", "= 1")
    lines = [problem.split(": ")[0] for problem in refused(text)]
    assert lines == ["n.conf:4", "n.conf:7", "n.conf:19", "n.conf:22"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["n.conf:1: node is missing", "n.conf:1: app is missing"]),
        ("# nothing", ["n.conf:1: node is missing", "n.conf:1: app is missing"]),
        ("\n\n[1]", ["n.conf:1: must be node and app, or nodes, not a list"]),
        ("\nnodes = []", ["n.conf:2: nodes must be a list of one node at least"]),
        ("nodes = {}", ["n.conf:1: nodes must be a list of one node at least"]),
        (
            "node = 1\napp = 2",
            ["n.conf:1: node must be an object, not 1", "n.conf:2: app must be an object, not 2"],
        ),
        ("nodes = [\n1]", ["n.conf:2: nodes[0] must be an object, not 1"]),
        ("a = " + "[" * 100_000, []),
    ],
)
def test_a_file_of_another_form_is_refused(text: str, problems: list[str]) -> None:
    assert refused(text)[: len(problems)] == problems


def test_a_file_is_either_one_node_or_a_list() -> None:
    text = f"nodes = [{{{TALK}}}]\nnode.set = set1"
    assert refused(text) == ["n.conf:16: node is beside nodes: a file has either"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([*'{}[]"=:,\n#$. ', "${", '"""', "node", "app.actors", "include", "+=", "1", "é"])
    )
)
def test_whatever_the_text_is_it_is_read_or_refused(parts: list[str]) -> None:
    try:
        node_file.parse("".join(parts), "n.conf")
    except NodeFileError as error:
        assert error.problems


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"node.set = set1\nnode.name = \xff", ":2: is not UTF-8 text"),
        (b"#" * (node_file.SIZE_MAX + 1), ": is larger than 1048576 bytes: no node file"),
        (None, ": No such file or directory"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "n.conf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(NodeFileError) as raised:
        node_file.read(str(file))
    assert str(raised.value) == f"{file}{reason}"


def test_a_file_with_a_byte_order_mark_and_carriage_returns_is_read(tmp_path: Path) -> None:
    file = tmp_path / "n.conf"
    file.write_bytes(b"\xef\xbb\xbf" + TALK.replace("\n", "\r\n").encode())
    assert node_file.read(str(file)) == [NODE1]


def test_an_include_reads_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.conf"
    secret.write_text("node.set = set1")
    assert refused(f'include file("{secret}")\n{TALK}') == ["n.conf:1: a node file includes no other file"]
