"""The topology in the admin pages. Every process follows a change within a second."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.routing.models import AccessPoint, Actor, Cluster, Node, ServerSet


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
class AccessPointAdmin(admin.ModelAdmin):
    list_display = ("__str__", "cluster", "site", "region", "weight", "state")
    list_editable = ("weight", "state")
    list_filter = ("state", "site", "region")
    search_fields = ("address",)
