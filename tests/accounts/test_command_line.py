"""What manage.py changes has an author in the admin pages' log: the operating system's user."""

import os
import pwd

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.auth.models import User as Operator
from django.core.management import call_command
from django.db import transaction
from django.test import Client

from apps.accounts import command_line
from apps.accounts.models import Tenant

pytestmark = pytest.mark.django_db


def test_the_user_is_the_operating_systems_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "mallory")
    assert command_line.who() == f"{pwd.getpwuid(os.getuid()).pw_name} (manage.py)"


def test_a_user_without_a_name_is_his_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert command_line.who() == "uid 3999999999 (manage.py)"


def test_a_change_is_logged_with_who_when_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("createtenant", "shop")
    tenant = Tenant.objects.get()
    command_line.log_change(tenant, "State: active → locked.")
    command_line.log_deletion(tenant)
    entries = list(LogEntry.objects.order_by("pk"))
    assert [(entry.action_flag, entry.get_change_message()) for entry in entries] == [
        (ADDITION, "Added."),
        (CHANGE, "State: active → locked."),
        (DELETION, "Deleted."),
    ]
    assert {entry.user.get_username() for entry in entries} == {command_line.who()}
    assert {entry.get_edited_object() for entry in entries} == {tenant}
    assert all(entry.object_repr == str(tenant) for entry in entries)


def test_what_was_taken_back_is_not_in_the_log() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        command_line.log_addition(Tenant.objects.create(name="shop"))
        raise ZeroDivisionError
    assert not LogEntry.objects.exists()
    call_command("createtenant", "shop", "--key", "taken")
    with pytest.raises(Exception, match="already exists"):
        call_command("createtenant", "other", "--key", "taken")
    assert LogEntry.objects.count() == 1


def test_nobody_logs_in_as_the_author() -> None:
    command_line.log_addition(Tenant.objects.create(name="shop"))
    author = Operator.objects.get()
    assert not (author.is_active or author.is_staff or author.has_usable_password())
    assert not any(Client().login(username=author.username, password=word) for word in ("", "!", "admin"))


def test_a_long_name_fits(db: None) -> None:
    command_line.log_change(Operator.objects.create_user("x" * 150), "Nothing.")
    tenant = Tenant(pk=1, name="n" * 300)
    command_line.log_change(tenant, "Nothing.")
    assert len(LogEntry.objects.order_by("pk").last().object_repr) == command_line.REPR_MAX  # type: ignore[union-attr]
