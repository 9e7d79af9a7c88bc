"""The admin pages of webhooks: where they may go, and what is told again."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.auth.models import User as Operator
from django.test import Client
from django.urls import reverse

from apps.accounts import webhooks
from apps.accounts.models import Tenant, Webhooks
from apps.messaging.webhooks.deliveries import State
from apps.messaging.webhooks.dispatcher import Dispatcher
from tests.messaging.conftest import users
from tests.messaging.sending import say
from tests.messaging.webhooks.conftest import rows, settle, tenant
from tests.messaging.webhooks.receiver import Receiver

ALICE, BOB, CAROL = users("set1", 3)
LIST = "admin:messaging_webhookdelivery_changelist"


@pytest.fixture
def browser(client: Client) -> Client:
    client.force_login(Operator.objects.create_superuser("operator"))
    return client


@pytest.mark.django_db
def test_urls_are_known_everywhere_and_those_of_the_inside_are_refused(browser: Client) -> None:
    owner = Tenant.objects.create(name="t1")
    form = {"tenant": owner.pk, "judge_timeout": 5000, "judge_kinds": "PERSON, GROUP", "judge_open": "on"}
    add = reverse("admin:accounts_webhooks_add")
    for url in ("http://127.0.0.1/", "http://10.1.2.3/", "ftp://93.184.216.34/", "http://[::1]/"):
        assert browser.post(add, form | {"messages_url": url}).status_code == 200  # the form again
    assert browser.post(add, form | {"judge_kinds": "EVERYBODY"}).status_code == 200
    assert browser.post(add, form | {"judge_timeout": 60_000}).status_code == 200
    assert not Webhooks.objects.exists()
    assert webhooks.table.renew().of == {}
    assert browser.post(add, form | {"messages_url": "http://93.184.216.34/hook"}).status_code == 302
    (made,) = webhooks.table.renew().of.values()
    assert (made.tenant, made.messages_url) == (owner.pk, "http://93.184.216.34/hook")
    browser.post(
        reverse("admin:accounts_webhooks_changelist"),
        {"action": "delete_selected", "_selected_action": [Webhooks.objects.get().pk], "post": "yes"},
    )
    assert webhooks.table.renew().of == {}


def choose(browser: Client, action: str, *ids: int, query: str = "") -> Any:
    return browser.post(reverse(LIST) + query, {"action": action, "_selected_action": ids}, follow=True)


def test_dead_letters_are_found_and_told_again_one_or_a_range(
    set1: Dispatcher, receiver: Receiver, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.messaging.webhooks.dispatcher.ATTEMPTS", 1)
    tenant(1, messages_url=receiver.url())
    receiver.answer = lambda call: 500
    uids = [say(ALICE, BOB, number) for number in range(5)]
    settle(set1)
    assert [state for (state,) in rows("state")] == [State.DEAD] * 5
    ids = [id_ for (id_,) in rows("id")]
    page = browser.get(reverse(LIST), {"state__exact": str(State.DEAD.value), "q": uids[3]}).content.decode()
    assert uids[3] in page and uids[2] not in page
    body = browser.get(reverse("admin:messaging_webhookdelivery_change", args=(ids[3],))).content.decode()
    assert "HTTP 500" in body and "objectName" in body

    receiver.answer, receiver.calls = (lambda call: 200), []
    choose(browser, "replay", ids[4])
    settle(set1)
    assert [call.headers["x-delivery-id"] for call in receiver.calls] == [uids[4]]

    receiver.calls = []
    choose(browser, "replay_range", ids[0], ids[2])
    settle(set1)
    assert [call.headers["x-delivery-id"] for call in receiver.calls] == uids[:3]
    assert [state for (state,) in rows("state")] == [1, 1, 1, 2, 1]

    receiver.calls = []
    choose(browser, "replay_range", ids[3], query="?state__exact=2")
    choose(browser, "replay_range", ids[0], ids[4], query="?state__exact=2")  # they are not listed any more
    settle(set1)
    assert [call.headers["x-delivery-id"] for call in receiver.calls] == [uids[3]]


def test_whoever_may_only_look_tells_nothing_again(
    set1: Dispatcher, receiver: Receiver, client: Client
) -> None:
    tenant(1, messages_url=receiver.url())
    say(ALICE, BOB)
    settle(set1)
    mallory = Operator.objects.create_user("mallory", is_staff=True)
    mallory.user_permissions.add(Permission.objects.get(codename="view_webhookdelivery"))
    client.force_login(mallory)
    choose(client, "replay", rows("id")[0][0])
    settle(set1)
    assert len(receiver.calls) == 1
