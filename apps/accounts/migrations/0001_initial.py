import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models

import apps.accounts.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Tenant",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=64, unique=True)),
                (
                    "app_key",
                    models.CharField(
                        default=apps.accounts.models.new_app_key,
                        max_length=64,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[A-Za-z0-9_-]{1,64}\\Z",
                                "An app key has 1 to 64 letters, digits, hyphens or underscores.",
                            )
                        ],
                    ),
                ),
                (
                    "app_secret",
                    models.CharField(
                        default=apps.accounts.models.new_app_secret,
                        max_length=128,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[!-~]{8,128}\\Z",
                                "An app secret has 8 to 128 printable ASCII characters without spaces.",
                            )
                        ],
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("active", "Active"), ("locked", "Locked")],
                        default="active",
                        help_text="A locked app is refused by the server API and at connect; open connections stay.",
                        max_length=16,
                    ),
                ),
                (
                    "cluster",
                    models.CharField(
                        blank=True,
                        help_text="The cluster that serves the app; empty: chosen by the hash of its app key.",
                        max_length=64,
                    ),
                ),
                (
                    "group_size",
                    models.PositiveIntegerField(default=3000, help_text="Members that a group may have."),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("secret_rotated_at", models.DateTimeField(blank=True, editable=False, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="BlockEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant_id", models.BigIntegerField()),
                ("owner", models.CharField(db_collation="C", max_length=64)),
                (
                    "slot",
                    models.SmallIntegerField(default=-1, help_text="The owner's; entries move with it."),
                ),
                ("blocked", models.CharField(db_collation="C", max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        default=django.utils.timezone.now,
                        editable=False,
                    ),
                ),
            ],
            options={
                "verbose_name": "block list entry",
                "verbose_name_plural": "block list entries",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant_id", "owner", "blocked"), name="blocked_once_an_owner"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Change",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("version", models.BigIntegerField(default=0)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="change_is_one_row")
                ],
            },
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("user_id", models.CharField(db_collation="C", max_length=64)),
                ("name", models.CharField(blank=True, default="", max_length=256)),
                ("portrait_uri", models.CharField(blank=True, default="", max_length=1024)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        default=django.utils.timezone.now,
                        editable=False,
                    ),
                ),
                (
                    "tokens_valid_after",
                    models.BigIntegerField(
                        db_default=0,
                        default=0,
                        help_text="Epoch ms; tokens issued at or before it are refused. 0: none are.",
                    ),
                ),
                (
                    "blocked_until",
                    models.DateTimeField(blank=True, help_text="Refused at connect until then.", null=True),
                ),
                (
                    "changed",
                    models.BigIntegerField(
                        db_default=0,
                        default=0,
                        editable=False,
                        help_text="The Change.version of the last restriction.",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="accounts.tenant"),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("changed__gt", 0)), fields=["changed"], name="user_restricted"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "user_id"), name="user_once_a_tenant")
                ],
            },
        ),
    ]
