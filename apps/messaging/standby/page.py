"""The page of the standby databases in the admin, and what is done there. What it shows is in `drawing`.

A failover is only begun here: beat goes on with it. Comparisons are made by the SET's replication worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg
from celery import current_app
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DatabaseError, connection, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from apps.messaging.standby import comparing, drawing, failover
from apps.routing.models import Failover, ServerSet

FOLDER = "admin/messaging/standby"
PAGE = "admin:messaging_standby_page"
COMPARE_EXPIRES = 600.0  # s that a comparison may wait for the worker
LOCKED_FOR = 3000  # ms that the page waits for who is at a step of the failover


class Action(NamedTuple):
    """What an operator can do with a SET's standby. Both functions raise ValidationError when they cannot."""

    button: str
    outlook: Callable[[ServerSet], list[str]]  # what would come of it; nothing is changed
    do: Callable[[ServerSet, str], str]  # for whom; what the log of changes says


class StandbyPage:
    """The views, for the admin of failovers. Who may see and change SETs may see and do what is here."""

    def __init__(self, site: admin.AdminSite) -> None:
        self._site = site

    def urls(self) -> list[URLPattern]:
        wrap = self._site.admin_view
        return [
            path("standby/", wrap(self.page), name="messaging_standby_page"),
            path("standby/now/", wrap(self.now), name="messaging_standby_now"),
            path("standby/do/", wrap(self.do), name="messaging_standby_do"),
        ]

    def page(self, request: HttpRequest) -> HttpResponse:
        return TemplateResponse(request, f"{FOLDER}/page.html", self._context(request))

    def now(self, request: HttpRequest) -> HttpResponse:
        """The part of the page that renews itself."""
        return TemplateResponse(request, f"{FOLDER}/now.html", self._context(request))

    def do(self, request: HttpRequest) -> HttpResponse:
        """Ask whether to, with what would come of it; when that is confirmed, do it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        action = ACTIONS.get(request.POST.get("do", ""))
        if action is None:
            raise Http404
        its = get_object_or_404(ServerSet, name=request.POST.get("set", ""))
        if not self._admin.has_change_permission(request, its):
            raise PermissionDenied
        try:
            if request.POST.get("epoch") != str(its.epoch):
                # What was asked about, or done already, was another failover.
                raise ValidationError(f"SET {its} has failed over meanwhile: look again.")
            if "confirmed" not in request.POST:
                return self._ask(request, its, action.button, action.outlook(its))
            done = self._done(request, its, action)
        except ValidationError as refused:
            for sentence in refused.messages:
                messages.error(request, sentence)
        except (psycopg.Error, DatabaseError, RuntimeError) as error:
            busy = isinstance(error.__cause__, psycopg.errors.LockNotAvailable)
            why = "a step of its failover is being done just now, try again" if busy else drawing.line(error)
            messages.error(request, f"SET {its} is as it was: {why}.")
        else:
            messages.success(request, f"SET {its}: {done}")
        return redirect(PAGE)

    @transaction.atomic
    def _done(self, request: HttpRequest, its: ServerSet, action: Action) -> str:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {LOCKED_FOR}")
        done = action.do(its, request.user.get_username())
        self._admin.log_change(request, its, done)
        return done

    @property
    def _admin(self) -> Any:
        """That of SETs."""
        return self._site.get_model_admin(ServerSet)

    def _context(self, request: HttpRequest) -> dict[str, Any]:
        if not self._admin.has_view_permission(request):
            raise PermissionDenied
        return {
            **self._site.each_context(request),
            **drawing.draw(),
            "opts": Failover._meta,
            "title": "Standby databases",
            "may_change": self._admin.has_change_permission(request),
        }

    def _ask(self, request: HttpRequest, its: ServerSet, button: str, lines: list[str]) -> HttpResponse:
        """The page that posts again with `confirmed`."""
        context = {
            **self._site.each_context(request),
            "opts": Failover._meta,
            "title": f"SET {its}: {button[0].lower()}{button[1:]}?",
            "lines": lines,
            "button": button,
            "posted": [(name, request.POST[name]) for name in ("do", "set", "epoch")],
        }
        return TemplateResponse(request, f"{FOLDER}/confirm.html", context)


def _outlook(its: ServerSet) -> failover.Outlook:
    if _under_way(its) is not None:
        raise ValidationError(f"A failover of SET {its} is under way already.")
    found = failover.outlook(its.name)
    if found.reason:
        raise ValidationError(found.reason)
    return found


def _losses(its: ServerSet) -> list[str]:
    return [
        str(_outlook(its)),
        "What is missing is appended when the old primary is back. Nothing is acknowledged until everybody "
        "knows the new one; that takes seconds.",
    ]


def _losses_of_planned(its: ServerSet) -> list[str]:
    found = _outlook(its)
    if found.head is None:
        raise ValidationError(
            f"The primary of SET {its} does not answer: a planned failover waits for all that it has."
        )
    return [
        str(found),
        "A planned failover brings these over first, so nothing will be missing. It can be cancelled until "
        "the standby has them.",
    ]


def _begin(its: ServerSet, who: str) -> str:
    return f"{_named(failover.begin(its.name, planned=False, asked_by=who))} begun."


def _begin_planned(its: ServerSet, who: str) -> str:
    return f"Planned {failover.begin(its.name, planned=True, asked_by=who)} begun."


def _named(one: Failover) -> str:
    return str(one).capitalize()


def _under_way(its: ServerSet) -> Failover | None:
    return Failover.objects.filter(server_set=its).exclude(step__in=failover.OVER).first()


def _to_cancel(its: ServerSet) -> Failover:
    if (one := _under_way(its)) is None:
        raise ValidationError(f"No failover of SET {its} is under way.")
    return one


def _before_cancelling(its: ServerSet) -> list[str]:
    one = _to_cancel(its)
    return [f"{_named(one)} is in step {one.step}. The old primary takes writes again."]


def _cancel(its: ServerSet, who: str) -> str:
    one = _to_cancel(its)
    failover.cancel(one.pk)
    return f"{_named(one)} cancelled."


def _unconfirmed(its: ServerSet) -> list[Failover]:
    found = list(Failover.objects.filter(server_set=its, automatic=True, confirmed=False).order_by("pk"))
    if not found:
        raise ValidationError(f"SET {its} has not failed over by itself.")
    return found


def _before_confirming(its: ServerSet) -> list[str]:
    begun = [
        f"{_named(one)} began by itself at {one.created_at:%Y-%m-%d %H:%M:%S}." for one in _unconfirmed(its)
    ]
    return [*begun, "When you confirm that you have seen to it, the SET may fail over by itself again."]


def _confirm(its: ServerSet, who: str) -> str:
    confirmed = _unconfirmed(its)
    Failover.objects.filter(pk__in=[one.pk for one in confirmed]).update(confirmed=True)
    return " ".join(f"{_named(one)} confirmed." for one in confirmed)


def _before_comparing(its: ServerSet) -> list[str]:
    if not its.standby:
        raise ValidationError(f"SET {its} has no standby.")
    return ["All rows of both databases are compared by the SET's replication worker, while the SET serves."]


def _before_repairing(its: ServerSet) -> list[str]:
    return [
        *_before_comparing(its),
        "What differs is brought over again from the primary; rows that only the standby has are deleted.",
    ]


def _compare(its: ServerSet, who: str) -> str:
    _send(its, who, repair=False)
    return "Comparison asked for."


def _repair(its: ServerSet, who: str) -> str:
    _send(its, who, repair=True)
    return "Comparison with repair asked for."


def _send(its: ServerSet, who: str, *, repair: bool) -> None:
    _before_comparing(its)
    try:
        current_app.send_task(
            comparing.COMPARE,
            args=(its.name, repair, who),
            queue=f"{its.name}.replication",
            expires=COMPARE_EXPIRES,
            retry=False,
            ignore_result=True,
        )
    except Exception as error:  # whatever the broker's library raises
        raise ValidationError(f"The broker does not answer: {drawing.line(error)}.") from None


ACTIONS = {
    "failover": Action("Fail over", _losses, _begin),
    "planned": Action("Fail over as planned", _losses_of_planned, _begin_planned),
    "cancel": Action("Cancel the failover", _before_cancelling, _cancel),
    "confirm": Action("Confirm the failover", _before_confirming, _confirm),
    "compare": Action("Compare", _before_comparing, _compare),
    "repair": Action("Compare and repair", _before_repairing, _repair),
}
