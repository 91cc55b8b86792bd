"""What can be wrong with a user's data set, from one pixel up to the whole folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from core.errors import InvalidError

Reason = Literal["missing", "unreadable", "kind", "size", "value", "not_finite"]

REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why a sample is bad: no such file; not what its name says; wrong type or channels; label and image differ in
size; a class or brightness out of range; NaN or infinite."""


class RefusedError(Exception):
    """A part of a sample cannot be taken; whoever knows the sample turns this into a `SampleError`.

    Attributes:
        part: the part at fault, or "" where only its reader knows which it is.
    """

    def __init__(self, reason: Reason, message: str, *, part: str = "") -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.part = part


@contextmanager
def blame(part: str) -> Iterator[None]:
    """Say which part is at fault of whatever is refused inside."""
    try:
        yield
    except RefusedError as error:
        error.part = error.part or part
        raise


class FolderError(InvalidError):
    """A folder is not a data set of the format it was said to be."""

    code = "invalid_dataset"


class SampleError(InvalidError):
    """One sample of a data set cannot be read.

    Attributes:
        field: "image", or the task whose label or mask is at fault.
        index: the sample's position among all of its split, bad ones included.
        key: the sample's name.
        file: the file at fault, relative to the root; "shard.tar:member" inside a shard.
        reason: one of `REASONS`.
        detail: what is wrong, without the place.
    """

    code = "invalid_sample"
    index = -1
    key = ""
    file = ""
    reason: Reason = "unreadable"
    detail = ""

    @classmethod
    def at(cls, refused: RefusedError, *, split: str, index: int, key: str, file: str) -> "SampleError":
        """The error of a part that was refused, now that its place is known."""
        message = f"{split} sample {index} ({key}), {file}: {refused}"
        error = cls(message, field=refused.part.removesuffix(".mask"))
        error.index, error.key, error.file = index, key, file
        error.reason, error.detail = refused.reason, str(refused)
        return error


class DatasetChangedError(InvalidError):
    """The files under a root are not those of the version that was asked for."""

    code = "dataset_changed"
