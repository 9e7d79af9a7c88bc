"""The tables of a SET. Written by `log` with COPY under the head's lock; read by everybody with a cursor."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from apps.messaging.modifications import METHOD as MODIFY
from apps.routing.placement import SLOTS

# Bits of Message.flags.
PERSISTED = 1  # kept in history (bit 0x01 of the upstream sessionId)
COUNTED = 2  # counted as unread (bit 0x02)
DIRECTED = 8  # for some members of its group only: toUserIds
MOVED = 4  # it came with its slot from another SET, where devices were shown it
HELD = 16  # its chatroom's messages are shown to nobody for the time being
RECALLED = 32  # it was recalled: nobody is shown it any more
CHANGES = 64  # it changes something that was there before it, in each SET that it comes to (see `changes`)
TO_SELF = 128  # for its sender's other devices only, whatever its target
UNSEEN = 256  # it goes to its sender's SET for the change that it makes, and his devices are not shown it
REWORDED = 512  # sensitive words in it were replaced before it was stored
# SOURCES (14336) in apps.routing.envelope: what it was sent with.

# Message.kind: the protocol's conversation types (PROTOCOL 6.1); 0 and below are imcloud's own.
CANARY, PRIVATE, DISCUSSION, GROUP, CHATROOM, SYSTEM = 0, 1, 2, 3, 4, 6
GROUPS = (DISCUSSION, GROUP)  # a discussion is a group that its members run themselves
GROUP_CHANGE = -3  # who has come to a group or left it, in order with the group's messages
SLOT_GONE = -5  # a slot (`method`: its number) goes to another SET: its users are shown nothing behind it
READ_TIME = -4  # up to when a user has read a conversation, told by one of his devices to the others


class Head(models.Model):
    """The one row that all writers of the SET lock: commit order is `seq` order."""

    in_set = True
    id = models.SmallIntegerField(primary_key=True, default=1)
    epoch = models.BigIntegerField(default=1)
    seq = models.BigIntegerField(default=0)
    time = models.BigIntegerField(default=0, help_text="ms; no stored message has a greater one.")
    slots = models.BinaryField(
        max_length=SLOTS // 8,
        default=bytes(SLOTS // 8),
        help_text="A bit for each slot: set where the SET takes the slot's messages.",
    )

    class Meta:
        verbose_name = "head of the log"
        verbose_name_plural = "head of the log"
        constraints = (models.CheckConstraint(condition=models.Q(id=1), name="head_is_one_row"),)

    def __str__(self) -> str:
        return f"seq {self.seq}"


class Message(models.Model):
    """One row of the log."""

    in_set = True
    seq = models.BigIntegerField(primary_key=True)
    uid = models.CharField(max_length=64, db_collation="C")
    time = models.BigIntegerField(help_text="ms; strictly increasing within one inbox.")
    sent = models.BigIntegerField(
        help_text="ms; the time in the log that took it first: what users are shown."
    )
    tenant = models.BigIntegerField()
    kind = models.SmallIntegerField()
    sender = models.CharField(max_length=64, db_collation="C")
    target = models.CharField(max_length=64, db_collation="C")
    conversation = models.BigIntegerField(help_text="A hash of the conversation, the same for both sides.")
    flags = models.SmallIntegerField()
    inbox = models.BooleanField(help_text="The target's messages are kept here, and this is one.")
    sendbox = models.BooleanField(help_text="The sender's messages are kept here, and this is one.")
    export = models.BooleanField(help_text="Other SETs read it here.")
    reach = models.BinaryField(
        null=True, max_length=SLOTS // 8, help_text="Of a group: a bit for each slot that a member is of."
    )
    target_slot = models.SmallIntegerField()
    sender_slot = models.SmallIntegerField()
    method = models.CharField(max_length=32)
    up = models.BinaryField(help_text="The UpStreamMessage as it was sent.")

    class Meta:
        # A message is here twice where its slots have met: as the receiver's, and as the copy of the sender.
        # Constraints, not unique=True: that would add a second index for LIKE, paid by every append.
        constraints = (
            models.UniqueConstraint(fields=("uid",), name="message_once", condition=models.Q(inbox=True)),
            models.UniqueConstraint(
                fields=("uid",), name="message_copy_once", condition=models.Q(inbox=False)
            ),
        )
        indexes = (
            models.Index(
                fields=("tenant", "target", "time"),
                name="message_inbox",
                condition=models.Q(kind__in=(PRIVATE, SYSTEM), inbox=True),
            ),
            models.Index(
                fields=("tenant", "sender", "time"),
                name="message_sendbox",
                condition=models.Q(kind__gt=CANARY, sendbox=True),
            ),
            models.Index(fields=("seq",), name="message_export", condition=models.Q(export=True)),
            models.Index(
                fields=("tenant", "conversation", "sent"),
                name="message_history",
                condition=models.Q(kind__gt=CANARY),
            ),
            models.Index(
                fields=("tenant", "target", "time"), name="message_group", condition=models.Q(kind__in=GROUPS)
            ),
            models.Index(
                fields=("tenant", "time"), name="message_to_all", condition=models.Q(kind=SYSTEM, target="")
            ),
            models.Index(fields=("time",), name="message_canary", condition=models.Q(kind=CANARY)),
            # Few rows are in these two.
            *(
                models.Index(
                    fields=("tenant", side, "time"),
                    name=f"message_modify_{side}",
                    condition=models.Q(method=MODIFY),
                )
                for side in ("target", "sender")
            ),
            # An hour of all conversations. It has one entry for many pages: appends hardly pay for it.
            BrinIndex(fields=("sent",), name="message_hour", autosummarize=True, pages_per_range=32),
        )

    def __str__(self) -> str:
        return self.uid


class DeviceCursor(models.Model):
    """How far a device is known to have read its inbox: moved by its acknowledgements, never back."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(default=-1, db_default=-1, help_text="The user's; cursors move with it.")
    device = models.CharField(max_length=64, help_text="The platform class: one connection each.")
    time = models.BigIntegerField(help_text="ms of the newest message acknowledged without a gap.")
    moved_at = models.DateTimeField(auto_now=True, db_default=Now())

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user", "device"), name="cursor_once_a_device"),
        )

    def __str__(self) -> str:
        return f"{self.user}/{self.device}"


class ExchangeCursor(models.Model):
    """How far this SET has read another one's log. Moves in the transaction that appends what was read."""

    in_set = True
    origin = models.CharField(max_length=32, primary_key=True)
    seq = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.origin} up to {self.seq}"


class ExchangeGap(models.Model):
    """A range of an origin's log in which nobody has looked for messages of a slot that came here.

    The SET before had not come to it when it gave the slot up, this one had passed it when it took the slot.
    """

    in_set = True
    origin = models.CharField(max_length=32)
    slot = models.SmallIntegerField()
    after = models.BigIntegerField()
    upto = models.BigIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("origin", "slot", "after", "upto"), name="exchange_gap_once"),
        )

    def __str__(self) -> str:
        return f"slot {self.slot} of {self.origin}: {self.after} to {self.upto}"


class WebhookDelivery(models.Model):
    """Something that a tenant's server is to be told, was told, or could not be told (webhooks.deliveries).

    In the home SET of what it is about: the conversation, the user, the chatroom.
    """

    class Hook(models.IntegerChoices):
        MESSAGES = 1, "message routing"
        ONLINE = 2, "online status"
        CHATROOMS = 3, "chatroom status"

    class State(models.IntegerChoices):
        WAITING = 0, "waiting"
        DELIVERED = 1, "delivered"
        DEAD = 2, "dead letter"

    in_set = True
    tenant = models.BigIntegerField()
    hook = models.SmallIntegerField(choices=Hook.choices)
    slot = models.SmallIntegerField(help_text="Of what it is about.")
    key = models.BigIntegerField(help_text="Those of one key are delivered one after the other.")
    uid = models.CharField(max_length=192, db_collation="C")
    body = models.TextField(help_text="A form, or one element of a JSON array. ASCII.")
    state = models.SmallIntegerField(choices=State.choices, default=State.WAITING, db_default=State.WAITING)
    attempts = models.SmallIntegerField(default=0, db_default=0)
    due = models.BigIntegerField(default=0, db_default=0, help_text="ms; it is not tried before.")
    made = models.BigIntegerField(help_text="ms")
    ended = models.BigIntegerField(default=0, db_default=0, help_text="ms")
    tries = models.TextField(default="", db_default="", help_text="What became of each, a line; the newest.")

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "hook", "uid"), name="webhook_delivery_once"),
        )
        indexes = (
            models.Index(
                fields=("tenant", "hook", "id"), name="webhook_waiting", condition=models.Q(state=0)
            ),
            models.Index(fields=("made",), name="webhook_made"),
        )

    def __str__(self) -> str:
        return self.uid


class WebhookCursor(models.Model):
    """How far message routing has read this SET's log. Moves in the transaction that stores what was read."""

    in_set = True
    id = models.SmallIntegerField(primary_key=True, default=1)
    seq = models.BigIntegerField()

    class Meta:
        constraints = (models.CheckConstraint(condition=models.Q(id=1), name="webhook_cursor_is_one_row"),)

    def __str__(self) -> str:
        return f"up to {self.seq}"


class OnlineSession(models.Model):
    """A connection of which a tenant's server was told that it has begun; in its user's home SET."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    connection = models.CharField(max_length=128, db_collation="C")
    since = models.BigIntegerField(help_text="ms")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user", "connection"), name="online_session_once"),
        )

    def __str__(self) -> str:
        return self.connection


class Chatroom(models.Model):
    """A room that exists. Who is in it is in Redis (apps.routing.room_members), what was said in the log."""

    class Destroyed(models.IntegerChoices):
        """What `destroy_after` counts from."""

        IDLE = 0, "when idle"
        AGED = 1, "at an age"

    in_set = True
    tenant = models.BigIntegerField()
    room = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField()
    name = models.CharField(max_length=256, blank=True, db_default="")
    created = models.BigIntegerField(
        help_text="ms, of the log's own clock: messages up to it were an earlier room's of that id."
    )
    destroyed = models.SmallIntegerField(
        choices=Destroyed.choices, default=Destroyed.IDLE, db_default=Destroyed.IDLE
    )
    destroy_after = models.IntegerField(default=60, db_default=60, help_text="Minutes.")
    kept = models.BooleanField(default=False, db_default=False, help_text="It is not destroyed by itself.")
    muted = models.BooleanField(default=False, db_default=False, help_text="Only those exempt may send.")
    held = models.BooleanField(
        default=False, db_default=False, help_text="Messages are stored and shown to nobody."
    )
    entries_time = models.BigIntegerField(
        default=0, db_default=0, help_text="ms of the newest change of its entries; each has a later one."
    )
    entries_floor = models.BigIntegerField(
        default=0, db_default=0, help_text="ms; entries that were removed up to then are forgotten."
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "room"), name="chatroom_once"),)

    def __str__(self) -> str:
        return self.room


class ChatroomUser(models.Model):
    """What holds for a user in a room, whether he is in it or not."""

    class Kind(models.IntegerChoices):
        MUTED = 1, "may not send"
        BLOCKED = 2, "may not enter"
        EXEMPT = 3, "may send while the room is muted"
        KEPT = 4, "stays in it when his connection goes; his messages are not dropped under load"

    in_set = True
    tenant = models.BigIntegerField()
    room = models.CharField(max_length=64, db_collation="C")
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The room's.")
    kind = models.SmallIntegerField(choices=Kind.choices)
    until = models.BigIntegerField(help_text="ms.")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "room", "user", "kind"), name="chatroom_user_once"),
        )

    def __str__(self) -> str:
        return f"{self.user} in {self.room}"


class ChatroomEntry(models.Model):
    """One value of a room's key-value store; a removed one stays a while for those who ask what changed."""

    in_set = True
    tenant = models.BigIntegerField()
    room = models.CharField(max_length=64, db_collation="C")
    key = models.CharField(max_length=128, db_collation="C")
    slot = models.SmallIntegerField(help_text="The room's.")
    value = models.CharField(max_length=4096, db_collation="C")
    owner = models.CharField(max_length=64, db_collation="C", help_text="Who has set it last.")
    status = models.SmallIntegerField(help_text="Bits: 1 goes with its owner, 2 may be replaced, 4 removed.")
    time = models.BigIntegerField(help_text="ms of the change.")

    class Meta:
        verbose_name_plural = "chatroom entries"
        constraints = (models.UniqueConstraint(fields=("tenant", "room", "key"), name="chatroom_entry_once"),)

    def __str__(self) -> str:
        return f"{self.key} of {self.room}"


class TenantRule(models.Model):
    """What holds everywhere in a tenant. Every worker has it in memory (apps.messaging.tenant_rules)."""

    class Kind(models.IntegerChoices):
        LOW = 1, "class whose messages chatrooms drop first under load"
        KEPT = 2, "class whose messages chatrooms do not drop"
        MUTED = 3, "user who may not send to chatrooms"
        NO_ENTRIES = 4, "key-value store of chatrooms switched off"
        GROUP_MUTED = 5, "user who may not send to groups"
        PRIVATE_MUTED = 6, "user who may not send private messages"

    tenant = models.BigIntegerField()
    kind = models.SmallIntegerField(choices=Kind.choices)
    name = models.CharField(max_length=64, blank=True, default="", db_collation="C")
    until = models.BigIntegerField(default=1 << 53, help_text="ms.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "kind", "name"), name="tenant_rule_once"),)

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.name}"


class UserTag(models.Model):
    """A tag that a tenant's server has given a user, to find whom to send to (apps.messaging.user_tags).

    In the control database, unlike what nodes judge messages by: one question finds the users of all SETs.
    """

    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    tag = models.CharField(max_length=40, db_collation="C")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "tag", "user"), name="user_tag_once"),)
        indexes = (models.Index(fields=("tenant", "user"), name="user_tag_of_user"),)

    def __str__(self) -> str:
        return f"{self.tag} of {self.user}"


class PushRecord(models.Model):
    """What a tenant's server has asked to be pushed (apps.messaging.server_api.push)."""

    tenant = models.BigIntegerField()
    push = models.CharField(max_length=32, db_collation="C", help_text="The id that was answered.")
    at = models.BigIntegerField(help_text="ms.")
    users = models.IntegerField(null=True, help_text="Whom it was for; empty: everybody.")
    platforms = models.CharField(max_length=256)
    title = models.CharField(max_length=256, blank=True)
    alert = models.CharField(max_length=256, blank=True, help_text="Its beginning.")
    message = models.CharField(max_length=32, blank=True, help_text="The class of the message that was sent.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "push"), name="push_record_once"),)
        indexes = (models.Index(fields=("tenant", "at"), name="push_record_at"),)

    def __str__(self) -> str:
        return self.push


class SensitiveWord(models.Model):
    """A word of a tenant that messages may not have, or that is replaced (apps.messaging.sensitive_words)."""

    tenant = models.BigIntegerField()
    folded = models.CharField(max_length=32, db_collation="C", help_text="The word without case.")
    word = models.CharField(max_length=32)
    replacement = models.CharField(
        max_length=32,
        blank=True,
        default="",
        help_text="Stands for it; empty: who sends the word is refused.",
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "folded"), name="sensitive_word_once"),)

    def __str__(self) -> str:
        return self.word


class WordList(models.Model):
    """When a tenant's sensitive words changed last: workers read again those that are newer than theirs."""

    tenant = models.BigIntegerField(primary_key=True)
    version = models.BigIntegerField(help_text="The Change.version of the last change of its words.")

    def __str__(self) -> str:
        return f"version {self.version}"


class WhiteEntry(models.Model):
    """`owner` takes private messages from `allowed`, where his tenant wants this said; in his home SET."""

    in_set = True
    tenant = models.BigIntegerField()
    owner = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The owner's.")
    allowed = models.CharField(max_length=64, db_collation="C")

    class Meta:
        verbose_name = "white list entry"
        verbose_name_plural = "white list entries"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "owner", "allowed"), name="white_once_an_owner"),
        )

    def __str__(self) -> str:
        return f"{self.owner} takes messages from {self.allowed}"


class Group(models.Model):
    """A group, in its home SET, where all of its messages are appended."""

    in_set = True
    tenant = models.BigIntegerField()
    group = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The group's.")
    name = models.CharField(max_length=256, blank=True, default="")
    created = models.BigIntegerField(help_text="ms")
    reach = models.BinaryField(max_length=SLOTS // 8, help_text="A bit for each slot that a member is of.")
    size = models.IntegerField(default=0, help_text="Members.")
    kind = models.SmallIntegerField(default=GROUP, db_default=GROUP)
    owner = models.CharField(
        max_length=64, db_collation="C", blank=True, default="", db_default="", help_text="Of a discussion."
    )
    closed = models.BooleanField(
        default=False, db_default=False, help_text="Of a discussion: only its owner invites."
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "group"), name="group_once"),)

    def __str__(self) -> str:
        return self.group


class GroupMember(models.Model):
    """Who is in a group, in the group's home SET: who may send to it."""

    in_set = True
    tenant = models.BigIntegerField()
    group = models.CharField(max_length=64, db_collation="C")
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The group's.")
    user_slot = models.SmallIntegerField()
    joined = models.BigIntegerField(help_text="ms")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "group", "user"), name="group_member_once"),)

    def __str__(self) -> str:
        return f"{self.user} in {self.group}"


class GroupRule(models.Model):
    """What holds for a user in a group, or for all of it, even while he or the group is not there.

    In the group's home SET.
    """

    class Kind(models.IntegerChoices):
        MUTED = 1, "may not send"
        EXEMPT = 2, "may send while the group is muted"
        ALL_MUTED = 3, "the group is muted"

    in_set = True
    tenant = models.BigIntegerField()
    group = models.CharField(max_length=64, db_collation="C")
    user = models.CharField(max_length=64, db_collation="C", blank=True, help_text="Empty: for all.")
    slot = models.SmallIntegerField(help_text="The group's.")
    kind = models.SmallIntegerField(choices=Kind.choices)
    until = models.BigIntegerField(help_text="ms.")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "group", "user", "kind"), name="group_rule_once"),
        )

    def __str__(self) -> str:
        return f"{self.user} in {self.group}: {self.get_kind_display()}"


class Membership(models.Model):
    """When a user was in a group: what he may read. In the user's home SET.

    By the times of the group's log, its messages' `sent`: they are the same wherever he is at home.
    """

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    group = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    joined = models.BigIntegerField(help_text="ms")
    until = models.BigIntegerField(null=True, help_text="ms at which he left; null: he is in it.")
    until_here = models.BigIntegerField(
        null=True, help_text="ms, of this SET's log: what was sent before he left is before it."
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user", "group", "joined"), name="membership_once"),
        )

    def __str__(self) -> str:
        return f"{self.user} in {self.group}"


class UserSetting(models.Model):
    """What a user has set for himself, under a name; in his home SET."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    key = models.CharField(max_length=32)
    value = models.BinaryField()
    version = models.BigIntegerField(help_text="ms; rises with each change of any of the user's settings.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "user", "key"), name="user_setting_once"),)

    def __str__(self) -> str:
        return f"{self.key} of {self.user}"


class PushRemark(models.Model):
    """What pushes to a user call a friend or a group of his; in his home SET, where he is pushed to."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    kind = models.SmallIntegerField(help_text="The conversation's: private or group.")
    target = models.CharField(max_length=64, db_collation="C", help_text="The friend or the group.")
    remark = models.CharField(max_length=256)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user", "kind", "target"), name="push_remark_once"),
        )

    def __str__(self) -> str:
        return f"{self.target} of {self.user}"


class ConversationState(models.Model):
    """How a user has set one of his conversations: do not disturb, on top, tags; in his home SET."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    kind = models.SmallIntegerField()
    target = models.CharField(
        max_length=64,
        db_collation="C",
        blank=True,
        help_text="Empty: it is for all conversations of the kind.",
    )
    channel = models.CharField(max_length=64, db_collation="C", blank=True)
    state = models.BinaryField(help_text="The items of a SessionState.")
    version = models.BigIntegerField(
        help_text="ms; rises with each change of any of the user's conversations."
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "user", "kind", "target", "channel"), name="conversation_state_once"
            ),
        )
        indexes = (models.Index(fields=("tenant", "user", "version"), name="conversation_state_newer"),)

    def __str__(self) -> str:
        return f"{self.target} of {self.user}"


class Subscription(models.Model):
    """Whom a user watches; in the home SET of the one who watches. Watch is the other side of it."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    watched = models.CharField(max_length=64, db_collation="C")
    generation = models.SmallIntegerField(help_text="Of the SDKs that made it and are told: 2 or 5.")
    since = models.BigIntegerField(help_text="ms; rises with each change of any of the user's subscriptions.")
    expiry = models.IntegerField(help_text="Seconds; 0: it was ended.")

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "user", "watched", "generation"), name="subscription_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} watches {self.watched}"


class Watch(models.Model):
    """Who watches a user; in the home SET of the one who is watched."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    watcher = models.CharField(max_length=64, db_collation="C")
    generation = models.SmallIntegerField(help_text="Of the SDKs that made it and are told: 2 or 5.")
    until = models.BigIntegerField(help_text="ms.")

    class Meta:
        verbose_name_plural = "watches"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user", "watcher", "generation"), name="watch_once"),
        )

    def __str__(self) -> str:
        return f"{self.user} is watched by {self.watcher}"


class OnlineStatus(models.Model):
    """What a user's watchers were last told of him; in his home SET, while somebody watches him."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    platforms = models.BinaryField(
        help_text="msgpack of platform: [status, 0 when offline; ms of the change]."
    )
    changed = models.BigIntegerField(help_text="ms of the last change.")

    class Meta:
        verbose_name_plural = "online statuses"
        constraints = (models.UniqueConstraint(fields=("tenant", "user"), name="online_status_once"),)

    def __str__(self) -> str:
        return self.user


class EarlyChange(models.Model):
    """A change that came to this SET before the message that it changes, and waits for that.

    Rows of one log come in order; those of two may overtake each other: a conversation's log is another one
    since a slot has moved. It is made by the row that changes, wherever that goes, so it needs no slot.
    """

    in_set = True
    tenant = models.BigIntegerField()
    uid = models.CharField(max_length=64, db_collation="C", help_text="Of the message to be changed.")
    by = models.CharField(max_length=64, db_collation="C", help_text="The uid of the row that changes it.")
    method = models.CharField(max_length=32)
    up = models.BinaryField(help_text="The UpStreamMessage that changes it.")
    at = models.BigIntegerField(help_text="ms of the change, in the log that took it first.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("uid", "by"), name="early_change_once"),)

    def __str__(self) -> str:
        return self.uid


class ConversationRead(models.Model):
    """Up to when a user has read one of his conversations; in his home SET."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    kind = models.SmallIntegerField()
    target = models.CharField(max_length=64, db_collation="C", help_text="The conversation's id.")
    time = models.BigIntegerField(help_text="ms of a message, as users are shown it; never goes back.")

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "user", "kind", "target"), name="conversation_read_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} in {self.target}"


class GroupRead(models.Model):
    """Who has read which message of a group; in the group's home SET."""

    in_set = True
    tenant = models.BigIntegerField()
    group = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The group's.")
    uid = models.CharField(max_length=64, db_collation="C", help_text="The message's.")
    user = models.CharField(max_length=64, db_collation="C")
    time = models.BigIntegerField(help_text="ms at which he said so first.")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "group", "uid", "user"), name="group_read_once"),
        )

    def __str__(self) -> str:
        return f"{self.user} has read {self.uid}"


class CleanMark(models.Model):
    """Up to when a user has removed a conversation's history, for himself; in his home SET."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    kind = models.SmallIntegerField()
    target = models.CharField(max_length=64, db_collation="C", help_text="The conversation's id.")
    upto = models.BigIntegerField(help_text="ms of a message, as users are shown it; never goes back.")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user", "kind", "target"), name="clean_mark_once"),
        )

    def __str__(self) -> str:
        return f"{self.user} in {self.target}"


class RemovedMessage(models.Model):
    """A message that a user has removed from his history; in his home SET."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    uid = models.CharField(max_length=64, db_collation="C")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user", "uid"), name="removed_message_once"),
        )

    def __str__(self) -> str:
        return f"{self.uid} of {self.user}"


class Conversation(models.Model):
    """A conversation in a user's list, as far as the list has read the log (ListCursor); in his home SET.

    Those of groups are found by their members. They have a row here when the user has removed them.
    """

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    kind = models.SmallIntegerField()
    target = models.CharField(max_length=64, db_collation="C", help_text="The conversation's id.")
    newest = models.BigIntegerField(
        default=0, db_default=0, help_text="ms of a message, as users are shown it."
    )
    removed = models.BigIntegerField(
        default=0, db_default=0, help_text="ms; only a later message brings it back."
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user", "kind", "target"), name="conversation_once"),
        )

    def __str__(self) -> str:
        return f"{self.target} of {self.user}"


class ListCursor(models.Model):
    """How far a user's list of conversations has read the log of his home SET."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(help_text="The user's.")
    time = models.BigIntegerField(help_text="ms, of the log.")
    low = models.BigIntegerField(
        default=0, db_default=0, help_text="ms, of the log: what is before it has not been read yet."
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "user"), name="list_cursor_once"),)

    def __str__(self) -> str:
        return self.user


class HistoryFile(models.Model):
    """The messages of one hour of a tenant as a file that its server may fetch; or that it has deleted it."""

    tenant = models.BigIntegerField()
    hour = models.CharField(max_length=10, help_text="yyyyMMddHH, in the installation's time zone.")
    token = models.CharField(max_length=43, unique=True, help_text="Who knows it may fetch the file.")
    made_at = models.DateTimeField(auto_now_add=True, db_default=Now())
    deleted = models.BooleanField(default=False, db_default=False, help_text="It is not made again.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "hour"), name="history_file_once"),)

    def __str__(self) -> str:
        return f"{self.hour} of {self.tenant}"


class InboxTime(models.Model):
    """The time that a message of many, a group or everybody, has for the users of a slot that came here.

    Devices go by the times of the log that their user was at home in. Where this log had the message already,
    at a time of its own, that of the other log is here; one that the other log did not have has a new time.
    """

    in_set = True
    slot = models.SmallIntegerField()
    tenant = models.BigIntegerField()
    uid = models.CharField(max_length=64, db_collation="C")
    time = models.BigIntegerField(help_text="ms")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("slot", "uid"), name="inbox_time_once"),)
        indexes = (models.Index(fields=("slot", "tenant", "time"), name="inbox_time"),)

    def __str__(self) -> str:
        return self.uid
