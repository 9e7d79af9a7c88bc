"""What tenants' servers are to be told."""

from django.db import models


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
