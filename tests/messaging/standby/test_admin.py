"""The page of the standby databases: what it shows, what it does, for whom, and what it refuses."""

import re
import socket
from collections.abc import Iterator
from html import unescape
from io import StringIO
from queue import Empty
from typing import Any

import psycopg
import pytest
from celery import Celery, current_app
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.messaging.standby import drawing, failover, page
from apps.messaging.tasks import compare_standby
from apps.routing.models import Comparison, Durability, Failover, HealthEvent, ServerSet
from tests.messaging.conftest import away, user
from tests.messaging.sending import say
from tests.messaging.standby.conftest import Two

PAGE = "/admin/routing/failover/standby/"
ALICE, BOB = user("set1"), user("set1", but=user("set1"))
BUTTONS = {
    "Fail over…",
    "Fail over as planned, or back…",
    "Compare…",
    "Compare and repair…",
}


@pytest.fixture
def operator(two: Two) -> Client:
    return login(User.objects.create_superuser("operator"))


def login(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def clerk(*permissions: str) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return login(user)


def text(response: Any) -> str:
    """What a reader sees, in one line."""
    assert response.status_code == 200
    body = re.sub(r"<(script|style)>.*?</\1>", "", response.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def seen(client: Client) -> str:
    return text(client.get(PAGE))


def buttons(client: Client) -> set[str]:
    return {
        unescape(each) for each in re.findall(r'name="do"[^>]*>([^<]*)<', client.get(PAGE).content.decode())
    }


def form(do: str, **more: str) -> dict[str, str]:
    its = ServerSet.objects.get(name=more.get("set", "set1"))
    return {"do": do, "set": its.name, "epoch": str(its.epoch), **more}


def ask(client: Client, do: str, **more: str) -> str:
    return text(client.post(f"{PAGE}do/", form(do, **more), follow=True))


def confirm(client: Client, do: str, **more: str) -> str:
    return ask(client, do, confirmed="1", **more)


def logged() -> list[str]:
    """What the log of changes says of set1, oldest first."""
    entries = LogEntry.objects.filter(object_repr="set1", content_type__model="serverset").order_by("pk")
    return [f"{each.user}: {each.get_change_message()}" for each in entries]


def asked_tasks() -> list[list[Any]]:
    """The arguments of the comparisons that wait for set1's replication worker."""
    found: list[list[Any]] = []
    with current_app.connection_for_read() as broker:
        queue = broker.SimpleQueue("set1.replication", accept=["msgpack"])
        while True:
            try:
                message = queue.get(block=False)
            except Empty:
                return found
            message.ack()
            if message.headers["task"] == compare_standby.name:
                found.append(message.payload[0])


def test_a_set_with_a_standby_is_shown_with_how_far_that_is_behind(operator: Client, two: Two) -> None:
    say(ALICE, BOB)
    two.ship()
    assert "set1 epoch 1 standby follows" in seen(operator)
    assert "Behind nothing Durability local Fails over when asked to Compared never" in seen(operator)
    say(ALICE, BOB)
    say(ALICE, BOB)
    assert re.search(r"Behind 2 messages, \d+\.\d s ", seen(operator))
    assert "set2" not in seen(operator)
    ServerSet.objects.update(
        durability=Durability.STANDBY, degraded_at=timezone.now(), automatic_failover=True, probes=7
    )
    assert "while the standby is away: refuse; degraded to local since 20" in seen(operator)
    assert "by itself, after 7 failed probes" in seen(operator)


def test_passwords_are_not_shown(operator: Client, two: Two) -> None:
    secret = "postgresql://imcloud:xyzzy@127.0.0.1:1/elsewhere"
    ServerSet.objects.filter(name="set1").update(standby=secret)
    one = Failover.objects.create(
        server_set=ServerSet.objects.get(name="set1"), source=secret, destination=secret, epoch=2,
        planned=False, step=Failover.Step.DONE,
    )  # fmt: skip
    of_failover = operator.get(reverse("admin:routing_failover_change", args=[one.pk]))
    for response in (operator.get(PAGE), of_failover):
        assert "127.0.0.1:1/elsewhere" in text(response)
        assert "xyzzy" not in response.content.decode()


def test_a_database_that_is_away_is_said_to_be_and_the_rest_is_shown(operator: Client, two: Two) -> None:
    say(ALICE, BOB)
    with away(two.standby):
        assert "set1 epoch 1 standby does not follow" in seen(operator)
        assert "is not currently accepting connections Behind not known" in seen(operator)
    with away(two.primary):
        assert "set1 epoch 1 primary away" in seen(operator)
    two.change(two.standby, "UPDATE messaging_head SET epoch = 7")
    assert "it is in epoch 7: it has to follow first Behind not known" in seen(operator)


def test_databases_that_say_nothing_are_waited_for_together_and_not_asked_twice(
    operator: Client, two: Two, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "PATIENCE", 0.2)
    its = ServerSet.objects.get(name="set1")
    others = [
        ServerSet.objects.create(cluster=its.cluster, name=f"silent{n}", database=silent, standby=silent)
        for n in range(3)
    ]
    shown = seen(operator)
    assert shown.count("no answer yet") == 2 * len(others)
    assert "set1 epoch 1 standby follows" in shown
    questions = [drawing._asked[each.name] for each in others]
    seen(operator)
    assert [drawing._asked[each.name] for each in others] == questions


@pytest.fixture
def silent() -> Iterator[str]:
    """A database that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://nobody@127.0.0.1:{server.getsockname()[1]}/x"


def test_a_standby_that_is_very_far_behind_is_not_counted_to_the_end(
    operator: Client, two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "COUNTED", 2)
    for _ in range(3):
        say(ALICE, BOB)
    assert "Behind 2 or more messages, " in seen(operator)


def test_a_failover_is_asked_about_with_what_would_be_lost_and_then_done(operator: Client, two: Two) -> None:
    say(ALICE, BOB)
    two.ship()
    say(ALICE, BOB)
    asked = ask(operator, "failover")
    assert "SET set1: fail over?" in asked
    assert "The standby has everything up to seq 1; 1 message would be missing." in asked
    assert not Failover.objects.exists()
    assert logged() == []
    done = confirm(operator, "failover")
    one = Failover.objects.get()
    assert f"SET set1: Failover {one.pk} of set1 begun." in done
    assert (one.step, one.planned, one.asked_by) == (Failover.Step.FENCE, False, "operator")
    assert logged() == [f"operator: Failover {one.pk} of set1 begun."]
    assert f"Failover {one.pk} to epoch 2, for operator: fence ship promote switch rejoin" in done
    failover.run("set1")
    assert "set1 epoch 2 standby follows" in seen(operator)
    assert re.search(
        rf"Last failover number {one.pk}, done, for operator, switched 20\S+ \S+ ", seen(operator)
    )


def test_a_planned_one_goes_there_and_back_and_loses_nothing(operator: Client, two: Two) -> None:
    say(ALICE, BOB)
    for epoch in (2, 3):
        two.ship()
        assert "nothing will be missing" in ask(operator, "planned")
        assert "Planned failover" in confirm(operator, "planned")
        failover.run("set1")
        its = ServerSet.objects.get(name="set1")
        assert its.epoch == epoch
    assert its.database == two.primary
    two.ship()
    assert two.is_same()
    assert [one.planned for one in Failover.objects.all()] == [True, True]
    assert len(logged()) == 2


def test_the_steps_of_one_that_is_under_way_are_shown_with_what_it_waits_for(
    operator: Client, two: Two
) -> None:
    one = failover.begin("set1", planned=True, asked_by="alice (manage.py)")
    with away(two.primary):
        failover.step(one.pk)
        assert f"Planned failover {one.pk} to epoch 2, for alice (manage.py)" in seen(operator)
        assert re.search("fence waits: .*is not currently accepting connections", seen(operator))
    assert "data-hurries" in operator.get(f"{PAGE}now/").content.decode()
    assert buttons(operator) == {"Cancel the failover…", "Compare…", "Compare and repair…"}
    failover.run("set1")
    assert "data-hurries" not in operator.get(f"{PAGE}now/").content.decode()
    assert buttons(operator) == BUTTONS


def test_one_that_has_not_switched_is_cancelled_and_messages_are_taken_again(
    operator: Client, two: Two
) -> None:
    confirm(operator, "planned")
    one = failover.step(Failover.objects.get().pk)
    assert one.step == Failover.Step.SHIP
    assert f"Failover {one.pk} of set1 is in step ship. The old primary takes writes again." in ask(
        operator, "cancel"
    )
    assert f"Failover {one.pk} of set1 cancelled." in confirm(operator, "cancel")
    assert Failover.objects.get().step == Failover.Step.CANCELLED
    connections["set1"].close()  # fenced ones were ended
    assert say(ALICE, BOB)
    assert logged()[1:] == [f"operator: Failover {one.pk} of set1 cancelled."]


def test_one_that_came_by_itself_is_confirmed_by_a_person(operator: Client, two: Two) -> None:
    one = failover.begin("set1", planned=False, asked_by="observers", automatic=True)
    failover.run("set1")
    assert "It has, and does not again before a person has confirmed that." in seen(operator)
    assert buttons(operator) == {*BUTTONS, "Confirm the failover…"}
    assert f"Failover {one.pk} of set1 began by itself at 20" in ask(operator, "confirm")
    assert not Failover.objects.get().confirmed
    assert f"Failover {one.pk} of set1 confirmed." in confirm(operator, "confirm")
    assert Failover.objects.get().confirmed
    assert buttons(operator) == BUTTONS
    assert logged() == [f"operator: Failover {one.pk} of set1 confirmed."]
    assert "SET set1 has not failed over by itself." in confirm(operator, "confirm")


def test_what_commands_do_is_in_the_log_of_changes_too(two: Two) -> None:
    cancelled = failover.begin("set1", planned=True, asked_by="test")
    call_command("sets", "cancel", "set1")
    confirmed = failover.begin("set1", planned=False, asked_by="observers", automatic=True)
    failover.run("set1")
    call_command("sets", "confirm", "set1")
    assert Failover.objects.get(pk=confirmed.pk).confirmed
    call_command("sets", "compare", "set1", "--repair", stderr=StringIO())
    assert [each.partition(": ")[2] for each in logged()] == [
        f"Failover {cancelled.pk} of set1 cancelled.",
        f"Failover {confirmed.pk} of set1 confirmed.",
        "Standby repaired: 0 rows differed.",
    ]


def test_a_comparison_is_made_by_the_sets_worker_and_then_shown(operator: Client, two: Two) -> None:
    say(ALICE, BOB)
    say(ALICE, BOB)
    two.ship()
    two.change(two.standby, "DELETE FROM messaging_message WHERE seq = 1")
    assert "compared by the SET's replication worker" in ask(operator, "compare")
    assert asked_tasks() == []
    assert "Comparison asked for." in confirm(operator, "compare")
    ((*args,),) = asked_tasks()
    assert args == ["set1", False, "operator"]
    compare_standby(*args)
    assert re.search("Compared 20.*, for operator: .* rows, 1 differed result", seen(operator))
    assert "rows that only the standby has are deleted" in ask(operator, "repair")
    confirm(operator, "repair")
    ((*args,),) = asked_tasks()
    assert args == ["set1", True, "operator"]
    compare_standby(*args)
    assert "1 differed, and were brought over again" in seen(operator)
    assert two.is_same()
    compare_standby("set1", asked_by="operator")
    assert re.search("Compared 20.*, for operator: .* rows, all equal", seen(operator))
    assert logged() == ["operator: Comparison asked for.", "operator: Comparison with repair asked for."]


def test_the_timed_comparison_is_once_a_day_and_nobodys(two: Two) -> None:
    compare_standby("set1")
    compare_standby("set1")
    assert Comparison.objects.get().asked_by == ""
    compare_standby("set1", asked_by="operator")
    assert Comparison.objects.count() == 2


def test_a_comparison_that_cannot_be_made_is_an_alarm(operator: Client, two: Two) -> None:
    with away(two.standby):
        compare_standby("set1", repair=True, asked_by="operator")
    assert not Comparison.objects.exists()
    assert HealthEvent.objects.get().kind == "standby"
    assert "suspected standby of set1 not compared, as operator had asked: the standby cannot" in seen(
        operator
    )


def test_what_cannot_be_done_is_refused_with_a_reason_asked_or_confirmed(operator: Client, two: Two) -> None:
    def refused(do: str, sentence: str, **more: str) -> None:
        for tried in (ask, confirm):
            shown = tried(operator, do, **more)
            assert sentence in shown
            assert "Standby databases" in shown

    with away(two.standby):
        refused("failover", "The standby of SET set1 does not answer: ")
    with away(two.primary):
        refused("planned", "a planned failover waits for all that it has.")
        assert "The primary does not answer: what it has behind that" in ask(operator, "failover")
    refused("cancel", "No failover of SET set1 is under way.")
    refused("confirm", "SET set1 has not failed over by itself.")
    refused("failover", "SET set2 has no standby.", set="set2")
    refused("repair", "SET set2 has no standby.", set="set2")
    assert not Failover.objects.exists()
    one = failover.begin("set1", planned=True, asked_by="test")
    refused("failover", "A failover of SET set1 is under way already.")
    assert Failover.objects.get().pk == one.pk
    assert logged() == []
    assert asked_tasks() == []


def test_what_fails_halfway_has_changed_nothing_and_is_said(
    operator: Client, two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = failover.step(failover.begin("set1", planned=True, asked_by="test").pk)
    with away(two.primary):
        shown = confirm(operator, "cancel")
        assert re.search("SET set1 is as it was: connection failed: .*not currently accepting", shown)
    monkeypatch.setattr(page, "LOCKED_FOR", 100)
    with psycopg.connect(**connections["default"].get_connection_params()) as other:
        other.execute("SELECT FROM routing_failover FOR UPDATE")
        shown = confirm(operator, "cancel")
        assert "SET set1 is as it was: a step of its failover is being done just now, try again." in shown
    unreachable = Celery(broker="redis://127.0.0.1:1", set_as_current=False)
    unreachable.conf.broker_transport_options = current_app.conf.broker_transport_options
    monkeypatch.setattr(page, "current_app", unreachable)
    assert "The broker does not answer: " in confirm(operator, "compare")
    assert Failover.objects.get(pk=one.pk).step == Failover.Step.SHIP
    assert logged() == []


def test_one_that_has_switched_is_not_cancelled(operator: Client, two: Two) -> None:
    one = failover.begin("set1", planned=False, asked_by="test")
    with away(two.primary):
        failover.run("set1")
        assert Failover.objects.get().step == Failover.Step.REJOIN
        assert "Cancel the failover…" not in buttons(operator)
        shown = confirm(operator, "cancel")
    assert f"Failover {one.pk} of set1 is in step rejoin: it cannot be cancelled any more." in shown
    assert Failover.objects.get().step == Failover.Step.REJOIN


def test_what_was_asked_about_before_a_failover_is_not_done_after_it(operator: Client, two: Two) -> None:
    """A form that is sent again, or was open elsewhere, must not take the SET back where it was."""
    old = form("failover", confirmed="1")
    operator.post(f"{PAGE}do/", old)
    failover.run("set1")
    assert ServerSet.objects.get(name="set1").epoch == 2
    shown = text(operator.post(f"{PAGE}do/", old, follow=True))
    assert "SET set1 has failed over meanwhile: look again." in shown
    assert Failover.objects.count() == 1


def test_who_may_only_look_sees_no_buttons_and_does_nothing(two: Two) -> None:
    reader = clerk("view_serverset")
    assert "set1 epoch 1 standby follows" in seen(reader)
    assert buttons(reader) == set()
    for do in page.ACTIONS:
        for confirmed in ({}, {"confirmed": "1"}):
            assert reader.post(f"{PAGE}do/", form(do, **confirmed)).status_code == 403
    assert not Failover.objects.exists()
    assert asked_tasks() == []


def test_who_may_change_sets_may_do_it(two: Two) -> None:
    writer = clerk("change_serverset")
    assert buttons(writer) == BUTTONS
    assert "begun" in confirm(writer, "planned")
    assert Failover.objects.get().asked_by == "clerk"


def test_nobody_else_sees_it(two: Two) -> None:
    stranger = clerk("view_node")
    assert [stranger.get(f"{PAGE}{each}").status_code for each in ("", "now/")] == [403, 403]
    assert Client().get(PAGE).status_code == 302


def test_nothing_is_done_by_a_get_or_without_the_forms_token(operator: Client, two: Two) -> None:
    for do in page.ACTIONS:
        assert operator.get(f"{PAGE}do/", form(do, confirmed="1")).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())
    assert strict.post(f"{PAGE}do/", form("failover", confirmed="1")).status_code == 403
    assert operator.post(f"{PAGE}do/", form("explode")).status_code == 404
    assert operator.post(f"{PAGE}do/", form("failover") | {"set": "set9"}).status_code == 404
    assert not Failover.objects.exists()


def test_the_page_is_found_from_the_lists_and_from_the_set(operator: Client, two: Two) -> None:
    its = ServerSet.objects.get(name="set1")
    for path in (
        reverse("admin:routing_failover_changelist"),
        reverse("admin:routing_comparison_changelist"),
        reverse("admin:routing_serverset_changelist"),
        reverse("admin:routing_serverset_change", args=[its.pk]),
    ):
        assert f'href="{PAGE}"' in operator.get(path).content.decode(), path
    other = ServerSet.objects.get(name="set2")
    path = reverse("admin:routing_serverset_change", args=[other.pk])
    assert f'href="{PAGE}"' not in operator.get(path).content.decode()


def test_failovers_and_comparisons_are_listed_and_cannot_be_changed(operator: Client, two: Two) -> None:
    say(ALICE, BOB)
    two.ship()
    two.change(two.standby, "DELETE FROM messaging_message")
    compare_standby("set1", asked_by="operator")
    comparison = Comparison.objects.get()
    one = two.fail_over(planned=True)
    listed = reverse("admin:routing_comparison_changelist")
    assert "1 comparison" in text(operator.get(listed, {"found": "differing"}))
    assert "0 comparisons" in text(operator.get(listed, {"found": "equal"}))
    shown = text(operator.get(reverse("admin:routing_comparison_change", args=[comparison.pk])))
    assert re.search('"tables": .*"table": "messaging_message",.* "missing": 1,', shown)
    listed = reverse("admin:routing_failover_changelist")
    assert "1 failover" in text(operator.get(listed, {"step": "rejoin"}))
    assert "0 failovers" in text(operator.get(listed, {"step": "done"}))
    path = reverse("admin:routing_failover_change", args=[one.pk])
    assert f"New primary: {drawing.shown(one.destination)}" in text(operator.get(path))
    assert operator.post(path, {"step": "done"}).status_code == 403
    assert operator.post(reverse("admin:routing_comparison_add")).status_code == 403


def test_an_operator_sets_what_is_his_to_set_of_a_sets_standby(operator: Client, two: Two) -> None:
    its = ServerSet.objects.get(name="set1")
    path = reverse("admin:routing_serverset_change", args=[its.pk])
    asked = {
        "weight": "1", "durability": "standby", "when_standby_away": "degrade", "standby_patience": "2.5",
        "automatic_failover": "on", "probes": "9",
    }  # fmt: skip
    attempted = {"standby": "", "epoch": "9", "database": "", "degraded_at_0": "2026-01-01"}
    assert operator.post(path, asked | attempted).status_code == 302
    its.refresh_from_db()
    assert (its.durability, its.when_standby_away, its.standby_patience) == ("standby", "degrade", 2.5)
    assert (its.automatic_failover, its.probes) == (True, 9)
    assert (its.standby, its.epoch, its.degraded_at) == (two.standby, 1, None)
    assert "Durability: local → standby." in logged()[0]
    assert "less than or equal to 10" in text(operator.post(path, asked | {"standby_patience": "11"}))
