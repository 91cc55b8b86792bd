"""What nobody will miss: left uploads and trainings, expired reports, files of a crash. Safe at any time and twice."""

import logging
import math
import time
from dataclasses import dataclass

from core.jobs.keeping import forget_older, unused
from core.settings import Settings
from core.store import uploads
from core.store.blobs import BlobStore, open_blobs
from core.store.database import Database
from core.store.reports import forget_expired
from core.store.staging import PartBusyError, Staging

log = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Swept:
    """How much there was to do."""

    expired: int
    parts: int
    drafts: int
    states: int = 0
    reports: int = 0


class Sweeper:
    """Now and then drops uploads that nobody sends to any more, what belongs to no upload, and expired reports.

    Args:
        database: where the uploads' rows are.
        staging: where their parts are.
        blobs: where they end.
        seconds: for how long nobody must have sent to an upload, or touched a file.
        state_seconds: for how long nobody must have gone on with a training that is over.
    """

    def __init__(
        self,
        database: Database,
        staging: Staging,
        blobs: BlobStore,
        *,
        seconds: float,
        state_seconds: float = math.inf,
    ) -> None:
        self._database = database
        self._staging = staging
        self._blobs = blobs
        self._seconds = seconds
        self._state_seconds = state_seconds
        self._due_at = 0.0

    @classmethod
    def of(cls, settings: Settings, database: Database) -> "Sweeper":
        """The sweeper of a service with these settings."""
        return cls(
            database,
            Staging(settings.staging),
            open_blobs(settings),
            seconds=settings.upload_expiry_seconds,
            state_seconds=settings.state_expiry_seconds,
        )

    def sweep_if_due(self) -> None:
        """Sweep every minute, or more often where uploads expire sooner than that."""
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + min(SWEEP_SECONDS, self._seconds / 4)
        try:
            swept = self.sweep()
        except OSError as error:  # of the disk; the next time may be better
            log.warning("uploads could not be swept: %s", error)
            return
        if swept != Swept(0, 0, 0):
            log.info("swept: %s", swept)

    def sweep(self) -> Swept:
        """Sweep once."""
        with self._database.session() as session:
            reports = forget_expired(session)
        expired = self._expire()
        drafts = self._blobs.sweep(older_than=self._seconds)
        return Swept(expired, self._drop_strays(), drafts, self._forget_states(), reports)

    def _expire(self) -> int:
        with self._database.session() as session:
            overdue = uploads.overdue(session, seconds=self._seconds)
        count = 0
        for upload_id in overdue:
            try:
                part = self._staging.hold(upload_id)
            except PartBusyError:
                continue
            with self._database.session() as session:
                expired = uploads.forget_overdue(session, upload_id, seconds=self._seconds)
            if expired:
                part.cut(0)
                count += 1
            part.close()
        return count

    def _forget_states(self) -> int:
        if self._state_seconds == math.inf:
            return 0
        with self._database.session() as session:
            blobs = forget_older(session, seconds=self._state_seconds)
        for blob in blobs:
            with self._database.session() as session:
                free = unused(session, blob)
            if free:
                self._blobs.delete(blob)
        return len(blobs)

    def _drop_strays(self) -> int:
        old = list(self._staging.left(older_than=self._seconds))
        with self._database.session() as session:
            strays = uploads.not_open(session, old[:BATCH])
        return sum(self._staging.drop(upload_id) for upload_id in strays)
