"""The topology as an operator edits it: clusters, SETs, nodes with their actors, access points.

Nothing on the road of a message reads these tables: processes hold `topology.Snapshot`s of them.
"""

from django.core.validators import MinValueValidator
from django.db import models


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

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT)
    address = models.CharField(
        max_length=255, blank=True, help_text="host:port; empty: the host that the navigation request named."
    )
    site = models.CharField(max_length=64, default="local", help_text="The IaaS or data centre.")
    region = models.CharField(max_length=64, default="local")
    weight = models.FloatField(default=1.0, validators=[MinValueValidator(0.0)])
    state = models.CharField(max_length=16, choices=State.choices, default=State.UP)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("cluster", "address"), name="access_point_once_a_cluster"),
        )

    def __str__(self) -> str:
        return self.address or "(the request's host)"
