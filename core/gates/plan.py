"""What a gate file asks for on a given data set: its evaluation, the looks at it, and a transferability job."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from core.datasets import DatasetInfo
from core.errors import InvalidError, under
from core.gates.looks import Look, plan_looks
from core.gates.suites import Transferred, suite_evaluation, suite_transferability
from core.specs.documents import Attacked
from core.specs.gate_file import ExplicitSuite, GateFile
from core.tasks import Task


@dataclass(frozen=True, slots=True)
class GatePlan:
    """What a gate may run; data sets are pinned.

    Attributes:
        evaluation: that the file asks for.
        looks: the evaluations that may be taken, in order.
        transferability: None if no rule needs it.
    """

    evaluation: Attacked
    looks: tuple[Look, ...]
    transferability: Transferred | None

    def look_of(self, evaluation: Attacked) -> Look | None:
        """The look that an evaluation is, whatever pictures it keeps; None if it is none."""
        wanted = evaluation.canonical()
        return next((look for look in self.looks if look.evaluation.canonical() == wanted), None)


def plan_gate(gate_file: GateFile, tasks: Sequence[Task], info: DatasetInfo) -> GatePlan:
    """The plan for a model with these tasks on the data set that the file names.

    Raises:
        InvalidError: they do not fit; `field` names the place in the file.
    """
    evaluation = suite_evaluation(gate_file, tasks)
    with under("dataset"):
        pinned = evaluation.dataset.pinned(info)
    evaluation = evaluation.model_copy(update={"dataset": pinned})
    with _in_the_file(gate_file):
        evaluation.check_tasks(tasks, info)
    return GatePlan(
        evaluation,
        plan_looks(gate_file, evaluation, available=info.splits[pinned.split]),
        suite_transferability(gate_file, evaluation),
    )


@contextmanager
def _in_the_file(gate_file: GateFile) -> Iterator[None]:
    """Errors inside are about an evaluation's fields: say where the file has them."""
    try:
        yield
    except InvalidError as error:
        if error.field.startswith("attacks"):
            written = isinstance(gate_file.suite, ExplicitSuite)
            error.field = f"suite.{error.field}" if written else "suite"
        raise
