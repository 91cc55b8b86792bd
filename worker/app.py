"""The Celery application. Each setting answers to something that was seen to go wrong."""

import os
from pathlib import Path
from typing import Any

# Read when Celery is imported: SIGTERM ends running tasks after a short wait, giving their shards back.
os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")

from celery import Celery
from celery.signals import worker_ready

from core.jobs.states import Urgency
from core.settings import Settings

QUEUE = "windthrow"
SHARD_TASK = "windthrow.shard"
FINALISE_TASK = "windthrow.finalise"
STUDY_TASK = "windthrow.study"

READY_FILE = "WINDTHROW_READY_FILE"
"""Environment variable: a file that the worker touches once it takes messages."""

PRIORITIES: dict[int, int] = {Urgency.URGENT: 0, Urgency.RESUMED: 5, Urgency.ORDINARY: 9}
"""Message priorities by urgency: over Redis each is a list of its own, and that of 0 is emptied first."""

VISIBILITY_FACTOR = 3
SOCKET_SECONDS = 3

FINALISE_SECONDS = 3600
"""A finalisation that takes longer hangs, whatever its heartbeat says: the largest jobs take minutes."""


def configure(settings: Settings) -> dict[str, Any]:
    """Celery's configuration for these settings."""
    return {
        "broker_url": settings.broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker outlives its broker
        "broker_transport_options": {
            # Redis redelivers what is not acknowledged in time, while the first still runs.
            "visibility_timeout": VISIBILITY_FACTOR * settings.shard_hard_limit,
            "socket_timeout": SOCKET_SECONDS,  # without it, publishing to a hung broker never returns
            "socket_connect_timeout": SOCKET_SECONDS,
            "socket_keepalive": True,
            "priority_steps": sorted(PRIORITIES.values()),
            "max_retries": 1,  # a publisher gives up at once when the broker is down: the relay tries again
            "interval_start": 0,
        },
        "worker_pool": "prefork",  # solo and threads ignore time limits, and solo loses tasks on SIGTERM
        "worker_pool_start_method": "spawn",  # no fork: CUDA and threads are safe
        "worker_proc_alive_timeout": 120,  # a pool process imports torch
        "worker_max_tasks_per_child": 200,  # a bound on leaks; a new process imports torch for seconds
        "worker_prefetch_multiplier": 1,
        "worker_soft_shutdown_timeout": settings.soft_shutdown_seconds,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,  # attempts are capped in the database
        "task_soft_time_limit": settings.shard_soft_limit,
        "task_time_limit": settings.shard_hard_limit,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_default_queue": QUEUE,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_annotations": {
            task: {"soft_time_limit": FINALISE_SECONDS, "time_limit": FINALISE_SECONDS + 60}
            for task in (FINALISE_TASK, STUDY_TASK)
        },
    }


app = Celery("windthrow", include=["worker.tasks", "worker.finalising", "worker.studies"])
app.conf.update(configure(Settings()))


@worker_ready.connect  # type: ignore[untyped-decorator]
def _announce(**_: Any) -> None:
    if path := os.environ.get(READY_FILE):
        Path(path).touch()
