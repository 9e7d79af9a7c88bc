"""What is changed by manage.py is in the admin pages' log too, with the operating system's user as who.

The log names accounts of the admin pages. So such a user gets one that is not active and has no password:
nobody can log in with it.
"""

from __future__ import annotations

import os
import pwd

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model

REPR_MAX = 200  # characters of LogEntry.object_repr


def who() -> str:
    """The user that the process runs as, whatever the environment says."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # a container's user without a name
        name = f"uid {number}"
    return f"{name} (manage.py)"


def log_addition(row: Model, message: str = "Added.") -> None:
    """To be called in the transaction of the change, as the other two."""
    _log(row, ADDITION, message)


def log_change(row: Model, message: str) -> None:
    _log(row, CHANGE, message)


def log_deletion(row: Model, message: str = "Deleted.") -> None:
    """Before it is deleted: afterwards the row has no key."""
    _log(row, DELETION, message)


def _log(row: Model, flag: int, message: str) -> None:
    nobody = {"is_active": False, "password": make_password(None)}
    account, _ = get_user_model()._default_manager.get_or_create(username=who(), defaults=nobody)
    LogEntry.objects.create(
        user=account,
        content_type=ContentType.objects.get_for_model(row),
        object_id=str(row.pk),
        object_repr=str(row)[:REPR_MAX],
        action_flag=flag,
        change_message=message,
    )
