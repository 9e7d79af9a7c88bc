"""The sequence from which processes lease their numbers; see apps.routing.process."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("routing", "0001_initial")]
    operations = [
        migrations.RunSQL("CREATE SEQUENCE routing_process_number", "DROP SEQUENCE routing_process_number")
    ]
