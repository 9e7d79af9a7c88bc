"""The demo page's door: who gets a token, of which tenant, and how many a second."""

import pytest
from django.test import Client

from apps.accounts import tokens
from apps.accounts.directory import NO_RESTRICTION, TenantEntry
from apps.accounts.models import Tenant, User
from imcloud.demo import views
from tests.accounts.tenants import renewed

pytestmark = pytest.mark.usefixtures("databases")


@pytest.fixture(autouse=True)
def full_bucket(monkeypatch):
    monkeypatch.setattr(views, "sign_ins", views.Bucket(burst=5, rate=0))
    monkeypatch.setattr(views, "group_changes", views.Bucket(burst=10, rate=0))


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
    assert "img-src 'self' data:;" in policy


def test_with_a_store_the_page_may_use_the_demos_files_and_no_others(demo, settings):
    settings.STORAGE_URL = "https://files.test:9000/base"
    for kind, origin in (
        ("minio", "https://files.test:9000"),
        ("s3", f"https://imcloud-{demo.pk}.files.test:9000"),
    ):
        settings.STORAGE_KIND = kind
        policy = Client().get("/demo/")["Content-Security-Policy"]
        assert f"img-src 'self' data: {origin};" in policy
        assert f"connect-src 'self' ws: wss: {origin};" in policy


def change(how, client=None, **form):
    return (client or Client()).post(f"/demo/group/{how}", form)


def test_a_group_is_changed_by_who_is_signed_in_to_the_demo_and_nobody_else(demo):
    customer = Tenant.objects.create(name="customer")
    renewed()
    foreign = tokens.issue(
        TenantEntry(customer.pk, customer.name, customer.app_key, customer.app_secret), "ann"
    )
    own = sign_in("ann").json()
    form = {"appKey": own["appKey"], "token": own["token"], "group": "team"}
    refused = [
        form | {"token": ""},
        form | {"token": own["token"][:-1] + ("A" if own["token"][-1] != "A" else "B")},
        form | {"token": foreign},
        form | {"token": foreign, "appKey": customer.app_key},
        {"group": "team"},
    ]
    for how in ("join", "leave"):
        assert [change(how, **each).status_code for each in refused] == [403] * 5
    assert change("join", **form).status_code == 429
    assert Client().get("/demo/group/join").status_code == 405


def test_a_locked_demos_groups_are_closed(demo):
    own = sign_in("ann").json()
    demo.state = Tenant.State.LOCKED
    demo.save()
    renewed()
    assert change("join", group="team", appKey=own["appKey"], token=own["token"]).status_code == 403


def test_what_no_group_can_be_called_is_refused_and_so_is_another_sites_form(demo):
    renewed()
    own = sign_in("ann").json()
    signed = {"appKey": own["appKey"], "token": own["token"]}
    for name in ("", "   ", "x" * 65, "two\nlines", "a,b"):
        answer = change("join", group=name, **signed)
        assert (answer.status_code, "name" in answer.json()["error"]) == (400, True)
    mallory = Client(enforce_csrf_checks=True)
    answer = change("join", mallory, group="team", **signed)
    assert (answer.status_code, "CSRF" in answer.content.decode()) == (403, True)
