"""Whether the numbers can be trusted: the service's flags in words, and what rounding to 8 bits changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.intervals import Interval
from worker.demo.findings import Attack, Findings, Flag
from worker.demo.shown import attack_name, counted, listed, number, plain, span

SEVERITIES = ("error", "warning", "info")
"""The gravest first."""
VISIBLE = 0.5
"""Points of ARP from which on what rounding to 8 bits changes is worth naming the attack."""
CHECKS = {
    "more_steps": "with twice the steps",
    "noise": "by random signs",
    "square": "by Square, which takes no gradients",
    "full_range": "without a bound",
}
"""The probe's attacks beside the reference."""
EVIDENCE_NAMES = {"arp": "ARP", "arp_8bit": "ARP at 8 bits"}


@dataclass(frozen=True, slots=True)
class Objection:
    """A flag; the same one on several attacks is one objection.

    Attributes:
        severity: one of `SEVERITIES`.
        name: of the severity, for a reader.
        details: which attacks it is on, and the evidence.
    """

    severity: str
    name: str
    message: str
    details: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said against the numbers of one model, and what not."""

    title: str
    sentence: str
    objections: list[Objection]
    checks: str
    rounding: str


def verdict(model: Findings) -> Verdict:
    """A model's verdict."""
    sentence = _sentence(count_flags(model))
    return Verdict(model.title, sentence, _objections(model), _checks(model), _rounding(model))


def count_flags(model: Findings) -> dict[str, int]:
    """By severity; the same flag on several attacks counts once, as the gravest."""
    severities = [_gravest(raised) for raised in _raised(model)]
    return {severity: severities.count(severity) for severity in SEVERITIES}


Raised = list[tuple[Attack | None, Flag]]
"""The same flag on several attacks; None stands for all of them."""


def _raised(model: Findings) -> list[Raised]:
    found: dict[tuple[str, str], Raised] = {}
    for flag in model.flags:
        found.setdefault((flag.code, flag.message), []).append((None, flag))
    for attack in model.attacks:
        for flag in attack.flags:
            found.setdefault((flag.code, flag.message), []).append((attack, flag))
    return list(found.values())


def _gravest(raised: Raised) -> str:
    return min((flag.severity for _, flag in raised), key=SEVERITIES.index)


def _sentence(counts: Mapping[str, int]) -> str:
    if counts["error"]:
        more = f" and {counted(counts['warning'], 'warning')}" if counts["warning"] else ""
        return f"Not as they are: {counted(counts['error'], 'error')}{more}."
    if counts["warning"]:
        return f"Yes, with {counted(counts['warning'], 'warning')}."
    return "Nothing to object: no check found an error or a warning."


def _objections(model: Findings) -> list[Objection]:
    return [
        _objection(raised, model)
        for raised in sorted(_raised(model), key=lambda raised: SEVERITIES.index(_gravest(raised)))
    ]


def _objection(raised: Raised, model: Findings) -> Objection:
    severity, message = _gravest(raised), raised[0][1].message
    name = "worth knowing" if severity == "info" else severity
    return Objection(severity, name, f"{message[0].upper()}{message[1:]}.", _details(raised, model))


def _details(raised: Raised, model: Findings) -> str:
    """Which attacks it is on, and the evidence; of several, the first one's."""
    attacks = [attack for attack, _ in raised if attack is not None]
    if not attacks:
        return _evidence(raised[0][1])
    where = f"{len(attacks)} of {len(model.attacks)} attacks"
    if len(attacks) <= 2:
        where = listed([f"{attack_name(attack)} at ε = {attack.eps:g}" for attack in attacks])
    images = [flag.samples for _, flag in raised if flag.samples is not None]
    if images:
        most = "up to " if len(images) > 1 else ""
        return f"{where}, on {most}{max(images)} of {model.results['clean']['samples']} images"
    return f"{where}; {'for example ' if len(attacks) > 1 else ''}{_evidence(raised[0][1])}"


def _evidence(flag: Flag) -> str:
    return "; ".join(
        f"{EVIDENCE_NAMES.get(name, plain(name))} {_in_words(value, share=name == 'share')}"
        for name, value in flag.evidence.items()
        if value not in (None, [], {})
    )


def _in_words(value: Any, *, share: bool) -> str:
    """A number, an interval, names, or numbers by name; shares as percentages."""
    match value:
        case dict():
            return listed([f"{plain(name)} {_in_words(item, share=share)}" for name, item in value.items()])
        case [float() as low, float() as high]:
            return span(Interval(low, high))
        case list():
            return listed([_in_words(item, share=share) for item in value])
        case float():
            return f"{value:.0%}" if share else f"{value:.3g}"
        case _:
            return str(value)


def _checks(model: Findings) -> str:
    """What the probe's attacks reached; empty without a probe."""
    probe = model.results["probe"]
    if probe is None:
        return ""
    reached = [
        f"{number(probe[name]['arp'])} {words}"
        for name, words in CHECKS.items()
        if probe.get(name, {}).get("arp") is not None
    ]
    reference = f"{number(probe['reference']['arp'])} by {probe['attack']}"
    return f"ARP on the {counted(probe['samples'], 'image')} of the checks: {listed([reference, *reached])}."


def _rounding(model: Findings) -> str:
    """What ARP becomes when images are kept as 8-bit files."""
    moved = [
        (attack.arp_8bit - attack.arp, attack)
        for attack in model.attacks
        if attack.arp is not None and attack.arp_8bit is not None
    ]
    if not moved:
        return "ARP of images rounded to 8 bits is not known."
    largest, attack = max(moved, key=lambda item: abs(item[0]))
    if abs(largest) < VISIBLE:
        return f"Rounded to 8 bits, the ARP of no attack changes by {VISIBLE:g} points or more."
    visible = sum(abs(points) >= VISIBLE for points, _ in moved)
    return (
        f"Rounded to 8 bits, the ARP of {visible} of {len(moved)} attacks changes by {VISIBLE:g} points or more, "
        f"most for {attack_name(attack)} at ε = {attack.eps:g}: from {number(attack.arp)} to {number(attack.arp_8bit)}."
    )
