"""A number with an interval against a limit: kept, broken, or too close to say."""

from dataclasses import dataclass
from math import ceil
from typing import Literal

from core.comparison import Estimate
from core.intervals import Interval
from core.specs.documents import MAX_SAMPLES
from core.specs.policies import Limit

Finding = Literal["pass", "fail", "inconclusive", "error", "no_baseline"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a limit makes of a number.

    Attributes:
        samples_needed: how many samples would settle what is inconclusive, if the estimate stayed; None where not
            even as many as may be taken would, and for what is settled.
    """

    finding: Finding
    samples_needed: int | None = None


def judge(number: Estimate, limit: Limit, *, strict: bool, samples: int) -> Judgement:
    """Hold a number against a limit.

    A lenient rule asks for the estimate. A strict one passes if estimate and interval keep the limit, fails if both
    break it, and is inconclusive in between. Without a value, or strictly without an interval, it is an error.

    Args:
        number: value and interval.
        limit: that it must keep.
        strict: whether the interval must keep it too.
        samples: that the number is on.
    """
    value, bounds = number.value, number.interval
    if value is None or (strict and bounds is None):
        return Judgement("error")
    kept = limit.kept_by(value)
    if not strict or bounds is None:
        return Judgement("pass" if kept else "fail")
    ends = limit.kept_by(bounds.low), limit.kept_by(bounds.high)
    if kept and all(ends):
        return Judgement("pass")
    if not kept and not any(ends):
        return Judgement("fail")
    return Judgement("inconclusive", samples_needed(value, bounds, limit, samples=samples))


def samples_needed(value: float, bounds: Interval, limit: Limit, *, samples: int) -> int | None:
    """How many samples would bring the end of the interval that is beyond the limit back to it.

    If the estimate stayed: an interval's reach shrinks with the square root of the number of samples. None where the
    estimate is on the limit, or so near to it that more samples than may be taken would be needed.
    """
    reach = bounds.high - value if value < limit.value else value - bounds.low
    margin = abs(value - limit.value)
    ratio = reach / margin if margin else float("inf")
    needed = max(samples * ratio * ratio, samples + 1)
    return ceil(needed) if needed <= MAX_SAMPLES else None
