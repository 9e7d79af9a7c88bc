"""Publishing of batches to the broker, by the threads of the lanes."""

from __future__ import annotations

from typing import Any

from celery import current_app
from kombu import Connection, Producer


class Publisher:
    """One connection to the broker, used by one thread; opened at need, dropped when it fails."""

    def __init__(self) -> None:
        self.busy = False  # a publish is under way: read by the event loop
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def publish(self, queue: str, task: str, body: bytes) -> None:
        """Put one task on a queue; raises what kombu raises, within the transport's socket timeout."""
        self.busy = True
        try:
            if self._producer is None:
                self._connection = current_app.connection_for_write()
                self._producer = self._connection.Producer(auto_declare=False)
            self._send(queue, task, body)
        except Exception:
            self.close()
            raise
        finally:
            self.busy = False

    def _send(self, queue: str, task: str, body: bytes) -> None:
        # argsrepr: without it Celery would render the whole batch as text for its events.
        unread: dict[str, Any] = {"argsrepr": "(batch,)", "kwargsrepr": "{}", "ignore_result": True}
        current_app.send_task(
            task,
            args=(body,),
            queue=queue,
            producer=self._producer,
            retry=False,
            add_to_parent=False,
            **unread,
        )

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except Exception:  # it was broken already
                pass
