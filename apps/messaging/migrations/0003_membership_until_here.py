from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("messaging", "0002_head_row")]

    operations = [
        migrations.AddField(
            model_name="membership",
            name="until_here",
            field=models.BigIntegerField(
                help_text="ms, of this SET's log: what was sent before he left is before it.", null=True
            ),
        ),
    ]
