#!/usr/bin/env python
"""Every command of imcloud: `manage.py help` lists them."""

import gc
import os
import sys

from imcloud.config import ConfigError, read


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imcloud.settings")
    try:
        read(os.environ)
    except ConfigError as error:
        sys.exit(f"imcloud: {error}")
    gc.disable()  # a collection would find nothing of what is imported now: a sixth of the time
    import django
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    django.setup()
    gc.freeze()
    gc.enable()

    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        reason = " ".join(str(error).split())
        sys.exit(f"imcloud: this command needs a database that does not answer now: {reason}")


if __name__ == "__main__":
    main()
