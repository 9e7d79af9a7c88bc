"""What a process holds in memory, in the data folder too: for one that starts while the database is away.

The newest value of each name, from whichever process of this machine wrote it last. Nobody reads one while
the database answers.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from pathlib import Path
from typing import Any

from django.conf import settings

logger = logging.getLogger(__name__)

EVERY = 10.0  # s between two writes of a value, at least …
_BEGAN = time.time()
SHARE = 50.0  # … and so many times as long as the last one took: there may be a million restricted users


def _file(name: str) -> Path:
    return Path(settings.DATA_DIR) / "remembered" / name.replace(" ", "-")


class Keeper:
    """Writes the values of one name, for one thread at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._written: object = None
        self._next_at = 0.0  # monotonic s

    def put(self, value: object) -> None:
        """Write the value, unless it is the one that was written last, or it is too soon. Never raises."""
        if value is self._written or time.monotonic() < self._next_at:
            return
        began = time.monotonic()
        try:
            if not _is_kept(self._name, value):
                _write(self._name, value)
        except Exception as error:  # a full disk, …: only a later start misses it
            logger.warning("%s: not written for later: %s", self._name, error)
        self._written = value
        self._next_at = time.monotonic() + max(EVERY, SHARE * (time.monotonic() - began))


def _version(value: object) -> object:
    return getattr(value, "version", None)


def _is_kept(name: str, value: object) -> bool:
    """Whether another process has written this version."""
    version = _version(value)
    if version is None:
        return False
    try:
        with open(_file(name), "rb") as file:
            # A version may come again after a backup was restored, with which all processes began anew.
            return os.fstat(file.fileno()).st_mtime > _BEGAN and bool(pickle.load(file) == version)
    except Exception:
        return False


def _write(name: str, value: object) -> None:
    file = _file(name)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:  # it has secrets
        pickle.dump(_version(value), out)
        pickle.dump(value, out)
    new.replace(file)


def get(name: str) -> Any:
    """The value; None when there is none that this version of imcloud can read."""
    try:
        with open(_file(name), "rb") as file:
            if os.fstat(file.fileno()).st_uid not in (os.getuid(), 0):
                return None  # reading it would run what somebody else wrote
            pickle.load(file)
            value = pickle.load(file)
            age = time.time() - os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    except Exception as error:
        logger.warning("%s: what was written of it cannot be read: %s", name, error)
        return None
    logger.warning("%s: the database is away; begun with what was known %.0f s ago", name, age)
    return value
