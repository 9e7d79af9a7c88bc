"""The tables of a SET. Written by `log` with COPY under the head's lock; read by everybody with a cursor."""

from django.db import models
from django.db.models.functions import Now

# Bits of Message.flags.
PERSISTED = 1  # kept in history (bit 0x01 of the upstream sessionId)
COUNTED = 2  # counted as unread (bit 0x02)
HIDDEN_FROM_SENDER = 4  # sent by the server in the sender's name, not shown on the sender's devices

CANARY, PRIVATE = 0, 1  # Message.kind: the protocol's conversation types (PROTOCOL 6.1), 0 is our own canary


class Head(models.Model):
    """The one row that all writers of the SET lock: commit order is `seq` order."""

    in_set = True
    id = models.SmallIntegerField(primary_key=True, default=1)
    epoch = models.BigIntegerField(default=1)
    seq = models.BigIntegerField(default=0)
    time = models.BigIntegerField(default=0, help_text="ms; no stored message has a greater one.")

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
    tenant = models.BigIntegerField()
    kind = models.SmallIntegerField()
    sender = models.CharField(max_length=64, db_collation="C")
    target = models.CharField(max_length=64, db_collation="C")
    conversation = models.BigIntegerField(help_text="A hash of the conversation, the same for both sides.")
    flags = models.SmallIntegerField()
    method = models.CharField(max_length=32)
    up = models.BinaryField(help_text="The UpStreamMessage as it was sent.")

    class Meta:
        # A constraint, not unique=True: that would add a second index for LIKE, paid by every append.
        constraints = (models.UniqueConstraint(fields=("uid",), name="message_uid_once"),)
        indexes = (
            models.Index(
                fields=("tenant", "target", "time"), name="message_inbox", condition=models.Q(kind=PRIVATE)
            ),
            models.Index(
                fields=("tenant", "sender", "time"),
                name="message_sendbox",
                condition=models.Q(kind__gt=CANARY),
            ),
            models.Index(
                fields=("tenant", "conversation", "time"),
                name="message_history",
                condition=models.Q(kind__gt=CANARY),
            ),
            models.Index(fields=("time",), name="message_canary", condition=models.Q(kind=CANARY)),
        )

    def __str__(self) -> str:
        return self.uid


class DeviceCursor(models.Model):
    """How far a device is known to have read its inbox: moved by its acknowledgements, never back."""

    in_set = True
    tenant = models.BigIntegerField()
    user = models.CharField(max_length=64, db_collation="C")
    device = models.CharField(max_length=64, help_text="The platform class: one connection each.")
    time = models.BigIntegerField(help_text="ms of the newest message acknowledged without a gap.")
    moved_at = models.DateTimeField(auto_now=True, db_default=Now())

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user", "device"), name="cursor_once_a_device"),
        )

    def __str__(self) -> str:
        return f"{self.user}/{self.device}"
