import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_whitelist_only"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="call_rate",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Calls of the server API a second.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="connections_max",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Client connections at a time.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="groups_max",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Groups and discussions that there may be.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="message_rate",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Messages a second, of all clients and the server API together.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="users_max",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Users that may be registered.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
    ]
