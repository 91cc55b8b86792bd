"""What all outputs say alike: which outcome is worse, and numbers, limits and names in words."""

from collections.abc import Iterable

from core.gates.rendering.plain import plain
from core.gates.verdict import LimitSaid, Number, Outcome, Status, Verdict
from core.gates.wording import shown

WORST_FIRST: tuple[Status, ...] = (
    "fail",
    "error",
    "inconclusive",
    "no_baseline",
    "warn",
    "waived",
    "pass",
)


def worst_first(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that count against the model first, and each part from the worst to the best."""
    return sorted(outcomes, key=lambda outcome: (not counts(outcome), WORST_FIRST.index(outcome.status)))


def counts(outcome: Outcome) -> bool:
    """Whether it keeps the gate from passing; a verdict has passed if none of its outcomes does."""
    return outcome.level == "error" and outcome.status not in {"pass", "warn", "waived"}


def observed(outcome: Outcome) -> str:
    """What was measured, and where the limit is on the difference, that."""
    difference = outcome.worse_by if outcome.limit is not None and outcome.limit.relative else None
    said = [_number(outcome.observed, ""), _number(difference, " worse than the baseline")]
    return "; ".join(filter(None, said))


def limit(asked: LimitSaid | None) -> str:
    """What was asked of it."""
    if asked is None:
        return ""
    sign = "≤" if asked.bound == "at_most" else "≥"
    worse = " worse" if asked.relative else ""
    return f"{sign} {shown(asked.value, asked.unit)}{worse}{'' if asked.strict else ', the estimate'}"


def model(verdict: Verdict) -> str:
    """Which model was judged."""
    return _named(verdict.model_name, str(verdict.model))


def baseline(verdict: Verdict) -> str:
    """Which model it was compared with."""
    found = verdict.baseline
    if found is None:
        return "none"
    return f"{_named(found.model_name, str(found.model))}, job {found.job}"


def dataset(verdict: Verdict) -> str:
    """Which samples it was judged on: name and version, then what else pins them."""
    rest = dict(verdict.dataset)
    name = " ".join(str(rest.pop(key)) for key in ("name", "version") if rest.get(key) is not None)
    more = [f"{key} {value}" for key, value in rest.items() if value is not None]
    return plain(", ".join([name, *more]))


def _named(name: str | None, identity: str) -> str:
    return identity if name is None else f"{plain(name)} ({identity})"


def _number(number: Number | None, than: str) -> str:
    if number is None or number.value is None:
        return ""
    said = shown(number.value, number.unit) + than
    if number.interval is None:
        return said
    low, high = number.interval
    return f"{said} ({shown(low, '')} to {shown(high, '')})"
