"""Intervals where all samples agree, and resampling them finds nothing that could vary.

Of 64 images all of which are right, every bootstrap replicate is 100 %. What is known is that images that are not right
are rare: if they were a share p of all, 64 in a row would be right with probability (1 - p)^64. The interval then
reaches as far as the p that its level leaves possible, as if each such image lost everything. For a share of right
answers that is Clopper and Pearson's interval (1934).
"""

from dataclasses import replace

from core.comparison import Estimate
from core.gates.evaluated import EvaluatedRule
from core.gates.reading import PERCENT, Reading
from core.intervals import Interval
from core.specs.policies import AraRule, MetricRule, RobustGainRule

ALL = 100.0
"""What a sample can lose: all of an accuracy, all of a task's performance."""


def unseen_share(samples: int, level: float) -> float:
    """How large a share of all samples may be unlike those seen, none of which was; from 0 to 1.

    Args:
        samples: that were seen.
        level: of the two-sided interval.
    """
    return float(1 - ((1 - level) / 2) ** (1 / samples))


def with_unseen(reading: Reading, rule: EvaluatedRule, *, same_model: bool) -> Reading:
    """A reading whose intervals have no width only where nothing could vary.

    Args:
        reading: as it was read off.
        rule: that it is about.
        same_model: whether the baseline is of the very model: then no difference is known for sure.
    """
    if not reading.samples:
        return reading
    share = unseen_share(reading.samples, reading.level)
    if isinstance(rule, AraRule | RobustGainRule):
        return reading if same_model else replace(reading, observed=_difference(reading.observed, share))
    bounded = not isinstance(rule, MetricRule) or reading.unit == PERCENT
    worse = reading.worse_by
    return replace(
        reading,
        observed=_widened(reading.observed, share) if bounded else reading.observed,
        baseline=_widened(reading.baseline, share) if bounded and reading.baseline else reading.baseline,
        worse_by=worse if worse is None or same_model else _difference(worse, share),
    )


def _widened(found: Estimate, share: float) -> Estimate:
    """A percentage that no sample moves, towards nothing and towards all."""
    value, bounds = found.value, found.interval
    if value is None or bounds is None or bounds.low != bounds.high:
        return found
    low, high = value - share * max(value, 0.0), value + share * max(ALL - value, 0.0)
    return Estimate(value, Interval(min(low, bounds.low), max(high, bounds.high)))


def _difference(found: Estimate, share: float) -> Estimate:
    """A difference of two models that no sample tells apart."""
    value, bounds = found.value, found.interval
    if value != 0 or bounds is None or bounds.low != bounds.high:
        return found
    return Estimate(value, Interval(-ALL * share, ALL * share))
