"""One process's part in a training: what it trains, when it keeps its state, and what it tells of itself."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from uuid import UUID

from core.jobs.events import EventType
from core.models import TreeModel, build_model
from core.settings import Settings
from core.specs.manifests import ModelManifest
from core.specs.trainings import TrainingSpec
from core.training import DivergenceError, Report, Trainer, save_state
from core.training.team import Team
from worker.checking import scratch
from worker.contract import DatasetRecord, StopRequested, TurnOver
from worker.keeping import told_if_full
from worker.resources import dataset_of

TELL_SECONDS = 2.0
"""Between two events about how a training goes."""

KEEP_SHARE = 0.05
"""Of a training's time that keeping its state may take."""


class Keeper(Protocol):
    """What a run needs of `worker.keeping.Keeping`."""

    def keep(self, state: Path, *, position: int, share: float) -> None:
        """Take a state over in the place of the one before; a share of 0 to 1 of the work is then safe."""

    def tell(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Let the job's events say something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is trained, as every process that takes part in it has to know.

    Attributes:
        manifest: of the model that comes out.
    """

    spec: TrainingSpec
    manifest: ModelManifest
    dataset: DatasetRecord
    job_id: UUID

    def new_model(self) -> TreeModel:
        """The model with weights drawn from torch's random numbers."""
        of = self.manifest
        return build_model(of.backbone, of.tree, of.task_list, preprocessing=of.preprocessing)

    def trainer(self, model: TreeModel, *, team: Team | None = None) -> Trainer:
        """A trainer of the model, which is on its device."""
        return Trainer(
            model,
            self.dataset.measured(model.tasks),
            dataset_of(self.dataset, self.spec.dataset.split, self.job_id, shuffle=self.spec.dataset.shuffle),
            self.spec.recipe,
            samples=self.spec.dataset.samples,
            team=team,
        )


class Run:
    """Keeps states and tells how it goes while a trainer runs.

    A state is kept every `keep_seconds`, or less often where that would take more than `KEEP_SHARE` of the time.
    """

    def __init__(self, trainer: Trainer, keeper: Keeper, check: Callable[[], None]) -> None:
        settings = Settings()
        self._trainer = trainer
        self._keeper = keeper
        self._check = check
        self._keep_seconds = settings.keep_seconds
        self._turn_ends = time.monotonic() + settings.turn_seconds
        self._kept_at = self._told_at = time.monotonic()
        self._kept = trainer.iteration
        self._cost = 0.0
        self._untold: list[dict[str, float]] = []

    def to_the_end(self) -> None:
        """Run; whatever ends it early finds the state kept."""
        try:
            self._trainer.run(check=self._ask, progress=self._note)
        except (StopRequested, TurnOver, DivergenceError, SystemExit):
            self._keep()
            raise
        self._tell()

    def _ask(self) -> None:
        self._check()
        if time.monotonic() > self._turn_ends and self._trainer.iteration > self._kept:
            raise TurnOver

    def _note(self, report: Report) -> None:
        self._untold.append(report.row())
        now = time.monotonic()
        if now - self._told_at > TELL_SECONDS:
            self._tell()
        if now - self._kept_at > max(self._keep_seconds, self._cost / KEEP_SHARE):
            self._keep()

    def _tell(self) -> None:
        if not self._untold:
            return
        rows, self._untold, self._told_at = self._untold, [], time.monotonic()
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        where = {"iteration": self._trainer.iteration, "iterations": self._trainer.iterations}
        self._keeper.tell("training.progress", {**where, "means": means, "over": len(rows)})

    def _keep(self) -> None:
        if self._trainer.iteration == self._kept:
            return
        begun = time.monotonic()
        with TemporaryDirectory(dir=scratch()) as folder:
            state = Path(folder) / "state.safetensors"
            write_state(self._trainer, state)
            done = self._trainer.iteration
            self._keeper.keep(state, position=done, share=done / self._trainer.iterations)
        self._kept, self._kept_at = done, time.monotonic()
        self._cost = self._kept_at - begun


def write_state(trainer: Trainer, path: Path) -> None:
    """Write all that another trainer needs to go on.

    Raises:
        StorageFullError: there is no room for it.
    """
    with told_if_full("the state of the training"):
        save_state(trainer.state_dict(), path)
