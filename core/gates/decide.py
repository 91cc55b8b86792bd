"""A policy, an evaluation and perhaps a baseline in, a verdict out: a pure function that fails closed."""

from collections import Counter
from collections.abc import Sequence
from datetime import date

from core.comparison import Estimate
from core.gates.doubts import doubts
from core.gates.evaluated import EvaluatedRule, evaluated
from core.gates.limits import Finding, judge
from core.gates.measured import Measured, MeasuredTransfer
from core.gates.reading import Obstacle, Reading, with_others
from core.gates.transferred import transferred
from core.gates.unseen import with_unseen
from core.gates.verdict import (
    EXIT_CODES,
    Baseline,
    LimitSaid,
    Number,
    Outcome,
    Overall,
    Status,
    Verdict,
    WaiverSaid,
)
from core.gates.waivers import notes, standing
from core.gates.wording import held, sentence
from core.intervals import LEVEL
from core.specs.policies import (
    GatePolicy,
    HealthRule,
    Level,
    PolicyError,
    TransferabilityRule,
    Waiver,
)

MAX_OUTCOMES = 10_000

SUMMARIES: dict[Overall, str] = {
    "passed": "the model keeps the policy",
    "failed": "the model does not keep the policy",
    "inconclusive": "there are too few samples to say whether the model keeps the policy",
    "no_baseline": "without a baseline it cannot be said whether the model keeps the policy",
}


def decide(
    policy: GatePolicy,
    measured: Measured,
    baseline: Measured | None = None,
    *,
    today: date,
    level: float = LEVEL,
    transfer: MeasuredTransfer | None = None,
    others: Sequence[str] = (),
) -> Verdict:
    """Whether an evaluated model keeps a policy.

    Args:
        policy: the rules, and leave to break some for a while.
        measured: the model's evaluation.
        baseline: another model's, on the same samples; rules that compare are `no_baseline` without one.
        today: for waivers that end.
        level: how often an interval should hold the true value; at any but 95 % they are drawn from the replicates.
        transfer: how far attacks on one task of the model reach the others, measured once and so judged at 95 %;
            rules on transferability are an error without it.
        others: where there is no baseline, the repository's other models that have one at that place; "" is one without
            a name.

    Raises:
        PolicyError: the rules are about too many attacks together.
    """
    waivers = standing(policy, today)
    outcomes: list[Outcome] = []
    for rule in policy.rules:
        waiver = waivers.get(rule.name)
        match rule:
            case HealthRule():
                outcomes.append(_health(rule, measured, waiver))
            case TransferabilityRule():
                read = transferred(rule, measured, transfer)
                outcomes += (_outcome(rule, reading, waiver) for reading in read)
            case _:
                same = baseline is not None and baseline.model == measured.model
                read = (
                    with_others(with_unseen(reading, rule, same_model=same), others)
                    for reading in evaluated(rule, measured, baseline, level)
                )
                outcomes += (_outcome(rule, reading, waiver) for reading in read)
        if len(outcomes) > MAX_OUTCOMES:
            message = f"the rules are about more than {MAX_OUTCOMES} attacks together; let `attacks` choose"
            raise PolicyError(message, field="rules")
    unmet = {rule.name: False for rule in policy.rules}
    for outcome in outcomes:
        unmet[outcome.rule] |= outcome.finding != "pass"
    status, counts = _overall(outcomes), Counter(outcome.status for outcome in outcomes)
    return Verdict(
        status=status,
        exit_code=EXIT_CODES[status],
        message=_summary(status, counts),
        job=measured.job,
        model=measured.model,
        model_name=measured.model_name,
        baseline=None if baseline is None else _said(baseline),
        dataset=dict(measured.dataset),
        metric_version=measured.metric_version,
        metric_rules=measured.metric_rules,
        policy=policy.digest(),
        today=today,
        level=level,
        counts=dict(sorted(counts.items())),
        outcomes=outcomes,
        notes=list(notes(policy, unmet, today)),
        doubts=doubts(measured, baseline, transfer),
        transferability=None if transfer is None else transfer.job,
    )


def _outcome(rule: EvaluatedRule | TransferabilityRule, reading: Reading, waiver: Waiver | None) -> Outcome:
    limit = rule.limit
    number = held(reading, limit)
    judged = judge(number, limit, strict=rule.strict, samples=reading.samples or 0)
    obstacle = reading.obstacle or _nothing_to_hold(reading, number, strict=rule.strict)
    message = (
        f"{reading.subject} cannot be decided: {obstacle.message}"
        if obstacle is not None
        else sentence(reading, limit, judged, strict=rule.strict)
    )
    finding = judged.finding if obstacle is None else obstacle.finding
    unit = reading.worse_unit if limit.relative else reading.unit
    return Outcome(
        rule=rule.name,
        on=rule.on,
        level=rule.level,
        status=_status(finding, rule.level, waiver),
        finding=finding,
        message=message,
        attack=reading.attack,
        ordinal=reading.ordinal,
        observed=_number(reading.observed, reading.unit),
        limit=LimitSaid(
            bound=limit.bound, value=limit.value, unit=unit, relative=limit.relative, strict=rule.strict
        ),
        baseline=_number(reading.baseline, reading.unit),
        worse_by=_number(reading.worse_by, reading.worse_unit),
        samples=reading.samples,
        samples_needed=judged.samples_needed if obstacle is None else None,
        flags=[] if obstacle is None else list(obstacle.flags),
        waiver=_waived(finding, waiver),
    )


def _nothing_to_hold(reading: Reading, number: Estimate, *, strict: bool) -> Obstacle | None:
    """What is missing for a decision, after all."""
    if number.value is None:
        return Obstacle(finding="error", message="it has no value")
    if strict and number.interval is None:
        message = f"it is strict, and {reading.subject} has no interval"
        return Obstacle(finding="error", message=message)
    return None


def _health(rule: HealthRule, measured: Measured, waiver: Waiver | None) -> Outcome:
    flags = measured.error_flags(*measured.attacks)
    codes = {str(flag["code"]): str(flag["message"]) for flag in flags}
    finding: Finding = "fail" if codes else "pass"
    message = "the checks ran and found no error"
    if codes:
        message = f"the evaluation has errors: {'; '.join(f'{code} ({why})' for code, why in codes.items())}"
    if not codes and not measured.probed:
        finding, message = "error", 'the health checks did not run; evaluate with "health": true'
    return Outcome(
        rule=rule.name,
        on=rule.on,
        level=rule.level,
        status=_status(finding, rule.level, waiver),
        finding=finding,
        message=message,
        samples=measured.clean.samples,
        flags=list(codes),
        waiver=_waived(finding, waiver),
    )


def _status(finding: Finding, level: Level, waiver: Waiver | None) -> Status:
    if finding == "pass":
        return "pass"
    if waiver is not None:
        return "waived"
    return "warn" if finding == "fail" and level == "warn" else finding


def _waived(finding: Finding, waiver: Waiver | None) -> WaiverSaid | None:
    if finding == "pass" or waiver is None:
        return None
    return WaiverSaid(reason=waiver.reason, expires=waiver.expires)


def _overall(outcomes: Sequence[Outcome]) -> Overall:
    counting = {outcome.status for outcome in outcomes if outcome.level == "error"}
    if counting & {"fail", "error"}:
        return "failed"
    if "inconclusive" in counting:
        return "inconclusive"
    return "no_baseline" if "no_baseline" in counting else "passed"


def _summary(status: Overall, counts: Counter[Status]) -> str:
    listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"{SUMMARIES[status]}: {listed}"


def _said(baseline: Measured) -> Baseline:
    return Baseline(job=baseline.job, model=baseline.model, model_name=baseline.model_name)


def _number(found: Estimate | None, unit: str) -> Number | None:
    if found is None or (found.value is None and found.interval is None):
        return None
    interval = None if found.interval is None else (found.interval.low, found.interval.high)
    return Number(value=found.value, interval=interval, unit=unit)
