"""A SET's tables in the admin pages: to look at, never to write. The router leads to the SET's database."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from google.protobuf.message import DecodeError

from apps.accounts.admin import ReadOnlyAdmin, TenantFilter, moment
from apps.messaging.models import CANARY, PRIVATE, DeviceCursor, Head, Message
from apps.routing.protocol.im_pb2 import UpStreamMessage


class KindFilter(admin.SimpleListFilter):
    title = parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(PRIVATE), "private"), (str(CANARY), "canary")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        value = self.value()
        return queryset.filter(kind=int(value)) if value and value.isdecimal() else queryset


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ("seq", "stored_at", "uid", "tenant", "kind", "sender", "target", "method", "flags")
    list_filter = (TenantFilter, KindFilter)
    search_fields = ("=uid", "=sender", "=target")
    ordering = ("-seq",)
    readonly_fields = ("stored_at", "classname", "content")

    @admin.display(description="time", ordering="seq")
    def stored_at(self, message: Message) -> str:
        return moment(message.time)

    @admin.display
    def classname(self, message: Message) -> str:
        return _up(message).classname

    @admin.display
    def content(self, message: Message) -> str:
        return _up(message).content.decode(errors="replace")


def _up(message: Message) -> UpStreamMessage:
    try:
        return UpStreamMessage.FromString(bytes(message.up))
    except DecodeError:
        return UpStreamMessage(classname="(not readable)")


@admin.register(Head)
class HeadAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "epoch", "newest")

    @admin.display(description="time of the newest message")
    def newest(self, head: Head) -> str:
        return moment(head.time)


@admin.register(DeviceCursor)
class DeviceCursorAdmin(ReadOnlyAdmin):
    list_display = ("user", "device", "tenant", "read_to", "moved_at")
    list_filter = (TenantFilter,)
    search_fields = ("=user",)
    ordering = ("-moved_at",)

    @admin.display(description="acknowledged up to", ordering="time")
    def read_to(self, cursor: DeviceCursor) -> str:
        return moment(cursor.time)
