"""JSON documents from elsewhere: read so that nothing in them is a surprise, and what their parts must be."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windthrow.records import Json

LINK = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
LONGEST_LINK = 2000


def parsed(text: str | bytes) -> Json:
    """A JSON object.

    Raises:
        TypeError: it is none.
        ValueError: nor is it JSON; or it says something twice, has numbers that JSON has not, or is nested too deeply.
    """
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return mapping(document)


def mapping(value: object) -> Json:
    """The value, which is an object.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value


def text(value: object) -> str:
    """The value, which is text that can be written.

    Raises:
        TypeError: it is none.
        ValueError: it has half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise TypeError("no text")
    value.encode()
    return value


def name(value: object) -> str:
    """The value, which is text that is not empty.

    Raises:
        TypeError: it is none.
        ValueError: it is empty, or has half of a surrogate pair.
    """
    if not text(value):
        raise ValueError("empty")
    return text(value)


def whole(value: object) -> int:
    """The value, which is a whole number.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("no whole number")
    return value


def number(value: object) -> float:
    """The value, which is a number.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("no number")
    return value


def flag(value: object) -> bool:
    """The value, which is true or false.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def is_link(text: str) -> bool:
    """Whether reports can point to it."""
    return len(text) <= LONGEST_LINK and LINK.fullmatch(text) is not None


def names(value: object) -> tuple[str, ...]:
    """The value, which is a list of texts that are not empty.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, list):
        raise TypeError("no list")
    return tuple(name(one) for one in value)


def reason(value: object) -> Json | None:
    """The value, which is why something failed: an object whose `code` and `message` are text, or None.

    Raises:
        TypeError: it is something else.
    """
    if value is None:
        return None
    said = mapping(value)
    for part in ("code", "message"):
        text(said.get(part, ""))
    return said


def _once(pairs: Sequence[tuple[str, Any]]) -> Json:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name that is there twice")
    return document


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")
