"""Model fields of routing."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import models

from apps.routing import addresses


class NetworkField(models.CharField):
    """An IPv4 or IPv6 network, stored in the one form that it has, so that `unique` finds equal ones."""

    description = "IP network"

    def to_python(self, value: Any) -> Any:
        if not value:
            return value
        try:
            return str(addresses.network(str(value)))
        except ValueError as error:
            raise ValidationError(str(error), code="invalid") from None

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(self.to_python(value))


def address(value: str) -> None:
    """Validator of an access point's address."""
    try:
        addresses.check_address(value)
    except ValueError as error:
        raise ValidationError(f"{error}.", code="invalid") from None


def database(value: str) -> None:
    """Validator of a SET's database."""
    try:
        parts = urlsplit(value)
        named = parts.scheme in ("postgresql", "postgres") and parts.path.strip("/")
    except ValueError:
        named = ""
    if not named:
        raise ValidationError(
            "A database is named by a URL such as postgresql://imcloud@db7:5432/imcloud_set2.", code="invalid"
        )
