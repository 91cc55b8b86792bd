"""A verdict as plain text: one line an outcome, for a terminal without colours or a log."""

import unicodedata

from core.gates.rendering.plain import plain
from core.gates.rendering.saying import WORST_FIRST, doubt, looks
from core.gates.verdict import Verdict

STATUS = max(map(len, WORST_FIRST))
RULE = 40
"""A rule's name may be so many columns wide before the messages stop being aligned."""


def text(verdict: Verdict) -> str:
    """Outcomes in the policy's order, then doubts, notes and looks, and the verdict last: where a log is looked at."""
    names = [plain(outcome.rule) for outcome in verdict.outcomes]
    widest = min(max(map(_columns, names), default=0), RULE)
    lines = [
        f"{outcome.status:<{STATUS}}  {_padded(name, widest)}  {plain(outcome.message)}"
        for name, outcome in zip(names, verdict.outcomes, strict=True)
    ]
    lines += [f"{found.severity:<{STATUS}}  {plain(doubt(found))}" for found in verdict.doubts]
    lines += [f"{'note':<{STATUS}}  {plain(note.message)}" for note in verdict.notes]
    lines += [f"{name:<{STATUS}}  {plain(said)}" for name, said in looks(verdict)]
    lines.append(f"{verdict.status:<{STATUS}}  {plain(verdict.message)}")
    return "\n".join(lines) + "\n"


def _padded(name: str, columns: int) -> str:
    return name + " " * (columns - _columns(name))


def _columns(name: str) -> int:
    """How many columns a terminal gives it: two for wide letters and emoji, none for marks and joiners."""
    return sum(
        0
        if unicodedata.category(letter) in {"Mn", "Me", "Cf"}
        else 1 + (unicodedata.east_asian_width(letter) in {"W", "F"})
        for letter in name
    )
