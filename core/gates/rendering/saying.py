"""What all outputs say alike: which outcome is worse, and numbers, limits, looks and names in words."""

from collections.abc import Iterable, Iterator

from core.gates.rendering.context import Context
from core.gates.rendering.plain import plain
from core.gates.verdict import (
    EXIT_CODES,
    Doubt,
    LimitSaid,
    LookSaid,
    NextLook,
    Number,
    Outcome,
    Overall,
    Status,
    Verdict,
)
from core.gates.wording import percent, shown
from core.intervals import LEVEL

HEADINGS: dict[Overall, str] = {
    "passed": "Gate passed",
    "failed": "Gate failed",
    "inconclusive": "Gate inconclusive",
    "no_baseline": "Gate without a baseline",
}

WORST_FIRST: tuple[Status, ...] = (
    "fail",
    "error",
    "inconclusive",
    "no_baseline",
    "warn",
    "waived",
    "pass",
)

NAMED_ATTACKS = 3
"""So many of the attacks that a doubt is about are named."""


def worst_first(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that count against the model first, and each part from the worst to the best."""
    return sorted(outcomes, key=lambda outcome: (not counts(outcome), WORST_FIRST.index(outcome.status)))


def counts(outcome: Outcome) -> bool:
    """Whether it keeps the gate from passing; a verdict has not passed if one of its outcomes does."""
    return outcome.level == "error" and outcome.status not in {"pass", "warn", "waived"}


def left_open(verdict: Verdict) -> bool:
    """Whether it has not passed though no outcome keeps it from that, as where the next look may say otherwise."""
    return verdict.exit_code != EXIT_CODES["passed"] and not any(map(counts, verdict.outcomes))


def held(outcome: Outcome) -> Number | None:
    """The number that the limit is on."""
    return outcome.worse_by if outcome.limit is not None and outcome.limit.relative else outcome.observed


def observed(outcome: Outcome) -> str:
    """What was measured, and where the limit is on the difference, that."""
    difference = outcome.worse_by if outcome.limit is not None and outcome.limit.relative else None
    at = (
        f"{percent(LEVEL)}: " if outcome.on == "transferability" else ""
    )  # at no look, so not at the verdict's level
    said = [_number(outcome.observed, "", at), _number(difference, " worse than the baseline")]
    return "; ".join(filter(None, said))


def limit(asked: LimitSaid | None) -> str:
    """What was asked of it."""
    if asked is None:
        return ""
    sign = "≤" if asked.bound == "at_most" else "≥"
    worse = " worse" if asked.relative else ""
    return f"{sign} {shown(asked.value, asked.unit)}{worse}{'' if asked.strict else ', the estimate'}"


def facts(verdict: Verdict, context: Context) -> Iterator[tuple[str, str]]:
    """What a reader should know of a verdict beside its outcomes."""
    yield "job", str(verdict.job)
    yield "dataset", dataset(verdict)
    yield "baseline", baseline(verdict)
    if verdict.transferability is not None:
        yield "transferability", f"job {verdict.transferability}"
    yield "metrics", f"version {verdict.metric_version}, {verdict.metric_rules}"
    file = "" if context.policy_file is None else f"{context.policy_file}, "
    yield "policy", f"{file}SHA-256 {verdict.policy}, on {verdict.today}"
    yield from looks(verdict)


def properties(verdict: Verdict) -> dict[str, str]:
    """The verdict and what it rests on by name, for formats that keep such pairs."""
    said = {
        "verdict": verdict.status,
        "message": plain(verdict.message),
        "model": model(verdict),
        "job": str(verdict.job),
        "dataset": dataset(verdict),
        "baseline": baseline(verdict),
        "policy": verdict.policy,
        "today": verdict.today.isoformat(),
        "intervals": percent(verdict.level),
        **{name.replace(" ", "_"): told for name, told in looks(verdict)},
    }
    if verdict.transferability is not None:
        said["transferability"] = str(verdict.transferability)
    return said


def looks(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Which look the verdict is on, and which to take next."""
    now, after = verdict.look, verdict.next
    if now is not None:
        said = f"{now.number} of {now.of}, {_size(now)}"
        yield "look", f"{said}, intervals at {percent(verdict.level)}"
    if after is not None:
        of = "" if now is None else f" of {now.of}"
        yield "next look", f"{after.number}{of}, {_size(after)}: {plain(after.why)}"


def doubt(found: Doubt) -> str:
    """A health flag in words, and what it is about."""
    listed = list(found.attacks[:NAMED_ATTACKS])
    if more := len(found.attacks) - len(listed):
        listed.append(f"{more} more")
    of = " (the baseline)" if found.of_baseline else ""
    on = f"; on {', '.join(listed)}" if listed else ""
    return f"{found.code}{of}: {found.message}{on}"


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


def _size(look: LookSaid | NextLook) -> str:
    effort = "" if look.effort == 1 else f", {look.effort} times the steps"
    starts = "" if look.restarts is None else f", {look.restarts} random starts or more"
    return f"{look.samples} samples{effort}{starts}"


def _number(number: Number | None, than: str, at: str = "") -> str:
    if number is None or number.value is None:
        return ""
    said = shown(number.value, number.unit) + than
    if number.interval is None:
        return said
    low, high = number.interval
    return f"{said} ({at}{shown(low, '')} to {shown(high, '')})"
