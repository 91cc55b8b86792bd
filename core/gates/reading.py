"""What a rule is about, read off an evaluation and its baseline: numbers, or why there are none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.comparison import Estimate, Pair, ara, difference, directions_of, percent_worse
from core.errors import InvalidError
from core.gates.limits import Finding
from core.gates.measured import NOTHING, Measured, MeasuredResult, finite
from core.intervals import UnpairedError
from core.jobs.reliability import Flag
from core.specs.policies import AraRule, ArpRule, MetricRule, RobustGainRule, TaskArpRule
from core.specs.suggestions import unknown

LimitedRule = ArpRule | TaskArpRule | MetricRule | AraRule | RobustGainRule

PERCENT = "%"
POINTS = "points"

SHOWN_ATTACKS = 10
"""Attacks that a message lists."""


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
        result: whose it is; None where the rule finds none.
        unit: the number's.
        observed: the number on this model; for ARA and robust gain that is a comparison already.
        baseline: the same on the baseline, where it has one.
        worse_by: how much worse than the baseline's it is, paired.
        worse_unit: points of ARP, or percent of the baseline's value.
        obstacle: what keeps the rule from being decided.
    """

    subject: str
    result: MeasuredResult | None
    unit: str = PERCENT
    observed: Estimate = NOTHING
    baseline: Estimate | None = None
    worse_by: Estimate | None = None
    worse_unit: str = POINTS
    obstacle: Obstacle | None = None


def readings(rule: LimitedRule, measured: Measured, baseline: Measured | None) -> Iterator[Reading]:
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
        yield Reading(subject="the rule", result=None, obstacle=_no_attack(rule, measured))
    for result in chosen:
        found = _read(rule, result, measured, baseline)
        flags = measured.error_flags(result)
        yield replace(found, obstacle=_unreliable(flags, "the result")) if flags else found


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
    rule: LimitedRule, result: MeasuredResult, measured: Measured, baseline: Measured | None
) -> Reading:
    bare = Reading(subject=_subject(rule, result), result=result, unit=_unit(rule, measured))
    if missing := _missing_name(rule, measured):
        return replace(bare, obstacle=Obstacle(finding="error", message=missing))
    if not isinstance(rule, AraRule | RobustGainRule):
        bare = replace(bare, observed=_number(rule, result))
    needed = isinstance(rule, AraRule | RobustGainRule) or rule.limit.relative
    if baseline is None:
        return (
            replace(bare, obstacle=_no_baseline("there is no baseline to compare with")) if needed else bare
        )
    match = baseline.clean if result.attack is None else baseline.same_attack(result)
    if match is None:
        return replace(bare, obstacle=_no_baseline("the baseline was not attacked so")) if needed else bare
    if needed and (flags := baseline.error_flags(match)):
        return replace(bare, obstacle=_unreliable(flags, "the baseline"))
    try:
        check_comparable(measured, baseline)
        return _compared(rule, bare, measured, (result, match))
    except InvalidError as error:
        return replace(bare, obstacle=Obstacle(finding="error", message=str(error))) if needed else bare


def _compared(
    rule: LimitedRule, bare: Reading, measured: Measured, sides: tuple[MeasuredResult, MeasuredResult]
) -> Reading:
    """The reading with what the baseline adds to it; `sides` are the model's result and the baseline's."""
    mine, theirs = sides
    pair: Pair = (mine.read(), theirs.read())
    match rule:
        case AraRule():
            return replace(bare, observed=finite(_ara(rule, measured, sides, pair)))
        case RobustGainRule(task=task):
            if task is None:
                _check_same_tasks(mine, theirs)
            values = theirs.number(task).value, mine.number(task).value
            return replace(bare, observed=finite(difference(*values, (pair[1], pair[0]), task=task)))
        case MetricRule(task=task, metric=metric):
            number = theirs.number(task, metric)
            direction = measured.metrics_of(task)[metric].direction
            worse = percent_worse(
                bare.observed.value, number.value, direction, pair, task=task, metric=metric
            )
            return replace(bare, baseline=number, worse_by=finite(worse), worse_unit=PERCENT)
        case _:
            number = _number(rule, theirs)
            named = rule.task if isinstance(rule, TaskArpRule) else None
            if named is None:
                _check_same_tasks(mine, theirs)
            worse = difference(bare.observed.value, number.value, pair, task=named)
            return replace(bare, baseline=number, worse_by=finite(worse))


def _ara(
    rule: AraRule, measured: Measured, sides: tuple[MeasuredResult, MeasuredResult], pair: Pair
) -> Estimate:
    """ARA, which leaves out what neither model has; it must not leave out what one of them lost."""
    mine, theirs = (side.metrics for side in sides)
    if bare := [task.name for task in measured.tasks if not mine.get(task.name)]:
        raise InvalidError(f"nothing was measured of {', '.join(bare)}")
    found = ara(mine, theirs, directions_of(measured.tasks, mine), pair)
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


def _number(rule: ArpRule | TaskArpRule | MetricRule, result: MeasuredResult) -> Estimate:
    match rule:
        case MetricRule(task=task, metric=metric):
            return result.number(task, metric)
        case TaskArpRule(task=task):
            return result.number(task)
        case _:
            return result.number()


def _subject(rule: LimitedRule, result: MeasuredResult) -> str:
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


def _unit(rule: LimitedRule, measured: Measured) -> str:
    if isinstance(rule, MetricRule):
        found = measured.metrics_of(rule.task).get(rule.metric)
        return "" if found is None else found.unit
    return POINTS if isinstance(rule, RobustGainRule) else PERCENT


def _missing_name(rule: LimitedRule, measured: Measured) -> str:
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


def _no_attack(rule: LimitedRule, measured: Measured) -> Obstacle:
    assert not isinstance(rule, MetricRule | AraRule)
    ran = [result.spec for result in measured.attacks if result.spec is not None]
    wanted = rule.attacks
    objectives = dict.fromkeys(attack.objective for attack in ran if attack.objective is not None)
    if wanted.objective is not None and wanted.objective not in objectives:
        message = unknown("attack with the objective", wanted.objective, objectives)
    else:
        labels = [attack.label for attack in ran[:SHOWN_ATTACKS]]
        labels += ["…"] if len(ran) > SHOWN_ATTACKS else []
        there = f"there are {', '.join(labels)}" if labels else "there is none at all"
        message = f"no attack of the evaluation has {wanted.text}; {there}" if wanted.text else there
    return Obstacle(finding="error", message=message)


def _no_baseline(message: str) -> Obstacle:
    return Obstacle(finding="no_baseline", message=message)


def _unreliable(flags: Sequence[Flag], what: str) -> Obstacle:
    codes = tuple(dict.fromkeys(str(flag["code"]) for flag in flags))
    return Obstacle(finding="error", message=f"{what} is unreliable: {', '.join(codes)}", flags=codes)
