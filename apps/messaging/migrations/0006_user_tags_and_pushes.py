from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0005_moderation"),
    ]

    operations = [
        migrations.CreateModel(
            name="PushRecord",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                (
                    "push",
                    models.CharField(db_collation="C", help_text="The id that was answered.", max_length=32),
                ),
                ("at", models.BigIntegerField(help_text="ms.")),
                ("users", models.IntegerField(help_text="Whom it was for; empty: everybody.", null=True)),
                ("platforms", models.CharField(max_length=256)),
                ("title", models.CharField(blank=True, max_length=256)),
                ("alert", models.CharField(blank=True, help_text="Its beginning.", max_length=256)),
                (
                    "message",
                    models.CharField(
                        blank=True, help_text="The class of the message that was sent.", max_length=32
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["tenant", "at"], name="push_record_at")],
                "constraints": [models.UniqueConstraint(fields=("tenant", "push"), name="push_record_once")],
            },
        ),
        migrations.CreateModel(
            name="PushRemark",
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
                ("kind", models.SmallIntegerField(help_text="The conversation's: private or group.")),
                (
                    "target",
                    models.CharField(db_collation="C", help_text="The friend or the group.", max_length=64),
                ),
                ("remark", models.CharField(max_length=256)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "kind", "target"), name="push_remark_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="UserTag",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("user", models.CharField(db_collation="C", max_length=64)),
                ("tag", models.CharField(db_collation="C", max_length=40)),
            ],
            options={
                "indexes": [models.Index(fields=["tenant", "user"], name="user_tag_of_user")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "tag", "user"), name="user_tag_once")
                ],
            },
        ),
    ]
