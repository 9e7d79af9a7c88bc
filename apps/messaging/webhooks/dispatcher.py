"""Tells tenants' servers what waits for them: one dispatcher a SET, a thread of one of its webhook workers.

What has one key (a conversation, a user, a chatroom) is told one after the other: while one is out, or waits
for its next try, those behind it wait too. Keys go side by side, up to CONCURRENCY for a receiver, and one
that fails gets one at a time, so that no receiver's slowness is another's. A receiver that fails again and
again is left alone for a while; then one try finds out whether it is back.

Everything that must not be lost is in the table. What is here may go at any moment with its process: another
dispatcher reads the rows that wait, and tells again what this one had told and not noted.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from apps.accounts import webhooks
from apps.accounts.directory import directory
from apps.messaging import log
from apps.messaging.log import Log, Unavailable
from apps.messaging.webhooks import deliveries, routing, sending
from apps.messaging.webhooks.deliveries import ATTEMPTS, RETRY_AFTER, Done, Hook, State, Waiting, moment
from apps.messaging.webhooks.sending import Outcome
from apps.routing import metrics

logger = logging.getLogger(__name__)

CONCURRENCY = 8  # calls to one receiver at a time
THREADS = 256  # calls of this process at a time
RUN = 50  # rows of one key that one turn of a thread tells
TURN = 5.0  # s after which a thread leaves the rest of them to the next turn
RUN_BYTES = 1 << 20  # of rows read for one receiver together …
READ_BYTES = 32 << 20  # … and for all of them
BREAK_AFTER = 10  # failures in a row after which a receiver is left alone …
OPEN_FOR = 60.0  # … for so many s
PAUSE = 0.1  # s between two looks at the log when nothing happens
MEASURE = 5.0  # s between two measurements, and two turns of tidying up
ASK_AGAIN = 1.0  # s between two looks whether the other dispatcher is still there
LOCK = 0x7765_6268  # of the one dispatcher of a SET's database


class Receiver:
    """One URL of a tenant; empty: it has none any more."""

    def __init__(self, tenant: int, hook: int, url: str) -> None:
        self.tenant = tenant
        self.hook = hook
        self.url = url
        self.busy: set[int] = set()  # keys that a thread has
        self.blocked: dict[int, float] = {}  # key -> monotonic s of the next try of its first row
        self.failures = 0  # in a row
        self.open_until = 0.0  # monotonic s

    @property
    def broken(self) -> bool:
        return self.failures >= BREAK_AFTER

    def room(self, now: float) -> int:
        """How many more keys it may be told of now."""
        if now < self.open_until or not self.url:
            return 0
        return (1 if self.failures else CONCURRENCY) - len(self.busy)

    def change(self, url: str) -> None:
        """It is another one from now on."""
        if url != self.url:
            self.url, self.failures, self.open_until = url, 0, 0.0

    def took(self, *, well: bool, now: float) -> None:
        """A call has ended."""
        was_broken = self.broken
        self.failures = 0 if well else self.failures + 1
        if self.broken:
            self.open_until = now + OPEN_FOR
            if not was_broken:
                logger.warning("webhook %d of tenant %d fails: paused", self.hook, self.tenant)
        elif was_broken:
            logger.info("webhook %d of tenant %d works again", self.hook, self.tenant)

    def passed(self, now: float) -> list[int]:
        """The keys of which nothing may be told now."""
        for key in [key for key, due in self.blocked.items() if due <= now]:
            del self.blocked[key]
        return [*self.busy, *self.blocked]


class Told(NamedTuple):
    """What a thread says of a key."""

    receiver: Receiver
    key: int
    outcomes: Sequence[Done]
    over: bool = False  # it has done with the key


class Dispatcher:
    """See the module. Its methods are for one thread, which owns `of`."""

    def __init__(self, of: Log) -> None:
        self._log = of
        self._receivers: dict[tuple[int, int], Receiver] = {}
        self._told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._unrecorded: list[Told] = []
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="webhook")
        self._tidied_at = float("-inf")

    @property
    def out(self) -> int:
        """Keys that threads have, or whose outcomes are not noted yet."""
        return sum(len(each.busy) for each in self._receivers.values())

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def turn(self) -> bool:
        """Read the log, note what became of calls, and begin the next ones; whether there was anything to do.

        Raises Unavailable; nothing is lost by it.
        """
        sending.cut()
        self._renew()
        more = routing.route(self._log)
        noted = self._note()
        began = self._begin()
        self._tidy()
        return more or noted or began

    def wait(self, seconds: float) -> None:
        """Until a call has ended, or for so long."""
        try:
            self._unrecorded.append(self._told.get(timeout=seconds))
        except queue.Empty:
            pass

    def _renew(self) -> None:
        """Follow the tenants' webhooks."""
        wanted = {}
        for tenant, its in webhooks.table.current.of.items():
            urls = {Hook.MESSAGES: its.messages_url, Hook.ONLINE: its.online_url}
            urls[Hook.CHATROOMS] = its.chatrooms_url
            wanted.update({(tenant, int(hook)): url for hook, url in urls.items() if url})
        for key, receiver in list(self._receivers.items()):
            receiver.change(wanted.get(key, ""))
            if not receiver.url and not receiver.busy:
                del self._receivers[key]
        for key, url in wanted.items():
            if key not in self._receivers:
                self._receivers[key] = Receiver(*key, url)

    def _begin(self) -> bool:
        now = time.monotonic()
        free = {key: each for key, each in self._receivers.items() if each.room(now) > 0}
        passed = [key for each in free.values() for key in each.passed(now)]
        most = min(RUN_BYTES, READ_BYTES // max(len(free), 1))
        rows = deliveries.following(self._log, list(free), passed, RUN, most)
        runs: dict[tuple[int, int, int], list[Waiting]] = {}
        for row in rows:
            runs.setdefault((row.tenant, row.hook, row.key), []).append(row)
        began = False
        for (tenant, hook, key), its in runs.items():
            receiver = free[tenant, hook]
            wait = (its[0].due - log.now()) / 1000
            if wait > 0:
                receiver.blocked[key] = now + wait
            elif receiver.room(now) > 0:
                receiver.busy.add(key)
                self._threads.submit(self._tell, receiver, key, its)
                began = True
        return began

    # --- in a thread

    def _tell(self, receiver: Receiver, key: int, rows: list[Waiting]) -> None:
        """Tell rows of one key in order, until one fails, or others wait for the thread."""
        until = time.monotonic() + TURN
        try:
            for part in _parts(receiver.hook, rows):
                outcomes = _told(receiver, part)
                self._told.put(Told(receiver, key, outcomes))
                if outcomes[-1].state != State.DELIVERED or time.monotonic() > until:
                    break
        except Exception:
            logger.exception("webhook %d of tenant %d", receiver.hook, receiver.tenant)
        finally:
            self._told.put(Told(receiver, key, (), over=True))

    # ---

    def _note(self) -> bool:
        while not self._told.empty():
            self._unrecorded.append(self._told.get())
        if not self._unrecorded:
            return False
        outcomes = [each for told in self._unrecorded for each in told.outcomes]
        if outcomes:
            deliveries.done(self._log, outcomes)
        now = time.monotonic()
        for receiver, key, its, over in self._unrecorded:
            if over:  # from here on the table says what is next of the key
                receiver.busy.discard(key)
            if its:
                receiver.took(well=its[-1].state == State.DELIVERED, now=now)
                if its[-1].state == State.WAITING:
                    receiver.blocked[key] = now + max(its[-1].due - log.now(), 0) / 1000
            for each in its:
                metrics.WEBHOOKS.add(1, Hook(receiver.hook).name.lower(), _OUTCOMES[State(each.state)])
        self._unrecorded = []
        return True

    def _tidy(self) -> None:
        now = time.monotonic()
        if now - self._tidied_at >= MEASURE:
            self._tidied_at = now
            waiting, age = deliveries.measure(self._log)
            metrics.WEBHOOKS_WAITING.put(waiting, self._log.server_set)
            metrics.WEBHOOKS_AGE.put(age, self._log.server_set)
            broken = sum(each.broken for each in self._receivers.values())
            metrics.WEBHOOKS_PAUSED.put(broken, self._log.server_set)
            deliveries.sweep(self._log)


_OUTCOMES = {State.WAITING: "failed", State.DELIVERED: "delivered", State.DEAD: "dead"}


def _parts(hook: int, rows: list[Waiting]) -> list[list[Waiting]]:
    """What goes in one call: a message by itself; events together, unless one of them has failed before."""
    if hook == Hook.MESSAGES or any(row.attempts for row in rows):
        return [[row] for row in rows]
    return [rows]


def _told(receiver: Receiver, rows: list[Waiting]) -> list[Done]:
    """One call."""
    tenant = directory.current.by_id(receiver.tenant)
    if tenant is None:
        outcome = Outcome(0, "there is no such tenant")
    else:
        json_array = receiver.hook != Hook.MESSAGES
        text = f"[{','.join(row.body for row in rows)}]" if json_array else rows[0].body
        kind = sending.JSON if json_array else sending.FORM
        ids = [row.uid for row in rows]
        outcome = sending.post(receiver.url, text.encode(), kind, tenant, ids)
    now = log.now()
    note = f"{moment(now)} {outcome.note}"
    if outcome.status == 200:
        return [Done(row.id, State.DELIVERED, True, 0, note) for row in rows]
    # A receiver that is known to be away is not the message's fault.
    counts = bool(outcome.status) or not receiver.broken
    return [_failed(row, counts, now, note) for row in rows]


def _failed(row: Waiting, counts: bool, now: int, note: str) -> Done:
    failed = row.attempts + counts
    if failed >= ATTEMPTS:
        return Done(row.id, State.DEAD, counts, 0, f"{note}: given up")
    return Done(row.id, State.WAITING, counts, now + RETRY_AFTER[max(failed - 1, 0)], note)


# --- the thread

_threads: dict[str, threading.Thread] = {}


def tend(server_set: str) -> None:
    """Have this process dispatch for a SET, unless another one does. To be called every second."""
    thread = _threads.get(server_set)
    if thread is None or not thread.is_alive():
        thread = threading.Thread(target=_run, args=(server_set,), name=f"webhooks-{server_set}", daemon=True)
        _threads[server_set] = thread
        thread.start()


def _run(server_set: str) -> None:
    """Until the SET's database ends the session, which has the lock or waits for it."""
    of = Log(server_set)
    try:
        while not of.read("SELECT pg_try_advisory_lock(%s)", (LOCK,), within=0.0)[0][0]:
            time.sleep(ASK_AGAIN)
        logger.info("%s: dispatching webhooks", server_set)
        dispatcher = Dispatcher(of)
        try:
            while True:
                if not dispatcher.turn():
                    dispatcher.wait(PAUSE)
        finally:
            dispatcher.close()
    except Unavailable as error:
        logger.warning("%s: webhooks wait: %s", server_set, error)
    except Exception:
        logger.exception("%s: webhooks wait", server_set)
    finally:
        of.close()
