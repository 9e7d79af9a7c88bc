"""How far a backup or a restore is: rows done of rows expected, as the server itself counts them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from tqdm import tqdm  # type: ignore[import-untyped]

LINE_EVERY = 1.0  # s between two lines where there is no terminal
LOOK = 0.3  # s between two looks
# What pg_dump and pg_restore say when they come to a table's rows.
_TABLE = re.compile(r'(?:dumping contents of|processing data for) table "(?:[^."]+\.)?([^"]+)"')
_INDEX = re.compile(r'creating (?:INDEX|CONSTRAINT) "(?:[^."]+\.)?([^"]+)"')
_COPIED = """
    SELECT COALESCE(sum(tuples_processed), 0)::int8 FROM pg_stat_progress_copy
    WHERE datname = %s AND relid <> 0"""


class Part:
    """One database's share of the work."""

    def __init__(self, name: str, rows: dict[str, int], watcher: psycopg.Connection[Any], database: str):
        self.name = name
        self.rows = rows  # table -> rows, as far as they are known
        self.at = ""  # what is being done
        self._watcher = watcher  # a session at the database's server
        self._database = database
        self._whole = 0  # rows of the tables that are done
        self._table = ""
        self._partial = 0  # rows of the one that is not

    def hear(self, line: str) -> None:
        """What the program says."""
        if found := _TABLE.search(line):
            self._whole += self.rows.get(self._table, 0)
            self._table, self._partial = found[1], 0
            self.at = found[1]
        elif found := _INDEX.search(line):
            self.close()
            self.at = f"index {found[1]}"

    def close(self) -> None:
        """All rows are done."""
        self._whole, self._table, self._partial = sum(self.rows.values()), "", 0

    def look(self) -> int:
        """Rows done."""
        if self._table:
            try:
                ((copied,),) = self._watcher.execute(_COPIED, (self._database,)).fetchall()
                self._partial = min(max(self._partial, copied), self.rows.get(self._table, 0))
            except psycopg.Error:
                pass  # the work itself says what is wrong
        return self._whole + self._partial


class Progress:
    """A bar on a terminal, elsewhere a line every `LINE_EVERY` s; a context manager."""

    def __init__(self, say: Callable[[str], object], *, bar: bool) -> None:
        self.say = say
        self.expected = 0  # rows, of parts that have not begun too
        self._bar = bar
        self._parts: list[Part] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def add(self, part: Part) -> None:
        self._parts.append(part)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        bar = tqdm(total=0, unit="row", unit_scale=True, disable=not self._bar)
        told_at = time.monotonic()
        while not self._ended.wait(LOOK):
            parts = list(self._parts)
            done, total = sum(part.look() for part in parts), sum(sum(part.rows.values()) for part in parts)
            total = max(total, self.expected)
            doing = "; ".join(f"{part.name}: {part.at}" for part in parts if part.at)
            if self._bar:
                bar.total, bar.n = max(total, done), done
                bar.set_postfix_str(doing)
            elif time.monotonic() - told_at >= LINE_EVERY:
                told_at = time.monotonic()
                self.say(f"{done:,} of {max(total, done):,} rows; {doing}")
        bar.close()
