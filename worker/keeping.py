"""A long shard's line to what outlives it: its kept states, and the events of its job."""

import errno
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from core.errors import WindthrowError
from core.jobs.events import EventType
from core.jobs.keeping import forget, keep, kept_state, tell, unused
from core.jobs.leases import Claim
from core.store.blobs import BlobNotFoundError, BlobStore
from core.store.database import Database

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OS_ERROR = re.compile(r"os error (\d+)")


class StorageFullError(WindthrowError):
    """There is no room for the state of a training."""

    code = "storage_full"


@dataclass(slots=True)
class Keeping:
    """What a shard may keep on its way, see `core.jobs.keeping`.

    Attributes:
        claim: of the shard.
        key: that its result will have.
        used: whether a state was found or kept; most shards have none, and forgetting costs them nothing.
    """

    database: Database
    blobs: BlobStore
    claim: Claim
    key: str
    used: bool = False

    @contextmanager
    def last(self) -> Iterator[Path | None]:
        """The newest state as a file, for as long as the context lasts; None where there is none."""
        with self.database.session() as session:
            state = kept_state(session, self.key)
            blob = None if state is None else state.blob
        self.used |= blob is not None
        if blob is None or not self.blobs.exists(blob):
            yield None
            return
        with self.blobs.local(blob) as path:
            yield path

    def keep(self, state: Path, *, position: int, share: float) -> None:
        """Keep a state, which moves into the blob store, in the place of the one before.

        Args:
            state: a finished file.
            position: grows with every state.
            share: of the shard's work that is done, 0 to 1.

        Raises:
            StorageFullError: there is no room for it; the state before is still kept.
        """
        with told_if_full(f"the state after {position} iterations"):
            blob = self.blobs.put_file(state)
        self.used = True
        with self.database.session() as session:
            replaced = keep(session, self.claim, key=self.key, blob=blob, position=position, share=share)
        self._drop(replaced)

    def tell(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Let the job's events say something."""
        with self.database.session() as session:
            tell(session, self.claim, kind, data)

    def forget(self) -> None:
        """Keep nothing any more: the shard's result is there."""
        if not self.used:
            return
        with self.database.session() as session:
            dropped = forget(session, self.key)
        self._drop(dropped)

    def _drop(self, blob: str | None) -> None:
        if blob is None:
            return
        with self.database.session() as session:
            free = unused(session, blob)
        if free:
            try:
                self.blobs.delete(blob)
            except (OSError, BlobNotFoundError) as error:
                log.warning("blob %s is not needed any more, and could not be deleted: %s", blob, error)


@contextmanager
def told_if_full(what: str) -> Iterator[None]:
    """A full disk as an error of ours.

    Raises:
        StorageFullError: the disk, or its quota, is full.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if _number(error) not in FULL:
            raise
        raise StorageFullError(
            f"there is no room for {what}; make some, and submit the same again: it goes on from the last state kept"
        ) from error


def _number(error: OSError | SafetensorError) -> int | None:
    """The operating system's number of an error; safetensors has it in the message."""
    if isinstance(error, OSError):
        return error.errno
    found = OS_ERROR.search(str(error))
    return None if found is None else int(found[1])
