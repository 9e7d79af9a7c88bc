"""Chatrooms; who is in them is in Redis."""

from django.db import models


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
