"""The log of a SET, and how far whom has read it. Written by `log` with COPY under the head's lock."""

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
REPAIRED = 1024  # an old primary alone had it: devices that were shown it there are not shown it again
# SOURCES (14336) in apps.routing.envelope: what it was sent with.

# Message.kind: the protocol's conversation types (PROTOCOL 6.1); 0 and below are imcloud's own.
CANARY, PRIVATE, DISCUSSION, GROUP, CHATROOM, SYSTEM = 0, 1, 2, 3, 4, 6
GROUPS = (DISCUSSION, GROUP)  # a discussion is a group that its members run themselves
GROUP_CHANGE = -3  # who has come to a group or left it, in order with the group's messages
MENDED = -6  # behind what was appended from an old primary: everybody of the SET pulls
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


class Epoch(models.Model):
    """A time in which one database was the SET's primary. Each but the first begins with a failover."""

    in_set = True
    number = models.IntegerField(primary_key=True)
    fork = models.BigIntegerField(help_text="seq up to which the log is that of the epoch before.")
    before = models.BigIntegerField(help_text="ms; the newest of the log up to there.")
    time = models.BigIntegerField(help_text="ms; all messages of this epoch have later ones.")

    def __str__(self) -> str:
        return str(self.number)


class EpochMark(models.Model):
    """How far a device had come in the log of the primary before, when it first read that of this epoch.

    What of the old one is appended here later is shown to those only who had not come so far.
    """

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField()
    device = models.CharField(max_length=64)
    epoch = models.IntegerField()
    time = models.BigIntegerField(help_text="ms; its cursor in the old log.")
    sent = models.BigIntegerField(help_text="ms; likewise, of what its user has sent.")
    upto = models.BigIntegerField(
        help_text="ms; how far it has read the new one, while its cursor is past that."
    )
    earlier = models.BigIntegerField(help_text="ms; the mark of the epoch in which it was before, or 0.")
    sent_earlier = models.BigIntegerField(help_text="ms; likewise, of what its user has sent.")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user", "device"), name="epoch_mark_once_a_device"),
        )

    def __str__(self) -> str:
        return f"{self.user}/{self.device}"


class ChangedRow(models.Model):
    """A row that the standby has to be given anew; see apps.messaging.standby.journal."""

    in_set = True
    table = models.CharField(max_length=63)
    key = models.CharField(max_length=64, help_text="Its primary key, as text.")

    def __str__(self) -> str:
        return f"{self.table} {self.key}"
