"""The pre-message hook: a tenant's server is asked whether a message may be delivered, before it is stored.

A worker of messages does not wait for anybody's server. It hands such messages to the webhook worker of its
node and answers for all others; the gateway goes on, and waits for these by their uids. What they become it
learns as ever from their row of the log, or by a word of this module when there will be none.

Here the messages of one sender to one conversation are judged one after the other, and stored in that order.
Different ones go side by side, AT_ONCE for a tenant: nobody waits for another tenant's server, nor for the
answer about another conversation. Nothing of it outlives the process: a sender whose message was lost with it
has not been acknowledged, and is told to try again.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlencode

from celery import current_app

from apps.accounts import webhooks
from apps.accounts.directory import directory
from apps.accounts.webhooks import Hooks
from apps.messaging import exchange, log
from apps.messaging.log import Appended, Entry, Unavailable
from apps.messaging.methods import Refused, Status, Verdict
from apps.messaging.models import CHANGES, TO_SELF
from apps.messaging.webhooks import routing, sending
from apps.messaging.webhooks.routing import CHANNELS, SOURCE_NAMES
from apps.routing import hints, metrics
from apps.routing.envelope import FROM_SERVER, SOURCES, Batch, Hint, Request, Row, feed_group, hint_message
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.messages import conversation_type, is_readable
from apps.routing.protocol.packets import MAX_CONTENT, AckStatus

logger = logging.getLogger(__name__)

JUDGE = "messaging.judge"
PATIENCE = 10.0  # s that a message may take here; gateways give up after 19.5
AT_ONCE = 16  # calls to one tenant's server
THREADS = 256  # calls of this process
HELD_MAX = 10_000  # messages of one process; past it they are refused as busy
STORED_TOGETHER = 512  # messages
BREAK_AFTER = 10  # calls in a row without a good answer, after which a server is not asked …
OPEN_FOR = 10.0  # … for so many s
LOOK = 0.1  # s between two looks at calls that take too long
REFUSED_KEPT = 10_000  # messages that were refused, so that a batch which comes twice gets one answer

PASSED, REFUSED, UNANSWERED = "passed", "refused", "unanswered"

Key = tuple[int, int, str, str]  # tenant, kind of conversation, sender, target
Indexed = tuple[int, Request]


# --- in a worker of messages


def divide(requests: Sequence[Indexed]) -> tuple[list[Indexed], list[Indexed]]:
    """Those that are nobody else's business, and those that a tenant's server is to be asked about.

    By their conversations only: what it is not asked about is to stay behind what it is.
    """
    table = webhooks.table.current
    free: list[Indexed] = []
    held: list[Indexed] = []
    for each in requests:
        its = held if each[1].tenant in table.judged and _is_asked_about(each[1], table) else free
        its.append(each)
    return free, held


def _is_asked_about(request: Request, table: webhooks.Table) -> bool:
    channel = CHANNELS.get(conversation_type(request.method))
    if channel is None or request.options & FROM_SERVER or request.method.endswith("S"):
        return False
    return table.hooks(request.tenant).covers(channel)


def hand_over(batch: Batch, requests: Sequence[Request], queue_name: str) -> None:
    """Give them to the webhook worker. Raises what the broker does."""
    expires = log.now() + int(PATIENCE * 1000)
    handed = Batch(batch.server_set, batch.gateway, batch.number, batch.attempt, expires, requests)
    current_app.send_task(JUDGE, args=(handed.pack(),), queue=queue_name, retry=False, ignore_result=True)


# --- in a webhook worker


class Held(NamedTuple):
    """A message that waits for its judgement."""

    gateway: str
    request: Request
    verdict: Verdict
    until: float  # monotonic s


class Judged(NamedTuple):
    """A message that may be stored, or has this status."""

    held: Held
    verdict: Verdict


class Server:
    """A tenant's."""

    def __init__(self) -> None:
        self.ready: deque[Key] = deque()  # senders and conversations that wait for a thread
        self.active = 0  # threads
        self.failures = 0  # in a row
        self.open_until = 0.0  # monotonic s

    def took(self, *, well: bool) -> None:
        self.failures = 0 if well else self.failures + 1
        if self.failures >= BREAK_AFTER:
            self.open_until = time.monotonic() + OPEN_FOR


class Judge:
    """Of one SET, in one process. `verdicts` and `append` are the message workers' own."""

    def __init__(
        self,
        server_set: str,
        verdicts: Callable[[str, Sequence[Indexed]], list[Verdict]],
        append: Callable[[str, list[tuple[int, Entry]], list[Any]], Appended | None],
        status_row: Callable[[Request, Status, int], Row],
    ) -> None:
        self.server_set = server_set
        self._verdicts = verdicts
        self._append = append
        self._status_row = status_row
        self._lock = threading.Lock()
        self._lines: dict[Key, deque[Held]] = {}
        self._servers: dict[int, Server] = defaultdict(Server)
        self._uids: set[str] = set()  # of the messages that are here
        self._refused: OrderedDict[str, int] = OrderedDict()  # uid -> status
        self._judged: queue.SimpleQueue[Judged] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="judge")
        self._closed = threading.Event()
        self._storing = threading.Thread(target=self._store_all, name=f"judge-{server_set}", daemon=True)
        self._storing.start()

    def close(self) -> None:
        """Leave what is not judged yet."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._closed.set()
        self._storing.join()

    def take(self, batch: Batch) -> None:
        """Begin with a batch; returns at once. It may come twice."""
        new = [r for r in batch.requests if r.uid not in self._uids]
        _tell(batch.gateway, [(r.uid, self._refused[r.uid]) for r in new if r.uid in self._refused])
        new = [r for r in new if r.uid not in self._refused]
        left = (batch.expires - log.now()) / 1000
        if left <= 0 or len(self._uids) + len(new) > HELD_MAX:
            logger.warning("%s: %d messages are not judged: too many, or too late", self.server_set, len(new))
            _tell(batch.gateway, [(r.uid, AckStatus.BUSY) for r in new])
            return
        until = time.monotonic() + left
        try:
            verdicts = self._verdicts(self.server_set, list(enumerate(new)))
        except Unavailable as error:
            logger.error("%s: %d messages refused: %s", self.server_set, len(new), error)
            _tell(batch.gateway, [(r.uid, AckStatus.BUSY) for r in new])
            return
        refused = []
        with self._lock:
            for request, verdict in zip(new, verdicts, strict=True):
                if isinstance(verdict, Refused):
                    refused.append((request.uid, verdict.status))
                else:
                    self._enter(Held(batch.gateway, request, verdict, until))
            for server in list(self._servers.values()):
                self._start(server)
        _tell(batch.gateway, refused)

    def _enter(self, held: Held) -> None:
        r = held.request
        key = (r.tenant, conversation_type(r.method), r.user, r.target)
        self._uids.add(r.uid)
        line = self._lines.setdefault(key, deque())
        line.append(held)
        if len(line) == 1:
            self._servers[r.tenant].ready.append(key)

    def _start(self, server: Server) -> None:
        while server.ready and server.active < AT_ONCE:
            server.active += 1
            self._threads.submit(self._work, server, server.ready.popleft())

    def _work(self, server: Server, key: Key) -> None:
        """In a thread: judge the first message of a line; then it is another line's turn."""
        held = self._lines[key][0]
        try:
            verdict = judge(held, server)
        except Exception:
            logger.exception("message %s is not judged", held.request.uid)
            verdict = Refused(AckStatus.FAILED)
        self._judged.put(Judged(held, verdict))
        with self._lock:
            line = self._lines[key]
            line.popleft()
            if line:
                server.ready.append(key)
            else:
                del self._lines[key]
            server.active -= 1
            self._start(server)

    def _store_all(self) -> None:
        while not self._closed.is_set():
            its = []
            try:
                its.append(self._judged.get(timeout=LOOK))
                while len(its) < STORED_TOGETHER and not self._judged.empty():
                    its.append(self._judged.get())
            except queue.Empty:
                pass
            try:
                sending.cut()
                if its:
                    self._store(its)
            except Exception:
                logger.exception("%s: %d judged messages failed", self.server_set, len(its))
                self._answer((each.held, AckStatus.FAILED) for each in its)
            self._uids.difference_update(each.held.request.uid for each in its)
        log.of(self.server_set).close()

    def _store(self, judged: Sequence[Judged]) -> None:
        """Append what has passed, in this order, and tell gateways what became of all."""
        answers: list[tuple[Held, int]] = []
        entries: list[tuple[int, Entry]] = []
        rows: list[Row] = []
        now = log.now()
        for place, (held, verdict) in enumerate(judged):
            if isinstance(verdict, Refused):
                answers.append((held, verdict.status))
                self._refused[held.request.uid] = verdict.status
            elif isinstance(verdict, Status):
                rows.append(self._status_row(held.request, verdict, now))
                routing.status_messages(self.server_set, [held.request], now)
                answers.append((held, 0))
            else:
                entries.append((place, verdict))
        while len(self._refused) > REFUSED_KEPT:
            self._refused.popitem(last=False)
        failed: list[Any] = []
        try:
            appended = self._append(self.server_set, entries, failed)
        except Unavailable as error:
            logger.error("%s: %d judged messages refused: %s", self.server_set, len(entries), error)
            answers += [(judged[place].held, AckStatus.BUSY) for place, _ in entries]
            appended = None
        answers += [(judged[each.place].held, each.status) for each in failed]
        before, upto = (appended.before, appended.upto) if appended else (0, 0)
        rows += appended.rows if appended else ()
        for row in appended.rows if appended else ():
            metrics.stored(row.tenant, 1)
        if rows:
            hint = Hint(self.server_set, before, upto, rows)
            hints.tell(feed_group(self.server_set), hint_message(hint))
        if appended:
            exchange.wake(self.server_set, appended.upto, appended.exported)
        self._answer(answers)

    @staticmethod
    def _answer(answers: Iterable[tuple[Held, int]]) -> None:
        by_gateway: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for held, status in answers:
            by_gateway[held.gateway].append((held.request.uid, status))
        for gateway, its in by_gateway.items():
            _tell(gateway, its)


def _tell(gateway: str, answers: Sequence[tuple[str, int]]) -> None:
    """Tell a gateway the statuses of messages that no row will answer for."""
    if answers:
        told = [[uid, int(status), log.now()] for uid, status in answers]
        hints.tell(gateway, {"type": "judged", "answers": told})


# --- asking


def judge(held: Held, server: Server) -> Verdict:
    """What becomes of a message that may be sent as far as imcloud is concerned."""
    entry, r = held.verdict, held.request
    hooks = webhooks.table.current.hooks(r.tenant)
    if not isinstance(entry, Entry) or entry.flags & (CHANGES | TO_SELF) or not hooks.judge_url:
        return held.verdict
    up = UpStreamMessage.FromString(entry.up)
    if not hooks.judges(CHANNELS[entry.kind], up.classname):
        return entry
    answer = _ask(held, entry, up, hooks, server)
    if answer is None:
        metrics.JUDGED.add(1, UNANSWERED)
        return entry if hooks.judge_open else Refused(AckStatus.BUSY)
    passes, replaced = answer
    metrics.JUDGED.add(1, PASSED if passes else REFUSED)
    return replace(entry, up=replaced) if passes else Refused(AckStatus.SENSITIVE_WORD)


def _ask(
    held: Held, entry: Entry, up: UpStreamMessage, hooks: Hooks, server: Server
) -> tuple[bool, bytes] | None:
    """Whether it passes, and as what; None when there is no good answer in time."""
    tenant = directory.current.by_id(entry.tenant)
    now = time.monotonic()
    timeout = min(hooks.judge_timeout / 1000, held.until - now)
    if tenant is None or timeout <= 0 or now < server.open_until:
        return None
    body = urlencode(_form(tenant.app_key, entry, up)).encode()
    outcome = sending.post(hooks.judge_url, body, sending.FORM, tenant, [entry.uid], timeout)
    found = _answer(outcome.body, up) if outcome.status == 200 else None
    server.took(well=found is not None)
    if found is None:
        logger.warning("tenant %d: no judgement of %s: %s", entry.tenant, entry.uid, outcome.note)
    return found


def _form(app_key: str, entry: Entry, up: UpStreamMessage) -> dict[str, Any]:
    """SERVER_API 6.3."""
    form = {
        "appKey": app_key,
        "fromUserId": entry.sender,
        "targetId": entry.target,
        "msgType": up.classname,
        "content": up.content,
        "channelType": CHANNELS[entry.kind],
        "msgTimeStamp": str(log.now()),
        "messageId": entry.uid,
        "os": SOURCE_NAMES.get(entry.flags & SOURCES, ""),
    }
    more = {"pushContent": up.pushText, "busChannel": up.busChannel, "extraContent": up.extraContent}
    more["toUserIds"] = json.dumps(list(up.toUserIds)) if up.toUserIds else ""
    return form | {name: value for name, value in more.items() if value}


def _answer(body: bytes, up: UpStreamMessage) -> tuple[bool, bytes] | None:
    """What an answer says; None when it says nothing that can be understood. `up` is changed."""
    try:
        found = json.loads(body)
        verdict = int(found["pass"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if verdict not in (0, 1, 2):
        return None
    if verdict:
        content, push = found.get("content"), found.get("pushContent")
        if isinstance(content, dict):
            content = json.dumps(content, ensure_ascii=False)
        if content:
            if not _fits(content, up.classname):
                return None
            up.content = content.encode()
        if isinstance(push, str) and push:
            try:
                up.pushText = push
            except ValueError:  # half of a surrogate pair
                return None
    return bool(verdict), up.SerializeToString()


def _fits(content: Any, classname: str) -> bool:
    """Whether clients can be shown it."""
    try:
        fits = isinstance(content, str) and len(content.encode()) <= MAX_CONTENT
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return fits and is_readable(classname, content)


_judges: dict[str, Judge] = {}


def of(server_set: str, *how: Any) -> Judge:
    """This process's judge of a SET."""
    if server_set not in _judges:
        _judges[server_set] = Judge(server_set, *how)
    return _judges[server_set]
