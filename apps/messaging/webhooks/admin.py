"""Webhooks in the admin pages: a tenant's URLs, and the log of what was told, to look at and tell again."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.accounts.admin import TenantFilter, moment
from apps.accounts.models import Webhooks
from apps.messaging import log
from apps.messaging.models import OnlineSession, WebhookCursor, WebhookDelivery
from apps.messaging.webhooks import sending
from apps.messaging.webhooks.deliveries import State
from apps.messaging.webhooks.routing import CHANNELS
from apps.routing.set_tables import OfASet, SetFilter

URLS = ("messages_url", "online_url", "chatrooms_url", "judge_url")


class WebhooksForm(forms.ModelForm):
    """Says at once what a call would say later."""

    def clean(self) -> dict[str, Any] | None:
        for name in URLS:
            if url := self.cleaned_data.get(name):
                self._check(name, url)
        unknown = {each.strip() for each in self.cleaned_data.get("judge_kinds", "").split(",")}
        unknown -= {*CHANNELS.values(), ""}
        if unknown:
            self.add_error("judge_kinds", f"There is no {', '.join(sorted(unknown))}.")
        return super().clean()

    def _check(self, name: str, url: str) -> None:
        try:
            to = sending.target(url)
            if not settings.WEBHOOK_PRIVATE:
                sending.address_of(to.host, to.port)
        except sending.NotAllowed as error:
            self.add_error(name, str(error))
        except OSError:
            pass  # a name that is not there yet


@admin.register(Webhooks)
class WebhooksAdmin(admin.ModelAdmin):
    form = WebhooksForm
    list_display = ("tenant", *URLS)
    list_select_related = ("tenant",)
    search_fields = ("tenant__name",)
    ordering = ("tenant__name",)
    fieldsets = (
        (None, {"fields": ("tenant",)}),
        ("Told afterwards", {"fields": ("messages_url", "from_server", "status_messages")}),
        (None, {"fields": ("online_url", "chatrooms_url")}),
        (
            "Asked before a message is stored",
            {"fields": ("judge_url", "judge_kinds", "judge_classes", "judge_timeout", "judge_open")},
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Webhooks | None = None) -> tuple[str, ...]:
        return () if obj is None else ("tenant",)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Webhooks]) -> None:
        for each in queryset:
            each.delete()  # every process is to know


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(OfASet):
    """Dead letters, and what was delivered, can be told again: it keeps its id."""

    list_display = ("id", "made_at", "hook", "tenant", "state", "attempts", "due_at", "uid", "newest_try")
    list_filter = (SetFilter, TenantFilter, "hook", "state")
    search_fields = ("=uid", "=key")
    ordering = ("-id",)
    actions = ("replay", "replay_range")
    readonly_fields = ("made_at", "due_at", "ended_at")

    @admin.display(description="made", ordering="made")
    def made_at(self, delivery: WebhookDelivery) -> str:
        return moment(delivery.made)

    @admin.display(description="next try")
    def due_at(self, delivery: WebhookDelivery) -> str:
        return moment(delivery.due) if delivery.state == State.WAITING and delivery.due else ""

    @admin.display(description="ended")
    def ended_at(self, delivery: WebhookDelivery) -> str:
        return moment(delivery.ended) if delivery.ended else ""

    @admin.display(description="last try")
    def newest_try(self, delivery: WebhookDelivery) -> str:
        return delivery.tries.rstrip().rpartition("\n")[2]

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.change_webhookdelivery")

    @admin.action(description="Tell again", permissions=("replay",))
    def replay(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        self._replay(request, queryset)

    @admin.action(description="Tell again: all from the first to the last of these", permissions=("replay",))
    def replay_range(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        chosen = sorted(queryset.values_list("id", flat=True)) or [0]  # they may not be listed any more
        listed = self.get_changelist_instance(request).get_queryset(request)
        self._replay(request, listed.filter(id__range=(chosen[0], chosen[-1])))

    def _replay(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        # One that waits is not disturbed: it may be out just now.
        ended = queryset.order_by().exclude(state=State.WAITING)
        number = ended.update(state=State.WAITING, attempts=0, due=log.now(), ended=0)
        self.message_user(request, f"{number} are told again.", messages.SUCCESS)


@admin.register(WebhookCursor)
class WebhookCursorAdmin(OfASet):
    list_display = ("__str__",)


@admin.register(OnlineSession)
class OnlineSessionAdmin(OfASet):
    list_display = ("user", "connection", "tenant", "since_at")
    list_filter = (SetFilter, TenantFilter)
    search_fields = ("=user", "=connection")
    ordering = ("-id",)

    @admin.display(description="since", ordering="since")
    def since_at(self, session: OnlineSession) -> str:
        return moment(session.since)
