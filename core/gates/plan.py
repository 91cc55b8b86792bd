"""What a gate file asks for on a given data set: its evaluation, the looks at it, and a transferability job."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from core.datasets import DatasetInfo
from core.errors import InvalidError, under
from core.gates.looks import Look, plan_looks
from core.gates.policy_file import PolicyFile
from core.gates.suites import (
    Transferred,
    check_escalation,
    check_rules,
    suite_evaluation,
    suite_transferability,
)
from core.specs.documents import Attacked, TransferabilitySpec
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
        wanted = _asked(evaluation)
        return next((look for look in self.looks if _asked(look.evaluation) == wanted), None)

    def is_transferability(self, done: TransferabilitySpec) -> bool:
        """Whether a transferability job is the one that the file asks for, of whatever model."""
        asked = self.transferability
        if asked is None:
            return False
        same = done.attack.resolved() == asked.attack.resolved()
        names = set(Transferred.model_fields) - {"attack"}
        return same and all(getattr(done, name) == getattr(asked, name) for name in names)


def plan_file(read: PolicyFile, tasks: Sequence[Task], info: DatasetInfo) -> GatePlan:
    """`plan_gate` of a file whose rules its looks can decide.

    Raises:
        GateFileError: they cannot, or the file does not fit model or data set; with lines and columns.
    """
    try:
        plan = plan_gate(read.file, tasks, info)
    except InvalidError as error:
        raise read.error(error) from error
    if undecidable := check_rules(read.file, plan.evaluation, tasks):
        raise read.error(*undecidable)
    return plan


def plan_gate(gate_file: GateFile, tasks: Sequence[Task], info: DatasetInfo) -> GatePlan:
    """The plan for a model with these tasks on the data set that the file names.

    Raises:
        InvalidError: they do not fit; `field` names the place in the file.
    """
    _check_named(gate_file, tasks, info)
    evaluation = suite_evaluation(gate_file, tasks)
    with under("dataset"):
        pinned = evaluation.dataset.pinned(info)
    evaluation = evaluation.model_copy(update={"dataset": pinned})
    with _in_the_file(gate_file):
        evaluation.check_tasks(tasks, info)
    check_escalation(gate_file, evaluation)
    return GatePlan(
        evaluation,
        plan_looks(gate_file, evaluation, available=info.splits[pinned.split]),
        suite_transferability(gate_file, evaluation),
    )


def _asked(evaluation: Attacked) -> Attacked:
    """What is measured, with nothing left to a default."""
    resolved = [attack.resolved() for attack in evaluation.attacks]
    return evaluation.model_copy(update={"attacks": resolved, "previews": 0})


def _check_named(gate_file: GateFile, tasks: Sequence[Task], info: DatasetInfo) -> None:
    """Check that model and data set are those that the file names, as far as it does."""
    named, said = gate_file.dataset, gate_file.model.tasks
    if named.name != info.name:
        raise InvalidError(f"the data set is {info.name}", field="dataset.name")
    if named.version not in (None, info.version):
        raise InvalidError(f"the data set's version is {info.version}", field="dataset.version")
    if said is not None and _kinds(said) != _kinds(tasks):
        message = f"the model's tasks are {', '.join(task.name for task in tasks)}, not those of this profile"
        raise InvalidError(message, field="model.manifest.profile")


def _kinds(tasks: Sequence[Task]) -> set[tuple[str, str, int]]:
    return {(task.name, task.kind, task.channels) for task in tasks}


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
