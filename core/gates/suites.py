"""Named suites: what a model is attacked with when its gate file does not write the attacks out.

The same name, tasks and radii are the same attacks in the same order, whenever they are asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from core.errors import InvalidError, under
from core.gates.decide import MAX_OUTCOMES
from core.gates.evaluated import no_match
from core.specs.attack import AttackSpec
from core.specs.document import first_error
from core.specs.documents import Attacked, Measurement
from core.specs.gate_file import ExplicitSuite, GateFile, SuiteName
from core.specs.objective import SINGLE
from core.specs.policies import (
    AraRule,
    ArpRule,
    HealthRule,
    MetricRule,
    PolicyError,
    RobustGainRule,
    Rule,
    TaskArpRule,
    TransferabilityRule,
)
from core.specs.suggestions import unknown
from core.tasks import METRICS, Task

PGD_STEPS = 20
APGD_STEPS = 50
APGD_RESTARTS = 5
AUTO_STEPS = 200
SQUARE_STEPS = 1_000

MIN_TRANSFERRED = 2
"""Tasks: harm to one of them has to reach another."""


class Transferred(Measurement):
    """A transferability job without its kind and model."""

    attack: AttackSpec


@dataclass(frozen=True, slots=True)
class Suite:
    """What a name stands for.

    Attributes:
        samples: how many, unless the data set's limit says.
        health: whether to check that the attacks can be trusted.
    """

    name: SuiteName
    samples: int
    health: bool

    def attacks(self, tasks: Sequence[Task], eps: float) -> Iterator[AttackSpec]:
        """The attacks on these tasks with one radius."""
        yield from _quick(eps)
        if self.name != "quick":
            yield from _standard(tasks, eps)
        if self.name == "thorough":
            yield from _thorough(eps)


SUITES: dict[SuiteName, Suite] = {
    suite.name: suite
    for suite in (
        Suite("quick", samples=64, health=False),
        Suite("standard", samples=256, health=True),
        Suite("thorough", samples=1_024, health=True),
    )
}


def suite_evaluation(gate_file: GateFile, tasks: Sequence[Task]) -> Attacked:
    """The evaluation that a gate file asks for, of a model with these tasks.

    Raises:
        InvalidError: an attack names a task that the model has not, or the named suite cannot be made for these tasks
            and radii; `field` names the place in the file.
    """
    dataset, suite = gate_file.dataset, gate_file.suite
    if isinstance(suite, ExplicitSuite):
        _check_tasks(suite, tasks)
        return Attacked(dataset=dataset.first(suite.samples), attacks=suite.attacks)
    named = SUITES[suite]
    try:
        attacks = [attack for eps in gate_file.eps for attack in named.attacks(tasks, eps)]
        return Attacked(dataset=dataset.first(named.samples), attacks=attacks, health=named.health)
    except ValidationError as error:
        raise InvalidError(str(first_error(error)), field="suite") from error
    except InvalidError as error:
        error.field = "suite"
        raise


def suite_transferability(gate_file: GateFile, evaluation: Attacked) -> Transferred | None:
    """The transferability job that a gate file's rules need, on the evaluation's samples; None if they need none."""
    if not any(isinstance(rule, TransferabilityRule) for rule in gate_file.rules):
        return None
    attack = gate_file.transferability or AttackSpec(algorithm="pgd", eps=gate_file.eps[0], steps=PGD_STEPS)
    return Transferred(dataset=evaluation.dataset, attack=attack)


def check_escalation(gate_file: GateFile, evaluation: Attacked) -> None:
    """Check that going on to more samples takes more than the evaluation, whose data set is pinned, has.

    Raises:
        InvalidError: it does not; `field` names the place in the file.
    """
    most = None if gate_file.escalate is None else gate_file.escalate.samples
    asked = evaluation.dataset.samples
    if most is not None and most <= asked:
        message = f"the file asks for {asked} samples already; say more than that, or leave this out"
        raise InvalidError(message, field="escalate.samples")


def check_rules(gate_file: GateFile, evaluation: Attacked, tasks: Sequence[Task]) -> list[InvalidError]:
    """What no evaluation of this suite could decide, such as a rule about an attack that it has not.

    Returns:
        Errors whose `field` names the place in the file.
    """
    attacks = [attack.resolved() for attack in evaluation.attacks]
    found: list[InvalidError] = []
    outcomes = 0
    for position, rule in enumerate(gate_file.rules):
        try:
            with under(f"rules.{position}"):
                _check_rule(rule, tasks, health=evaluation.health)
                outcomes += _outcomes(rule, attacks, tasks)
        except InvalidError as error:
            found.append(error)
    if outcomes > MAX_OUTCOMES:
        message = f"the rules are about more than {MAX_OUTCOMES} attacks together; let `attacks` choose"
        found.append(PolicyError(message, field="rules"))
    return found


def compares(rule: Rule) -> bool:
    """Whether a rule needs a baseline."""
    return isinstance(rule, AraRule | RobustGainRule) or (
        not isinstance(rule, HealthRule) and rule.limit.relative
    )


def _check_rule(rule: Rule, tasks: Sequence[Task], *, health: bool) -> None:
    if isinstance(rule, HealthRule):
        if not health:
            raise InvalidError("the suite has no health checks; standard and thorough have", field="on")
        return
    if isinstance(rule, TransferabilityRule) and len(tasks) < MIN_TRANSFERRED:
        raise InvalidError("transferability needs at least two tasks", field="on")
    names = [task.name for task in tasks]
    named = None if isinstance(rule, ArpRule) else rule.task
    if named is not None and named not in names:
        raise InvalidError(unknown("task", named, names), field="task")
    if isinstance(rule, MetricRule):
        (task,) = (task for task in tasks if task.name == rule.task)
        metrics = [metric.name for metric in METRICS[task.kind]]
        if rule.metric not in metrics:
            raise InvalidError(unknown(f"metric of {rule.task}", rule.metric, metrics), field="metric")


def _outcomes(rule: Rule, attacks: Sequence[AttackSpec], tasks: Sequence[Task]) -> int:
    """How many outcomes a rule has under these attacks, which have nothing left to a default."""
    match rule:
        case ArpRule() | TaskArpRule() | RobustGainRule():
            matching = sum(rule.attacks.matches(attack) for attack in attacks)
            if not matching:
                raise InvalidError(no_match(rule.attacks, attacks), field="attacks")
            return matching
        case TransferabilityRule(task=None):
            return len(tasks)
        case _:
            return 1


def _quick(eps: float) -> Iterator[AttackSpec]:
    for objective in ("gb_mta", "total"):
        yield AttackSpec(algorithm="pgd", objective=objective, eps=eps, steps=PGD_STEPS)


def _standard(tasks: Sequence[Task], eps: float) -> Iterator[AttackSpec]:
    yield AttackSpec(algorithm="apgd", objective="gb_mta", eps=eps, steps=APGD_STEPS)
    for objective in (*(SINGLE + task.name for task in tasks), "sign_total"):
        yield AttackSpec(algorithm="pgd", objective=objective, eps=eps, steps=PGD_STEPS)


def _thorough(eps: float) -> Iterator[AttackSpec]:
    yield AttackSpec(algorithm="auto_mta", eps=eps, steps=AUTO_STEPS)
    yield AttackSpec(
        algorithm="apgd",
        objective="gb_mta",
        eps=eps,
        steps=APGD_STEPS,
        random_start=True,
        restarts=APGD_RESTARTS,
    )
    yield AttackSpec(algorithm="square", objective="gb_mta", eps=eps, steps=SQUARE_STEPS)


def _check_tasks(suite: ExplicitSuite, tasks: Sequence[Task]) -> None:
    names = [task.name for task in tasks]
    for position, attack in enumerate(suite.attacks):
        for name, where in attack.named_tasks.items():
            if name not in names:
                message = f"the model has no task {name!r}; it has {', '.join(names)}"
                raise InvalidError(message, field=f"suite.attacks.{position}.{where}")
