"""Node files: what nodes are and serve, as HOCON text. Text in, `NodeSpec`s out, and back; no database.

    node.set = "set1"
    node.weight = 1
    node.name = "MSG_NODE1"
    app.actors = [
      {method = "ppMsgP", class = "messaging.deliver",
       minConcurrency = 2, maxConcurrency = 4, isMessage = true}
    ]

A file of several nodes lists such objects: `nodes = [{node.set = …, app.actors = […]}, …]`. Every key is
required: a file says all that there is to say about a node. It stands alone: no include, no environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import hocon

# The library's public interface gives values without their places, and a refusal has to name a line. So the
# places come from its syntax tree, which is not public: another version of it may need other words here.
from hocon._internal.lexer.lexer import tokenize
from hocon._internal.parser.ast import AstArray, AstConcat, AstInclude, AstNode, AstObject
from hocon._internal.parser.parser import parse_tokens

from apps.routing import methods, topology
from apps.routing.models import WEIGHT_MAX

SIZE_MAX = 1 << 20  # bytes; a node takes about 2,000
CONCURRENCY_MAX = 32767  # what the column holds
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # it is part of queue and file names

Path = tuple[str | int, ...]
Check = Callable[[Any], str]  # what a value has to be, when it is not; otherwise empty


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong and where. `line` 0: the file as a whole."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


class NodeFileError(Exception):
    """Nothing of the files was taken; `problems` tells all reasons."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class ActorSpec:
    """A method that a node serves. `task` is the file's `class`."""

    method: str
    task: str
    min_concurrency: int
    max_concurrency: int
    is_message: bool


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node as a file or the database has it; actors by method. Where it was read from is not part of it."""

    name: str
    server_set: str
    weight: float
    actors: tuple[ActorSpec, ...]
    file: str = field(default="", compare=False)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)  # of set, weight, name, actors

    def problem(self, key: str, reason: str) -> Problem:
        return Problem(self.file, self.lines.get(key, 0), reason)


def read(file: str) -> list[NodeSpec]:
    """The nodes of a file; NodeFileError."""
    try:
        with open(file, "rb") as stream:
            data = stream.read(SIZE_MAX + 1)
    except OSError as error:
        raise NodeFileError([Problem(file, 0, error.strerror or str(error))]) from None
    if len(data) > SIZE_MAX:
        raise NodeFileError([Problem(file, 0, f"is larger than {SIZE_MAX} bytes: no node file")])
    try:
        return parse(data.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NodeFileError([Problem(file, line, "is not UTF-8 text")]) from None


def parse(text: str, file: str) -> list[NodeSpec]:
    """The nodes of a file's text; NodeFileError with every reason and its line."""
    try:
        document = hocon.parse(text, env={}, read_file=lambda path: "").to_object()
        lines = _lines(text, file)
    except (hocon.ParseError, hocon.ResolveError) as error:
        raise NodeFileError([Problem(file, error.line, str(error)[:200])]) from None
    except hocon.ConfigError:
        raise NodeFileError([Problem(file, 1, "must be node and app, or nodes, not a list")]) from None
    form = _Form(file, lines)
    nodes = form.nodes(document)
    if form.problems:
        raise NodeFileError(sorted(form.problems, key=lambda problem: problem.line))
    return nodes


def render(nodes: Iterable[NodeSpec]) -> str:
    """The text of a file of these nodes: the plain form for one, a list otherwise."""
    if len(bodies := [_render_node(node) for node in nodes]) == 1:
        return bodies[0]
    # Not textwrap.indent: it takes some letters of a quoted text for ends of lines.
    listed = "".join("  {\n    " + body.rstrip().replace("\n", "\n    ") + "\n  }\n" for body in bodies)
    return f"nodes = [\n{listed}]\n"


def _render_node(node: NodeSpec) -> str:
    weight = int(node.weight) if node.weight.is_integer() else node.weight
    actors = "".join(
        f"  {{method = {_quoted(actor.method)}, class = {_quoted(actor.task)}"
        f", minConcurrency = {actor.min_concurrency}, maxConcurrency = {actor.max_concurrency}"
        f", isMessage = {str(actor.is_message).lower()}}}\n"
        for actor in node.actors
    )
    return (
        f"node.set = {_quoted(node.server_set)}\n"
        f"node.weight = {weight}  # 1 = 1 CPU and 2 GB\n"
        f"node.name = {_quoted(node.name)}\n"
        f"app.actors = [\n{actors}]\n"
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # HOCON's quoted strings are JSON's


def _lines(text: str, file: str) -> dict[Path, int]:
    """The line of each key and list item; NodeFileError for what the library takes, not we."""
    tokens = tokenize(text)
    depth = 0
    for token in tokens:
        depth += (token.kind == "lbrace") - (token.kind == "rbrace")
        if depth < 0:  # the library ends here, and would not tell that it left the rest out
            raise NodeFileError([Problem(file, token.line, "this } closes nothing")])
    lines: dict[Path, int] = {}
    includes: list[int] = []
    _walk(parse_tokens(tokens), (), lines, includes)
    if includes:
        raise NodeFileError(Problem(file, line, "a node file includes no other file") for line in includes)
    return lines


def _walk(node: AstNode, path: Path, lines: dict[Path, int], includes: list[int]) -> None:
    if isinstance(node, AstInclude):
        includes.append(node.pos.line)
    elif isinstance(node, AstObject):
        for entry in node.fields:
            for length in range(len(entry.key)):
                lines[*path, *entry.key[: length + 1]] = entry.pos.line
            _walk(entry.value, (*path, *entry.key), lines, includes)
    elif isinstance(node, AstArray):
        for index, item in enumerate(node.items):
            lines[*path, index] = item.pos.line
            _walk(item, (*path, index), lines, includes)
    elif isinstance(node, AstConcat):
        for part in node.nodes:
            _walk(part, path, lines, includes)


def _shown(value: object) -> str:
    """A value as a refusal names it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= 64 else f"{value[:64]}…")
    return json.dumps(value)


def _text(value: object) -> str:
    return "" if isinstance(value, str) else "must be a text"


def _name(value: object) -> str:
    named = isinstance(value, str) and NAME.fullmatch(value)
    return "" if named else "must be 1 to 64 letters, digits, _ and -, in quotes if they are all digits"


def _weight(value: object) -> str:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= WEIGHT_MAX
    return "" if fits else f"must be a number from 0 to {WEIGHT_MAX}"


def _concurrency(value: object) -> str:
    fits = type(value) is int and 1 <= value <= CONCURRENCY_MAX
    return "" if fits else f"must be a whole number from 1 to {CONCURRENCY_MAX}"


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _list(value: object) -> str:
    return "" if isinstance(value, list) else "must be a list"


def _object(value: object) -> str:
    return "" if isinstance(value, dict) else "must be an object"


def _method(value: object) -> str:
    known = methods.MESSAGES + methods.QUERIES
    return "" if value in known else f"must be one of the methods: {', '.join(known)}"


ONE: dict[str, Check] = {"node": _object, "app": _object}
NODE: dict[str, Check] = {"set": _text, "weight": _weight, "name": _name}
APP: dict[str, Check] = {"actors": _list}
ACTOR: dict[str, Check] = {
    "method": _method,
    "class": _text,
    "minConcurrency": _concurrency,
    "maxConcurrency": _concurrency,
    "isMessage": _flag,
}


class _Form:
    """Reads a file's values and keeps every problem; a value that has one is left out of what it returns."""

    def __init__(self, file: str, lines: Mapping[Path, int]) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._lines = lines

    def nodes(self, document: dict[str, Any]) -> list[NodeSpec]:
        listed = document.get("nodes")
        if listed is None:
            return [self._node(document, ())]
        for key in document.keys() & ONE.keys():
            self._refuse((key,), f"{key} is beside nodes: a file has either")
        if not isinstance(listed, list) or not listed:
            self._refuse(("nodes",), "nodes must be a list of one node at least")
            return []
        return [self._node(node, ("nodes", index)) for index, node in enumerate(listed)]

    def _node(self, value: object, path: Path) -> NodeSpec:
        """What can be read of it; it counts only when there is no problem."""
        parts = self._fields(value, path, ONE)
        node = self._fields(parts["node"], (*path, "node"), NODE) if "node" in parts else {}
        app = self._fields(parts["app"], (*path, "app"), APP) if "app" in parts else {}
        actors = self._actors(app.get("actors", []), (*path, "app", "actors"))
        lines = {key: self._line((*path, "node", key)) for key in NODE}
        lines["actors"] = self._line((*path, "app", "actors"))
        return NodeSpec(
            name=node.get("name", ""),
            server_set=node.get("set", ""),
            weight=abs(float(node.get("weight", 0))),  # -0.0 is 0
            actors=tuple(sorted(actors, key=lambda actor: actor.method)),
            file=self._file,
            lines=lines,
        )

    def _actors(self, values: list[Any], path: Path) -> list[ActorSpec]:
        actors: list[ActorSpec] = []
        first: dict[str, int] = {}
        for index, value in enumerate(values):
            here = (*path, index)
            known = len(self.problems)
            given = self._fields(value, here, ACTOR)
            if "method" in given:
                method = given["method"]
                if method in first:
                    again = f"method {method} is listed twice, first at line {first[method]}"
                    self._refuse((*here, "method"), again)
                first.setdefault(method, self._line((*here, "method")))
            if len(self.problems) == known:
                actors.append(ActorSpec(*(given[key] for key in ACTOR)))
                self._check(actors[-1], here)
        return actors

    def _check(self, actor: ActorSpec, path: Path) -> None:
        """What its values are to each other."""
        low, high = actor.min_concurrency, actor.max_concurrency
        if low > high:
            self._refuse((*path, "minConcurrency"), f"minConcurrency {low} is above maxConcurrency {high}")
        is_message = actor.method in methods.MESSAGES
        if actor.is_message != is_message:
            kind, flag = ("message", "true") if is_message else ("query", "false")
            self._refuse((*path, "isMessage"), f"{actor.method} is a {kind}: isMessage must be {flag}")
        task = topology.DELIVER if is_message else topology.ANSWER
        if actor.task != task:
            reason = f"{actor.method} is served by the class {task}, not {_shown(actor.task)}"
            self._refuse((*path, "class"), reason)

    def _fields(self, value: object, path: Path, checks: Mapping[str, Check]) -> dict[str, Any]:
        """The values of the keys that are there and right."""
        if not isinstance(value, dict):
            self._refuse(path, f"{_label(path)} must be an object, not {_shown(value)}")
            return {}
        meant: set[str] = set()
        words = checks if path else [*checks, "nodes"]
        for key in [key for key in value if key not in words]:
            near = get_close_matches(key, words, n=1)
            meant.update(near)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(words)}"
            self._refuse((*path, key), f"unknown key {_label((*path, key))}: {hint}")
        right = {}
        for key, check in checks.items():
            if key not in value:
                if key not in meant:
                    self._refuse(path, f"{_label((*path, key))} is missing")
            elif wanted := check(value[key]):
                self._refuse((*path, key), f"{_label((*path, key))} {wanted}, not {_shown(value[key])}")
            else:
                right[key] = value[key]
        return right

    def _refuse(self, path: Path, reason: str) -> None:
        self.problems.append(Problem(self._file, self._line(path), reason))

    def _line(self, path: Path) -> int:
        """Of the innermost key that the file has a line of: what came by a substitution has none itself."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)


def _label(path: Path) -> str:
    """As a reader would write it: app.actors[2].method."""
    written = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return written.removeprefix(".")
