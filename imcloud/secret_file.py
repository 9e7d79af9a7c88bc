"""Secrets that imcloud makes for itself, each in a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def made_once(file: Path) -> str:
    """The secret in the file, made at need. Of several processes that come at one moment the first wins."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        own = file.with_name(f"{file.name}.{os.getpid()}")
        with open(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as new:
            new.write(secrets.token_urlsafe(48))
        try:
            os.link(own, file)
        except FileExistsError:
            pass
        finally:
            own.unlink()
    return file.read_text().strip()
