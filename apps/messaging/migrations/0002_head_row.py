"""The head's one row, in every SET's database. It takes no slot's messages until it is given some."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("messaging", "0001_initial")]
    operations = [
        migrations.RunSQL(
            "INSERT INTO messaging_head (id, epoch, seq, time, slots)"
            " VALUES (1, 1, 0, 0, decode(repeat('00', 128), 'hex'))",
            "DELETE FROM messaging_head",
            hints={"in_set": True},
        )
    ]
