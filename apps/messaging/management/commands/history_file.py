"""`manage.py history_file APPKEY HOUR`: makes the file that `/message/history` offers."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.directory import directory
from apps.messaging import history_files
from apps.messaging.server_api.homes import sets_of
from apps.routing.topology import topology


class Command(BaseCommand):
    help = "Makes the file of an hour's messages of an app, if it is not there, and prints where it is."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("app_key")
        parser.add_argument("hour", help="yyyyMMddHH, in the installation's time zone; one that is over")

    def handle(self, *args: Any, app_key: str, hour: str, **options: Any) -> None:
        tenant = directory.renew().by_key(app_key)
        if tenant is None:
            raise CommandError(f"there is no app {app_key}")
        try:
            over = history_files.is_over(hour)
        except ValueError as error:
            raise CommandError(str(error)) from None
        if not over:
            raise CommandError(f"the hour {hour} is not over")
        os.nice(10)  # messages that are on their way come first
        topology.renew()
        file = history_files.make(tenant, hour, sets_of(tenant))
        if file is None:
            self.stdout.write("no messages")
        elif file.deleted:
            self.stdout.write("deleted")
        else:
            self.stdout.write(str(history_files.path(file)))
