"""Tenants and users in the admin pages."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.functional import cached_property

from apps.accounts.models import LIMITS, Change, Tenant, User, changing

ROWS_LISTED = 10_000
NEW_CLUSTER = (
    "Serves the app, for life: its messages will be in this cluster's SETs. "
    "Empty: chosen by the hash of the app key."
)
CLUSTER = "Serves the app, for life: its messages are in this cluster's SETs. Empty: the first cluster does."


def moment(milliseconds: int) -> str:
    """Epoch ms as the admin pages write times."""
    local = timezone.localtime(datetime.fromtimestamp(milliseconds // 1000, UTC))
    return f"{local:%Y-%m-%d %H:%M:%S}.{milliseconds % 1000:03}"


class BoundedPaginator(Paginator):
    """Pages of the first `ROWS_LISTED` rows; counting millions takes seconds. Search finds the rest."""

    @cached_property
    def count(self) -> int:
        return cast("QuerySet[Any]", self.object_list)[:ROWS_LISTED].count()


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that only the software writes."""

    show_full_result_count = False
    paginator = BoundedPaginator

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class TenantFilter(admin.SimpleListFilter):
    """For tables of a SET, whose tenants are in another database. `column` is theirs."""

    title = "tenant"
    parameter_name = "of"
    column = "tenant"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Tenant.objects.order_by("name").values_list("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{self.column: int(value)}) if value and value.isdecimal() else queryset


@admin.register(Tenant)
class TenantAdmin(admin.ModelAdmin):
    """A secret is shown once, when it is made, and never again."""

    list_display = ("name", "app_key", "cluster", "state", "created_at", "secret_rotated_at")
    list_filter = ("state", "cluster", "created_at")
    search_fields = ("name", "app_key")
    ordering = ("name",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    "app_key",
                    "cluster",
                    "state",
                    "whitelist_only",
                    "created_at",
                    "secret_rotated_at",
                )
            },
        ),
        ("Limits", {"fields": LIMITS, "description": "Empty: no limit. Known everywhere within a second."}),
    )
    actions = ("rotate_secret",)

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        made = ("created_at", "secret_rotated_at")
        # For life: clients hold the key, and the cluster's SETs the messages.
        return made if obj is None else ("app_key", "cluster", *made)

    def get_form(
        self, request: HttpRequest, obj: Tenant | None = None, change: bool = False, **kwargs: Any
    ) -> type[ModelForm[Tenant]]:
        kwargs["help_texts"] = {"cluster": NEW_CLUSTER if obj is None else CLUSTER}
        return super().get_form(request, obj, change, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        return False  # its messages would stay without it: lock it instead

    def save_model(self, request: HttpRequest, obj: Tenant, form: ModelForm[Tenant], change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            self._show_secret(request, obj)

    @admin.action(description="Rotate the secret: ends every token of the app", permissions=("change",))
    def rotate_secret(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> HttpResponse | None:
        if "confirmed" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                "title": "Rotate app secrets",
                "opts": self.opts,
                "tenants": queryset,
                "checkbox": ACTION_CHECKBOX_NAME,
            }
            return TemplateResponse(request, "admin/accounts/tenant/rotate.html", context)
        for tenant in queryset:
            tenant.rotate_secret()
            self.log_change(request, tenant, "Rotated the secret.")
            self._show_secret(request, tenant)
        return None

    def _show_secret(self, request: HttpRequest, tenant: Tenant) -> None:
        text = f"The app secret of {tenant.name} is {tenant.app_secret} : copy it now, it is not shown again."
        self.message_user(request, text, messages.WARNING)


class RestrictedFilter(admin.SimpleListFilter):
    title = "restriction"
    parameter_name = "restricted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("blocked", "Blocked now"),
            ("deactivated", "Deactivated"),
            ("expired", "Tokens were ended"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        if self.value() == "blocked":
            return queryset.filter(blocked_until__gt=timezone.now())
        if self.value() == "deactivated":
            return queryset.filter(deactivated=True, changed__gt=0)
        if self.value() == "expired":
            return queryset.filter(~Q(tokens_valid_after=0), changed__gt=0)
        return queryset


@admin.register(User)
class UserAdmin(admin.ModelAdmin):
    list_display = ("user_id", "tenant", "name", "created_at", "blocked_until", "tokens_ended")
    list_filter = (RestrictedFilter, "tenant", "created_at")
    list_select_related = ("tenant",)
    search_fields = ("=user_id", "name__startswith")
    ordering = ("-id",)
    autocomplete_fields = ("tenant",)
    fields = (
        *("tenant", "user_id", "name", "portrait_uri", "blocked_until"),
        *("registered", "deactivated", "tokens_ended", "created_at"),
    )
    actions = ("end_tokens",)
    show_full_result_count = False
    paginator = BoundedPaginator

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        # The server API deletes what is the user's when it deactivates him, which this page would not.
        made = ("registered", "deactivated", "tokens_ended", "created_at")
        return made if obj is None else ("tenant", "user_id", *made)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False  # with the row would go what ended its tokens: they would be good again

    @admin.display(description="Tokens ended up to", ordering="tokens_valid_after")
    def tokens_ended(self, user: User) -> str:
        return moment(user.tokens_valid_after) if user.tokens_valid_after else ""

    @admin.action(description="End all tokens issued until now", permissions=("change",))
    def end_tokens(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        now = time.time_ns() // 1_000_000
        with changing() as version:
            # By key: the list's queryset may be ordered, joined or filtered by what changes here.
            keys = list(queryset.values_list("pk", flat=True))
            count = User.objects.filter(pk__in=keys).update(tokens_valid_after=now, changed=version)
        self.message_user(
            request, f"Ended the tokens of {count} users; open connections stay.", messages.SUCCESS
        )


@admin.register(Change)
class ChangeAdmin(ReadOnlyAdmin):
    list_display = ("__str__",)
