"""The relay: rings the bells of the outbox at the broker, and now and then runs the reaper and the sweeper."""

import logging
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import psycopg
from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy.exc import SQLAlchemyError

from core.jobs import outbox
from core.jobs.reaper import reap
from core.settings import Settings
from core.store.database import Database
from core.store.sweeping import Sweeper
from core.store.tables import Outbox
from worker.app import FINALISE_TASK, PRIORITIES, SHARD_TASK, STUDY_TASK, app

log = logging.getLogger(__name__)

TASKS = {"shard": SHARD_TASK, "finalise": FINALISE_TASK, "study": STUDY_TASK}
BATCH = 100
POLL_SECONDS = 1.0
MAX_PAUSE = 10.0


class Relay:
    """Publishes until stopped. While the broker is down rows stay where they are, and submitting works."""

    def __init__(self, settings: Settings, celery: Celery = app) -> None:
        self._settings = settings
        self._celery = celery
        self._database = Database(settings.database_url, pool_size=1)
        self._sweeper = Sweeper.of(settings, self._database)
        self._stopping = threading.Event()
        self._broker_down = False
        self._pause = POLL_SECONDS
        self._reaped_at = 0.0

    def stop(self) -> None:
        """Let `run` return within a second."""
        self._stopping.set()

    def run(self) -> None:
        """Publish and reap; survives the loss of the broker and of the database."""
        while not self._stopping.is_set():
            try:
                self._run_connected()
            except (psycopg.OperationalError, SQLAlchemyError) as error:
                log.warning("the database is away: %s", error)
                self._stopping.wait(POLL_SECONDS)
        self._database.dispose()

    def _run_connected(self) -> None:
        url = self._database.url.replace("+psycopg", "", 1)
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as listener:
            listener.execute(f"LISTEN {outbox.OUTBOX_CHANNEL}")
            while not self._stopping.is_set():
                self.reap_if_due()
                self._sweeper.sweep_if_due()
                if self.publish():
                    continue
                if self._broker_down:
                    self._stopping.wait(self._pause)
                else:
                    for _ in listener.notifies(timeout=POLL_SECONDS, stop_after=1):
                        pass

    def publish(self) -> bool:
        """Send one batch; whether there may be more. A row is marked once the broker has its message."""
        with self._database.session() as session:
            rows = outbox.pending(session, limit=BATCH)
            sent = self._send(rows)
            outbox.mark_sent(session, sent)
        return len(sent) == BATCH

    def _send(self, rows: Sequence[Outbox]) -> list[int]:
        sent: list[int] = []
        for row in rows:
            try:
                self._celery.send_task(
                    TASKS[row.topic],
                    args=[str(row.subject)],
                    priority=PRIORITIES[row.urgency],
                    retry=False,
                )
            except (BrokerError, OSError) as error:
                self._note_broker(down=True, error=error)
                return sent
            sent.append(row.id)
            self._note_broker(down=False)
        return sent

    def _note_broker(self, *, down: bool, error: Exception | None = None) -> None:
        """Say once that the broker went, and once that it is back."""
        if down and not self._broker_down:
            log.warning("the broker is away, messages wait in the database: %s", error)
        if self._broker_down and not down:
            log.warning("the broker is back")
        self._pause = min(2 * self._pause, MAX_PAUSE) if down else POLL_SECONDS
        self._broker_down = down

    def reap_if_due(self) -> None:
        """Run the reaper every `reap_seconds`."""
        if time.monotonic() - self._reaped_at < self._settings.reap_seconds:
            return
        settings = self._settings
        with self._database.session() as session:
            reaped = reap(session, max_attempts=settings.max_attempts, ring_after=settings.ring_after_seconds)
        self._reaped_at = time.monotonic()
        if reaped.expired or reaped.rung or reaped.finalised:
            log.warning("reaped: %s", reaped)


def main() -> None:
    """Relay until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    relay = Relay(Settings())

    def stop(_number: int, _frame: FrameType | None) -> None:
        relay.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("the relay listens")
    with suppress(KeyboardInterrupt):
        relay.run()
