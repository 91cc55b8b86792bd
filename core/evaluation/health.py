"""Health flags: what makes a number from an attack doubtful, each with its evidence.

An `error` makes a result unreliable; a `warning` says that it may be; an `info` is worth knowing. The flags of one
attack follow from its own results (`attack_flags`); those of a model and a job from a probe (`core.evaluation.probe`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from core.evaluation.tally import AttackResult
from core.intervals import Interval, paired_difference
from core.specs.attack import AttackSpec

Severity = Literal["info", "warning", "error"]

MANY = 0.1
"""Share of samples from which on a fault of single samples is a fault of the result."""

MOST = 0.75
"""Share of samples that are still rising from which on the steps are too few."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Something that a reader of a result should know.

    Attributes:
        code: stable.
        message: a sentence for a reader, with what to do.
        evidence: numbers.
        samples: how many samples it concerns, where it concerns single ones.
    """

    code: str
    severity: Severity
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    samples: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def attack_flags(result: AttackResult, others: Sequence[AttackResult] = ()) -> tuple[Flag, ...]:
    """The flags of one attack's result.

    Args:
        result: the attack's.
        others: the job's other attacks on the same samples, noise and Square among them if they were asked for.
    """
    if result.attack is None:
        return ()
    flags = [*_sample_flags(result), *_undefined(result), *_eight_bit(result), *_beaten(result, others)]
    return tuple(flags)


def _sample_flags(result: AttackResult) -> list[Flag]:
    assert result.attack is not None
    flags: list[Flag] = []

    def note(
        code: str, message: str, severities: tuple[Severity, Severity], *, from_share: float = MANY
    ) -> None:
        count = result.flagged.get(code, 0)
        share = count / result.samples
        severity = severities[share >= from_share]
        if count:
            flags.append(Flag(code, severity, message, {"share": share}, count))

    note(
        "zero_gradient",
        "the first gradient is exactly zero: the model masks its gradients, or the sample has no valid label",
        ("warning", "error"),
    )
    note(
        "non_finite",
        "a gradient was NaN or infinite and counted as zero: a loss or the model overflows",
        ("warning", "error"),
    )
    note("floored", "a loss was so close to 0 that dividing by it was bounded", ("info", "warning"))
    if result.flagged.get("rising", 0) >= MANY * result.samples:
        note(
            "rising",
            "the objective was still rising at the last step: more steps would make the attack stronger",
            ("info", "warning"),
            from_share=MOST,
        )
    return flags


def _undefined(result: AttackResult) -> list[Flag]:
    assert result.arp is not None
    if not result.arp.undefined:
        return []
    lost = [name for name in result.arp.undefined if _metric(result, name) is None]
    return [
        Flag(
            "undefined_arp",
            "error" if lost else "warning",
            "metrics are left out of ARP: their clean value is 0, or a prediction is not a number",
            {"metrics": list(result.arp.undefined), "without_value": lost},
        )
    ]


def _metric(result: AttackResult, name: str) -> float | None:
    task, _, metric = name.partition(".")
    return result.metrics[task][metric]


def _eight_bit(result: AttackResult) -> list[Flag]:
    arp, rounded = result.arp, result.arp_8bit
    if arp is None or rounded is None or arp.overall is None or rounded.overall is None:
        return []
    interval = result.interval
    if interval is None or interval.low <= rounded.overall <= interval.high:
        return []
    return [
        Flag(
            "eight_bit",
            "warning",
            "rounding the attacked images to 8 bits changes ARP by more than its interval: report the 8-bit number",
            {"arp": arp.overall, "arp_8bit": rounded.overall},
        )
    ]


def _beaten(result: AttackResult, others: Sequence[AttackResult]) -> list[Flag]:
    """Noise or Square in the same job, at the same eps, did better."""
    assert result.attack is not None
    if not aims_at_all_tasks(result.attack):
        return []
    flags = []
    for other in others:
        if other.attack is None or other.attack.method.gradients or not _same_ball(result, other):
            continue
        ahead = difference(other, result)
        if ahead is not None and ahead.low > 0:
            evidence = {"by": other.label, "difference": [ahead.low, ahead.high]}
            message = f"{other.attack.algorithm}, which uses no gradients, did better: gradients are masked"
            flags.append(Flag("beaten_without_gradients", "error", message, evidence))
    return flags


def aims_at_all_tasks(attack: AttackSpec) -> bool:
    """Whether it is an attack by gradients on all tasks alike, for which any ARP that can be had is worth having."""
    full = attack.resolved()
    if not full.method.gradients or full.weights or full.targets:
        return False
    return full.aim is None or full.aim.family not in ("single", "stealth")


def _same_ball(one: AttackResult, other: AttackResult) -> bool:
    assert one.attack is not None
    assert other.attack is not None
    return (one.attack.norm, one.attack.eps) == (other.attack.norm, other.attack.eps)


def difference(one: AttackResult, other: AttackResult) -> Interval | None:
    """95 % interval of one attack's ARP minus another's on the same samples."""
    if one.arp is None or other.arp is None or one.arp.overall is None or other.arp.overall is None:
        return None
    return paired_difference(one.replicates, other.replicates, one.arp.overall - other.arp.overall)


def is_reliable(flags: Sequence[Flag]) -> bool:
    """Whether none of them is an error."""
    return all(flag.severity != "error" for flag in flags)
