"""Publishing of batches to the broker, by the threads of the lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import current_app
from kombu import Connection, Producer
from kombu.transport.virtual import Channel
from kombu.utils.uuid import uuid


class Publisher:
    """One connection to the broker, used by one thread; opened at need, dropped when it fails."""

    def __init__(self) -> None:
        self.busy = False  # a publish is under way: read by the event loop
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._declared: set[str] = set()  # queues, to this connection

    def publish(self, queue: str, task: str, body: bytes) -> None:
        """Put one task on a queue; raises what kombu raises, within the transport's socket timeout."""
        self.busy = True
        try:
            self._send(self._open(), queue, task, body)
        except Exception:
            self.close()
            raise
        finally:
            self.busy = False

    def depth(self, queue: str) -> int:
        """How many tasks wait in a queue; raises what kombu raises, as `publish` does."""
        return self._ask(lambda channel: channel.queue_declare(queue, passive=True).message_count)

    def purge(self, queue: str) -> int:
        """Delete what waits in a queue; how many tasks it was. Raises likewise."""
        return self._ask(lambda channel: channel.queue_purge(queue))

    def _ask(self, question: Callable[[Any], Any]) -> int:
        try:
            channel: Any = self._open().channel
            try:
                return int(question(channel))
            except channel.connection.client.channel_errors:  # no such queue: Redis keeps no empty ones
                if not isinstance(channel, Channel):
                    self.close()  # AMQP ends a channel that asks for what is not there
                return 0
        except Exception:
            self.close()
            raise

    def _open(self) -> Producer:
        if self._producer is None:
            self._connection = current_app.connection_for_write()
            self._producer = self._connection.Producer(auto_declare=False)
            _keep_client(self._producer.channel)
        return self._producer

    def _send(self, producer: Producer, queue: str, task: str, body: bytes) -> None:
        # What `send_task` makes of it, without asking a router and signals. argsrepr: without it Celery would
        # render the whole batch as text for its events.
        unread: dict[str, Any] = {"argsrepr": "(batch,)", "kwargsrepr": "{}", "ignore_result": True}
        message = current_app.amqp.as_task_v2(uuid(), task, args=(body,), **unread)
        producer.publish(
            message.body,
            exchange="",
            routing_key=queue,
            declare=() if queue in self._declared else (current_app.amqp.queues[queue],),
            serializer=current_app.conf.task_serializer,
            headers=message.headers,
            **message.properties,
        )
        self._declared.add(queue)

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        self._declared.clear()
        if connection is not None:
            try:
                connection.release()
            except Exception:  # it was broken already
                pass


def _keep_client(channel: Any) -> None:
    """Have kombu send with one client. It makes one for each message, which costs more than the sending."""
    if hasattr(channel, "conn_or_acquire"):  # Redis'
        acquire, kept = channel.conn_or_acquire, channel._create_client()
        channel.conn_or_acquire = lambda client=None: acquire(client or kept)
