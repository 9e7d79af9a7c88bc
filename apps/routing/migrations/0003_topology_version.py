"""Triggers that give the topology a new version with every change of it, whoever makes the change.

The version comes from a sequence, so that it never comes twice. The row's lock keeps changes in their order:
who has read a version has missed nothing that was committed before it.
"""

from django.db import migrations

TABLES = ("cluster", "serverset", "slot", "node", "actor")
UP = """
    CREATE SEQUENCE routing_topology_version;
    INSERT INTO routing_topology (id, version) VALUES (1, nextval('routing_topology_version'));
    CREATE FUNCTION routing_topology_changed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO routing_topology (id, version) VALUES (1, nextval('routing_topology_version'))
      ON CONFLICT (id) DO UPDATE SET version = nextval('routing_topology_version');
      RETURN NULL;
    END $$;
""" + "".join(
    f"""CREATE TRIGGER routing_topology_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON routing_{table}
        FOR EACH STATEMENT EXECUTE FUNCTION routing_topology_changed();"""
    for table in TABLES
)
DOWN = """
    DROP FUNCTION routing_topology_changed() CASCADE;
    DROP SEQUENCE routing_topology_version;
"""


class Migration(migrations.Migration):
    dependencies = [("routing", "0002_process_number")]
    operations = [migrations.RunSQL(UP, DOWN)]
