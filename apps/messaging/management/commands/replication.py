"""`manage.py replication status`: how far the standbys are behind."""

from __future__ import annotations

import contextlib
import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from tqdm import tqdm  # type: ignore[import-untyped]

from apps.messaging.standby.command_line import FOLLOW_EVERY, status

FORM = "{:<16} {:>6} {:<10} {:>14} {:>10} {:>9}  {}"


KEEPS_UP = 1.0  # s; while users write, a standby is always a little behind


def _keeps_up(state: dict[str, Any]) -> bool:
    return not state["problem"] and not state["failover"] and state["seconds"] < KEEPS_UP


class Command(BaseCommand):
    help = "Shows how far the SETs' standby databases are behind, and the failovers that are under way."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        shown = actions.add_parser("status", help="of every SET that has a standby")
        shown.add_argument("--follow", action="store_true", help="until all keep up, with progress")
        shown.add_argument("--json", action="store_true", help="one JSON object a SET and line")

    def handle(self, *args: Any, action: str, follow: bool, json: bool, **options: Any) -> None:
        states = status()
        if not states:
            self.stdout.write("No SET has a standby: manage.py sets standby SET URL gives it one.")
        elif follow:
            self._follow(states)
        else:
            self._show(states, as_json=json)

    def _show(self, states: list[dict[str, Any]], *, as_json: bool) -> None:
        if as_json:
            for state in states:
                self.stdout.write(json.dumps(state))
            return
        self.stdout.write(FORM.format("SET", "epoch", "durability", "position", "behind", "seconds", ""))
        for each in states:
            durability = f"{each['durability']}!" if each["degraded"] else each["durability"]
            numbers = ["-" if each[name] is None else each[name] for name in ("position", "rows", "seconds")]
            notes = [each["problem"], f"failover: {each['failover']}" if each["failover"] else ""]
            row = (each["set"], each["epoch"], durability, *numbers, "; ".join(filter(None, notes)))
            self.stdout.write(FORM.format(*row).rstrip())

    def _follow(self, states: list[dict[str, Any]]) -> None:
        with contextlib.ExitStack() as stack:
            bars: dict[str, Any] = {}
            while True:
                for each in states:
                    if each["set"] not in bars:
                        bar = tqdm(desc=each["set"], unit="rows", unit_scale=True, total=0, file=self.stderr)
                        bars[each["set"]] = stack.enter_context(bar)
                    bar = bars[each["set"]]
                    if each["rows"] is None:
                        bar.set_postfix_str(each["problem"])
                        continue
                    bar.total = max(bar.total, bar.n + each["rows"])
                    bar.update(bar.total - each["rows"] - bar.n)
                    bar.set_postfix_str(f"{each['seconds']:.1f} s behind")
                if all(_keeps_up(each) for each in states):
                    return
                time.sleep(FOLLOW_EVERY)
                states = status()
