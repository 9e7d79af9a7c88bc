import django.core.validators
import django.db.models.constraints
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import apps.routing.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Cluster",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        max_length=64,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[A-Za-z0-9_-]{1,32}\\Z",
                                "The name is in queues and keys: 1 to 32 letters, digits, hyphens, underscores.",
                            )
                        ],
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="HealthEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("kind", models.CharField(help_text="node, worker or gateway", max_length=16)),
                ("name", models.CharField(max_length=128)),
                (
                    "finding",
                    models.CharField(
                        choices=[("suspected", "Suspected"), ("down", "Down"), ("recovered", "Recovered")],
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=255)),
            ],
            options={
                "ordering": ("-at", "-pk"),
            },
        ),
        migrations.CreateModel(
            name="NetworkRange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "network",
                    apps.routing.fields.NetworkField(
                        error_messages={"unique": "This network is in the table already."},
                        help_text="IPv4 or IPv6, such as 192.0.2.0/24 or 2001:db8::/32.",
                        max_length=43,
                        unique=True,
                    ),
                ),
                ("region", models.CharField(help_text="As access points name theirs.", max_length=64)),
                (
                    "site",
                    models.CharField(
                        blank=True, help_text="The nearest one of the region; may be empty.", max_length=64
                    ),
                ),
                ("changed", models.DateTimeField(auto_now=True)),
            ],
        ),
        migrations.CreateModel(
            name="ServerSet",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        max_length=32,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[A-Za-z0-9_-]{1,32}\\Z",
                                "The name is in queues and keys: 1 to 32 letters, digits, hyphens, underscores.",
                            )
                        ],
                    ),
                ),
                (
                    "database",
                    models.CharField(
                        blank=True,
                        help_text="The URL of the SET's log, postgresql://USER@HOST:PORT/NAME; empty: as IMCLOUD_SET_DATABASE_URL says. A password is better kept in libpq's password file.",
                        max_length=512,
                        validators=[apps.routing.fields.database],
                    ),
                ),
                (
                    "weight",
                    models.FloatField(
                        default=1.0,
                        help_text="The share of the slots that `slots rebalance` gives it; 0 takes all of them away.",
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                    ),
                ),
                (
                    "cluster",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="routing.cluster"),
                ),
            ],
            options={
                "verbose_name": "SET",
                "verbose_name_plural": "SETs",
            },
        ),
        migrations.CreateModel(
            name="Node",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        max_length=64,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[A-Za-z0-9_-]{1,64}\\Z",
                                "The name of a node has 1 to 64 letters, digits, hyphens or underscores.",
                            )
                        ],
                    ),
                ),
                (
                    "weight",
                    models.FloatField(
                        default=1.0,
                        help_text="1 = 1 CPU and 2 GB; 0 takes no new work.",
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("up", "Up"), ("draining", "Draining"), ("down", "Down")],
                        default="up",
                        help_text="Draining and down take no new work. Whether an up one lives, its heartbeat tells.",
                        max_length=16,
                    ),
                ),
                (
                    "server_set",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="routing.serverset"),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Slot",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "number",
                    models.PositiveSmallIntegerField(
                        validators=[django.core.validators.MaxValueValidator(1023)]
                    ),
                ),
                (
                    "cluster",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="routing.cluster"),
                ),
                (
                    "server_set",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="routing.serverset"),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SlotMove",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "number",
                    models.PositiveSmallIntegerField(
                        validators=[django.core.validators.MaxValueValidator(1023)]
                    ),
                ),
                (
                    "step",
                    models.CharField(
                        choices=[
                            ("copy", "Copy"),
                            ("catch up", "Catch Up"),
                            ("switch", "Switch"),
                            ("clean", "Clean"),
                            ("done", "Done"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="copy",
                        max_length=16,
                    ),
                ),
                (
                    "copied",
                    models.BigIntegerField(
                        default=0, help_text="seq of the source up to which it was copied."
                    ),
                ),
                (
                    "head",
                    models.BigIntegerField(
                        default=0, help_text="seq of the source's newest message at the last look."
                    ),
                ),
                ("rows", models.BigIntegerField(default=0, help_text="Messages copied.")),
                ("asked_by", models.CharField(blank=True, max_length=150)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                (
                    "problem",
                    models.CharField(blank=True, help_text="Why the last try failed.", max_length=512),
                ),
                (
                    "cluster",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="routing.cluster"),
                ),
                (
                    "destination",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="routing.serverset"
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="routing.serverset"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Topology",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("version", models.BigIntegerField(default=0)),
            ],
            options={
                "verbose_name_plural": "topology",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="topology_is_one_row")
                ],
            },
        ),
        migrations.CreateModel(
            name="AccessPoint",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        help_text="What a gateway is told with IMCLOUD_ACCESS_POINT.",
                        max_length=64,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[A-Za-z0-9_.-]{1,64}\\Z",
                                "The name of an access point has 1 to 64 letters, digits, hyphens, underscores or points.",
                            )
                        ],
                    ),
                ),
                (
                    "address",
                    models.CharField(
                        blank=True,
                        help_text="HOST:PORT; :PORT for that port of the host that the navigation request named; empty for that host with its port, or IMCLOUD_PUBLIC_ADDRESS.",
                        max_length=255,
                        validators=[apps.routing.fields.address],
                    ),
                ),
                (
                    "site",
                    models.CharField(default="local", help_text="The IaaS or data centre.", max_length=64),
                ),
                ("region", models.CharField(default="local", max_length=64)),
                (
                    "weight",
                    models.FloatField(default=1.0, help_text="Share of the clients; 0 takes no new ones."),
                ),
                (
                    "connection_limit",
                    models.PositiveIntegerField(
                        default=0, help_text="Connections, after which no more are taken; 0 for no limit."
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("up", "Up"), ("draining", "Draining"), ("down", "Down")],
                        default="up",
                        help_text="Draining: takes no new clients and asks those that it has to move, some every second. Down: asks all of them at once.",
                        max_length=16,
                    ),
                ),
                (
                    "cluster",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="routing.cluster"),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        deferrable=django.db.models.constraints.Deferrable["DEFERRED"],
                        fields=("cluster", "address"),
                        name="access_point_once_a_cluster",
                        violation_error_message="Another access point of the cluster has this address.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("weight__gte", 0), ("weight__lte", 1000)),
                        name="access_point_weight",
                        violation_error_message="The weight of an access point is a number from 0 to 1000.",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Actor",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("method", models.CharField(max_length=64)),
                ("task", models.CharField(max_length=128)),
                ("min_concurrency", models.PositiveSmallIntegerField(default=1)),
                ("max_concurrency", models.PositiveSmallIntegerField(default=2)),
                ("is_message", models.BooleanField(default=False)),
                (
                    "node",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="actors", to="routing.node"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("node", "method"), name="actor_once_a_node"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_concurrency__gte", models.F("min_concurrency")), ("min_concurrency__gte", 1)
                        ),
                        name="actor_concurrency_min_to_max",
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="serverset",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight__gte", 0), ("weight__lte", 1000)),
                name="set_weight",
                violation_error_message="The weight of a SET is a number from 0 to 1000.",
            ),
        ),
        migrations.AddConstraint(
            model_name="node",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight__gte", 0), ("weight__lte", 1000)),
                name="node_weight",
                violation_error_message="The weight of a node is a number from 0 to 1000.",
            ),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.UniqueConstraint(fields=("cluster", "number"), name="slot_once_a_cluster"),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.CheckConstraint(condition=models.Q(("number__lt", 1024)), name="slot_number"),
        ),
        migrations.AddConstraint(
            model_name="slotmove",
            constraint=models.UniqueConstraint(
                condition=models.Q(("step__in", ("done", "cancelled")), _negated=True),
                fields=("cluster", "number"),
                name="one_move_a_slot",
                violation_error_message="This slot is being moved already.",
            ),
        ),
    ]
