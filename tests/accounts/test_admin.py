import re
import time

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.contrib.auth.models import User as Operator
from django.test import Client
from django.urls import reverse

from apps.accounts.models import BlockEntry, Tenant, User
from apps.messaging.models import Message
from apps.routing import topology
from apps.routing.protocol.im_pb2 import UpStreamMessage
from tests.accounts.tenants import renewed

OURS = [model for model in apps.get_models() if model._meta.app_label in ("accounts", "routing", "messaging")]


@pytest.fixture
def operator(tenants: tuple[Tenant, Tenant]) -> Client:
    client = Client()
    client.force_login(Operator.objects.create_superuser("operator"))
    return client


@pytest.fixture
def two_sets(databases: None) -> None:
    topology.bootstrap(sets=2)
    topology.topology.renew()


def post(client: Client, view: str, **form: object) -> str:
    response = client.post(reverse(f"admin:{view}"), form, follow=True)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_every_model_has_a_list_that_opens_and_can_be_searched(operator: Client, model: type) -> None:
    assert model in admin.site._registry
    name = f"{model._meta.app_label}_{model._meta.model_name}"  # type: ignore[attr-defined]
    assert operator.get(reverse(f"admin:{name}_changelist"), {"q": "7"}).status_code == 200


def test_a_stranger_sees_the_login_page_only(tenants: tuple[Tenant, Tenant]) -> None:
    response = Client().get(reverse("admin:accounts_tenant_changelist"))
    assert response.status_code == 302 and "/admin/login/" in response["Location"]


def test_a_form_without_csrf_token_is_refused(operator: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(reverse("admin:accounts_tenant_add"), {"name": "x"}).status_code == 403


def test_a_new_tenants_secret_is_shown_once_and_never_again(operator: Client) -> None:
    page = post(operator, "accounts_tenant_add", name="shop", app_key="shop", state="active", group_size=500)
    secret = Tenant.objects.get(name="shop").app_secret
    assert secret in page
    shop = reverse("admin:accounts_tenant_change", args=[Tenant.objects.get(name="shop").pk])
    for path in (
        shop,
        reverse("admin:accounts_tenant_changelist"),
        f"{shop.removesuffix('change/')}history/",
    ):
        assert secret not in operator.get(path).content.decode()


def test_rotating_asks_first_then_shows_the_new_secret(
    operator: Client, tenants: tuple[Tenant, Tenant]
) -> None:
    form = {"action": "rotate_secret", "_selected_action": [tenants[0].pk]}
    asked = post(operator, "accounts_tenant_changelist", **form)
    tenants[0].refresh_from_db()
    assert "confirmed" in asked and tenants[0].secret_rotated_at is None
    before = tenants[0].app_secret
    shown = post(operator, "accounts_tenant_changelist", **form, confirmed="1")
    tenants[0].refresh_from_db()
    assert tenants[0].app_secret != before and tenants[0].app_secret in shown
    mine, other = renewed().by_id(tenants[0].pk), renewed().by_id(tenants[1].pk)
    assert mine is not None and mine.app_secret == tenants[0].app_secret
    assert other is not None and other.app_secret == tenants[1].app_secret


def test_ending_tokens_ends_those_of_the_chosen_users_only(
    operator: Client, tenants: tuple[Tenant, Tenant]
) -> None:
    alice, bob = (User.objects.create(tenant=tenants[0], user_id=name) for name in ("alice", "bob"))
    began = time.time() * 1000 - 1
    post(operator, "accounts_user_changelist", action="end_tokens", _selected_action=[alice.pk])
    assert renewed().user_restriction(tenants[0].pk, "alice").tokens_valid_after_ms > began
    assert renewed().user_restriction(tenants[0].pk, bob.user_id).tokens_valid_after_ms == 0


def test_rows_whose_loss_would_hurt_cannot_be_deleted(
    operator: Client, tenants: tuple[Tenant, Tenant]
) -> None:
    alice = User.objects.create(tenant=tenants[0], user_id="alice")
    for name, row in (("accounts_user", alice), ("accounts_tenant", tenants[0])):
        assert (
            operator.post(reverse(f"admin:{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
        )


def test_block_entries_are_those_of_the_set_and_can_be_lifted(
    operator: Client, tenants: tuple[Tenant, Tenant]
) -> None:
    entry = BlockEntry.objects.create(tenant_id=tenants[0].pk, owner="alice", blocked="mallory")
    page = operator.get(reverse("admin:accounts_blockentry_changelist"), {"of": str(tenants[0].pk)})
    assert "mallory" in page.content.decode()
    other = operator.get(reverse("admin:accounts_blockentry_changelist"), {"of": str(tenants[1].pk)})
    assert not re.search(r">mallory<", other.content.decode())
    operator.post(reverse("admin:accounts_blockentry_delete", args=[entry.pk]), {"post": "yes"})
    assert not BlockEntry.objects.exists()


def test_a_sets_rows_are_those_of_the_set_that_is_chosen_on_the_rows_own_pages_too(
    operator: Client, tenants: tuple[Tenant, Tenant], two_sets: None
) -> None:
    for name, blocked in (("set1", "mallory"), ("set2", "trudy")):
        # The same key in both: each SET counts for itself.
        BlockEntry.objects.using(name).create(pk=7, tenant_id=tenants[0].pk, owner="alice", blocked=blocked)
    path = reverse("admin:accounts_blockentry_changelist")
    page = operator.get(path).content.decode()
    assert "mallory" in page and "trudy" not in page and "?set=set2" in page
    page = operator.get(path, {"set": "set2"}).content.decode()
    assert "trudy" in page and "mallory" not in page
    (link,) = re.findall(r'href="([^"]*/7/change/[^"]*)"', page)
    assert "trudy" in operator.get(link).content.decode()
    operator.post(link.replace("/change/", "/delete/"), {"post": "yes"})
    assert not BlockEntry.objects.using("set2").exists()
    assert BlockEntry.objects.using("set1").get().blocked == "mallory"
    assert operator.get(path, {"set": "set3"}).status_code == 404


def test_who_may_only_look_at_block_entries_cannot_lift_them(
    tenants: tuple[Tenant, Tenant], two_sets: None
) -> None:
    clerk = Operator.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_blockentry"))
    client = Client()
    client.force_login(clerk)
    entry = BlockEntry.objects.create(tenant_id=tenants[0].pk, owner="alice", blocked="mallory")
    assert "mallory" in client.get(reverse("admin:accounts_blockentry_changelist")).content.decode()
    path = reverse("admin:accounts_blockentry_delete", args=[entry.pk])
    assert client.post(path, {"post": "yes"}).status_code == 403 and BlockEntry.objects.exists()


def test_a_message_can_be_read_but_not_changed(operator: Client, tenants: tuple[Tenant, Tenant]) -> None:
    up = UpStreamMessage(classname="RC:TxtMsg", content=b'{"content":"hi"}').SerializeToString()
    Message.objects.create(
        seq=1, uid="u", time=1, sent=1, tenant=tenants[0].pk, kind=1, sender="alice", target="bob",
        conversation=1, flags=3, inbox=True, sendbox=True, export=False, target_slot=1, sender_slot=2,
        method="ppMsgP", up=up,
    )  # fmt: skip
    path = reverse("admin:messaging_message_change", args=[1])
    page = operator.get(path).content.decode()
    assert "RC:TxtMsg" in page and "&quot;content&quot;:&quot;hi&quot;" in page
    assert operator.post(path, {"sender": "mallory"}).status_code == 403
