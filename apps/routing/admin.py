"""The topology in the admin pages. Every process follows a change within a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html

from apps.accounts.admin import ReadOnlyAdmin
from apps.routing import access_points, audit, keeping, set_database
from apps.routing.audit import Audited
from apps.routing.cluster_page import PAGE, ClusterPage
from apps.routing.models import (
    AccessPoint,
    Actor,
    Cluster,
    HealthEvent,
    NetworkRange,
    Node,
    ServerSet,
    Slot,
    SlotMove,
    State,
    Topology,
)

STANDBY_PAGE = "admin:messaging_standby_page"


class NamedForLife(Audited):
    """Names are in queues, keys and databases: a row keeps the fields of `for_life` as it was created."""

    for_life: tuple[str, ...] = ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if obj is None else self.for_life


class Kept(admin.ModelAdmin):
    """A change that `keeping` refuses is taken back as a whole, and the list says why."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._kept(request, lambda: super(Kept, self).changeform_view(request, *args, **kwargs))

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._kept(request, lambda: super(Kept, self).changelist_view(request, *args, **kwargs))

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._kept(request, lambda: super(Kept, self).delete_view(request, *args, **kwargs))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            row.delete()  # the queryset's own would ask no rule

    def _kept(self, request: HttpRequest, view: Callable[[], Any]) -> Any:
        if request.method != "POST":
            return view()
        try:
            with keeping.all_served():
                return view()
        except ValidationError as refused:
            list(messages.get_messages(request))  # forgets what the view has said: it is not so
            for sentence in refused.messages:
                self.message_user(request, sentence, messages.ERROR)
            return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")


@admin.register(Cluster)
class ClusterAdmin(Kept, NamedForLife):
    list_display = ("name", "page")
    search_fields = ("name",)

    def get_urls(self) -> list[Any]:
        # Before the last one, which would lead any other address to the form of a cluster.
        *forms, anything = super().get_urls()
        return [*forms, *ClusterPage(self).urls(), anything]

    @admin.display
    def page(self, cluster: Cluster) -> str:
        return format_html('<a href="{}">state, load, actions</a>', reverse(PAGE, args=[cluster.name]))


class ServerSetForm(ModelForm):
    """A new SET has a database with its tables. Later the form does not have these fields."""

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if {"name", "database"} <= self.cleaned_data.keys():
            try:
                set_database.check(self.cleaned_data["name"], self.cleaned_data["database"])
            except ValidationError as refused:
                self.add_error("database", refused)
        return cleaned


@admin.register(ServerSet)
class ServerSetAdmin(Kept, NamedForLife):
    form = ServerSetForm
    for_life = ("name", "database", "cluster")
    of_standby = ("standby", "standby_page", "epoch", "degraded_at")  # what commands and failovers change
    list_display = (
        "name",
        "cluster",
        "weight",
        "database",
        "standby_page",
        "epoch",
        "durability",
        "degraded_at",
    )
    list_filter = ("cluster", "durability")
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "cluster", "database", "weight")}),
        (
            "Standby",
            {
                "fields": (
                    *of_standby,
                    "durability",
                    "when_standby_away",
                    "standby_patience",
                    "automatic_failover",
                    "probes",
                )
            },
        ),
    )

    def get_fieldsets(self, request: HttpRequest, obj: ServerSet | None = None) -> Any:
        """A new SET has no standby yet."""
        return super().get_fieldsets(request, obj)[: None if obj else 1]

    def get_readonly_fields(self, request: HttpRequest, obj: ServerSet | None = None) -> tuple[str, ...]:
        return (*super().get_readonly_fields(request, obj), *self.of_standby)

    @admin.display(description="standby's state")
    def standby_page(self, its: ServerSet) -> str:
        if not its.standby:
            return "no standby"
        return format_html('<a href="{}">lag, failover, comparison</a>', reverse(STANDBY_PAGE))

    def get_deleted_objects(self, objs: Iterable[ServerSet], request: HttpRequest) -> tuple[Any, ...]:
        """Its nodes go with it. What keeps it, `ServerSet.delete` says."""
        nodes = {str(each): [f"node {node}" for node in each.node_set.order_by("name")] for each in objs}
        tree = [part for name, its in nodes.items() for part in (f"SET {name}", its)]
        return tree, {"SETs": len(nodes), "nodes": sum(map(len, nodes.values()))}, set(), []


class ActorInline(admin.TabularInline):
    model = Actor
    extra = 0


@admin.register(Node)
class NodeAdmin(Kept, NamedForLife):
    for_life = ("name", "server_set")
    list_display = ("name", "server_set", "weight", "state")
    list_editable = ("weight", "state")
    list_filter = ("server_set", "state")
    search_fields = ("name",)
    inlines = (ActorInline,)


@admin.register(Actor)
class ActorAdmin(Kept, Audited):
    list_display = ("method", "node", "task", "min_concurrency", "max_concurrency", "is_message")
    list_filter = ("node", "is_message", "task")
    list_select_related = ("node",)
    search_fields = ("method",)
    ordering = ("node", "method")


@admin.register(AccessPoint)
class AccessPointAdmin(Kept, NamedForLife):
    list_display = (
        "name",
        "address",
        "cluster",
        "site",
        "region",
        "weight",
        "connection_limit",
        "connections",
        "state",
    )
    list_editable = ("weight", "connection_limit")
    list_filter = ("state", "site", "region")
    list_select_related = ("cluster",)
    search_fields = ("name", "address")
    actions = ("drain", "resume", "take_out")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        self._loads = access_points.read_loads(None)  # once a page, not once a row
        return super().changelist_view(request, extra_context)

    @admin.display(description="connections")
    def connections(self, point: AccessPoint) -> str:
        load = self._loads.get(point.name)
        return "no gateway beats" if load is None else str(load)

    @admin.action(description="Drain: ask the clients to move, some every second", permissions=("change",))
    def drain(self, request: HttpRequest, queryset: QuerySet[AccessPoint]) -> None:
        self._change(request, queryset, State.DRAINING)

    @admin.action(description="Resume: take clients again", permissions=("change",))
    def resume(self, request: HttpRequest, queryset: QuerySet[AccessPoint]) -> None:
        self._change(request, queryset, State.UP)

    @admin.action(description="Take out: ask all clients to move at once", permissions=("change",))
    def take_out(self, request: HttpRequest, queryset: QuerySet[AccessPoint]) -> None:
        self._change(request, queryset, State.DOWN)

    def _change(self, request: HttpRequest, points: QuerySet[AccessPoint], state: State) -> None:
        for point in points.order_by("pk"):
            try:
                before = access_points.change_state(point, state)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                self.log_change(request, point, audit.changed("State", before, state))
                self.message_user(request, f"Access point {point} is {state.label.lower()}.")


@admin.register(NetworkRange)
class NetworkRangeAdmin(Audited):
    list_display = ("network", "region", "site", "changed")
    list_filter = ("region", "site")
    search_fields = ("network",)
    ordering = ("network",)


@admin.register(HealthEvent)
class HealthEventAdmin(ReadOnlyAdmin):
    """What the heartbeat checks have found."""

    list_display = ("at", "kind", "name", "finding", "reason")
    list_filter = ("kind", "finding", "at")
    search_fields = ("name", "reason")


@admin.register(Slot)
class SlotAdmin(ReadOnlyAdmin):
    list_display = ("number", "cluster", "server_set")
    list_filter = ("cluster", "server_set")
    list_select_related = ("cluster", "server_set")
    search_fields = ("=number",)
    ordering = ("cluster", "number")


@admin.register(SlotMove)
class SlotMoveAdmin(ReadOnlyAdmin):
    list_display = (
        "number",
        "cluster",
        "source",
        "destination",
        "step",
        "rows",
        "asked_by",
        "created_at",
        "changed_at",
        "problem",
    )
    list_filter = ("step", "source", "destination")
    list_select_related = ("cluster", "source", "destination")
    search_fields = ("=number",)
    ordering = ("-pk",)


@admin.register(Topology)
class TopologyAdmin(ReadOnlyAdmin):
    list_display = ("__str__",)
