"""Whether numbers can be relied on: what the flags on an evaluation and on its results add up to.

A flag is `{"code", "severity", "message", "evidence"}` and, where it is about some of them, `"samples"`. Those on the
summary are about the whole evaluation, those on a result about that result.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Literal

Severity = Literal["info", "warning", "error"]
Flag = Mapping[str, object]


def reliable(*flags: Iterable[Flag]) -> bool:
    """Whether none of these flags is an error. A result needs its own and those on the summary, a job all there are."""
    return all(flag["severity"] != "error" for flag in chain.from_iterable(flags))
