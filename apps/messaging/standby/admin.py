"""Failovers and comparisons in the admin pages, and the way to the page of the standby databases."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from apps.accounts.admin import ReadOnlyAdmin
from apps.messaging.models import ChangedRow, Epoch, EpochMark
from apps.messaging.standby.drawing import shown
from apps.messaging.standby.page import FOLDER, StandbyPage
from apps.routing.models import Comparison, Failover
from apps.routing.set_tables import OfASet


@admin.register(Failover)
class FailoverAdmin(ReadOnlyAdmin):
    """Each failover that there was; the newest first. Passwords in the databases' URLs are not shown."""

    list_display = (
        "pk",
        "server_set",
        "step",
        "epoch",
        "planned",
        "automatic",
        "confirmed",
        "recovered",
        "asked_by",
        "created_at",
        "switched_at",
        "problem",
    )
    list_filter = ("server_set", "step", "planned", "automatic", "confirmed")
    list_select_related = ("server_set",)
    date_hierarchy = "created_at"
    ordering = ("-pk",)
    fields = (
        "server_set",
        "step",
        "old_primary",
        "new_primary",
        "epoch",
        "planned",
        "automatic",
        "confirmed",
        "fenced",
        "head",
        "fork",
        "recovered",
        "asked_by",
        "created_at",
        "switched_at",
        "changed_at",
        "problem",
    )
    readonly_fields = ("old_primary", "new_primary", "created_at", "changed_at")
    change_list_template = f"{FOLDER}/list.html"

    def get_urls(self) -> list[Any]:
        return [*StandbyPage(self.admin_site).urls(), *super().get_urls()]

    @admin.display
    def old_primary(self, one: Failover) -> str:
        return shown(one.source)

    @admin.display
    def new_primary(self, one: Failover) -> str:
        return shown(one.destination)


class FoundFilter(admin.SimpleListFilter):
    title = parameter_name = "found"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("equal", "equal"), ("differing", "differing")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Comparison]) -> QuerySet[Comparison]:
        if self.value() == "equal":
            return queryset.filter(wrong=0)
        return queryset.exclude(wrong=0) if self.value() == "differing" else queryset


@admin.register(Comparison)
class ComparisonAdmin(ReadOnlyAdmin):
    list_display = ("at", "server_set", "rows", "wrong", "repaired", "seconds", "asked_by")
    list_filter = ("server_set", FoundFilter, "repaired")
    list_select_related = ("server_set",)
    date_hierarchy = "at"
    fields = ("server_set", "at", "rows", "wrong", "repaired", "seconds", "asked_by", "as_json")
    readonly_fields = ("as_json",)
    change_list_template = f"{FOLDER}/list.html"

    @admin.display(description="result")
    def as_json(self, comparison: Comparison) -> str:
        return format_html("<pre>{}</pre>", json.dumps(comparison.result, indent=2, ensure_ascii=False))


@admin.register(Epoch)
class EpochAdmin(OfASet):
    list_display = ("number", "fork", "before", "time")
    search_fields = ("=number",)
    ordering = ("-number",)


@admin.register(EpochMark)
class EpochMarkAdmin(OfASet):
    list_display = ("user", "device", "epoch", "time", "sent", "upto", "tenant")
    search_fields = ("=user", "=device")
    ordering = ("-id",)


@admin.register(ChangedRow)
class ChangedRowAdmin(OfASet):
    list_display = ("table", "key")
    search_fields = ("=key",)
    ordering = ("-id",)
