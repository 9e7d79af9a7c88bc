import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_quotas"),
    ]

    operations = [
        migrations.CreateModel(
            name="Webhooks",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "messages_url",
                    models.CharField(
                        blank=True,
                        help_text="Is sent every message that is stored.",
                        max_length=512,
                        verbose_name="message routing",
                    ),
                ),
                (
                    "from_server",
                    models.BooleanField(
                        default=False,
                        help_text="Messages that came by the server API are sent too.",
                        verbose_name="also the server's own",
                    ),
                ),
                (
                    "status_messages",
                    models.BooleanField(
                        default=False,
                        help_text="Messages that are not stored are sent too.",
                        verbose_name="also status messages",
                    ),
                ),
                (
                    "online_url",
                    models.CharField(
                        blank=True,
                        help_text="Is sent who comes and who goes.",
                        max_length=512,
                        verbose_name="online status",
                    ),
                ),
                (
                    "chatrooms_url",
                    models.CharField(
                        blank=True,
                        help_text="Is sent what becomes of chatrooms.",
                        max_length=512,
                        verbose_name="chatroom status",
                    ),
                ),
                (
                    "judge_url",
                    models.CharField(
                        blank=True,
                        help_text="Is asked whether a client's message may be delivered, before it is stored.",
                        max_length=512,
                        verbose_name="pre-message hook",
                    ),
                ),
                (
                    "judge_kinds",
                    models.CharField(
                        default="PERSON,GROUP,TEMPGROUP",
                        help_text="Which it is asked about: PERSON, PERSONS (discussions), GROUP, TEMPGROUP (chatrooms).",
                        max_length=64,
                        verbose_name="of conversations",
                    ),
                ),
                (
                    "judge_classes",
                    models.CharField(
                        blank=True,
                        help_text="Which it is asked about, separated by commas, such as RC:TxtMsg; empty: all.",
                        max_length=1024,
                        verbose_name="of object names",
                    ),
                ),
                (
                    "judge_timeout",
                    models.PositiveSmallIntegerField(
                        default=5000,
                        help_text="Milliseconds.",
                        validators=[
                            django.core.validators.MinValueValidator(100),
                            django.core.validators.MaxValueValidator(5000),
                        ],
                        verbose_name="timeout",
                    ),
                ),
                (
                    "judge_open",
                    models.BooleanField(
                        default=True,
                        help_text="What becomes of a message when there is no good answer in time: delivered, or refused.",
                        verbose_name="deliver without an answer",
                    ),
                ),
                (
                    "messages_since",
                    models.BigIntegerField(
                        default=0, editable=False, help_text="ms; messages before it are not sent."
                    ),
                ),
                (
                    "tenant",
                    models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, to="accounts.tenant"),
                ),
            ],
            options={
                "verbose_name": "webhooks",
                "verbose_name_plural": "webhooks",
            },
        ),
    ]
