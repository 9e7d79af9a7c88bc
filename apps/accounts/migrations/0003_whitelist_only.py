from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_users_who_are_gone"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="whitelist_only",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="A user takes private messages only from users in his white list.",
            ),
        ),
    ]
