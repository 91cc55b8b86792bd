"""Text that users wrote, made fit for one line of any output."""

import re

_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff]"
)
"""What terminals obey, what reverses the reading, what XML forbids, and what is no character."""


def plain(text: str, most: int | None = None) -> str:
    """A text on one line without control characters, of at most so many characters."""
    line = _UNFIT.sub("", " ".join(text.split()))
    return line if most is None or len(line) <= most else line[: most - 1] + "…"
