"""Values read from the database again and again by a thread, so that looking them up costs nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import close_old_connections

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Renewed(Generic[T]):
    """An immutable value, replaced whole.

    `read(previous)` returns the newest value, or `previous` itself when nothing has changed; it gets None
    the first time. `every` is in seconds.
    """

    def __init__(self, name: str, read: Callable[[T | None], T], every: float = 0.5) -> None:
        self.name = name
        self.every = every
        self._read = read
        self._value: T | None = None
        self._lock = threading.Lock()
        self._started = False

    @property
    def current(self) -> T:
        """The value as last read; read now when it never was. Raises what `read` raises, then only."""
        value = self._value
        return self.renew() if value is None else value

    def renew(self) -> T:
        """Read now and return the newest value: what was committed before the call is in it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._renew()
        # The ORM refuses to work on an event loop's thread. This blocks the loop for one short read, and
        # happens at most once in a process that does not call start() first.
        found: list[T | BaseException] = []
        thread = threading.Thread(target=self._renew_into, args=(found,), daemon=True)
        thread.start()
        thread.join()
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    def _renew(self) -> T:
        with self._lock:
            self._value = value = self._read(self._value)
            return value

    def _renew_into(self, found: list[T | BaseException]) -> None:
        try:
            found.append(self._renew())
        except Exception as error:
            found.append(error)
        finally:
            close_old_connections()

    def start(self) -> None:
        """Keep the value new from now on, in a daemon thread; a second call does nothing."""
        with self._lock:
            if self._started:
                return
            self._started = True
        threading.Thread(target=self._keep_new, name=f"renew-{self.name}", daemon=True).start()

    def _keep_new(self) -> None:
        failing = False
        pause = threading.Event()
        while True:
            try:
                self._renew()
                if failing:
                    logger.info("%s: read again", self.name)
                failing = False
            except Exception as error:
                if not failing:
                    logger.warning("%s: not read, keeping the old value: %s", self.name, error)
                failing = True
            finally:
                close_old_connections()  # back to the pool: it is not held while nothing is read
            pause.wait(self.every)
