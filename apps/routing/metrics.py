"""Every metric that imcloud has: docs/metrics.md says what each means and what alarm it deserves.

Names and units are Prometheus's conventions: seconds, `_total` for what only rises. On the road of a message
nothing here is called but `Traffic`, which adds to plain integers; the rest is for batches and seconds.
"""

from __future__ import annotations

import functools
import logging
import time
from pathlib import Path

from apps.routing.tally import Book, Registry

logger = logging.getLogger(__name__)

# Of a frame's first byte, the upper four bits (PROTOCOL 3).
PACKETS = {1: "CONNECT", 2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "QUERY", 6: "QUERYACK", 7: "QUERYCON"}
PACKETS |= {12: "PINGREQ", 13: "PINGRESP", 14: "DISCONNECT"}

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
DELAYS = tuple(2**power / 1000 for power in range(17))  # s, 1 ms to 65 s; see Traffic.pushed
LATENESS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

registry = Registry()
_counter, _gauge, _histogram = registry.counter, registry.gauge, registry.histogram

# Connections and their packets: gateways.
CONNECTIONS = _gauge("imcloud_connections", "Open client connections.", "generation")
CONNECTIONS_OPENED = _counter(
    "imcloud_connections_opened_total", "Connections that were accepted.", "generation"
)
CONNECTIONS_REFUSED = _counter(
    "imcloud_connections_refused_total", "Connections that CONNACK refused, by its status.", "code"
)
USERS = _gauge("imcloud_presence_users", "Users with an open connection, each once a gateway.")
PACKETS_TOTAL = _counter("imcloud_packets_total", "Packets of client connections.", "type", "direction")
REFUSALS = _counter(
    "imcloud_refusals_total",
    "Requests of clients and the server API that were refused, by status code.",
    "kind",
    "code",
)
QUOTA_REFUSALS = _counter(
    "imcloud_quota_refusals_total", "Messages and calls refused by their tenant's quota.", "kind"
)
PUSHES = _counter("imcloud_pushes_total", "Messages that were pushed to a device (s_msg).")
DELIVERY = _histogram(
    "imcloud_delivery_seconds", "From a message's time in the log to its push to a device.", DELAYS
)
NOTICES = _counter("imcloud_notices_total", "Notices that told a device to pull (s_ntf).")
SYNCS = _counter("imcloud_syncs_total", "Messages that were synced to the sender's other devices.")
ACKNOWLEDGEMENTS = _counter("imcloud_push_acknowledgements_total", "Pushes that their device acknowledged.")

# Chatrooms: gateways; what is dropped, nodes.
CHATROOM_MEMBERS = _gauge("imcloud_chatroom_members", "Connections in chatrooms, each once a room.")
CHATROOM_NOTICES = _counter("imcloud_chatroom_notices_total", "Notices of chatrooms to a connection.")
CHATROOM_PULLS = _counter("imcloud_chatroom_pulls_total", "Pulls of chatrooms, by who answered.", "by")
CHATROOM_DROPPED = _counter(
    "imcloud_chatroom_messages_dropped_total", "Messages of chatrooms refused under load.", "priority"
)

# Lanes and feeds: gateways.
LANE_WAITING = _gauge("imcloud_lane_waiting_requests", "Requests that wait for a batch to leave.", "kind")
LANE_BATCH = _histogram("imcloud_lane_batch_requests", "Requests in a batch.", SIZES, "kind")
LANE_FLIGHT = _histogram(
    "imcloud_lane_flight_seconds",
    "From a batch's first publishing to its answer, or to its being given up.",
    SECONDS,
    "kind",
)
LANE_RESENT = _counter("imcloud_lane_batches_resent_total", "Batches that were sent another time.", "kind")
LANE_UNPUBLISHED = _counter(
    "imcloud_lane_publish_failures_total", "Batches that the broker did not take at a try.", "kind"
)
LANE_GIVEN_UP = _counter(
    "imcloud_lane_batches_given_up_total", "Batches that were refused for want of an answer.", "kind"
)
FEED_GAPS = _counter("imcloud_feed_gaps_total", "Gaps between two hints about the log.", "set")
FEED_REREADS = _counter(
    "imcloud_feed_rereads_total", "Reads of the log because a gap did not close by itself.", "set"
)
FEED_ROWS_READ = _counter(
    "imcloud_feed_rows_read_total", "Rows that a read of the log brought before any hint did.", "set"
)
FEED_SKIPS = _counter(
    "imcloud_feed_skips_total", "Times that a gateway was so far behind that its devices had to pull.", "set"
)

# Nodes: workers and their supervisor.
MESSAGES = _counter("imcloud_messages_total", "Messages that were stored in a log.", "tenant")
APPEND = _histogram(
    "imcloud_append_seconds", "Time of an append to the log, tries again included.", SECONDS, "set"
)
APPEND_ROWS = _histogram("imcloud_append_rows", "Messages in an append to the log.", SIZES, "set")
APPEND_FAILURES = _counter(
    "imcloud_append_failures_total", "Appends that the database did not take in time.", "set"
)
REPEATED = _counter(
    "imcloud_messages_repeated_total", "Messages that an earlier try had stored: kept once.", "set"
)
BATCHES_EXPIRED = _counter(
    "imcloud_batches_expired_total", "Batches that a worker found too late and left.", "kind"
)
EXCHANGED = _counter(
    "imcloud_exchange_messages_total", "Messages that a SET took from the log of another.", "set", "origin"
)
EXCHANGE_WAITING = _gauge(
    "imcloud_exchange_waiting_messages", "Messages that a SET has yet to take from another.", "set", "origin"
)
EXCHANGE_LAG = _gauge(
    "imcloud_exchange_lag_seconds", "Age of the oldest message that a SET has not taken.", "set", "origin"
)
REPLICATED = _counter("imcloud_replication_messages_total", "Messages that a SET's standby was given.", "set")
REPLICATION_WAITING = _gauge(
    "imcloud_replication_waiting_messages", "Messages that a SET's standby is yet to be given.", "set"
)
REPLICATION_LAG = _gauge(
    "imcloud_replication_lag_seconds", "Age of the oldest message that a SET's standby has not.", "set"
)
COMPENSATIONS = _counter(
    "imcloud_compensations_total", "Connections that compensation had notified again.", "set"
)
COMPENSATION_LATE = _histogram(
    "imcloud_compensation_lateness_seconds",
    "From when a notice was due to when compensation had it sent.",
    LATENESS,
    "set",
)
WEBHOOKS = _counter(
    "imcloud_webhook_tries_total", "What tenants' servers were told, by what became of it.", "hook", "outcome"
)
WEBHOOKS_WAITING = _gauge("imcloud_webhook_waiting", "What tenants' servers are yet to be told.", "set")
WEBHOOKS_AGE = _gauge("imcloud_webhook_age_seconds", "Age of the oldest of it.", "set")
WEBHOOKS_PAUSED = _gauge(
    "imcloud_webhook_paused_receivers", "Receivers that are left alone for failing again and again.", "set"
)
JUDGED = _counter("imcloud_judged_messages_total", "What pre-message hooks have said.", "outcome")
QUEUE_TASKS = _gauge("imcloud_queue_tasks", "Tasks in the queue.", "queue")
QUEUE_WAIT = _gauge("imcloud_queue_wait_seconds", "How long the newest probe waited in the queue.", "queue")
WORKERS = _gauge("imcloud_workers", "Workers of the queue that have come up.", "queue")
WORKER_RESTARTS = _counter("imcloud_worker_restarts_total", "Workers that died or were replaced.", "queue")
PROCESS_RESTARTS = _counter(
    "imcloud_process_restarts_total", "Processes that `manage.py run` started again.", "process"
)


# A counter that appears with its first event has not risen for who watches it: these begin at zero.
OF_FEED = (FEED_GAPS, FEED_REREADS, FEED_ROWS_READ, FEED_SKIPS)
for _by in ("gateway", "node"):
    CHATROOM_PULLS.of(_by)
for _priority in ("low", "normal"):
    CHATROOM_DROPPED.of(_priority)
for _metric in (LANE_RESENT, LANE_UNPUBLISHED, LANE_GIVEN_UP, BATCHES_EXPIRED):
    for _kind in ("message", "query"):
        _metric.of(_kind)
for _outcome in ("passed", "refused", "unanswered"):
    JUDGED.of(_outcome)
for _hook in ("messages", "online", "chatrooms"):
    for _outcome in ("delivered", "failed", "dead"):
        WEBHOOKS.of(_hook, _outcome)


class Traffic:
    """What this process's connections do, in plain integers; `hand_over` makes metrics of it.

    Only for the event loop. All of it together costs less than 1 µs a message.
    """

    __slots__ = ("acknowledged", "delays", "delays_ms", "notices", "received", "sent", "syncs")

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.received = [0] * 256  # by the frame's first byte
        self.sent = [0] * 256
        self.delays = [0] * 64  # pushes, by the bit length of their delay in ms
        self.delays_ms = 0
        self.notices = 0
        self.syncs = 0
        self.acknowledged = 0

    def pushed(self, at: int) -> None:
        """A message of the time `at` (ms) was pushed: below 2**n ms of delay it is in the bucket n."""
        delay = time.time_ns() // 1_000_000 - at
        if delay > 0:
            self.delays[delay.bit_length()] += 1
            self.delays_ms += delay
        else:  # the log's time may be ahead of the clock
            self.delays[0] += 1

    def hand_over(self) -> None:
        """Add all of it to the metrics and begin anew."""
        for direction, counts in (("in", self.received), ("out", self.sent)):
            for byte, number in enumerate(counts):
                if number:
                    PACKETS_TOTAL.add(number, PACKETS.get(byte >> 4, "other"), direction)
        PUSHES.add(sum(self.delays))
        DELIVERY.take(self.delays, self.delays_ms / 1000)
        NOTICES.add(self.notices)
        SYNCS.add(self.syncs)
        ACKNOWLEDGEMENTS.add(self.acknowledged)
        self._begin()


traffic = Traffic()


def refused(code: int, *, is_message: bool) -> None:
    """A request got this code instead of what it asked for."""
    REFUSALS.add(1, "message" if is_message else "query", str(int(code)))


def stored(tenant: int, number: int) -> None:
    """A batch has put so many messages of a tenant into the log. Tenant 0 is imcloud itself: its canaries."""
    if tenant:
        MESSAGES.add(number, str(tenant))


@functools.cache
def start(folder: Path) -> Book | None:
    """Begin to leave this process's counts in the folder; None when it cannot, which stops nothing else.

    A second call does nothing.
    """
    try:
        book = Book(registry, folder)
    except OSError as error:
        logger.error("there will be no metrics of this process: %s", error)
        return None
    book.keep()
    return book
