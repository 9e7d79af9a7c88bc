from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0009_webhooks"),
    ]

    operations = [
        migrations.CreateModel(
            name="ChangedRow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("table", models.CharField(max_length=63)),
                ("key", models.CharField(help_text="Its primary key, as text.", max_length=64)),
            ],
        ),
        migrations.CreateModel(
            name="Epoch",
            fields=[
                ("number", models.IntegerField(primary_key=True, serialize=False)),
                (
                    "fork",
                    models.BigIntegerField(help_text="seq up to which the log is that of the epoch before."),
                ),
                ("before", models.BigIntegerField(help_text="ms; the newest of the log up to there.")),
                ("time", models.BigIntegerField(help_text="ms; all messages of this epoch have later ones.")),
            ],
        ),
        migrations.CreateModel(
            name="EpochMark",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("user", models.CharField(db_collation="C", max_length=64)),
                ("slot", models.SmallIntegerField()),
                ("device", models.CharField(max_length=64)),
                ("epoch", models.IntegerField()),
                ("time", models.BigIntegerField(help_text="ms; its cursor in the old log.")),
                ("sent", models.BigIntegerField(help_text="ms; likewise, of what its user has sent.")),
                (
                    "upto",
                    models.BigIntegerField(
                        help_text="ms; how far it has read the new one, while its cursor is past that."
                    ),
                ),
                (
                    "earlier",
                    models.BigIntegerField(
                        help_text="ms; the mark of the epoch in which it was before, or 0."
                    ),
                ),
                (
                    "sent_earlier",
                    models.BigIntegerField(help_text="ms; likewise, of what its user has sent."),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "device"), name="epoch_mark_once_a_device"
                    )
                ],
            },
        ),
    ]
