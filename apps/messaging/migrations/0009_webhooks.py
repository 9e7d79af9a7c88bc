from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0008_inbox_time"),
    ]

    operations = [
        migrations.CreateModel(
            name="OnlineSession",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("user", models.CharField(db_collation="C", max_length=64)),
                ("slot", models.SmallIntegerField(help_text="The user's.")),
                ("connection", models.CharField(db_collation="C", max_length=128)),
                ("since", models.BigIntegerField(help_text="ms")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "connection"), name="online_session_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="WebhookCursor",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("seq", models.BigIntegerField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="webhook_cursor_is_one_row")
                ],
            },
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                (
                    "hook",
                    models.SmallIntegerField(
                        choices=[(1, "message routing"), (2, "online status"), (3, "chatroom status")]
                    ),
                ),
                ("slot", models.SmallIntegerField(help_text="Of what it is about.")),
                (
                    "key",
                    models.BigIntegerField(help_text="Those of one key are delivered one after the other."),
                ),
                ("uid", models.CharField(db_collation="C", max_length=192)),
                ("body", models.TextField(help_text="A form, or one element of a JSON array. ASCII.")),
                (
                    "state",
                    models.SmallIntegerField(
                        choices=[(0, "waiting"), (1, "delivered"), (2, "dead letter")],
                        db_default=0,
                        default=0,
                    ),
                ),
                ("attempts", models.SmallIntegerField(db_default=0, default=0)),
                (
                    "due",
                    models.BigIntegerField(db_default=0, default=0, help_text="ms; it is not tried before."),
                ),
                ("made", models.BigIntegerField(help_text="ms")),
                ("ended", models.BigIntegerField(db_default=0, default=0, help_text="ms")),
                (
                    "tries",
                    models.TextField(
                        db_default="", default="", help_text="What became of each, a line; the newest."
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "webhook deliveries",
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", 0)),
                        fields=["tenant", "hook", "id"],
                        name="webhook_waiting",
                    ),
                    models.Index(fields=["made"], name="webhook_made"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "hook", "uid"), name="webhook_delivery_once")
                ],
            },
        ),
    ]
