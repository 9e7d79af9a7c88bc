"""Who is in groups, and who may not send to them."""

from django.db import models

from apps.messaging.models.log import GROUP
from apps.routing.placement import SLOTS


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
