"""What a user has set for himself and seen of his conversations, in his home SET."""

from django.db import models


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
