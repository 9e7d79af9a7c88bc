"""`manage.py limits NAME [LIMIT=NUMBER …]` changes a tenant's limits; prints them as one JSON object."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from apps.accounts import command_line
from apps.accounts.models import LIMITS, Tenant


class Command(BaseCommand):
    help = f"Change a tenant's limits, and print them as one JSON object. There are: {', '.join(LIMITS)}."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what the admin pages call the tenant")
        parser.add_argument("limits", nargs="*", metavar="LIMIT=NUMBER", help="NUMBER may be none: no limit")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(name=options["name"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['name']}.")
        for given in options["limits"]:
            limit, _, value = given.partition("=")
            if limit not in LIMITS:
                raise CommandError(f"There is no limit {limit}; there are {', '.join(LIMITS)}.")
            if not (value.isdecimal() or value == "none"):
                raise CommandError(f"{limit} is a whole number, or none.")
            setattr(tenant, limit, None if value == "none" else int(value))
        try:
            tenant.full_clean()
        except ValidationError as error:
            said = [f"{field}: {text}" for field, texts in error.message_dict.items() for text in texts]
            raise CommandError(" ".join(said)) from None
        if options["limits"]:
            with transaction.atomic():
                tenant.save(update_fields=LIMITS)
                command_line.log_change(tenant, f"Changed limits: {', '.join(options['limits'])}.")
        self.stdout.write(json.dumps({limit: getattr(tenant, limit) for limit in LIMITS}))
