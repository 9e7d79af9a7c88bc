"""The topology as an operator edits it: clusters, SETs, nodes with their actors, access points.

Nothing on the road of a message reads these tables: processes hold `topology.Snapshot`s of them.
"""

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models

from apps.routing import fields

WEIGHT_MAX = 1000


class State(models.TextChoices):
    UP = "up"
    DRAINING = "draining"
    DOWN = "down"


class Cluster(models.Model):
    """SETs and gateways that serve a group of tenants."""

    name = models.CharField(max_length=64, unique=True)

    def __str__(self) -> str:
        return self.name


class ServerSet(models.Model):
    """A cell: one database (the log), one Redis, some nodes. The unit of storage, failover and growth."""

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT)
    name = models.CharField(max_length=32, unique=True)
    database = models.CharField(max_length=32, help_text="The alias in settings.DATABASES of the SET's log.")

    class Meta:
        verbose_name = "SET"
        verbose_name_plural = "SETs"

    def __str__(self) -> str:
        return self.name


class Node(models.Model):
    """A logic server of a SET: a group of Celery workers that consume the node's queues."""

    server_set = models.ForeignKey(ServerSet, on_delete=models.PROTECT)
    name = models.CharField(max_length=64, unique=True)
    weight = models.FloatField(
        default=1.0, validators=[MinValueValidator(0.0)], help_text="1 = 1 CPU and 2 GB; 0 takes no new work."
    )
    state = models.CharField(max_length=16, choices=State.choices, default=State.UP)

    def __str__(self) -> str:
        return self.name


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
        up = AccessPoint.objects.filter(cluster_id=self.cluster_id, state=State.UP)
        if self.state != State.UP and list(up.values_list("pk", flat=True)[:2]) == [self.pk]:
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
