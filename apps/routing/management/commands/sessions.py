"""`manage.py sessions list|drop USER --app-key K`: a user's connections, and how to cut them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.models import Tenant
from apps.routing import hints, presence


class Command(BaseCommand):
    help = "Shows a user's connections, or cuts them without a DISCONNECT, so that SDKs reconnect."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["list", "drop"])
        parser.add_argument("user", help="the user's id")
        parser.add_argument("--app-key", required=True, help="the tenant's app key")

    def handle(self, *args: Any, action: str, user: str, app_key: str, **options: Any) -> None:
        tenant = Tenant.objects.filter(app_key=app_key).first()
        if tenant is None:
            raise CommandError(f"no tenant has the app key {app_key!r}")
        (sessions,) = presence.sessions(tenant.pk, [user])
        if not sessions:
            self.stdout.write(f"{user} is not connected")
        for session in sessions:
            since = datetime.fromtimestamp(session.since / 1000, UTC).isoformat(timespec="seconds")
            self.stdout.write(
                f"{session.connection}  {session.platform}  sdk {session.sdk}"
                f"  from {session.address}  since {since}"
            )
        if action == "drop":
            by_gateway = defaultdict(list)
            for session in sessions:
                by_gateway[session.gateway].append(session.connection)
            for gateway, connections in by_gateway.items():
                hints.tell(gateway, {"type": "drop", "connections": connections})
