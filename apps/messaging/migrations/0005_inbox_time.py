from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0004_names"),
    ]

    operations = [
        migrations.CreateModel(
            name="InboxTime",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("slot", models.SmallIntegerField()),
                ("tenant", models.BigIntegerField()),
                ("uid", models.CharField(db_collation="C", max_length=64)),
                ("time", models.BigIntegerField(help_text="ms")),
            ],
            options={
                "indexes": [models.Index(fields=["slot", "tenant", "time"], name="inbox_time")],
                "constraints": [models.UniqueConstraint(fields=("slot", "uid"), name="inbox_time_once")],
            },
        ),
    ]
