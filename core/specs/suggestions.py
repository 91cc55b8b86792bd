"""What somebody may have meant by a name that there is not. Standard library only."""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 60
"""Characters of a strange name that a message repeats."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """A sentence about a name that is not known: the closest one that is, or else all there are."""
    names = list(known)
    quoted = repr(name if len(name) <= SHOWN else name[:SHOWN] + "…")
    if not names:
        return f"there is no {what} {quoted}; there is none at all"
    close = get_close_matches(name[:SHOWN], names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
    return f"there is no {what} {quoted}; {hint}"
