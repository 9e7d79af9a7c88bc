from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0002_head_row"),
    ]

    operations = [
        migrations.CreateModel(
            name="ConversationRead",
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
                ("kind", models.SmallIntegerField()),
                (
                    "target",
                    models.CharField(db_collation="C", help_text="The conversation's id.", max_length=64),
                ),
                (
                    "time",
                    models.BigIntegerField(
                        help_text="ms of a message, as users are shown it; never goes back."
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "kind", "target"), name="conversation_read_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="EarlyChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                (
                    "uid",
                    models.CharField(
                        db_collation="C", help_text="Of the message to be changed.", max_length=64
                    ),
                ),
                (
                    "by",
                    models.CharField(
                        db_collation="C", help_text="The uid of the row that changes it.", max_length=64
                    ),
                ),
                ("method", models.CharField(max_length=32)),
                ("up", models.BinaryField(help_text="The UpStreamMessage that changes it.")),
                ("at", models.BigIntegerField(help_text="ms of the change, in the log that took it first.")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("uid", "by"), name="early_change_once")],
            },
        ),
        migrations.CreateModel(
            name="GroupRead",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("group", models.CharField(db_collation="C", max_length=64)),
                ("slot", models.SmallIntegerField(help_text="The group's.")),
                ("uid", models.CharField(db_collation="C", help_text="The message's.", max_length=64)),
                ("user", models.CharField(db_collation="C", max_length=64)),
                ("time", models.BigIntegerField(help_text="ms at which he said so first.")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "group", "uid", "user"), name="group_read_once")
                ],
            },
        ),
    ]
