"""The topology in the admin pages. Every process follows a change within a second."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from apps.routing import access_points
from apps.routing.models import AccessPoint, Actor, Cluster, NetworkRange, Node, ServerSet, State


class NamedForLife(admin.ModelAdmin):
    """Names are in queues, keys and databases: a row keeps the fields of `for_life` as it was created."""

    for_life: tuple[str, ...] = ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if obj is None else self.for_life


@admin.register(Cluster)
class ClusterAdmin(NamedForLife):
    list_display = ("name",)
    search_fields = ("name",)


@admin.register(ServerSet)
class ServerSetAdmin(NamedForLife):
    for_life = ("name", "database", "cluster")
    list_display = ("name", "cluster", "database")
    list_filter = ("cluster",)
    search_fields = ("name",)

    def has_delete_permission(self, request: HttpRequest, obj: ServerSet | None = None) -> bool:
        return False  # its log holds messages that nothing else has


class ActorInline(admin.TabularInline):
    model = Actor
    extra = 0


@admin.register(Node)
class NodeAdmin(NamedForLife):
    for_life = ("name", "server_set")
    list_display = ("name", "server_set", "weight", "state")
    list_editable = ("weight", "state")
    list_filter = ("server_set", "state")
    search_fields = ("name",)
    inlines = (ActorInline,)


@admin.register(Actor)
class ActorAdmin(admin.ModelAdmin):
    list_display = ("method", "node", "task", "min_concurrency", "max_concurrency", "is_message")
    list_filter = ("node", "is_message", "task")
    list_select_related = ("node",)
    search_fields = ("method",)
    ordering = ("node", "method")


@admin.register(AccessPoint)
class AccessPointAdmin(NamedForLife):
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
                access_points.change_state(point, state)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                self.log_change(request, point, f"State: {state.label}.")
                self.message_user(request, f"Access point {point} is {state.label.lower()}.")


@admin.register(NetworkRange)
class NetworkRangeAdmin(admin.ModelAdmin):
    list_display = ("network", "region", "site", "changed")
    list_filter = ("region", "site")
    search_fields = ("network",)
    ordering = ("network",)
