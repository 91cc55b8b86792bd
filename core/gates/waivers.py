"""Leave to break rules: which of it counts today, and what should be said about it."""

from collections.abc import Iterator, Mapping
from datetime import date

from core.gates.verdict import Note
from core.specs.policies import GatePolicy, Waiver
from core.specs.suggestions import unknown

SOON = 14
"""Days before its end from which on a waiver is said to be ending."""


def standing(policy: GatePolicy, today: date) -> dict[str, Waiver]:
    """The waivers that count, by rule."""
    return {waiver.rule: waiver for waiver in policy.waivers if today <= waiver.expires}


def notes(policy: GatePolicy, unmet: Mapping[str, bool], today: date) -> Iterator[Note]:
    """What should be said about a policy's waivers; `unmet` says of every rule whether it is, waivers apart."""
    for waiver in policy.waivers:
        days = (waiver.expires - today).days
        if waiver.rule not in unmet:
            message = f"a waiver names it, but {unknown('rule', waiver.rule, unmet)}"
            yield Note(code="waiver_unknown_rule", rule=waiver.rule, message=message)
        elif days < 0:
            message = (
                f"the waiver of {waiver.rule!r} ended on {waiver.expires} and does not count: {waiver.reason}"
            )
            yield Note(code="waiver_expired", rule=waiver.rule, message=message)
        elif not unmet[waiver.rule]:
            message = f"{waiver.rule!r} is kept; its waiver can go"
            yield Note(code="waiver_not_needed", rule=waiver.rule, message=message)
        elif days <= SOON:
            message = f"the waiver of {waiver.rule!r} ends on {waiver.expires}, in {days} days"
            yield Note(code="waiver_expires_soon", rule=waiver.rule, message=message)
