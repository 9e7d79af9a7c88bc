"""The topology as an operator edits it: clusters, SETs, nodes with their actors, access points.

Nothing on the road of a message reads these tables: processes hold `topology.Snapshot`s of them.
"""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models, transaction
from django.utils import timezone

from apps.routing import fields
from apps.routing.placement import SLOTS

WEIGHT_MAX = 1000


class State(models.TextChoices):
    UP = "up"
    DRAINING = "draining"
    DOWN = "down"


queue_name = RegexValidator(
    r"\A[A-Za-z0-9_-]{1,32}\Z",
    "The name is in queues and keys: 1 to 32 letters, digits, hyphens, underscores.",
)


class Topology(models.Model):
    """The one row whose version changes with every change of clusters, SETs, slots, nodes or actors.

    The database itself sees to it, by triggers; see the migration.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "topology"
        constraints = (models.CheckConstraint(condition=models.Q(id=1), name="topology_is_one_row"),)

    def __str__(self) -> str:
        return f"version {self.version}"


class Cluster(models.Model):
    """SETs and gateways that serve a group of tenants."""

    name = models.CharField(max_length=64, unique=True, validators=[queue_name])

    def __str__(self) -> str:
        return self.name

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """ValidationError with the reasons that keep it."""
        from apps.routing import keeping  # it needs these models

        keeping.check_cluster_removal(self)
        return super().delete(*args, **kwargs)


class Durability(models.TextChoices):
    LOCAL = "local"
    STANDBY = "standby"


class StandbyAway(models.TextChoices):
    REFUSE = "refuse"
    DEGRADE = "degrade", "degrade to local, with an alarm"


class ServerSet(models.Model):
    """A cell: one database (the log), one Redis, some nodes. The unit of storage, failover and growth."""

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT)
    name = models.CharField(max_length=32, unique=True, validators=[queue_name])
    database = models.CharField(
        max_length=512,
        blank=True,
        validators=[fields.database],
        help_text="The URL of the SET's log, postgresql://USER@HOST:PORT/NAME; empty: as "
        "IMCLOUD_SET_DATABASE_URL says. A password is better kept in libpq's password file.",
    )
    weight = models.FloatField(
        default=1.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(WEIGHT_MAX)],
        help_text="The share of the slots that `slots rebalance` gives it; 0 takes all of them away.",
    )
    standby = models.CharField(
        max_length=512,
        blank=True,
        validators=[fields.database],
        help_text="The URL of a second database, at another site, that has all of it too; empty: none.",
    )
    epoch = models.PositiveIntegerField(
        default=1, editable=False, help_text="Rises with each failover: writers of an older one are shut out."
    )
    durability = models.CharField(
        max_length=16,
        choices=Durability.choices,
        default=Durability.LOCAL,
        help_text="When a message is acknowledged: after the commit here, or when the standby has it too.",
    )
    when_standby_away = models.CharField(
        max_length=16,
        choices=StandbyAway.choices,
        default=StandbyAway.REFUSE,
        help_text="What becomes of messages while the standby, which is to have them too, is away.",
    )
    standby_patience = models.FloatField(
        default=5.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(10.0)],
        help_text="s that a message waits for a standby that is away.",
    )
    degraded_at = models.DateTimeField(
        null=True, editable=False, help_text="Since when messages are acknowledged without the standby."
    )
    automatic_failover = models.BooleanField(
        default=False,
        help_text="Fail over without being asked when most observers cannot reach the database. Once: then a "
        "person has to confirm it.",
    )
    probes = models.PositiveSmallIntegerField(
        default=5,
        validators=[MinValueValidator(2), MaxValueValidator(600)],
        help_text="Failed probes in a row, one a second, after which an observer takes a database for gone.",
    )

    class Meta:
        verbose_name = "SET"
        verbose_name_plural = "SETs"
        constraints = (
            models.CheckConstraint(
                # PostgreSQL holds NaN to be greater than any number.
                condition=models.Q(weight__gte=0, weight__lte=WEIGHT_MAX),
                name="set_weight",
                violation_error_message=f"The weight of a SET is a number from 0 to {WEIGHT_MAX}.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """With its nodes and the record of its moves. ValidationError with the reasons that keep it."""
        from apps.routing import keeping

        keeping.check_set_removal(self)
        self.node_set.all().delete()
        SlotMove.objects.filter(models.Q(source=self) | models.Q(destination=self)).delete()
        return super().delete(*args, **kwargs)


class Slot(models.Model):
    """One of the 1,024 buckets of a cluster's resources, and the SET that it belongs to."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE)
    number = models.PositiveSmallIntegerField(validators=[MaxValueValidator(SLOTS - 1)])
    server_set = models.ForeignKey(ServerSet, on_delete=models.PROTECT)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("cluster", "number"), name="slot_once_a_cluster"),
            models.CheckConstraint(condition=models.Q(number__lt=SLOTS), name="slot_number"),
        )

    def __str__(self) -> str:
        return str(self.number)


class SlotMove(models.Model):
    """One slot on its way to another SET; see apps.messaging.slot_moves."""

    class Step(models.TextChoices):
        COPY = "copy"  # what its users need is copied; the source still takes their messages
        CATCH_UP = "catch up"  # the source takes no more; the rest is copied
        SWITCH = "switch"  # the destination takes them; everybody is told
        CLEAN = "clean"  # the source forgets them
        DONE = "done"
        CANCELLED = "cancelled"

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE)
    number = models.PositiveSmallIntegerField(validators=[MaxValueValidator(SLOTS - 1)])
    source = models.ForeignKey(ServerSet, on_delete=models.PROTECT, related_name="+")
    destination = models.ForeignKey(ServerSet, on_delete=models.PROTECT, related_name="+")
    step = models.CharField(max_length=16, choices=Step.choices, default=Step.COPY)
    copied = models.BigIntegerField(default=0, help_text="seq of the source up to which it was copied.")
    head = models.BigIntegerField(default=0, help_text="seq of the source's newest message at the last look.")
    rows = models.BigIntegerField(default=0, help_text="Messages copied.")
    asked_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    changed_at = models.DateTimeField(auto_now=True)
    problem = models.CharField(max_length=512, blank=True, help_text="Why the last try failed.")

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("cluster", "number"),
                name="one_move_a_slot",
                condition=~models.Q(step__in=("done", "cancelled")),
                violation_error_message="This slot is being moved already.",
            ),
        )

    def __str__(self) -> str:
        return f"slot {self.number}: {self.source} to {self.destination}"


class Failover(models.Model):
    """One change of a SET's primary database to its standby; see apps.messaging.standby.failover."""

    class Step(models.TextChoices):
        FENCE = "fence"  # the old primary takes no more, if it can be reached
        SHIP = "ship"  # the standby gets the rest of it, likewise
        PROMOTE = "promote"  # the standby begins a new epoch
        SWITCH = "switch"  # everybody is told where the log is now
        REJOIN = "rejoin"  # the old primary, when it is back, gives what it alone has and follows
        DONE = "done"
        CANCELLED = "cancelled"

    server_set = models.ForeignKey(ServerSet, on_delete=models.CASCADE)
    step = models.CharField(max_length=16, choices=Step.choices, default=Step.FENCE)
    source = models.CharField(max_length=512, help_text="The URL of the old primary.")
    destination = models.CharField(max_length=512, help_text="The URL of the new one.")
    epoch = models.PositiveIntegerField(help_text="The one that begins.")
    planned = models.BooleanField(help_text="Only with nothing lost: it waits for the old primary.")
    automatic = models.BooleanField(default=False)
    confirmed = models.BooleanField(default=False, help_text="A person has seen that it was automatic.")
    fenced = models.BooleanField(default=False)
    head = models.BigIntegerField(
        null=True, help_text="seq of the old primary's newest message, if it was told."
    )
    fork = models.BigIntegerField(null=True, help_text="seq up to which both have the same log.")
    recovered = models.BigIntegerField(default=0, help_text="Messages that the old primary alone had.")
    asked_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    switched_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(auto_now=True)
    problem = models.CharField(max_length=512, blank=True, help_text="Why the last try failed.")

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("server_set",),
                name="one_failover_a_set",
                condition=~models.Q(step__in=("done", "cancelled")),
                violation_error_message="A failover of this SET is under way already.",
            ),
        )

    def __str__(self) -> str:
        return f"failover {self.pk} of {self.server_set}"


class Comparison(models.Model):
    """What a comparison of a SET's standby with its primary has found."""

    server_set = models.ForeignKey(ServerSet, on_delete=models.CASCADE)
    at = models.DateTimeField(default=timezone.now, db_index=True)
    rows = models.BigIntegerField()
    wrong = models.BigIntegerField(help_text="Rows that the standby lacked, had too many or had otherwise.")
    repaired = models.BooleanField(help_text="They were brought over again.")
    seconds = models.FloatField()
    result = models.JSONField(help_text="As `manage.py sets compare --json` prints it.")
    asked_by = models.CharField(max_length=150, blank=True, help_text="Empty: the daily one.")

    class Meta:
        ordering = ("-at", "-pk")

    def __str__(self) -> str:
        return f"{self.server_set}, {self.at:%Y-%m-%d %H:%M}"


class Node(models.Model):
    """A logic server of a SET: a group of Celery workers that consume the node's queues."""

    server_set = models.ForeignKey(ServerSet, on_delete=models.PROTECT)
    name = models.CharField(
        max_length=64,
        unique=True,
        validators=[
            RegexValidator(
                r"\A[A-Za-z0-9_-]{1,64}\Z",
                "The name of a node has 1 to 64 letters, digits, hyphens or underscores.",
            )
        ],
    )
    weight = models.FloatField(
        default=1.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(WEIGHT_MAX)],
        help_text="1 = 1 CPU and 2 GB; 0 takes no new work.",
    )
    state = models.CharField(
        max_length=16,
        choices=State.choices,
        default=State.UP,
        help_text="Draining and down take no new work. Whether an up one lives, its heartbeat tells.",
    )

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(weight__gte=0, weight__lte=WEIGHT_MAX),
                name="node_weight",
                violation_error_message=f"The weight of a node is a number from 0 to {WEIGHT_MAX}.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Keep a live node for each method that live nodes of the SET serve."""
        from apps.routing import keeping

        keeping.check_node(self)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """ValidationError when it is the last live node that serves a method."""
        from apps.routing import keeping

        with keeping.all_served():
            return super().delete(*args, **kwargs)


class Actor(models.Model):
    """What a node serves: a method, the task that serves it, and how many workers may do so."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="actors")
    method = models.CharField(max_length=64)
    task = models.CharField(max_length=128)
    min_concurrency = models.PositiveSmallIntegerField(default=1)
    max_concurrency = models.PositiveSmallIntegerField(default=2)
    is_message = models.BooleanField(default=False)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("node", "method"), name="actor_once_a_node"),
            models.CheckConstraint(
                condition=models.Q(min_concurrency__gte=1, max_concurrency__gte=models.F("min_concurrency")),
                name="actor_concurrency_min_to_max",
            ),
        )

    def __str__(self) -> str:
        return f"{self.node}:{self.method}"


class AccessPoint(models.Model):
    """An address at which clients reach a gateway."""

    name = models.CharField(
        max_length=64,
        unique=True,
        validators=[
            RegexValidator(
                r"\A[A-Za-z0-9_.-]{1,64}\Z",
                "The name of an access point has 1 to 64 letters, digits, hyphens, underscores or points.",
            )
        ],
        help_text="What a gateway is told with IMCLOUD_ACCESS_POINT.",
    )
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT)
    address = models.CharField(
        max_length=255,
        blank=True,
        validators=[fields.address],
        help_text="HOST:PORT; :PORT for that port of the host that the navigation request named; empty for "
        "that host with its port, or IMCLOUD_PUBLIC_ADDRESS.",
    )
    site = models.CharField(max_length=64, default="local", help_text="The IaaS or data centre.")
    region = models.CharField(max_length=64, default="local")
    weight = models.FloatField(default=1.0, help_text="Share of the clients; 0 takes no new ones.")
    connection_limit = models.PositiveIntegerField(
        default=0, help_text="Connections, after which no more are taken; 0 for no limit."
    )
    state = models.CharField(
        max_length=16,
        choices=State.choices,
        default=State.UP,
        help_text="Draining: takes no new clients and asks those that it has to move, some every second. "
        "Down: asks all of them at once.",
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("cluster", "address"),
                name="access_point_once_a_cluster",
                deferrable=models.Deferrable.DEFERRED,  # so that several may take one another's
                violation_error_message="Another access point of the cluster has this address.",
            ),
            models.CheckConstraint(
                # PostgreSQL holds NaN to be greater than any number.
                condition=models.Q(weight__gte=0, weight__lte=WEIGHT_MAX),
                name="access_point_weight",
                violation_error_message=f"The weight of an access point is a number from 0 to {WEIGHT_MAX}.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Keep one access point of each cluster up, or its tenants could connect nowhere."""
        if self.state != State.UP:
            self._check_replaced()

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """ValidationError when it is the cluster's last one that is up."""
        self._check_replaced()
        return super().delete(*args, **kwargs)

    def _check_replaced(self) -> None:
        up = AccessPoint.objects.filter(cluster_id=self.cluster_id, state=State.UP)
        if list(up.values_list("pk", flat=True)[:2]) == [self.pk]:
            raise ValidationError(f"Access point {self.name} is the last one of {self.cluster} that is up.")


class NetworkRange(models.Model):
    """Where clients of a network are. The longest prefix wins."""

    network = fields.NetworkField(
        max_length=43,
        unique=True,
        error_messages={"unique": "This network is in the table already."},
        help_text="IPv4 or IPv6, such as 192.0.2.0/24 or 2001:db8::/32.",
    )
    region = models.CharField(max_length=64, help_text="As access points name theirs.")
    site = models.CharField(
        max_length=64, blank=True, help_text="The nearest one of the region; may be empty."
    )
    changed = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return str(self.network)


class HealthEvent(models.Model):
    """What the heartbeat checks have found, with its time."""

    class Finding(models.TextChoices):
        SUSPECTED = "suspected"
        DOWN = "down"
        RECOVERED = "recovered"

    at = models.DateTimeField(default=timezone.now, db_index=True)
    kind = models.CharField(max_length=16, help_text="node, worker, gateway, database or standby")
    name = models.CharField(max_length=128)
    finding = models.CharField(max_length=16, choices=Finding.choices)
    reason = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ("-at", "-pk")

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.finding}"

    @classmethod
    def tell(cls, kind: str, name: str, finding: str, reason: str) -> None:
        """Keep one of now. Times, names and reasons are for people: a long reason is cut."""
        cls.objects.create(kind=kind, name=name, finding=finding, reason=reason[:255])
