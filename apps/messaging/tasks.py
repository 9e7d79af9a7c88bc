"""The tasks that a node's workers run. Each may run twice: uids absorb the second try."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from celery import current_app, current_task, shared_task, signals
from django.db import OperationalError
from google.protobuf.message import DecodeError

from apps.accounts import webhooks
from apps.accounts.directory import directory
from apps.messaging import (
    changes,
    chatroom_life,
    compensation,
    epochs,
    exchange,
    history_files,
    log,
    modifications,
    online_status,
    slot_moves,
)
from apps.messaging.log import Appended, Elsewhere, Entry, Unavailable
from apps.messaging.methods import (
    Admit,
    AnswerQuery,
    Refused,
    Status,
    Verdict,
    blacklist,
    canary,
    changing,
    chatroom,
    chatroom_operations,
    conversation_states,
    conversations,
    discussion,
    files,
    gateways,
    group,
    history,
    modify,
    online,
    private,
    pull,
    recall,
    receipts,
    settings,
    system,
)
from apps.messaging.models import CHATROOM, PRIVATE, SYSTEM
from apps.messaging.sensitive_words import words
from apps.messaging.standby import comparing, replication
from apps.messaging.standby.shipping import StandbyAway
from apps.messaging.tenant_rules import rules
from apps.messaging.webhooks import deliveries, dispatcher, events, judging, routing
from apps.routing import hints, metrics
from apps.routing.envelope import (
    ELSEWHERE,
    REPEATED,
    Answer,
    Batch,
    Hint,
    Request,
    Row,
    feed_group,
    hint_message,
)
from apps.routing.protocol.packets import AckStatus, ProtocolError
from apps.routing.topology import ANSWER, DELIVER

logger = logging.getLogger(__name__)

DISPATCH = "messaging.dispatch_webhooks"
APPEND_WITHIN = 3.0  # s that a batch waits for a database that is away; less than a batch's life

HINT_BYTES = 1 << 20  # of replies in one hint: Redis cuts a subscriber off that is 32 MB behind

MESSAGE_METHODS: dict[str, Admit] = {
    "ppMsgP": private.admit,
    "ppMsgN": private.admit,
    "ppMsgS": private.admit,
    "pgMsgP": group.admit,
    "pgMsgS": group.admit,
    "pdMsgP": group.admit,
    "grpChange": group.change,
    **dict.fromkeys(("sysMsg", "sysMsgS"), system.admit),
    "pbMsgP": system.refuse,
    **dict.fromkeys(("chatMsg", "chatMsgS"), chatroom.admit),
    "recallMsg": recall.admit,
    **dict.fromkeys(("updRTime", "updRRTime"), receipts.admit),
    modifications.METHOD: modify.admit,
    "canary": canary.admit,
}
QUERY_METHODS: Mapping[str, AnswerQuery] = {
    "pullMsg": pull.pull,
    **history.METHODS,
    **conversations.METHODS,
    **dict.fromkeys(("joinChrm", "joinChrmR"), chatroom.join),
    "exitChrm": chatroom.leave,
    "queryChrmI": chatroom.info,
    "chrmPull": chatroom.pull,
    "qryCHMsg": chatroom.history,
    **dict.fromkeys(("setKV", "delKV"), chatroom.set_entry),
    **dict.fromkeys(("setKVS", "delKVS"), chatroom.set_some_entries),
    "pullKV": chatroom.pull_entries,
    "manageChrm": chatroom_operations.manage,
    "readFeed": gateways.read_feed,
    "ackCursor": gateways.move_cursors,
    "presence": online.presence_changed,
    "sessions": events.sessions_changed,
    **settings.METHODS,
    **conversation_states.METHODS,
    **blacklist.METHODS,
    **discussion.METHODS,
    **files.METHODS,
    **online.METHODS,
    **receipts.METHODS,
    "readExpansion": changing.read_expansion,
    "pullModifyMsg": modify.pull,
    **dict.fromkeys(settings.EMPTY, settings.answer),
}


@shared_task(name=DELIVER)
def deliver(data: bytes) -> None:
    """Check, store, commit, then tell: one batch of messages of one gateway."""
    batch = Batch.unpack(data)
    if _expired(batch, "message"):
        return
    exported = 0
    try:
        known = log.of(batch.server_set).places([r.uid for r in batch.requests]) if batch.attempt else {}
        new = [(i, r) for i, r in enumerate(batch.requests) if r.uid not in known]
        # A message that an earlier try stored is not judged again: its sender may have been blocked since.
        answers = [_stored(i, *known[r.uid]) for i, r in enumerate(batch.requests) if r.uid in known]
        if webhooks.table.current.judged:
            new = _hand_over(batch, new, answers)
        hint, exported = _store(batch, new, answers)
    except Unavailable as error:
        logger.error("batch %s/%d refused: %s", batch.gateway, batch.number, error)
        hint = _answering(batch, [Answer(i, AckStatus.BUSY) for i in range(len(batch.requests))])
    except Exception:
        # A bug, or a database that refuses: the lane must not stand still behind it.
        logger.exception("batch %s/%d failed", batch.gateway, batch.number)
        hint = _answering(batch, [Answer(i, AckStatus.FAILED) for i in range(len(batch.requests))])
    hints.tell(feed_group(batch.server_set), hint_message(hint))
    exchange.wake(batch.server_set, hint.upto, exported)
    replication.wake(batch.server_set)


def _hand_over(
    batch: Batch, new: list[tuple[int, Request]], answers: list[Answer]
) -> list[tuple[int, Request]]:
    """Give what a tenant's server is to be asked about to this node's webhook worker; the others."""
    free, held = judging.divide(new)
    if held:
        info = (current_task and current_task.request.delivery_info) or {}
        own = str(info.get("routing_key") or "")
        queue = f"{own.removesuffix('.message')}.webhook" if own else f"{batch.server_set}.webhooks"
        try:
            judging.hand_over(batch, [request for _, request in held], queue)
        except Exception as error:
            logger.error("%d messages are not judged: %s", len(held), error)
            answers += [Answer(i, AckStatus.BUSY) for i, _ in held]
    return free


def _expired(batch: Batch, kind: str) -> bool:
    late = time.time_ns() // 1_000_000 - batch.expires
    if late > 0:
        metrics.BATCHES_EXPIRED.add(1, kind)
        logger.warning("batch %s/%d left: %d ms past its life", batch.gateway, batch.number, late)
    return late > 0


def _answering(batch: Batch, answers: Sequence[Answer]) -> Hint:
    return Hint(batch.server_set, gateway=batch.gateway, number=batch.number, answers=answers)


def _stored(place: int, seq: int, at: int) -> Answer:
    """What an earlier try has stored. The gateway waits for the row itself, by its position."""
    return Answer(place, 0, at, b"", seq)


def _store(batch: Batch, new: Sequence[tuple[int, Request]], answers: list[Answer]) -> tuple[Hint, int]:
    """Append what may be sent. The hint has the stored rows, and answers for all that is not among them.

    Also the mask of the slots whose SETs are to read them.
    """
    now = time.time_ns() // 1_000_000
    entries: list[tuple[int, Entry]] = []
    rows: list[Row] = []
    status: list[Request] = []
    for (index, request), verdict in zip(new, _verdicts(batch.server_set, new), strict=True):
        if isinstance(verdict, Refused):
            answers.append(Answer(index, verdict.status, now))
        elif isinstance(verdict, Status):
            answers.append(Answer(index, 0, now))
            rows.append(_status_row(request, verdict, now))
            status.append(request)
        else:
            entries.append((index, verdict))
    if status and webhooks.table.current.of:
        routing.status_messages(batch.server_set, status, now)
    appended = _append(batch.server_set, entries, answers)
    if appended is None:
        return Hint(batch.server_set, 0, 0, rows, batch.gateway, batch.number, answers), 0
    answers += [_stored(i, *appended.repeated[e.uid]) for i, e in entries if e.uid in appended.repeated]
    rows += appended.rows
    for tenant, number in Counter(row.tenant for row in appended.rows).items():
        metrics.stored(tenant, number)
    hint = Hint(batch.server_set, appended.before, appended.upto, rows, batch.gateway, batch.number, answers)
    return hint, appended.exported


def _append(server_set: str, entries: list[tuple[int, Entry]], answers: list[Answer]) -> Appended | None:
    """Append those whose slots are here and that can be stored; answer the others. None: none is left."""
    while entries:
        batch = [entry for _, entry in entries]
        try:
            return log.of(server_set).append(batch, within=APPEND_WITHIN)
        except Elsewhere as moved:
            statuses = dict.fromkeys(moved.indexes, ELSEWHERE)
        except log.Denied as denied:
            statuses = denied.statuses
        except psycopg.DataError:
            # One message must not fail the others: which was it?
            unfit = log.of(server_set).unfit(batch, within=APPEND_WITHIN)
            if not unfit:
                raise
            statuses = dict.fromkeys(unfit, int(AckStatus.FAILED))
        answers += [Answer(entries[place][0], status) for place, status in statuses.items()]
        entries[:] = [entry for place, entry in enumerate(entries) if place not in statuses]
    return None


def _verdicts(server_set: str, new: Sequence[tuple[int, Request]]) -> list[Verdict]:
    """Each request's verdict; every subject is asked once for all of its requests."""
    verdicts: dict[int, Verdict] = {}
    admits = {i: MESSAGE_METHODS.get(r.method, _no_such_method) for i, r in new}
    for admit in set(admits.values()):
        its = [(i, r) for i, r in new if admits[i] is admit]
        verdicts.update(zip((i for i, _ in its), admit(server_set, [r for _, r in its]), strict=True))
    return [verdicts[i] for i, _ in new]


def _no_such_method(server_set: str, requests: Sequence[Request]) -> list[Verdict]:
    """An actor names a method that this version does not have."""
    return [Refused(AckStatus.NOT_SUPPORTED) for _ in requests]


def _status_row(request: Request, verdict: Status, at: int) -> Row:
    r = request
    to = (r.target,) if verdict.kind in (PRIVATE, CHATROOM, SYSTEM) and r.target else ()
    up = verdict.up or r.payload
    return Row(0, r.uid, at, at, r.tenant, verdict.kind, r.user, r.target, to, False, r.method, up)


@shared_task(name=ANSWER)
def answer(data: bytes) -> None:
    """Answer one batch of queries of one gateway."""
    batch = Batch.unpack(data)
    if _expired(batch, "query"):
        return
    answers: list[Answer] = []
    size = 0
    for place, request in enumerate(batch.requests):
        if batch.attempt:
            request = request._replace(options=request.options | REPEATED)
        answers.append(_answer(batch.server_set, request)._replace(place=place))
        size += len(answers[-1].payload)
        if size > HINT_BYTES:
            hints.tell(batch.gateway, hint_message(_answering(batch, answers)))
            answers, size = [], 0
    if answers:
        hints.tell(batch.gateway, hint_message(_answering(batch, answers)))


def _answer(server_set: str, request: Request) -> Answer:
    method = QUERY_METHODS.get(request.method)
    if method is None:
        return Answer(0, AckStatus.NOT_SUPPORTED)
    try:
        return method(server_set, request)
    except (DecodeError, ProtocolError):
        return Answer(0, AckStatus.MALFORMED)
    except (Unavailable, StandbyAway) as error:
        logger.error("%s of tenant %d refused: %s", request.method, request.tenant, error)
        return Answer(0, AckStatus.BUSY)
    except Exception:
        # A bug here or a value that the database cannot hold: this request fails, the batch's others do not.
        logger.exception("%s of tenant %d failed", request.method, request.tenant)
        return Answer(0, AckStatus.FAILED)


@shared_task(name="messaging.compensate")
def compensate(server_set: str) -> None:
    """Timed: notify the devices that were shown something and have not acknowledged it."""
    compensation.run(server_set)


@shared_task(name=exchange.EXCHANGE)
def take_over(server_set: str, origin: str = "", upto: int = 0) -> None:
    """Read what other SETs' logs have for this one: after a commit from one of them, timed from all."""
    try:
        if not origin:
            exchange.run(server_set)
        else:
            exchange.catch_up(server_set, origin, upto)
    except Unavailable as error:
        logger.warning("%s does not read the others: %s", server_set, error)


@shared_task(name=replication.REPLICATE)
def replicate(server_set: str) -> None:
    """Bring the standby up to the log; after commits, and timed."""
    replication.run(server_set)


@shared_task(name=comparing.COMPARE)
def compare_standby(server_set: str, repair: bool = False, asked_by: str = "") -> None:
    """Compare the standby with its primary: timed, once a day, and when somebody asks for it."""
    if asked_by:
        comparing.asked(server_set, repair=repair, asked_by=asked_by)
    else:
        comparing.daily(server_set)


@shared_task(name="messaging.move_slots")
def move_slots(server_set: str) -> None:
    """Timed: go on with the moves of slots to this SET."""
    try:
        slot_moves.run(server_set)
    except OperationalError as error:
        if server_set not in _moves_waiting:
            logger.warning("%s: the control database is away, slots do not move: %s", server_set, error)
        _moves_waiting.add(server_set)
    else:
        _moves_waiting.discard(server_set)


_moves_waiting: set[str] = set()  # SETs at whose last turn the control database was away


@shared_task(name="messaging.sweep")
def sweep(server_set: str) -> None:
    """Timed: remove old canaries, the cursors of devices that are gone, and the like."""
    canary.sweep(server_set)
    gateways.forget_devices(server_set)
    changes.forget(server_set)
    exchange.forget(server_set)
    epochs.forget(server_set)
    online_status.forget(server_set)
    deliveries.sweep(log.of(server_set))
    history_files.sweep()  # last: it needs the control database


@shared_task(name="messaging.reconcile_online")
def reconcile_online(server_set: str) -> None:
    """Timed: tell watchers of changes that no gateway has told."""
    online_status.reconcile(server_set)
    events.reconcile(server_set)


@shared_task(name="messaging.sweep_chatroom_members")
def sweep_chatroom_members(server_set: str) -> None:
    """Timed: take out of chatrooms whose connection went a while ago."""
    chatroom_life.sweep_members(server_set)


@shared_task(name="messaging.sweep_chatrooms")
def sweep_chatrooms(server_set: str) -> None:
    """Timed: destroy the chatrooms whose time is over."""
    chatroom_life.sweep_rooms(server_set)


@shared_task(name="messaging.webhooks")
def tend_webhooks(server_set: str) -> None:
    """Timed: have the SET's webhook workers look after what tenants' servers are to be told."""
    if webhooks.table.current.of:
        current_app.send_task(
            DISPATCH, args=(server_set,), queue=f"{server_set}.webhooks", expires=5.0, ignore_result=True
        )


@shared_task(name=DISPATCH)
def dispatch_webhooks(server_set: str) -> None:
    """By a webhook worker: go on, or be there in case that the one who does stops."""
    dispatcher.tend(server_set)


@shared_task(name=judging.JUDGE)
def judge(data: bytes) -> None:
    """By a webhook worker: have tenants' servers say whether these messages may be delivered."""
    batch = Batch.unpack(data)
    judging.of(batch.server_set, _verdicts, _append, _status_row).take(batch)


@signals.worker_init.connect(weak=False)
def know_rules(**_: Any) -> None:
    """A worker begins: it is to know at once what holds in tenants."""
    directory.start()
    rules.start()
    words.start()
    webhooks.table.start()
