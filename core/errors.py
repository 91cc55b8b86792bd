"""The root of every error that a user can act on. Each module raises its own kinds beside the code that finds them."""

from collections.abc import Iterator
from contextlib import contextmanager


class WindthrowError(Exception):
    """Something the user can change: the sentence says what.

    Attributes:
        code: stable, machine-readable name of the error, unique across the service.
    """

    code: str = "error"


class InvalidError(WindthrowError, ValueError):
    """A value is not acceptable.

    Attributes:
        field: dotted path of the offending field below the value that was given, or "" for the value itself.
    """

    code = "invalid"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@contextmanager
def under(place: str) -> Iterator[None]:
    """Errors inside are about values that stand at `place`: their fields say so."""
    try:
        yield
    except InvalidError as error:
        error.field = f"{place}.{error.field}" if error.field else place
        raise
