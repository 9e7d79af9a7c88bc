"""A SET's tables in the admin pages: to look at, not to write; block list entries can be lifted."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from google.protobuf.message import DecodeError

from apps.accounts.admin import ReadOnlyAdmin, TenantFilter, moment
from apps.accounts.models import BlockEntry
from apps.messaging import chatrooms, log, tenant_rules, word_admin  # noqa: F401  (it registers its tables)
from apps.messaging.models import (
    CANARY,
    CHATROOM,
    GROUP,
    PRIVATE,
    Chatroom,
    ChatroomEntry,
    ChatroomUser,
    CleanMark,
    Conversation,
    ConversationRead,
    ConversationState,
    DeviceCursor,
    EarlyChange,
    ExchangeCursor,
    ExchangeGap,
    Group,
    GroupMember,
    GroupRead,
    GroupRule,
    Head,
    HistoryFile,
    InboxTime,
    ListCursor,
    Membership,
    Message,
    OnlineStatus,
    PushRecord,
    PushRemark,
    RemovedMessage,
    Subscription,
    TenantRule,
    UserSetting,
    UserTag,
    Watch,
    WhiteEntry,
)
from apps.messaging.standby import admin as standby  # noqa: F401  likewise
from apps.messaging.webhooks import admin as webhooks  # noqa: F401  its pages are registered with these
from apps.routing import room_members
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.set_tables import OfASet, SetFilter


def _end(until: int) -> str:
    """When something ends, of epoch ms."""
    if until >= chatrooms.END:
        return "for ever"
    return f"{moment(until)}{'' if until > log.now() else ', over'}"


class KindFilter(admin.SimpleListFilter):
    title = parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = {PRIVATE: "private", GROUP: "group", CHATROOM: "chatroom", CANARY: "canary"}
        return [(str(kind), name) for kind, name in names.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        value = self.value()
        return queryset.filter(kind=int(value)) if value and value.isdecimal() else queryset


@admin.register(Message)
class MessageAdmin(OfASet):
    list_display = (
        "seq",
        "stored_at",
        "uid",
        "tenant",
        "kind",
        "sender",
        "target",
        "inbox",
        "method",
        "flags",
    )
    list_filter = (SetFilter, TenantFilter, KindFilter)
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
class HeadAdmin(OfASet):
    list_display = ("__str__", "epoch", "newest")

    @admin.display(description="time of the newest message")
    def newest(self, head: Head) -> str:
        return moment(head.time)


@admin.register(DeviceCursor)
class DeviceCursorAdmin(OfASet):
    list_display = ("user", "device", "tenant", "read_to", "moved_at")
    list_filter = (SetFilter, TenantFilter)
    search_fields = ("=user",)
    ordering = ("-moved_at",)

    @admin.display(description="acknowledged up to", ordering="time")
    def read_to(self, cursor: DeviceCursor) -> str:
        return moment(cursor.time)


@admin.register(ExchangeCursor)
class ExchangeCursorAdmin(OfASet):
    list_display = ("origin", "seq")
    ordering = ("origin",)


@admin.register(ExchangeGap)
class ExchangeGapAdmin(OfASet):
    list_display = ("slot", "origin", "after", "upto")
    search_fields = ("=slot", "=origin")
    ordering = ("id",)


@admin.register(Group)
class GroupAdmin(OfASet):
    list_display = ("group", "name", "tenant", "size", "slot")
    list_filter = (SetFilter, TenantFilter)
    search_fields = ("=group",)
    ordering = ("-id",)


@admin.register(GroupMember)
class GroupMemberAdmin(OfASet):
    list_display = ("group", "user", "tenant", "joined_at")
    list_filter = (SetFilter, TenantFilter)
    search_fields = ("=group", "=user")
    ordering = ("-id",)

    @admin.display(description="joined", ordering="joined")
    def joined_at(self, member: GroupMember) -> str:
        return moment(member.joined)


@admin.register(GroupRule)
class GroupRuleAdmin(OfASet):
    list_display = ("group", "user", "kind", "tenant", "ends_at")
    list_filter = (SetFilter, "kind", TenantFilter)
    search_fields = ("=group", "=user")
    ordering = ("-id",)

    @admin.display(description="until", ordering="until")
    def ends_at(self, rule: GroupRule) -> str:
        return _end(rule.until)


@admin.register(Membership)
class MembershipAdmin(OfASet):
    list_display = ("user", "group", "tenant", "joined_at", "left_at")
    list_filter = (SetFilter, TenantFilter)
    search_fields = ("=user", "=group")
    ordering = ("-id",)

    @admin.display(description="joined", ordering="joined")
    def joined_at(self, membership: Membership) -> str:
        return moment(membership.joined)

    @admin.display(description="left", ordering="until")
    def left_at(self, membership: Membership) -> str:
        return moment(membership.until) if membership.until else ""


@admin.register(Chatroom)
class ChatroomAdmin(OfASet):
    list_display = (
        "room",
        "name",
        "tenant",
        "created_at",
        "members",
        "dropped",
        "kept",
        "muted",
        "held",
        "slot",
    )
    list_filter = (SetFilter, TenantFilter)
    search_fields = ("=room",)
    ordering = ("-id",)

    @admin.display(description="created", ordering="created")
    def created_at(self, room: Chatroom) -> str:
        return moment(room.created)

    @admin.display
    def members(self, room: Chatroom) -> int:
        return self._counts(room)[0]

    @admin.display(description="dropped under load")
    def dropped(self, room: Chatroom) -> int:
        return self._counts(room)[1]

    @staticmethod
    def _counts(room: Chatroom) -> tuple[int, int]:
        return room_members.counts(str(room._state.db), [(room.tenant, room.room)])[0]


@admin.register(ChatroomUser)
class ChatroomUserAdmin(OfASet):
    list_display = ("room", "user", "kind", "tenant", "ends_at")
    list_filter = (SetFilter, "kind", TenantFilter)
    search_fields = ("=room", "=user")
    ordering = ("-id",)

    @admin.display(description="until", ordering="until")
    def ends_at(self, its: ChatroomUser) -> str:
        return _end(its.until)


@admin.register(ChatroomEntry)
class ChatroomEntryAdmin(OfASet):
    list_display = ("room", "key", "owner", "tenant", "changed_at")
    list_filter = (SetFilter, TenantFilter)
    search_fields = ("=room", "=key")
    ordering = ("-id",)

    @admin.display(description="changed", ordering="time")
    def changed_at(self, entry: ChatroomEntry) -> str:
        return moment(entry.time)


@admin.register(TenantRule)
class TenantRuleAdmin(ReadOnlyAdmin):
    """The same for all SETs: the mutes of users, and what chatrooms do with classes. They can be lifted."""

    list_display = ("kind", "name", "tenant", "ends_at")
    list_filter = (TenantFilter, "kind")
    search_fields = ("=name",)
    ordering = ("-id",)

    @admin.display(description="until", ordering="until")
    def ends_at(self, rule: TenantRule) -> str:
        return _end(rule.until)

    def has_delete_permission(self, request: HttpRequest, obj: TenantRule | None = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def delete_model(self, request: HttpRequest, obj: TenantRule) -> None:
        tenant_rules.remove(obj.tenant, obj.kind, [obj.name])  # workers are to know

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[TenantRule]) -> None:
        for rule in queryset:
            self.delete_model(request, rule)


@admin.register(UserTag)
class UserTagAdmin(ReadOnlyAdmin):
    """The same for all SETs."""

    list_display = ("user", "tag", "tenant")
    list_filter = (TenantFilter,)
    search_fields = ("=user", "=tag")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(HistoryFile)
class HistoryFileAdmin(ReadOnlyAdmin):
    """The same for all SETs. Who knows a file's token may fetch it, so it is not shown."""

    list_display = ("hour", "tenant", "made_at", "deleted")
    list_filter = (TenantFilter, "deleted")
    search_fields = ("=hour",)
    ordering = ("-made_at", "-id")
    exclude = ("token",)


@admin.register(PushRecord)
class PushRecordAdmin(ReadOnlyAdmin):
    """The same for all SETs."""

    list_display = ("push", "sent", "tenant", "users", "message", "platforms", "title", "alert")
    list_filter = (TenantFilter,)
    search_fields = ("=push",)
    ordering = ("-id",)

    @admin.display(description="asked", ordering="at")
    def sent(self, record: PushRecord) -> str:
        return moment(record.at)


class TenantIdFilter(TenantFilter):
    column = "tenant_id"


@admin.register(BlockEntry)
class BlockEntryAdmin(OfASet):
    list_display = ("owner", "blocked", "tenant_id", "created_at")
    list_filter = (SetFilter, TenantIdFilter)
    search_fields = ("=owner", "=blocked")
    ordering = ("-id",)

    def has_delete_permission(self, request: HttpRequest, obj: BlockEntry | None = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)


@admin.register(WhiteEntry)
class WhiteEntryAdmin(OfASet):
    list_display = ("owner", "allowed", "tenant")
    list_filter = (SetFilter, TenantFilter)
    search_fields = ("=owner", "=allowed")
    ordering = ("-id",)


class OfAUser(OfASet):
    """What a user has set or asked for."""

    list_filter = (SetFilter, TenantFilter)
    search_fields = ("=user",)
    ordering = ("-id",)


@admin.register(UserSetting)
class UserSettingAdmin(OfAUser):
    list_display = ("user", "key", "tenant", "version")


@admin.register(PushRemark)
class PushRemarkAdmin(OfAUser):
    list_display = ("user", "kind", "target", "remark", "tenant")


@admin.register(ConversationState)
class ConversationStateAdmin(OfAUser):
    list_display = ("user", "kind", "target", "channel", "tenant", "version")


@admin.register(Conversation)
class ConversationAdmin(OfAUser):
    list_display = ("user", "kind", "target", "tenant", "newest", "removed")


@admin.register(ConversationRead)
class ConversationReadAdmin(OfAUser):
    list_display = ("user", "kind", "target", "tenant", "time")


@admin.register(CleanMark)
class CleanMarkAdmin(OfAUser):
    list_display = ("user", "kind", "target", "tenant", "upto")


@admin.register(RemovedMessage)
class RemovedMessageAdmin(OfAUser):
    list_display = ("user", "uid", "tenant")


@admin.register(ListCursor)
class ListCursorAdmin(OfAUser):
    list_display = ("user", "tenant", "time", "low")


@admin.register(GroupRead)
class GroupReadAdmin(OfAUser):
    list_display = ("group", "uid", "user", "tenant", "time")


@admin.register(InboxTime)
class InboxTimeAdmin(OfASet):
    list_display = ("uid", "slot", "tenant", "time")
    search_fields = ("=uid", "=slot")
    ordering = ("-id",)


@admin.register(EarlyChange)
class EarlyChangeAdmin(OfASet):
    list_display = ("uid", "by", "method", "tenant", "at")
    search_fields = ("=uid", "=by")
    ordering = ("-id",)


@admin.register(Subscription)
class SubscriptionAdmin(OfAUser):
    list_display = ("user", "watched", "generation", "tenant", "since", "expiry")


@admin.register(Watch)
class WatchAdmin(OfAUser):
    list_display = ("user", "watcher", "generation", "tenant", "until")


@admin.register(OnlineStatus)
class OnlineStatusAdmin(OfAUser):
    list_display = ("user", "tenant", "changed")
