"""Access points have names and limits; networks have places."""

import django.core.validators
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

import apps.routing.fields


def name_them(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.alias != "default":
        return
    points = apps.get_model("routing", "AccessPoint").objects.order_by("pk")
    for number, point in enumerate(points, 1):
        point.name = "gateway" if number == 1 else f"gateway-{number}"
        point.save()


class Migration(migrations.Migration):
    dependencies = [("routing", "0002_process_number")]
    operations = [
        migrations.AddField(
            model_name="accesspoint", name="name", field=models.CharField(default="", max_length=64)
        ),
        migrations.RunPython(name_them, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="accesspoint",
            name="name",
            field=models.CharField(
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
        migrations.AddField(
            model_name="accesspoint",
            name="connection_limit",
            field=models.PositiveIntegerField(
                default=0, help_text="Connections, after which no more are taken; 0 for no limit."
            ),
        ),
        migrations.AlterField(
            model_name="accesspoint",
            name="address",
            field=models.CharField(
                blank=True,
                help_text="HOST:PORT; :PORT for that port of the host that the navigation request named; empty for that host with its port, or IMCLOUD_PUBLIC_ADDRESS.",
                max_length=255,
                validators=[apps.routing.fields.address],
            ),
        ),
        migrations.AlterField(
            model_name="accesspoint",
            name="weight",
            field=models.FloatField(default=1.0, help_text="Share of the clients; 0 takes no new ones."),
        ),
        migrations.AlterField(
            model_name="accesspoint",
            name="state",
            field=models.CharField(
                choices=[("up", "Up"), ("draining", "Draining"), ("down", "Down")],
                default="up",
                help_text="Draining: takes no new clients and asks those that it has to move, some every second. Down: asks all of them at once.",
                max_length=16,
            ),
        ),
        migrations.RemoveConstraint(model_name="accesspoint", name="access_point_once_a_cluster"),
        migrations.AddConstraint(
            model_name="accesspoint",
            constraint=models.UniqueConstraint(
                deferrable=models.Deferrable["DEFERRED"],
                fields=("cluster", "address"),
                name="access_point_once_a_cluster",
                violation_error_message="Another access point of the cluster has this address.",
            ),
        ),
        migrations.AddConstraint(
            model_name="accesspoint",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight__gte", 0), ("weight__lte", 1000)),
                name="access_point_weight",
                violation_error_message="The weight of an access point is a number from 0 to 1000.",
            ),
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
    ]
