"""Named suites: what a model is attacked with when its gate file does not write the attacks out.

The same name, tasks and radii are the same attacks in the same order, whenever they are asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.errors import InvalidError
from core.specs.attack import AttackSpec
from core.specs.documents import Attacked
from core.specs.gate_file import ExplicitSuite, GateFile, SuiteName
from core.specs.objective import SINGLE
from core.tasks import Task

PGD_STEPS = 20
APGD_STEPS = 50
APGD_RESTARTS = 5
AUTO_STEPS = 200
SQUARE_STEPS = 1_000


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
        InvalidError: an attack names a task that the model has not; `field` names the place in the file.
    """
    dataset, suite = gate_file.dataset, gate_file.suite
    if isinstance(suite, ExplicitSuite):
        _check_tasks(suite, tasks)
        limited = dataset.model_copy(update={"limit": dataset.limit or suite.samples})
        return Attacked(dataset=limited, attacks=suite.attacks)
    named = SUITES[suite]
    attacks = [attack for eps in gate_file.eps for attack in named.attacks(tasks, eps)]
    limited = dataset.model_copy(update={"limit": dataset.limit or named.samples})
    return Attacked(dataset=limited, attacks=attacks, health=named.health)


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
