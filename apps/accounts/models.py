"""Who: tenants (the customers' apps), their users, and who has blocked whom.

Gateways and views never read tenants or restrictions from these tables: they hold a `directory.Directory`.
Whatever that directory holds is changed inside `changing()`, which makes every process read it again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import connections, models, router, transaction
from django.db.models.functions import Now
from django.dispatch import Signal
from django.utils import timezone

# Without the letters and digits that are taken for one another when a key is read out or typed.
ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
KEY_LENGTH = 13
SECRET_LENGTH = 32  # 158 bits

app_key_form = RegexValidator(
    r"\A[A-Za-z0-9_-]{1,64}\Z", "An app key has 1 to 64 letters, digits, hyphens or underscores."
)
app_secret_form = RegexValidator(
    r"\A[!-~]{8,128}\Z", "An app secret has 8 to 128 printable ASCII characters without spaces."
)


SOME = [MinValueValidator(1)]  # a limit of nothing is none: lock the tenant instead

LIMITS = ("call_rate", "message_rate", "connections_max", "users_max", "groups_max", "group_size")

# Sent with a new `tenant` before it is stored; receivers raise ValidationError. Which clusters there are is
# known to apps.routing, which this app does not import.
tenant_checked = Signal()


def new_app_key() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(KEY_LENGTH))


def new_app_secret() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))


class Change(models.Model):
    """The one row whose version rises with every change of what the directory holds."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=0)

    class Meta:
        constraints = (models.CheckConstraint(condition=models.Q(id=1), name="change_is_one_row"),)

    def __str__(self) -> str:
        return f"version {self.version}"


@contextmanager
def changing() -> Iterator[int]:
    """A transaction that changes what the directory holds; gives its version.

    The row lock is taken first and kept until commit: versions become visible in their order, so a reader
    that has seen version n has missed nothing up to n.
    """
    alias = router.db_for_write(Change)
    with transaction.atomic(using=alias):
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "INSERT INTO accounts_change (id, version) VALUES (1, 1)"
                " ON CONFLICT (id) DO UPDATE SET version = accounts_change.version + 1 RETURNING version"
            )
            (version,) = cursor.fetchone()
        yield version


class Tenant(models.Model):
    """A customer's app."""

    class State(models.TextChoices):
        ACTIVE = "active"
        LOCKED = "locked"

    name = models.CharField(max_length=64, unique=True)
    app_key = models.CharField(max_length=64, unique=True, default=new_app_key, validators=[app_key_form])
    app_secret = models.CharField(max_length=128, default=new_app_secret, validators=[app_secret_form])
    state = models.CharField(
        max_length=16,
        choices=State.choices,
        default=State.ACTIVE,
        help_text="A locked app is refused by the server API and at connect; open connections stay.",
    )
    cluster = models.CharField(
        max_length=64,
        blank=True,
        help_text="The cluster that serves the app; empty: chosen by the hash of its app key.",
    )
    group_size = models.PositiveIntegerField(default=3000, help_text="Members that a group may have.")
    whitelist_only = models.BooleanField(
        default=False,
        db_default=False,
        help_text="A user takes private messages only from users in his white list.",
    )
    # Quotas (apps.routing.quotas).
    call_rate = models.PositiveIntegerField(
        null=True, blank=True, validators=SOME, help_text="Calls of the server API a second."
    )
    message_rate = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=SOME,
        help_text="Messages a second, of all clients and the server API together.",
    )
    connections_max = models.PositiveIntegerField(
        null=True, blank=True, validators=SOME, help_text="Client connections at a time."
    )
    users_max = models.PositiveIntegerField(
        null=True, blank=True, validators=SOME, help_text="Users that may be registered."
    )
    groups_max = models.PositiveIntegerField(
        null=True, blank=True, validators=SOME, help_text="Groups and discussions that there may be."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    secret_rotated_at = models.DateTimeField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        with changing():
            super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        with changing():
            return super().delete(*args, **kwargs)

    def clean(self) -> None:
        if self._state.adding:
            tenant_checked.send(sender=Tenant, tenant=self)

    def rotate_secret(self) -> str:
        """Give the tenant a new secret, which ends all tokens made with the old one, and return it."""
        self.app_secret = new_app_secret()
        self.secret_rotated_at = timezone.now()
        self.save(update_fields=["app_secret", "secret_rotated_at"])
        return self.app_secret


class Webhooks(models.Model):
    """Where a tenant's own server is told of what happens here, and asked; docs/webhooks.md is the contract.

    Every process has all of them in memory (apps.accounts.webhooks).
    """

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE)
    messages_url = models.CharField(
        "message routing", max_length=512, blank=True, help_text="Is sent every message that is stored."
    )
    from_server = models.BooleanField(
        "also the server's own", default=False, help_text="Messages that came by the server API are sent too."
    )
    status_messages = models.BooleanField(
        "also status messages", default=False, help_text="Messages that are not stored are sent too."
    )
    online_url = models.CharField(
        "online status", max_length=512, blank=True, help_text="Is sent who comes and who goes."
    )
    chatrooms_url = models.CharField(
        "chatroom status", max_length=512, blank=True, help_text="Is sent what becomes of chatrooms."
    )
    judge_url = models.CharField(
        "pre-message hook",
        max_length=512,
        blank=True,
        help_text="Is asked whether a client's message may be delivered, before it is stored.",
    )
    judge_kinds = models.CharField(
        "of conversations",
        max_length=64,
        default="PERSON,GROUP,TEMPGROUP",
        help_text="Which it is asked about: PERSON, PERSONS (discussions), GROUP, TEMPGROUP (chatrooms).",
    )
    judge_classes = models.CharField(
        "of object names",
        max_length=1024,
        blank=True,
        help_text="Which it is asked about, separated by commas, such as RC:TxtMsg; empty: all.",
    )
    judge_timeout = models.PositiveSmallIntegerField(
        "timeout",
        default=5000,
        validators=[MinValueValidator(100), MaxValueValidator(5000)],
        help_text="Milliseconds.",
    )
    judge_open = models.BooleanField(
        "deliver without an answer",
        default=True,
        help_text="What becomes of a message when there is no good answer in time: delivered, or refused.",
    )
    messages_since = models.BigIntegerField(
        default=0, editable=False, help_text="ms; messages before it are not sent."
    )

    class Meta:
        verbose_name = verbose_name_plural = "webhooks"

    def __str__(self) -> str:
        return f"webhooks of {self.tenant}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        with changing():
            before = Webhooks.objects.filter(pk=self.pk).values_list("messages_url", flat=True).first()
            if self.messages_url and not before:
                self.messages_since = time.time_ns() // 1_000_000
            super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        with changing():
            return super().delete(*args, **kwargs)


class User(models.Model):
    """A tenant's user: what pushes call them, and what keeps them from connecting."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE)
    user_id = models.CharField(max_length=64, db_collation="C")
    name = models.CharField(max_length=256, blank=True, default="")
    portrait_uri = models.CharField(max_length=1024, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, db_default=Now(), editable=False)
    tokens_valid_after = models.BigIntegerField(
        default=0, db_default=0, help_text="Epoch ms; tokens issued at or before it are refused. 0: none are."
    )
    blocked_until = models.DateTimeField(null=True, blank=True, help_text="Refused at connect until then.")
    registered = models.BooleanField(
        default=True, db_default=True, help_text="No: only what keeps the user from connecting is known."
    )
    deactivated = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Refused at connect, whatever the token.",
    )
    deleted_at = models.BigIntegerField(
        default=0,
        db_default=0,
        help_text="Epoch ms; connections of tokens issued up to it end. 0: none.",
    )
    changed = models.BigIntegerField(
        default=0, db_default=0, editable=False, help_text="The Change.version of the last restriction."
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "user_id"), name="user_once_a_tenant"),)
        indexes = (
            models.Index(fields=("changed",), name="user_restricted", condition=models.Q(changed__gt=0)),
            models.Index(
                fields=("tenant", "created_at", "user_id"),
                name="user_by_registration",
                condition=models.Q(registered=True, deactivated=False),
            ),
        )

    def __str__(self) -> str:
        return self.user_id

    def save(self, *args: Any, **kwargs: Any) -> None:
        with changing() as self.changed:
            if kwargs.get("update_fields") is not None:
                kwargs["update_fields"] = {*kwargs["update_fields"], "changed"}
            super().save(*args, **kwargs)


class BlockEntry(models.Model):
    """`owner` gets no private messages from `blocked`. Lives where the owner's messages are appended."""

    in_set = True
    tenant_id = models.BigIntegerField()
    owner = models.CharField(max_length=64, db_collation="C")
    slot = models.SmallIntegerField(default=-1, help_text="The owner's; entries move with it.")
    blocked = models.CharField(max_length=64, db_collation="C")
    created_at = models.DateTimeField(default=timezone.now, db_default=Now(), editable=False)

    class Meta:
        verbose_name = "block list entry"
        verbose_name_plural = "block list entries"
        constraints = (
            models.UniqueConstraint(fields=("tenant_id", "owner", "blocked"), name="blocked_once_an_owner"),
        )

    def __str__(self) -> str:
        return f"{self.owner} blocks {self.blocked}"
