"""The head's one row, in every SET's database."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("messaging", "0001_initial")]
    operations = [
        migrations.RunSQL(
            "INSERT INTO messaging_head (id, epoch, seq, time) VALUES (1, 1, 0, 0)",
            "DELETE FROM messaging_head",
            hints={"in_set": True},
        )
    ]
