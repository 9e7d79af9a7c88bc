"""`manage.py node NAME`: the workers of a node."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.routing.supervisor import CannotStart, Supervisor
from apps.routing.zygote import Zygote, ZygoteGone


class Command(BaseCommand):
    help = "Run the workers of a node, and replace those that die or stall, until SIGTERM."
    requires_system_checks = []  # they take longer than everything else here

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the node's name, such as MSG_NODE1")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        try:
            Supervisor(name, Zygote()).run()
        except (CannotStart, ZygoteGone) as error:
            raise CommandError(str(error)) from None
