"""`manage.py nodes list|import|export`: how the nodes are, and their configuration as HOCON files."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.routing import cluster_drawing, node_file
from apps.routing.cluster_drawing import KINDS, NodeView
from apps.routing.models import Node
from apps.routing.node_import import import_nodes, stored_nodes

FORM = "{:<16} {:<12} {:>6} {:<10} {:<10} {:>6} {:>8} {:>8} {:>6} {:>7}  {:<16} {}"


class Command(BaseCommand):
    help = "Lists nodes with their health; takes their configuration from files, or prints it as such a file."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="every node: weight, state, health, work, process")
        take = actions.add_parser("import", help="make the nodes of these files as the files say, or nothing")
        take.add_argument("files", nargs="+", metavar="FILE", help="a node file; docs/nodes.md describes it")
        take.add_argument("--dry-run", action="store_true", help="print what would change and change nothing")
        show = actions.add_parser("export", help="print nodes as a node file")
        show.add_argument("names", nargs="*", metavar="NAME", help="the nodes to print; default: all")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "list":
            self._list()
        elif action == "import":
            self._import(options["files"], dry_run=options["dry_run"])
        else:
            self._export(options["names"])

    def _list(self) -> None:
        heads = ("name", "SET", "weight", "state", "health", "share", "messages", "queries", "queue")
        self.stdout.write(FORM.format(*heads, "canary", "machine", "process"))
        nodes = list(Node.objects.select_related("server_set").order_by("server_set", "name"))
        for view in cluster_drawing.node_views(nodes):
            self.stdout.write(FORM.format(*_columns(view)))

    def _import(self, files: list[str], *, dry_run: bool) -> None:
        specs: list[node_file.NodeSpec] = []
        problems: list[node_file.Problem] = []
        for file in files:
            try:
                specs += node_file.read(file)
            except node_file.NodeFileError as error:
                problems += error.problems
        try:
            if problems:
                raise node_file.NodeFileError(problems)
            changes = import_nodes(specs, dry_run=dry_run)
        except node_file.NodeFileError as error:
            raise CommandError(f"nothing was imported:\n{error}") from None
        for change in changes:
            self.stdout.write(change)
        if not changes:
            self.stdout.write("nothing changes: the nodes are as the files say")
        elif dry_run:
            self.stdout.write("nothing was changed: this was a dry run")

    def _export(self, names: list[str]) -> None:
        stored = stored_nodes()
        if unknown := [name for name in names if name not in stored]:
            known = ", ".join(stored) or "none yet"
            raise CommandError(f"There is no node {', '.join(unknown)}; the nodes are: {known}.")
        chosen = [stored[name].spec for name in dict.fromkeys(names or stored)]
        if not chosen:
            raise CommandError("There is no node yet.")
        self.stdout.write(node_file.render(chosen), ending="")


def _columns(view: NodeView) -> tuple[object, ...]:
    """Workers of each kind: that are up, of how many; tasks of both; s since the older canary."""
    row, kinds = view.row, dict(view.kinds)
    workers = (f"{kinds[kind]['workers']}/{kinds[kind]['size']}" if kind in kinds else "-" for kind in KINDS)
    waiting = [its["tasks"] for its in kinds.values()]
    tasks = sum(waiting) if waiting and min(waiting) >= 0 else "?"
    canary = f"{max(its['canary'] for its in kinds.values()):.1f}" if kinds else "?"
    names = (row.name, row.server_set.name, f"{row.weight:g}", row.state, view.health, f"{view.share:.0%}")
    return (*names, *workers, tasks, canary, view.host or "-", view.pid or "-")
