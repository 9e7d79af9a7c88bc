import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ExchangeCursor",
            fields=[
                ("origin", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("seq", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Chatroom",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("room", models.CharField(db_collation="C", max_length=64)),
                ("slot", models.SmallIntegerField()),
                ("name", models.CharField(blank=True, db_default="", max_length=256)),
                (
                    "created",
                    models.BigIntegerField(
                        help_text="ms, of the log's own clock: messages up to it were an earlier room's of that id."
                    ),
                ),
                (
                    "destroyed",
                    models.SmallIntegerField(
                        choices=[(0, "when idle"), (1, "at an age")], db_default=0, default=0
                    ),
                ),
                ("destroy_after", models.IntegerField(db_default=60, default=60, help_text="Minutes.")),
                (
                    "kept",
                    models.BooleanField(
                        db_default=False, default=False, help_text="It is not destroyed by itself."
                    ),
                ),
                (
                    "muted",
                    models.BooleanField(
                        db_default=False, default=False, help_text="Only those exempt may send."
                    ),
                ),
                (
                    "held",
                    models.BooleanField(
                        db_default=False, default=False, help_text="Messages are stored and shown to nobody."
                    ),
                ),
                (
                    "entries_time",
                    models.BigIntegerField(
                        db_default=0,
                        default=0,
                        help_text="ms of the newest change of its entries; each has a later one.",
                    ),
                ),
                (
                    "entries_floor",
                    models.BigIntegerField(
                        db_default=0,
                        default=0,
                        help_text="ms; entries that were removed up to then are forgotten.",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant", "room"), name="chatroom_once")],
            },
        ),
        migrations.CreateModel(
            name="ChatroomEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("room", models.CharField(db_collation="C", max_length=64)),
                ("key", models.CharField(db_collation="C", max_length=128)),
                ("slot", models.SmallIntegerField(help_text="The room's.")),
                ("value", models.CharField(db_collation="C", max_length=4096)),
                (
                    "owner",
                    models.CharField(db_collation="C", help_text="Who has set it last.", max_length=64),
                ),
                (
                    "status",
                    models.SmallIntegerField(
                        help_text="Bits: 1 goes with its owner, 2 may be replaced, 4 removed."
                    ),
                ),
                ("time", models.BigIntegerField(help_text="ms of the change.")),
            ],
            options={
                "verbose_name_plural": "chatroom entries",
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "room", "key"), name="chatroom_entry_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="ChatroomUser",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("room", models.CharField(db_collation="C", max_length=64)),
                ("user", models.CharField(db_collation="C", max_length=64)),
                ("slot", models.SmallIntegerField(help_text="The room's.")),
                (
                    "kind",
                    models.SmallIntegerField(
                        choices=[
                            (1, "may not send"),
                            (2, "may not enter"),
                            (3, "may send while the room is muted"),
                            (
                                4,
                                "stays in it when his connection goes; his messages are not dropped under load",
                            ),
                        ]
                    ),
                ),
                ("until", models.BigIntegerField(help_text="ms.")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "room", "user", "kind"), name="chatroom_user_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="CleanMark",
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
                ("kind", models.SmallIntegerField()),
                (
                    "target",
                    models.CharField(db_collation="C", help_text="The conversation's id.", max_length=64),
                ),
                (
                    "upto",
                    models.BigIntegerField(
                        help_text="ms of a message, as users are shown it; never goes back."
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "kind", "target"), name="clean_mark_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Conversation",
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
                ("kind", models.SmallIntegerField()),
                (
                    "target",
                    models.CharField(db_collation="C", help_text="The conversation's id.", max_length=64),
                ),
                (
                    "newest",
                    models.BigIntegerField(
                        db_default=0, default=0, help_text="ms of a message, as users are shown it."
                    ),
                ),
                (
                    "removed",
                    models.BigIntegerField(
                        db_default=0, default=0, help_text="ms; only a later message brings it back."
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "kind", "target"), name="conversation_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ConversationRead",
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
                ("kind", models.SmallIntegerField()),
                (
                    "target",
                    models.CharField(db_collation="C", help_text="The conversation's id.", max_length=64),
                ),
                (
                    "time",
                    models.BigIntegerField(
                        help_text="ms of a message, as users are shown it; never goes back."
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "kind", "target"), name="conversation_read_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ConversationState",
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
                ("kind", models.SmallIntegerField()),
                (
                    "target",
                    models.CharField(
                        blank=True,
                        db_collation="C",
                        help_text="Empty: it is for all conversations of the kind.",
                        max_length=64,
                    ),
                ),
                ("channel", models.CharField(blank=True, db_collation="C", max_length=64)),
                ("state", models.BinaryField(help_text="The items of a SessionState.")),
                (
                    "version",
                    models.BigIntegerField(
                        help_text="ms; rises with each change of any of the user's conversations."
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["tenant", "user", "version"], name="conversation_state_newer")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "kind", "target", "channel"), name="conversation_state_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="DeviceCursor",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("user", models.CharField(db_collation="C", max_length=64)),
                (
                    "slot",
                    models.SmallIntegerField(
                        db_default=-1, default=-1, help_text="The user's; cursors move with it."
                    ),
                ),
                (
                    "device",
                    models.CharField(help_text="The platform class: one connection each.", max_length=64),
                ),
                (
                    "time",
                    models.BigIntegerField(help_text="ms of the newest message acknowledged without a gap."),
                ),
                (
                    "moved_at",
                    models.DateTimeField(auto_now=True, db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "user", "device"), name="cursor_once_a_device")
                ],
            },
        ),
        migrations.CreateModel(
            name="EarlyChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                (
                    "uid",
                    models.CharField(
                        db_collation="C", help_text="Of the message to be changed.", max_length=64
                    ),
                ),
                (
                    "by",
                    models.CharField(
                        db_collation="C", help_text="The uid of the row that changes it.", max_length=64
                    ),
                ),
                ("method", models.CharField(max_length=32)),
                ("up", models.BinaryField(help_text="The UpStreamMessage that changes it.")),
                ("at", models.BigIntegerField(help_text="ms of the change, in the log that took it first.")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("uid", "by"), name="early_change_once")],
            },
        ),
        migrations.CreateModel(
            name="ExchangeGap",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("origin", models.CharField(max_length=32)),
                ("slot", models.SmallIntegerField()),
                ("after", models.BigIntegerField()),
                ("upto", models.BigIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("origin", "slot", "after", "upto"), name="exchange_gap_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Group",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("group", models.CharField(db_collation="C", max_length=64)),
                ("slot", models.SmallIntegerField(help_text="The group's.")),
                ("name", models.CharField(blank=True, default="", max_length=256)),
                ("created", models.BigIntegerField(help_text="ms")),
                (
                    "reach",
                    models.BinaryField(help_text="A bit for each slot that a member is of.", max_length=128),
                ),
                ("size", models.IntegerField(default=0, help_text="Members.")),
                ("kind", models.SmallIntegerField(db_default=3, default=3)),
                (
                    "owner",
                    models.CharField(
                        blank=True,
                        db_collation="C",
                        db_default="",
                        default="",
                        help_text="Of a discussion.",
                        max_length=64,
                    ),
                ),
                (
                    "closed",
                    models.BooleanField(
                        db_default=False, default=False, help_text="Of a discussion: only its owner invites."
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant", "group"), name="group_once")],
            },
        ),
        migrations.CreateModel(
            name="GroupMember",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("group", models.CharField(db_collation="C", max_length=64)),
                ("user", models.CharField(db_collation="C", max_length=64)),
                ("slot", models.SmallIntegerField(help_text="The group's.")),
                ("user_slot", models.SmallIntegerField()),
                ("joined", models.BigIntegerField(help_text="ms")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "group", "user"), name="group_member_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="GroupRead",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("group", models.CharField(db_collation="C", max_length=64)),
                ("slot", models.SmallIntegerField(help_text="The group's.")),
                ("uid", models.CharField(db_collation="C", help_text="The message's.", max_length=64)),
                ("user", models.CharField(db_collation="C", max_length=64)),
                ("time", models.BigIntegerField(help_text="ms at which he said so first.")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "group", "uid", "user"), name="group_read_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="GroupRule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("group", models.CharField(db_collation="C", max_length=64)),
                (
                    "user",
                    models.CharField(
                        blank=True, db_collation="C", help_text="Empty: for all.", max_length=64
                    ),
                ),
                ("slot", models.SmallIntegerField(help_text="The group's.")),
                (
                    "kind",
                    models.SmallIntegerField(
                        choices=[
                            (1, "may not send"),
                            (2, "may send while the group is muted"),
                            (3, "the group is muted"),
                        ]
                    ),
                ),
                ("until", models.BigIntegerField(help_text="ms.")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "group", "user", "kind"), name="group_rule_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Head",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("epoch", models.BigIntegerField(default=1)),
                ("seq", models.BigIntegerField(default=0)),
                (
                    "time",
                    models.BigIntegerField(default=0, help_text="ms; no stored message has a greater one."),
                ),
                (
                    "slots",
                    models.BinaryField(
                        default=b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
                        help_text="A bit for each slot: set where the SET takes the slot's messages.",
                        max_length=128,
                    ),
                ),
            ],
            options={
                "verbose_name": "head of the log",
                "verbose_name_plural": "head of the log",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="head_is_one_row")
                ],
            },
        ),
        migrations.CreateModel(
            name="ListCursor",
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
                ("time", models.BigIntegerField(help_text="ms, of the log.")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant", "user"), name="list_cursor_once")],
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("user", models.CharField(db_collation="C", max_length=64)),
                ("group", models.CharField(db_collation="C", max_length=64)),
                ("slot", models.SmallIntegerField(help_text="The user's.")),
                ("joined", models.BigIntegerField(help_text="ms")),
                (
                    "until",
                    models.BigIntegerField(help_text="ms at which he left; null: he is in it.", null=True),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "group", "joined"), name="membership_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                ("seq", models.BigIntegerField(primary_key=True, serialize=False)),
                ("uid", models.CharField(db_collation="C", max_length=64)),
                ("time", models.BigIntegerField(help_text="ms; strictly increasing within one inbox.")),
                (
                    "sent",
                    models.BigIntegerField(
                        help_text="ms; the time in the log that took it first: what users are shown."
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                ("kind", models.SmallIntegerField()),
                ("sender", models.CharField(db_collation="C", max_length=64)),
                ("target", models.CharField(db_collation="C", max_length=64)),
                (
                    "conversation",
                    models.BigIntegerField(help_text="A hash of the conversation, the same for both sides."),
                ),
                ("flags", models.SmallIntegerField()),
                (
                    "inbox",
                    models.BooleanField(help_text="The target's messages are kept here, and this is one."),
                ),
                (
                    "sendbox",
                    models.BooleanField(help_text="The sender's messages are kept here, and this is one."),
                ),
                ("export", models.BooleanField(help_text="Other SETs read it here.")),
                (
                    "reach",
                    models.BinaryField(
                        help_text="Of a group: a bit for each slot that a member is of.",
                        max_length=128,
                        null=True,
                    ),
                ),
                ("target_slot", models.SmallIntegerField()),
                ("sender_slot", models.SmallIntegerField()),
                ("method", models.CharField(max_length=32)),
                ("up", models.BinaryField(help_text="The UpStreamMessage as it was sent.")),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("inbox", True), ("kind__in", (1, 6))),
                        fields=["tenant", "target", "time"],
                        name="message_inbox",
                    ),
                    models.Index(
                        condition=models.Q(("kind__gt", 0), ("sendbox", True)),
                        fields=["tenant", "sender", "time"],
                        name="message_sendbox",
                    ),
                    models.Index(condition=models.Q(("export", True)), fields=["seq"], name="message_export"),
                    models.Index(
                        condition=models.Q(("kind__gt", 0)),
                        fields=["tenant", "conversation", "sent"],
                        name="message_history",
                    ),
                    models.Index(
                        condition=models.Q(("kind__in", (2, 3))),
                        fields=["tenant", "target", "time"],
                        name="message_group",
                    ),
                    models.Index(
                        condition=models.Q(("kind", 6), ("target", "")),
                        fields=["tenant", "time"],
                        name="message_to_all",
                    ),
                    models.Index(condition=models.Q(("kind", 0)), fields=["time"], name="message_canary"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("inbox", True)), fields=("uid",), name="message_once"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("inbox", False)), fields=("uid",), name="message_copy_once"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="OnlineStatus",
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
                (
                    "platforms",
                    models.BinaryField(
                        help_text="msgpack of platform: [status, 0 when offline; ms of the change]."
                    ),
                ),
                ("changed", models.BigIntegerField(help_text="ms of the last change.")),
            ],
            options={
                "verbose_name_plural": "online statuses",
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "user"), name="online_status_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="RemovedMessage",
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
                ("uid", models.CharField(db_collation="C", max_length=64)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "user", "uid"), name="removed_message_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Subscription",
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
                ("watched", models.CharField(db_collation="C", max_length=64)),
                (
                    "generation",
                    models.SmallIntegerField(help_text="Of the SDKs that made it and are told: 2 or 5."),
                ),
                (
                    "since",
                    models.BigIntegerField(
                        help_text="ms; rises with each change of any of the user's subscriptions."
                    ),
                ),
                ("expiry", models.IntegerField(help_text="Seconds; 0: it was ended.")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "watched", "generation"), name="subscription_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="TenantRule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant", models.BigIntegerField()),
                (
                    "kind",
                    models.SmallIntegerField(
                        choices=[
                            (1, "class whose messages chatrooms drop first under load"),
                            (2, "class whose messages chatrooms do not drop"),
                            (3, "user who may not send to chatrooms"),
                            (4, "key-value store of chatrooms switched off"),
                            (5, "user who may not send to groups"),
                            (6, "user who may not send private messages"),
                        ]
                    ),
                ),
                ("name", models.CharField(blank=True, db_collation="C", default="", max_length=64)),
                ("until", models.BigIntegerField(default=9007199254740992, help_text="ms.")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "kind", "name"), name="tenant_rule_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="UserSetting",
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
                ("key", models.CharField(max_length=32)),
                ("value", models.BinaryField()),
                (
                    "version",
                    models.BigIntegerField(
                        help_text="ms; rises with each change of any of the user's settings."
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "user", "key"), name="user_setting_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Watch",
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
                ("watcher", models.CharField(db_collation="C", max_length=64)),
                (
                    "generation",
                    models.SmallIntegerField(help_text="Of the SDKs that made it and are told: 2 or 5."),
                ),
                ("until", models.BigIntegerField(help_text="ms.")),
            ],
            options={
                "verbose_name_plural": "watches",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user", "watcher", "generation"), name="watch_once"
                    )
                ],
            },
        ),
    ]
