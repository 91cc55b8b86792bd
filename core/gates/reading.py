"""A number that a rule is about, as it is read off what was measured, or why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.comparison import Estimate
from core.gates.limits import Finding
from core.gates.measured import NOTHING
from core.intervals import LEVEL
from core.jobs.reliability import Flag

PERCENT = "%"
POINTS = "points"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why a rule cannot be decided.

    Attributes:
        finding: what that makes of it.
        message: half a sentence, without the rule's name.
        flags: codes of the flags that are in the way.
    """

    finding: Finding
    message: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A rule's number under one attack, or on the clean pass.

    Attributes:
        subject: what the number is, in words.
        attack: label of the attack; None for the clean pass, and where the rule finds nothing.
        ordinal: of the result, see `MeasuredResult`; None where the number is of none.
        samples: that it is on; None where the rule finds nothing.
        level: of its intervals.
        unit: the number's; "" for a ratio.
        observed: the number on this model; for ARA and robust gain that is a comparison already.
        baseline: the same on the baseline, where it has one.
        worse_by: how much worse than the baseline's it is, paired.
        worse_unit: points of ARP, or percent of the baseline's value.
        obstacle: what keeps the rule from being decided.
    """

    subject: str
    attack: str | None = None
    ordinal: int | None = None
    samples: int | None = None
    level: float = LEVEL
    unit: str = PERCENT
    observed: Estimate = NOTHING
    baseline: Estimate | None = None
    worse_by: Estimate | None = None
    worse_unit: str = POINTS
    obstacle: Obstacle | None = None


def no_baseline(message: str) -> Obstacle:
    """What a rule that compares finds where it cannot."""
    return Obstacle(finding="no_baseline", message=message)


def with_others(reading: Reading, others: Sequence[str]) -> Reading:
    """The reading; where it lacks a baseline, with the names of other models that have one there."""
    if not others or reading.obstacle is None or reading.obstacle.finding != "no_baseline":
        return reading
    named = ", ".join(name or "a model without a name" for name in others)
    return replace(
        reading, obstacle=no_baseline(f"{reading.obstacle.message}; there are baselines there for: {named}")
    )


def unreliable(flags: Sequence[Flag], what: str) -> Obstacle:
    """What error flags make of a number: nothing that counts."""
    codes = tuple(dict.fromkeys(str(flag["code"]) for flag in flags))
    return Obstacle(finding="error", message=f"{what} is unreliable: {', '.join(codes)}", flags=codes)
