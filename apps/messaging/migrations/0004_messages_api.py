import django.contrib.postgres.indexes
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0003_membership_until_here"),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoryFile",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                (
                    "hour",
                    models.CharField(help_text="yyyyMMddHH, in the installation's time zone.", max_length=10),
                ),
                (
                    "token",
                    models.CharField(
                        help_text="Who knows it may fetch the file.", max_length=43, unique=True
                    ),
                ),
                (
                    "made_at",
                    models.DateTimeField(
                        auto_now_add=True, db_default=django.db.models.functions.datetime.Now()
                    ),
                ),
                (
                    "deleted",
                    models.BooleanField(db_default=False, default=False, help_text="It is not made again."),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("method", "modify")),
                fields=["tenant", "target", "time"],
                name="message_modify_target",
            ),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("method", "modify")),
                fields=["tenant", "sender", "time"],
                name="message_modify_sender",
            ),
        ),
        migrations.AddIndex(
            model_name="message",
            index=django.contrib.postgres.indexes.BrinIndex(
                autosummarize=True, fields=["sent"], name="message_hour", pages_per_range=32
            ),
        ),
        migrations.AddConstraint(
            model_name="historyfile",
            constraint=models.UniqueConstraint(fields=("tenant", "hour"), name="history_file_once"),
        ),
    ]
