"""`manage.py nodes import FILE … [--dry-run]` and `manage.py nodes export [NAME …]`: nodes as HOCON files."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.routing import node_file
from apps.routing.node_import import import_nodes, stored_nodes


class Command(BaseCommand):
    help = "Takes the configuration of nodes from files, or prints it as such a file."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        take = actions.add_parser("import", help="make the nodes of these files as the files say, or nothing")
        take.add_argument("files", nargs="+", metavar="FILE", help="a node file; docs/nodes.md describes it")
        take.add_argument("--dry-run", action="store_true", help="print what would change and change nothing")
        show = actions.add_parser("export", help="print nodes as a node file")
        show.add_argument("names", nargs="*", metavar="NAME", help="the nodes to print; default: all")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "import":
            self._import(options["files"], dry_run=options["dry_run"])
        else:
            self._export(options["names"])

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
