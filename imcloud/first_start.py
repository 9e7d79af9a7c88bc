"""What the first start makes once: the demo tenant and the administrator."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.contrib.auth import get_user_model

from apps.accounts.models import Tenant

ADMIN = "admin"
DEMO = "demo"


def demo_tenant() -> Tenant:
    """The tenant of the demo page; its key and secret are random."""
    tenant = Tenant.objects.filter(name=DEMO).first()
    if tenant is None:
        tenant = Tenant(name=DEMO)
        tenant.save()
    return tenant


def admin_password(file: Path) -> str | None:
    """The password that the administrator was made with; None when another installation made them.

    The file is written first: a start that is killed in between finds it and uses it.
    """
    users = get_user_model()._default_manager
    exists = users.filter(username=ADMIN).exists()
    if not file.exists():
        if exists:
            return None
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(secrets.token_urlsafe(12) + "\n")
    password = file.read_text().strip()
    if not exists:
        users.create_superuser(ADMIN, "", password)  # type: ignore[attr-defined]
    return password
