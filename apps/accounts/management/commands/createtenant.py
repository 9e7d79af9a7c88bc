"""`manage.py createtenant NAME [--key K --secret S --cluster C]` prints {"app_key": …, "app_secret": …}."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError, transaction

from apps.accounts import command_line
from apps.accounts.models import Tenant


class Command(BaseCommand):
    help = "Create a tenant and print its app key and secret as one JSON object."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what the admin pages call the tenant")
        parser.add_argument("--key", help="the app key, for an app that brings its own; default: random")
        parser.add_argument("--secret", help="the app secret; default: random")
        parser.add_argument(
            "--cluster", help="which one serves it; default: chosen by the hash of the app key"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        given = {
            "name": options["name"],
            "app_key": options["key"],
            "app_secret": options["secret"],
            "cluster": options["cluster"],
        }
        tenant = Tenant(**{field: value for field, value in given.items() if value is not None})
        try:
            tenant.full_clean()
            with transaction.atomic():
                tenant.save()
                command_line.log_addition(tenant)
        except ValidationError as error:
            said = [f"{field}: {text}" for field, texts in error.message_dict.items() for text in texts]
            raise CommandError(" ".join(said)) from None
        except IntegrityError:
            raise CommandError("A tenant with this name or app key was created just now.") from None
        self.stdout.write(json.dumps({"app_key": tenant.app_key, "app_secret": tenant.app_secret}))
