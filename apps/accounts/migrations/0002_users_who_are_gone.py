from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="deactivated",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Refused at connect, whatever the token.",
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="deleted_at",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                help_text="Epoch ms; connections of tokens issued up to it end. 0: none.",
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="registered",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="No: only what keeps the user from connecting is known.",
            ),
        ),
        migrations.AddIndex(
            model_name="user",
            index=models.Index(
                condition=models.Q(("deactivated", False), ("registered", True)),
                fields=["tenant", "created_at", "user_id"],
                name="user_by_registration",
            ),
        ),
    ]
