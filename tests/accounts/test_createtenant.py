import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import ALPHABET, Tenant
from tests.accounts.tenants import renewed


def create(*arguments: str) -> dict[str, str]:
    out = StringIO()
    call_command("createtenant", *arguments, stdout=out)
    created: dict[str, str] = json.loads(out.getvalue())
    return created


def test_it_prints_the_key_and_secret_that_are_stored_and_nothing_else(databases: None) -> None:
    created = create("shop")
    assert created.keys() == {"app_key", "app_secret"}
    assert set(created["app_key"] + created["app_secret"]) <= set(ALPHABET)
    assert Tenant.objects.get(**created).name == "shop"
    found = renewed().by_key(created["app_key"])
    assert found is not None and found.app_secret == created["app_secret"]


def test_an_app_may_bring_its_own_key_and_secret(databases: None) -> None:
    given = {"app_key": "8luwapkvucoil", "app_secret": "y0icysjl4h3LWz"}
    assert create("shop", "--key", given["app_key"], "--secret", given["app_secret"]) == given


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop"], "name: .* already exists"),
        (["other", "--key", "taken"], "app_key: .* already exists"),
        (["", "--key", "k"], "name: "),
        (["n" * 65], "name: .*at most 64"),
        (["other", "--key", "a key"], "app_key: An app key has"),
        (["other", "--key", ""], "app_key: "),
        (["other", "--secret", "short"], "app_secret: An app secret has"),
        (["other", "--secret", "with a space"], "app_secret: An app secret has"),
    ],
)
def test_duplicates_and_bad_input_are_refused_with_a_sentence(
    databases: None, arguments: list[str], said: str
) -> None:
    create("shop", "--key", "taken")
    with pytest.raises(CommandError, match=said) as refused:
        create(*arguments)
    assert refused.value.returncode == 1
    assert Tenant.objects.count() == 1
