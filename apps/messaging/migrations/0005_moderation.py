from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0004_messages_api"),
    ]

    operations = [
        migrations.CreateModel(
            name="WordList",
            fields=[
                ("tenant", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "version",
                    models.BigIntegerField(help_text="The Change.version of the last change of its words."),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SensitiveWord",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                (
                    "folded",
                    models.CharField(db_collation="C", help_text="The word without case.", max_length=32),
                ),
                ("word", models.CharField(max_length=32)),
                (
                    "replacement",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Stands for it; empty: who sends the word is refused.",
                        max_length=32,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "folded"), name="sensitive_word_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="WhiteEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("owner", models.CharField(db_collation="C", max_length=64)),
                ("slot", models.SmallIntegerField(help_text="The owner's.")),
                ("allowed", models.CharField(db_collation="C", max_length=64)),
            ],
            options={
                "verbose_name": "white list entry",
                "verbose_name_plural": "white list entries",
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "owner", "allowed"), name="white_once_an_owner")
                ],
            },
        ),
    ]
