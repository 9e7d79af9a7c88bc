"""The demo page's door: who gets a token, of which tenant, and how many a second."""

import pytest
from django.test import Client

from apps.accounts import tokens
from apps.accounts.directory import NO_RESTRICTION, TenantEntry
from apps.accounts.models import Tenant, User
from imcloud.demo import views

pytestmark = pytest.mark.usefixtures("databases")


@pytest.fixture(autouse=True)
def full_bucket(monkeypatch):
    monkeypatch.setattr(views, "sign_ins", views.Bucket(burst=5, rate=0))


@pytest.fixture
def demo():
    return Tenant.objects.create(name="demo")


def sign_in(user, client=None):
    return (client or Client()).post("/demo/sign-in", {"user": user})


def test_any_name_gets_a_token_of_the_demo_tenant(demo):
    answer = sign_in("  Zoë 😀 ").json()
    assert (answer["userId"], answer["appKey"]) == ("Zoë 😀", demo.app_key)
    entry = TenantEntry(demo.pk, demo.name, demo.app_key, demo.app_secret)
    assert tokens.verify(entry, answer["token"], lambda *_: NO_RESTRICTION).user_id == "Zoë 😀"
    assert User.objects.filter(tenant=demo, user_id="Zoë 😀").count() == 1
    assert sign_in("Zoë 😀").status_code == 200


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "ü" * 33, "two\nlines", "\x00"])
def test_a_name_that_no_user_can_have_is_refused(demo, name):
    answer = sign_in(name)
    assert answer.status_code == 400
    assert "user name" in answer.json()["error"]


def test_another_tenants_users_get_nothing_when_there_is_no_demo(demo):
    demo.delete()
    Tenant.objects.create(name="customer")
    assert sign_in("ann").status_code == 404


def test_a_locked_demo_is_closed(demo):
    demo.state = Tenant.State.LOCKED
    demo.save()
    assert sign_in("ann").status_code == 404


def test_a_form_of_another_site_is_refused(demo):
    mallory = Client(enforce_csrf_checks=True)
    assert sign_in("ann", mallory).status_code == 403
    page = mallory.get("/demo/")
    token = page.context["csrf_token"]
    form = {"user": "ann", "csrfmiddlewaretoken": str(token)}
    assert mallory.post("/demo/sign-in", form).status_code == 200


def test_sign_ins_are_bounded(demo):
    assert [sign_in(f"user{n}").status_code for n in range(6)] == [200] * 5 + [429]


def test_the_page_loads_nothing_from_elsewhere(demo):
    page = Client().get("/demo/")
    policy = page["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "http://" not in page.content.decode() and "https://" not in page.content.decode()
    assert Client().get("/demo/sign-in").status_code == 405
