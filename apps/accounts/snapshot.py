"""Values read from the database again and again by a thread, so that looking them up costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from django.db import DatabaseError, close_old_connections

from apps.accounts import remembered
from apps.accounts.models import Change

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Renewed(Generic[T]):
    """An immutable value, replaced whole.

    `read(previous)` returns the newest value, or `previous` itself when nothing has changed; it gets None
    the first time. `every` is in seconds. `kept`: a process that starts while the database is away begins
    with what another one knew.
    """

    def __init__(
        self, name: str, read: Callable[[T | None], T], every: float = 0.5, *, kept: bool = False
    ) -> None:
        self.name = name
        self.every = every
        self._read = read
        self._value: T | None = None
        self._lock = threading.Lock()
        self._ending: threading.Event | None = None  # of the thread that keeps it new
        self._failing = False
        self._keeper = remembered.Keeper(name) if kept else None
        self.remembered = False  # it was not read in this process yet

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
            try:
                self._value = value = self._read(self._value)
                self.remembered = False
            except DatabaseError:
                if self._value is not None or self._keeper is None:
                    raise
                known: T | None = remembered.get(self.name)
                if known is None:
                    raise
                self._value = value = known
                self.remembered = True
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
            if self._ending is not None:
                return
            self._ending = threading.Event()
        name = f"renew-{self.name}"
        threading.Thread(target=self._keep_new, args=(self._ending,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Read it no more by itself, but for a look that has begun."""
        with self._lock:
            if self._ending is not None:
                self._ending.set()
                self._ending = None

    def _keep_new(self, ending: threading.Event) -> None:
        while not ending.is_set():
            self._look(self._renew)
            _release()
            self._keep()
            ending.wait(self.every)

    def _keep(self) -> None:
        if self._keeper is not None and self._value is not None and not self._failing:
            self._keeper.put(self._value)

    def _look(self, read: Callable[[], object]) -> None:
        """Read; of several failures in a row the first one is told."""
        try:
            read()
        except Exception as error:
            if not self._failing:
                logger.warning("%s: not read, keeping the old value: %s", self.name, error)
            self._failing = True
        else:
            if self._failing:
                logger.info("%s: read again", self.name)
            self._failing = False


def _release() -> None:
    """Connections go back to the pool: they are not held while nothing is read."""
    with contextlib.suppress(Exception):  # the thread goes on; what is broken, the next read tells
        close_old_connections()


class Versioned(Protocol):
    """`version`: of the Change that it was read at."""

    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)
EVERY = 0.5  # s


class OfChanges(Renewed[V]):
    """A value that is made of what `changing` changes: it is read again when there was a change.

    `read(version, previous)` returns it anew. One thread of the process asks for all of them whether one was.
    """

    def __init__(self, name: str, read: Callable[[int, V | None], V]) -> None:
        super().__init__(name, self._read_if_changed, EVERY, kept=True)
        self._read_anew = read

    def _read_if_changed(self, previous: V | None) -> V:
        version = _newest_version()
        if previous is not None and previous.version == version:
            return previous
        return self._read_anew(version, previous)

    def start(self) -> None:
        """Keep the value new from now on; a second call does nothing."""
        global _follower
        with _start:
            if self not in _followed:
                _followed.append(self)
            if _follower is None:
                _follower = threading.Thread(target=_follow, name="renew-changes", daemon=True)
                _follower.start()

    def stop(self) -> None:
        with _start:
            if self in _followed:
                _followed.remove(self)


_start = threading.Lock()
_followed: list[OfChanges[Any]] = []
_follower: threading.Thread | None = None


def _newest_version() -> int:
    return Change.objects.values_list("version", flat=True).first() or 0


def _follow() -> None:
    """As long as there is one to follow."""
    global _follower
    pause = threading.Event()
    while True:
        with _start:
            if not _followed:
                _follower = None
                return
        try:
            version = _newest_version()
        except Exception as error:
            for each in _followed:
                each._look(partial(_fail, error) if each._value is not None else each._renew)
        else:
            for each in _followed:
                if each._failing or each._value is None or each._value.version != version:
                    each._look(each._renew)
        _release()
        for each in _followed:
            each._keep()
        pause.wait(EVERY)


def _fail(error: Exception) -> None:
    raise error
