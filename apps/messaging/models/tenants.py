"""What holds in the whole of a tenant, in the control database."""

from django.db import models
from django.db.models.functions import Now


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
