from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0003_recall_receipts"),
    ]

    operations = [
        migrations.CreateModel(
            name="CleanMark",
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
                    "upto",
                    models.BigIntegerField(
                        help_text="ms of a message, as users are shown it; never goes back."
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Conversation",
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
                    "newest",
                    models.BigIntegerField(
                        db_default=0, default=0, help_text="ms of a message, as users are shown it."
                    ),
                ),
                (
                    "removed",
                    models.BigIntegerField(
                        db_default=0, default=0, help_text="ms; only a later message brings it back."
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ListCursor",
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
                ("time", models.BigIntegerField(help_text="ms, of the log.")),
            ],
        ),
        migrations.CreateModel(
            name="RemovedMessage",
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
                ("uid", models.CharField(db_collation="C", max_length=64)),
            ],
        ),
        migrations.RemoveIndex(
            model_name="message",
            name="message_inbox",
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("inbox", True), ("kind__in", (1, 6))),
                fields=["tenant", "target", "time"],
                name="message_inbox",
            ),
        ),
        migrations.AddConstraint(
            model_name="cleanmark",
            constraint=models.UniqueConstraint(
                fields=("tenant", "user", "kind", "target"), name="clean_mark_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="conversation",
            constraint=models.UniqueConstraint(
                fields=("tenant", "user", "kind", "target"), name="conversation_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="listcursor",
            constraint=models.UniqueConstraint(fields=("tenant", "user"), name="list_cursor_once"),
        ),
        migrations.AddConstraint(
            model_name="removedmessage",
            constraint=models.UniqueConstraint(fields=("tenant", "user", "uid"), name="removed_message_once"),
        ),
    ]
