"""Users who register at one time."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from apps.accounts.directory import TenantEntry
from apps.accounts.models import User as Known
from apps.messaging.server_api import registration
from apps.messaging.server_api.registration import Registrar, User


def known(tenant: TenantEntry) -> dict[str, tuple[str, str]]:
    rows = Known.objects.filter(tenant_id=tenant.id).values_list("user_id", "name", "portrait_uri")
    return {user: (name, portrait) for user, name, portrait in rows}


def test_many_are_one_statement_each_in_his_own_tenant(
    alices: TenantEntry, mallorys: TenantEntry, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        registration.put(
            [User(tenant.id, f"u{n}", tenant.name, "") for n in range(3) for tenant in (mallorys, alices)]
        )
    for tenant in (alices, mallorys):
        assert known(tenant) == {f"u{n}": (tenant.name, "") for n in range(3)}


def test_of_one_who_comes_twice_the_last_counts_and_no_picture_takes_none_away(alices: TenantEntry) -> None:
    registration.put([User(alices.id, "a", "one", "p"), User(alices.id, "a", "two", "")])
    assert known(alices) == {"a": ("two", "p")}
    registration.put([User(alices.id, "a", "three", ""), User(alices.id, "b", "b", "q")])
    assert known(alices) == {"a": ("three", "p"), "b": ("b", "q")}


def test_what_comes_while_a_batch_is_written_is_the_next_batch_and_trouble_is_each_ones_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[list[str]] = []
    go_on = [asyncio.Event(), asyncio.Event(), asyncio.Event()]

    async def put(users: Any) -> None:
        batches.append([each.user for each in users])
        await go_on[len(batches) - 1].wait()
        if "mallory" in batches[-1]:
            raise ValueError("the database does not like it")

    monkeypatch.setattr(registration, "_put", put)
    monkeypatch.setattr(registration, "BATCH_MAX", 2)

    async def come() -> list[Any]:
        registrar = Registrar()
        waiting = [asyncio.create_task(registrar.register(User(1, "alice", "", "")))]
        await asyncio.sleep(0.01)
        names = ("bob", "mallory", "carol")
        waiting += [asyncio.create_task(registrar.register(User(1, name, "", ""))) for name in names]
        await asyncio.sleep(0.01)
        assert not waiting[0].done()
        for event in go_on:
            event.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    alice, bob, mallory, carol = async_to_sync(come)()
    assert batches == [["alice"], ["bob", "mallory"], ["carol"]]
    assert (alice, carol) == (None, None)
    assert isinstance(bob, ValueError) and bob is not None and isinstance(mallory, ValueError)
