"""`manage.py accesspoints list|drain|resume|takeout`: the gateways' addresses, and how to empty one."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from apps.accounts import command_line
from apps.routing import access, access_points, audit, presence
from apps.routing.models import AccessPoint, State

STATES = {"drain": State.DRAINING, "resume": State.UP, "takeout": State.DOWN}
FOLLOWED = 2.5  # s: gateways have read the new state, and say with a beat what they have left
LOOK = 1.0  # s
FORM = "{:<20} {:<24} {:<12} {:<12} {:<12} {:>6} {:>6} {:>11}  {}"


class Command(BaseCommand):
    help = (
        "Lists access points with their load, drains one (its clients move to others, some every second), "
        "resumes it, or takes it out (all its clients move at once)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["list", *STATES])
        parser.add_argument("name", nargs="?", help="the access point; not for list")
        parser.add_argument("--wait", action="store_true", help="drain, takeout: until no connection is left")

    def handle(self, *args: Any, action: str, name: str | None, wait: bool, **options: Any) -> None:
        if action == "list":
            self._list()
        elif name is None:
            raise CommandError(f"{action} needs the name of an access point.")
        else:
            self._change(action, name)
            if wait and action != "resume":
                self._wait(name)

    def _list(self) -> None:
        loads = presence.loads()
        heads = ("name", "address", "cluster", "site", "region", "weight", "limit", "connections", "state")
        self.stdout.write(FORM.format(*heads))
        for each in AccessPoint.objects.select_related("cluster").order_by("pk"):
            connections = loads.get(each.name)
            state = each.state if connections is not None else f"{each.state}, no gateway beats"
            load = "-" if connections is None else connections
            where = (each.address or "(the request's host)", each.cluster.name, each.site, each.region)
            limit = each.connection_limit or "-"
            self.stdout.write(FORM.format(each.name, *where, f"{each.weight:g}", limit, load, state))

    def _change(self, action: str, name: str) -> None:
        point = AccessPoint.objects.filter(name=name).first()
        if point is None:
            names = ", ".join(AccessPoint.objects.order_by("pk").values_list("name", flat=True))
            raise CommandError(f"There is no access point {name}; there are {names or 'none'}.")
        if action != "resume" and not self._could_move(name):
            raise CommandError(f"No other access point that is up takes the clients of {name}.")
        try:
            with transaction.atomic():
                before = access_points.change_state(point, STATES[action])
                if before != point.state:
                    command_line.log_change(point, audit.changed("State", before, point.state))
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"{name} is {point.state}")

    @staticmethod
    def _could_move(name: str) -> bool:
        return access.elsewhere(access_points.read_table(None).points, presence.loads(), name)

    def _wait(self, name: str) -> None:
        time.sleep(FOLLOWED)
        while left := presence.loads().get(name, 0):
            self.stdout.write(f"{left} connections are left")
            time.sleep(LOOK)
        self.stdout.write(f"{name} is empty")
