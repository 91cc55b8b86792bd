"""Files on their way out: their digest, and their bytes from an offset on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from windthrow.errors import RequestError, ServiceError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    SendProgress = Callable[[int, int], None]

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class FilePart:
    """A file's bytes from `offset` on; `progress` hears how many of all `size` have been sent."""

    path: Path
    offset: int
    size: int
    progress: SendProgress | None = None

    @property
    def length(self) -> int:
        """Bytes to send."""
        return self.size - self.offset

    def chunks(self) -> Iterator[bytes]:
        """The bytes, as many as were announced.

        Raises:
            RequestError: there are fewer: the file has changed.
        """
        sent = self.offset
        with self.path.open("rb") as file:
            file.seek(sent)
            while sent < self.size:
                chunk = file.read(min(CHUNK_BYTES, self.size - sent))
                if not chunk:
                    raise RequestError(f"{self.path} became shorter while it was sent", code="file_changed")
                yield chunk
                sent += len(chunk)

    def tell(self, sent: int) -> None:
        """Tell whoever wants to know that so many bytes of this part are sent."""
        if self.progress is not None:
            self.progress(self.offset + sent, self.size)


def measure(path: Path) -> tuple[str, int]:
    """A file's SHA-256 in hex, and its size in bytes.

    Raises:
        RequestError: it cannot be read, or is empty.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}", code="file_unreadable") from error
    if size == 0:
        raise RequestError(f"{path} is empty", code="file_empty")
    return digest.hexdigest(), size


def below(file: str, roots: Sequence[str | os.PathLike[str]]) -> Path:
    """A file below the first root that has it; below the first where none has.

    Raises:
        ServiceError: it is not below; whoever says so wants another file than the repository's.
    """
    kinds = PurePosixPath(file), PureWindowsPath(file)
    if any(path.anchor or ".." in path.parts for path in kinds):
        raise ServiceError(f"the service names a model file that is not in the repository: {file!r}")
    paths = [Path(root) / file for root in roots] or [Path(file)]
    return next((path for path in paths if path.exists()), paths[0])
