from django.db import migrations

# Whether an UpStreamMessage names a user among those that it is for (toUserIds, field 6). A walk over the
# fields of its protobuf: a user's id may as well be in what it says.
NAMES = """
    CREATE FUNCTION messaging_names(up bytea, who text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE STRICT COST 1000 AS $$
    DECLARE
      wanted bytea := convert_to(who, 'UTF8');
      place int := 0;
      field bigint := 0;  -- the tag of a field: its number and how it is written
      value bigint;  -- a varint after it: its value, or its length
      shift int;
    BEGIN
      IF position(wanted IN up) = 0 THEN
        RETURN false;
      END IF;
      WHILE place < octet_length(up) LOOP
        field := 0;
        shift := 0;
        LOOP
          field := field | (get_byte(up, place) & 127)::bigint << shift;
          shift := shift + 7;
          place := place + 1;
          EXIT WHEN get_byte(up, place - 1) < 128;
        END LOOP;
        value := 0;
        CASE field & 7
          WHEN 0, 2 THEN
            shift := 0;
            LOOP
              value := value | (get_byte(up, place) & 127)::bigint << shift;
              shift := shift + 7;
              place := place + 1;
              EXIT WHEN get_byte(up, place - 1) < 128;
            END LOOP;
            IF field & 7 = 0 THEN
              value := 0;
            END IF;
          WHEN 1 THEN value := 8;
          WHEN 5 THEN value := 4;
          ELSE RETURN false;  -- groups of fields: no SDK writes them
        END CASE;
        IF field = 50 AND substr(up, place + 1, value::int) = wanted THEN
          RETURN true;
        END IF;
        place := place + value;
      END LOOP;
      RETURN false;
    EXCEPTION WHEN data_exception THEN
      RETURN false;  -- it ends within a field
    END $$"""


class Migration(migrations.Migration):
    dependencies = [("messaging", "0006_user_tags_and_pushes")]

    operations = [
        migrations.RunSQL(NAMES, "DROP FUNCTION messaging_names(bytea, text)", hints={"in_set": True})
    ]
