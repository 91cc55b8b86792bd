"""What the health checks hold against a verdict's numbers, once each, in words that say what it means."""

from collections.abc import Iterable, Iterator
from itertools import chain

from core.gates.measured import Measured, MeasuredTransfer
from core.gates.verdict import Doubt
from core.jobs.reliability import Flag

Found = tuple[Flag, str | None]
"""A flag, and the label of the attack that it is on; None for the clean pass or a whole job."""

SEVERITIES = ("error", "warning")
"""From the gravest on; what is only worth knowing is left out."""

SAID = ("code", "severity", "message")


def doubts(measured: Measured, baseline: Measured | None, transfer: MeasuredTransfer | None) -> list[Doubt]:
    """What is doubtful about the model's numbers, then the errors of its baseline's; errors before warnings."""
    own = list(_flags(measured))
    if transfer is not None:
        own += [(flag, transfer.label) for flag in transfer.flags]
    said = [*_doubts(own, of_baseline=False)]
    if baseline is not None:
        said += (doubt for doubt in _doubts(_flags(baseline), of_baseline=True) if doubt.severity == "error")
    return sorted(said, key=lambda doubt: SEVERITIES.index(doubt.severity))


def _flags(measured: Measured) -> Iterator[Found]:
    yield from ((flag, None) for flag in chain(measured.flags, measured.clean.flags))
    yield from ((flag, result.label) for result in measured.attacks for flag in result.flags)


def _doubts(found: Iterable[Found], *, of_baseline: bool) -> Iterator[Doubt]:
    """Flags that say the same are one doubt."""
    alike: dict[tuple[object, ...], dict[str, None]] = {}
    for flag, attack in found:
        on = alike.setdefault(tuple(flag[name] for name in SAID), {})
        if attack is not None:
            on[attack] = None
    for said, attacks in alike.items():
        whole = dict(zip(SAID, said, strict=True))
        if whole["severity"] in SEVERITIES:
            yield Doubt.model_validate({**whole, "attacks": list(attacks), "of_baseline": of_baseline})
