"""The Celery app, `celery -A imcloud`. Queues carry batches; see apps.routing.lanes and the supervisor."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imcloud.settings")

from django.conf import settings

if TYPE_CHECKING:
    from apps.routing.topology import SetEntry

OF_STANDBY = (
    "messaging.replicate",
    "messaging.compare_standby",
)  # where there is one; on a queue of their own
SOCKET_TIMEOUT = 2.0  # s; a lane gives up on a broker that does not answer within it


def timed_work(sets: Mapping[str, "SetEntry"]) -> dict[str, dict[str, Any]]:
    """What beat has each SET's nodes do, and how often (s). A task that nobody took in time is left."""
    every = {
        "messaging.compensate": 1.0,
        "messaging.exchange": 1.0,
        "messaging.replicate": 1.0,
        "messaging.compare_standby": 600.0,
        "messaging.move_slots": 1.0,
        "messaging.webhooks": 1.0,
        "messaging.sweep_chatroom_members": 5.0,
        "messaging.reconcile_online": 15.0,
        "messaging.sweep_chatrooms": 60.0,
        "messaging.sweep": 600.0,
    }
    return {
        f"{task} {name}": {
            "task": task,
            "schedule": seconds,
            "args": (name,),
            "options": {
                "queue": f"{name}.{'replication' if task in OF_STANDBY else 'beat'}",
                "expires": max(seconds, 5.0),
            },
        }
        for name, its in sets.items()
        for task, seconds in every.items()
        if task not in OF_STANDBY or its.standby
    }


def sentinel_options() -> dict[str, Any]:
    """What kombu has to know of Sentinels besides their addresses."""
    its = settings.BROKER_SENTINEL
    if its is None:
        return {}
    asked = settings.SENTINEL_OPTIONS | {"password": its.sentinel_password}
    return {"master_name": its.master, "sentinel_kwargs": asked, **settings.MASTER_OPTIONS}


app = Celery("imcloud")
app.conf.update(
    broker_url=settings.BROKER_URL,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A Redis that has become a replica answers a worker that waits at it with an error of that kind: it is to
    # look for the new master, and not to die of it.
    broker_channel_error_retry=True,
    broker_connection_timeout=SOCKET_TIMEOUT,
    broker_heartbeat=10,
    broker_transport_options={
        # Redis: no copy of tasks in workers' hands. Acknowledged before it runs, a task would leave it at
        # once; lanes send again what a dead worker had taken. Halves the cost of taking a task.
        "ack_emulation": False,
        "max_retries": 0,  # of a connect: a lane learns in 1 ms, not in 2 s, that the broker is away
        "priority_steps": [0],  # one list a queue, so one BRPOP key instead of four
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": SOCKET_TIMEOUT,
        "socket_keepalive": True,
        "health_check_interval": 10,
        **sentinel_options(),
    },
    task_serializer="msgpack",
    accept_content=["msgpack", "json"],
    event_serializer="json",
    result_backend=None,
    task_ignore_result=True,
    task_acks_late=False,
    task_publish_retry=False,  # the lane retries, with its own clock and on another node
    task_default_queue="set1.beat",
    task_create_missing_queues=True,
    task_send_sent_event=False,
    worker_prefetch_multiplier=1,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_log_color=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_state_db=None,
    timezone=settings.TIME_ZONE,
)
app.autodiscover_tasks()
