"""What rules on an evaluation are about, read off it and its baseline."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from core.comparison import Estimate, Pair, ara, difference, directions_of, percent_worse
from core.errors import InvalidError
from core.gates.measured import Measured, MeasuredResult, finite
from core.gates.reading import PERCENT, POINTS, Obstacle, Reading, no_baseline, unreliable
from core.intervals import UnpairedError
from core.specs.attack import AttackSpec
from core.specs.policies import (
    AraRule,
    ArpRule,
    AttackMatch,
    MetricRule,
    RobustGainRule,
    TaskArpRule,
)
from core.specs.suggestions import unknown

EvaluatedRule = ArpRule | TaskArpRule | MetricRule | AraRule | RobustGainRule

SHOWN_ATTACKS = 10
"""Attacks that a message lists."""


def evaluated(
    rule: EvaluatedRule, measured: Measured, baseline: Measured | None, level: float
) -> Iterator[Reading]:
    """A rule's numbers: one for each attack that it is about, one where it is about the clean pass."""
    if isinstance(rule, MetricRule | AraRule):
        chosen: Sequence[MeasuredResult] = [measured.clean]
    else:
        chosen = [
            result
            for result in measured.attacks
            if result.spec is not None and rule.attacks.matches(result.spec)
        ]
    if not chosen:
        yield Reading(subject="the rule", obstacle=_no_attack(rule, measured))
    for result in chosen:
        found = _read(rule, result, measured, baseline, level)
        flags = measured.error_flags(result)
        yield replace(found, obstacle=unreliable(flags, "the result")) if flags else found


def no_match(wanted: AttackMatch, attacks: Sequence[AttackSpec]) -> str:
    """What to say of an evaluation, none of whose attacks is wanted; they have nothing left to a default."""
    objectives = dict.fromkeys(attack.objective for attack in attacks if attack.objective is not None)
    if wanted.objective is not None and wanted.objective not in objectives:
        return unknown("attack with the objective", wanted.objective, objectives)
    labels = [attack.label for attack in attacks[:SHOWN_ATTACKS]]
    labels += ["…"] if len(attacks) > SHOWN_ATTACKS else []
    there = f"there are {', '.join(labels)}" if labels else "there is none at all"
    return f"no attack of the evaluation has {wanted.text}; {there}" if wanted.text else there


def check_comparable(one: Measured, other: Measured) -> None:
    """Refuse evaluations that were not done alike.

    Raises:
        UnpairedError: they are on other samples, of other tasks, or measured by other rules.
    """
    differing = [
        name
        for name, mine, theirs in (
            ("data sets", one.dataset, other.dataset),
            ("tasks", sorted(task.name for task in one.tasks), sorted(task.name for task in other.tasks)),
            ("metric rules", one.metric_rules, other.metric_rules),
            ("metric versions", one.metric_version, other.metric_version),
            ("metrics", _names(one), _names(other)),
        )
        if mine != theirs
    ]
    if differing:
        raise UnpairedError(
            f"it and the baseline have different {' and '.join(differing)}; evaluate both alike"
        )


def _names(measured: Measured) -> dict[str, list[str]]:
    return {task: sorted(metrics) for task, metrics in measured.clean.metrics.items()}


def _read(
    rule: EvaluatedRule,
    result: MeasuredResult,
    measured: Measured,
    baseline: Measured | None,
    level: float,
) -> Reading:
    bare = Reading(
        subject=_subject(rule, result),
        attack=result.label,
        ordinal=result.ordinal,
        samples=result.samples,
        level=level,
        unit=_unit(rule, measured),
    )
    if missing := _missing_name(rule, measured):
        return replace(bare, obstacle=Obstacle(finding="error", message=missing))
    if not isinstance(rule, AraRule | RobustGainRule):
        bare = replace(bare, observed=_number(rule, result, level))
    needed = isinstance(rule, AraRule | RobustGainRule) or rule.limit.relative
    if baseline is None:
        return replace(bare, obstacle=no_baseline("there is no baseline to compare with")) if needed else bare
    match = baseline.clean if result.attack is None else baseline.same_attack(result)
    if match is None:
        return replace(bare, obstacle=no_baseline("the baseline was not attacked so")) if needed else bare
    if needed and (flags := baseline.error_flags(match)):
        return replace(bare, obstacle=unreliable(flags, "the baseline"))
    try:
        check_comparable(measured, baseline)
        return _compared(rule, bare, measured, (result, match))
    except InvalidError as error:
        return replace(bare, obstacle=Obstacle(finding="error", message=str(error))) if needed else bare


def _compared(
    rule: EvaluatedRule, bare: Reading, measured: Measured, sides: tuple[MeasuredResult, MeasuredResult]
) -> Reading:
    """The reading with what the baseline adds to it; `sides` are the model's result and the baseline's."""
    (mine, theirs), level = sides, bare.level
    pair: Pair = (mine.read(), theirs.read())
    match rule:
        case AraRule():
            return replace(bare, observed=finite(_ara(rule, measured, sides, pair, level=level)))
        case RobustGainRule(task=task):
            if task is None:
                _check_same_tasks(mine, theirs)
            values = theirs.number(task).value, mine.number(task).value
            gained = difference(*values, (pair[1], pair[0]), task=task, level=level)
            return replace(bare, observed=finite(gained))
        case MetricRule(task=task, metric=metric):
            number = theirs.number(task, metric, level=level)
            direction = measured.metrics_of(task)[metric].direction
            worse = percent_worse(
                bare.observed.value, number.value, direction, pair, task=task, metric=metric, level=level
            )
            return replace(bare, baseline=number, worse_by=finite(worse), worse_unit=PERCENT)
        case _:
            number = _number(rule, theirs, level)
            named = rule.task if isinstance(rule, TaskArpRule) else None
            if named is None:
                _check_same_tasks(mine, theirs)
            worse = difference(bare.observed.value, number.value, pair, task=named, level=level)
            return replace(bare, baseline=number, worse_by=finite(worse))


def _ara(
    rule: AraRule,
    measured: Measured,
    sides: tuple[MeasuredResult, MeasuredResult],
    pair: Pair,
    *,
    level: float,
) -> Estimate:
    """ARA, which leaves out what neither model has; it must not leave out what one of them lost."""
    mine, theirs = (side.metrics for side in sides)
    if bare := [task.name for task in measured.tasks if not mine.get(task.name)]:
        raise InvalidError(f"nothing was measured of {', '.join(bare)}")
    found = ara(mine, theirs, directions_of(measured.tasks, mine), pair, level=level)
    lost = []
    for name in found.undefined:
        task, _, metric = name.partition(".")
        if (mine[task][metric] is None) != (theirs[task][metric] is None):
            lost.append(name)
    if lost:
        raise InvalidError(f"only one of the two models has a value of {', '.join(lost)}")
    return found.overall if rule.task is None else found.tasks[rule.task]


def _check_same_tasks(mine: MeasuredResult, theirs: MeasuredResult) -> None:
    """Refuse means over different tasks: a task without ARP is left out of ARP."""
    with_arp, others = (
        {task for task, value in (side.task_arp or {}).items() if value is not None}
        for side in (mine, theirs)
    )
    if differing := sorted(with_arp ^ others):
        raise InvalidError(f"only one of the two models has an ARP of {', '.join(differing)}")


def _number(rule: ArpRule | TaskArpRule | MetricRule, result: MeasuredResult, level: float) -> Estimate:
    match rule:
        case MetricRule(task=task, metric=metric):
            return result.number(task, metric, level=level)
        case TaskArpRule(task=task):
            return result.number(task, level=level)
        case _:
            return result.number(level=level)


def _subject(rule: EvaluatedRule, result: MeasuredResult) -> str:
    of = "" if isinstance(rule, ArpRule) or rule.task is None else f" of {rule.task}"
    match rule:
        case MetricRule():
            return f"{rule.metric}{of}"
        case AraRule():
            return f"ARA{of}"
        case RobustGainRule():
            return f"the robust gain{of} under {result.label}"
        case _:
            return f"ARP{of} under {result.label}"


def _unit(rule: EvaluatedRule, measured: Measured) -> str:
    if isinstance(rule, MetricRule):
        found = measured.metrics_of(rule.task).get(rule.metric)
        return "" if found is None else found.unit
    return POINTS if isinstance(rule, RobustGainRule) else PERCENT


def _missing_name(rule: EvaluatedRule, measured: Measured) -> str:
    """What is wrong with the rule's task or metric; "" if nothing is."""
    if isinstance(rule, ArpRule) or rule.task is None:
        return ""
    names = [task.name for task in measured.tasks]
    if rule.task not in names:
        return unknown("task", rule.task, names)
    metrics = measured.metrics_of(rule.task)
    if isinstance(rule, MetricRule) and rule.metric not in metrics:
        return unknown(f"metric of {rule.task}", rule.metric, metrics)
    return ""


def _no_attack(rule: EvaluatedRule, measured: Measured) -> Obstacle:
    assert not isinstance(rule, MetricRule | AraRule)
    ran = [result.spec for result in measured.attacks if result.spec is not None]
    return Obstacle(finding="error", message=no_match(rule.attacks, ran))
