import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import apps.routing.fields


class Migration(migrations.Migration):
    dependencies = [
        ("routing", "0003_topology_version"),
    ]

    operations = [
        migrations.AddField(
            model_name="serverset",
            name="automatic_failover",
            field=models.BooleanField(
                default=False,
                help_text="Fail over without being asked when most observers cannot reach the database. Once: then a person has to confirm it.",
            ),
        ),
        migrations.AddField(
            model_name="serverset",
            name="degraded_at",
            field=models.DateTimeField(
                editable=False,
                help_text="Since when messages are acknowledged without the standby.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="serverset",
            name="durability",
            field=models.CharField(
                choices=[("local", "Local"), ("standby", "Standby")],
                default="local",
                help_text="When a message is acknowledged: after the commit here, or when the standby has it too.",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="serverset",
            name="epoch",
            field=models.PositiveIntegerField(
                default=1,
                editable=False,
                help_text="Rises with each failover: writers of an older one are shut out.",
            ),
        ),
        migrations.AddField(
            model_name="serverset",
            name="probes",
            field=models.PositiveSmallIntegerField(
                default=5,
                help_text="Failed probes in a row, one a second, after which an observer takes a database for gone.",
                validators=[
                    django.core.validators.MinValueValidator(2),
                    django.core.validators.MaxValueValidator(600),
                ],
            ),
        ),
        migrations.AddField(
            model_name="serverset",
            name="standby",
            field=models.CharField(
                blank=True,
                help_text="The URL of a second database, at another site, that has all of it too; empty: none.",
                max_length=512,
                validators=[apps.routing.fields.database],
            ),
        ),
        migrations.AddField(
            model_name="serverset",
            name="standby_patience",
            field=models.FloatField(
                default=5.0,
                help_text="s that a message waits for a standby that is away.",
                validators=[
                    django.core.validators.MinValueValidator(0.0),
                    django.core.validators.MaxValueValidator(10.0),
                ],
            ),
        ),
        migrations.AddField(
            model_name="serverset",
            name="when_standby_away",
            field=models.CharField(
                choices=[("refuse", "Refuse"), ("degrade", "degrade to local, with an alarm")],
                default="refuse",
                help_text="What becomes of messages while the standby, which is to have them too, is away.",
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="healthevent",
            name="kind",
            field=models.CharField(help_text="node, worker, gateway, database or standby", max_length=16),
        ),
        migrations.CreateModel(
            name="Comparison",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("rows", models.BigIntegerField()),
                (
                    "wrong",
                    models.BigIntegerField(
                        help_text="Rows that the standby lacked, had too many or had otherwise."
                    ),
                ),
                ("repaired", models.BooleanField(help_text="They were brought over again.")),
                ("seconds", models.FloatField()),
                ("result", models.JSONField(help_text="As `manage.py sets compare --json` prints it.")),
                ("asked_by", models.CharField(blank=True, help_text="Empty: the daily one.", max_length=150)),
                (
                    "server_set",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="routing.serverset"),
                ),
            ],
            options={
                "ordering": ("-at", "-pk"),
            },
        ),
        migrations.CreateModel(
            name="Failover",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "step",
                    models.CharField(
                        choices=[
                            ("fence", "Fence"),
                            ("ship", "Ship"),
                            ("promote", "Promote"),
                            ("switch", "Switch"),
                            ("rejoin", "Rejoin"),
                            ("done", "Done"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="fence",
                        max_length=16,
                    ),
                ),
                ("source", models.CharField(help_text="The URL of the old primary.", max_length=512)),
                ("destination", models.CharField(help_text="The URL of the new one.", max_length=512)),
                ("epoch", models.PositiveIntegerField(help_text="The one that begins.")),
                (
                    "planned",
                    models.BooleanField(help_text="Only with nothing lost: it waits for the old primary."),
                ),
                ("automatic", models.BooleanField(default=False)),
                (
                    "confirmed",
                    models.BooleanField(default=False, help_text="A person has seen that it was automatic."),
                ),
                ("fenced", models.BooleanField(default=False)),
                (
                    "head",
                    models.BigIntegerField(
                        help_text="seq of the old primary's newest message, if it was told.", null=True
                    ),
                ),
                (
                    "fork",
                    models.BigIntegerField(help_text="seq up to which both have the same log.", null=True),
                ),
                (
                    "recovered",
                    models.BigIntegerField(default=0, help_text="Messages that the old primary alone had."),
                ),
                ("asked_by", models.CharField(blank=True, max_length=150)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("switched_at", models.DateTimeField(null=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                (
                    "problem",
                    models.CharField(blank=True, help_text="Why the last try failed.", max_length=512),
                ),
                (
                    "server_set",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="routing.serverset"),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("step__in", ("done", "cancelled")), _negated=True),
                        fields=("server_set",),
                        name="one_failover_a_set",
                        violation_error_message="A failover of this SET is under way already.",
                    )
                ],
            },
        ),
    ]
