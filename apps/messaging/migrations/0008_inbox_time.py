from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0007_names"),
    ]

    operations = [
        migrations.AddField(
            model_name="listcursor",
            name="low",
            field=models.BigIntegerField(
                db_default=0, default=0, help_text="ms, of the log: what is before it has not been read yet."
            ),
        ),
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
