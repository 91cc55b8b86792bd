"""A thread that keeps a lease alive while the main thread computes, and tells it when to stop."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.jobs.leases import LeaseState
from core.store.database import Database
from worker.contract import StopRequested

log = logging.getLogger(__name__)


class Heartbeat:
    """Calls `renew` every `interval` seconds within its `with` block; `what` it keeps is named in the log.

    A lease that could not be renewed for its whole length counts as lost: another may have it.
    """

    def __init__(
        self,
        database: Database,
        renew: Callable[[Session], LeaseState],
        *,
        what: str,
        interval: float,
        lease_seconds: float,
    ) -> None:
        self._database = database
        self._renew = renew
        self._what = what
        self._interval = interval
        self._lease_seconds = lease_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.state: LeaseState = "held"

    def check(self) -> None:
        """Return if the work is still wanted.

        Raises:
            StopRequested: it is not; `state` says why.
        """
        if self.state != "held":
            raise StopRequested(self.state)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        renewed = time.monotonic()
        while self.state == "held" and not self._done.wait(self._interval):
            asked = time.monotonic()
            try:
                with self._database.session() as session:
                    self.state = self._renew(session)
                renewed = asked
            except SQLAlchemyError:
                log.warning("could not renew the lease of %s", self._what, exc_info=True)
                if time.monotonic() - renewed > self._lease_seconds:
                    self.state = "lost"
