"""A tenant with a server of its own that is told, and the dispatcher of one of two SETs."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from apps.accounts import webhooks
from apps.accounts.directory import directory
from apps.accounts.models import Tenant, Webhooks
from apps.messaging import log, slot_moves
from apps.messaging.log import Log
from apps.messaging.webhooks.dispatcher import Dispatcher
from tests.messaging.webhooks.receiver import Receiver

SECRET = "secret-of-the-tenant"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def moved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot that has moved is cleaned up without waiting for gateways."""
    monkeypatch.setattr(slot_moves, "SETTLE", 0.0)


@pytest.fixture
def private(settings: Any) -> None:
    """The receiver is on this machine: that is allowed."""
    settings.WEBHOOK_PRIVATE = True


def tenant(number: int = 1, **hooks: Any) -> Tenant:
    """A tenant with these webhooks, known here."""
    made = Tenant.objects.create(pk=number, name=f"t{number}", app_key=f"key{number}", app_secret=SECRET)
    if hooks:
        Webhooks.objects.create(tenant=made, **hooks)
    directory.renew()
    webhooks.table.renew()
    return made


def change(number: int = 1, **hooks: Any) -> None:
    """Other webhooks than before."""
    row, _ = Webhooks.objects.get_or_create(tenant_id=number)
    for name, value in hooks.items():
        setattr(row, name, value)
    row.save()
    webhooks.table.renew()


@pytest.fixture
def set1(sets: dict[str, Log], redis_client: object, private: None) -> Iterator[Dispatcher]:
    """Of the SET where the users of even slots are at home."""
    of = Log("set1")
    made = Dispatcher(of)
    yield made
    made.close()
    of.close()


def settle(dispatcher: Dispatcher, seconds: float = 10.0) -> None:
    """Until it has nothing to do: all is told, or waits for its next try."""
    give_up_at = time.monotonic() + seconds
    idle = 0
    while idle < 2:
        busy = dispatcher.turn() or dispatcher.out
        idle = 0 if busy else idle + 1
        if dispatcher.out:
            dispatcher.wait(0.02)
        assert time.monotonic() < give_up_at, "it does not settle"


def rows(columns: str, server_set: str = "set1") -> list[Any]:
    """Of the table of deliveries."""
    return log.of(server_set).read(f"SELECT {columns} FROM messaging_webhookdelivery ORDER BY id", ())
