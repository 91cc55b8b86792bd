"""The sentences of a verdict: what was measured, what was allowed, how far off."""

from core.comparison import Estimate
from core.gates.limits import Judgement
from core.gates.measured import NOTHING
from core.gates.reading import PERCENT, POINTS, Reading
from core.intervals import Interval
from core.specs.policies import Limit


def sentence(reading: Reading, limit: Limit, judged: Judgement, *, strict: bool) -> str:
    """What came of holding a reading's number against a limit."""
    number = held(reading, limit)
    assert number.value is not None
    unit = reading.worse_unit if limit.relative else reading.unit
    off = shown(abs(number.value - limit.value), POINTS if unit == PERCENT else unit)
    whole = ", and by the whole interval" if strict else ""
    match judged.finding:
        case "pass":
            end = f"kept by {off}{whole}"
        case "fail":
            end = f"missed by {off}{whole}"
        case _:
            kept = "keeps" if limit.kept_by(number.value) else "misses"
            end = f"the estimate {kept} it by {off}, but not all of its interval does; {_settled(judged)}"
    return f"{_measured(reading, limit)}; {_allowed(limit, unit)}: {end}"


def held(reading: Reading, limit: Limit) -> Estimate:
    """The number that is held against the limit."""
    return (reading.worse_by or NOTHING) if limit.relative else reading.observed


def shown(value: float, unit: str) -> str:
    """A number with its unit, to three digits, or four from 10 on."""
    digits = f"{value:.3g}" if abs(value) < 10 else f"{value:.4g}"
    named = unit.removesuffix("s") if digits == "1" else unit
    return f"{digits} {named}" if unit else digits


def percent(level: float) -> str:
    """The level of intervals, to one decimal at most; nothing is certain, so it is never said to be 100 %."""
    return f"{min(round(100 * level, 1), 99.9):g} %"


def _measured(reading: Reading, limit: Limit) -> str:
    observed = reading.observed
    assert observed.value is not None
    said = f"{reading.subject} is {shown(observed.value, reading.unit)}"
    if not limit.relative:
        return said + _between(observed.interval, reading.level)
    worse, baseline = reading.worse_by, reading.baseline
    assert worse is not None
    assert worse.value is not None
    assert baseline is not None
    assert baseline.value is not None
    how = "worse" if worse.value >= 0 else "better"
    bounds = worse.interval
    if bounds is not None and worse.value < 0:
        bounds = Interval(0 - bounds.high, 0 - bounds.low)
    by = shown(abs(worse.value), reading.worse_unit)
    theirs = shown(baseline.value, reading.unit)
    return f"{said}, {by} {how} than the baseline's {theirs}{_between(bounds, reading.level)}"


def _between(bounds: Interval | None, level: float) -> str:
    if bounds is None:
        return ""
    return f" ({percent(level)}: {shown(bounds.low, '')} to {shown(bounds.high, '')})"


def _allowed(limit: Limit, unit: str) -> str:
    value = shown(limit.value, unit)
    if limit.relative:
        return f"at most {value} worse allowed"
    return f"at most {value} allowed" if limit.bound == "at_most" else f"at least {value} asked for"


def _settled(judged: Judgement) -> str:
    if judged.samples_needed is None:
        return "no number of samples that may be taken would settle that if the estimate stayed"
    return f"about {judged.samples_needed} samples would settle that if the estimate stayed"
