"""What `auto_mta` does to a batch once its search is over: run the attacks it found, keep the best for each sample."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.arp import arp_arrays
from core.attacks import AttackOutcome, run_attack
from core.attacks.damage import CleanScale
from core.data.batch import Batch
from core.evaluation.metrics import metric_arrays
from core.evaluation.statistics import Statistics, take_statistics
from core.modules import frozen
from core.specs.attack import AttackSpec
from core.tasks import Task

Totals = Mapping[str, Mapping[str, NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An attack that may be the strongest.

    Attributes:
        attack: eps and step size in pixel steps.
        softness: of the damage that it raises; None where it raises losses.
    """

    attack: AttackSpec
    softness: float | None

    @property
    def label(self) -> str:
        """For a reader."""
        raised = "losses" if self.softness is None else f"damage, softness {self.softness:g}"
        return f"{self.attack.label} on {raised}"


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate and the ARP that it reached on the calibration slice, None where ARP is not defined."""

    candidate: Candidate
    arp: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, all that the attack on a batch needs of it.

    Attributes:
        finalists: attacks to run on every sample, with their share of the budget as steps.
        scale: clean metrics of the calibration slice.
        clean, attacked: statistics of the slice summed, before and under the best trial.
        trials: everything that was tried, in order.
        samples: size of the slice.
        passes: what the search took, a forward and a backward pass of one sample counting one.
    """

    finalists: tuple[Candidate, ...]
    scale: CleanScale
    clean: Totals
    attacked: Totals
    trials: tuple[Trial, ...]
    samples: int
    passes: float

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), sort_keys=True, default=_listed).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Found":
        """Read what `to_bytes` wrote."""
        raw = json.loads(data)
        return cls(
            finalists=tuple(map(_candidate, raw["finalists"])),
            scale=CleanScale(**raw["scale"]),
            clean=_arrays(raw["clean"]),
            attacked=_arrays(raw["attacked"]),
            trials=tuple(Trial(_candidate(trial["candidate"]), trial["arp"]) for trial in raw["trials"]),
            samples=raw["samples"],
            passes=raw["passes"],
        )


def _listed(value: Any) -> Any:
    assert isinstance(value, np.ndarray)
    return value.tolist()


def _candidate(raw: Mapping[str, Any]) -> Candidate:
    return Candidate(AttackSpec(**raw["attack"]), raw["softness"])


def _arrays(raw: Mapping[str, Mapping[str, Any]]) -> Totals:
    return {task: {name: np.asarray(values) for name, values in table.items()} for task, table in raw.items()}


def run_finalists(
    model: nn.Module, batch: Batch, tasks: Sequence[Task], found: Found, *, unit: float
) -> AttackOutcome:
    """Run every finalist, and keep for each sample the images that raise ARP most.

    How much a sample's images raise ARP is taken as the ARP of the calibration slice with this sample added to
    it, so that it depends on no other sample of the batch.

    Args:
        model: as in `run_attack`.
        batch: clean images and labels.
        tasks: attacked and measured.
        found: what the search found.
        unit: of eps and step sizes, in the images' units.
    """
    outcomes = [
        run_attack(
            model,
            batch,
            tasks,
            finalist.attack.scaled(unit),
            damage=None if finalist.softness is None else _softened(found.scale, finalist.softness),
        )
        for finalist in found.finalists
    ]
    if len(outcomes) == 1:
        return outcomes[0]
    clean = _statistics(model, batch, batch.images, tasks)
    scores = np.stack(
        [
            raised_arp(tasks, found, clean, _statistics(model, batch, outcome.images, tasks))
            for outcome in outcomes
        ]
    )
    best = torch.from_numpy(np.nan_to_num(scores, nan=-np.inf).argmax(0)).to(batch.images.device)

    def kept(values: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(values))[best, torch.arange(len(batch), device=best.device)]

    return AttackOutcome(
        kept([outcome.images for outcome in outcomes]),
        kept([outcome.floored for outcome in outcomes]),
        kept([outcome.non_finite for outcome in outcomes]),
        kept([outcome.zero_gradient for outcome in outcomes]),
        kept([outcome.rising for outcome in outcomes]),
        sum(outcome.forwards for outcome in outcomes) + len(outcomes) + 1,
        sum(outcome.backwards for outcome in outcomes),
    )


def _softened(scale: CleanScale, softness: float) -> CleanScale:
    return CleanScale(scale.metrics, scale.class_shares, softness)


def _statistics(model: nn.Module, batch: Batch, images: Tensor, tasks: Sequence[Task]) -> Statistics:
    with frozen(model), torch.no_grad():
        return take_statistics(tasks, model(images), batch, {})


def raised_arp(
    tasks: Sequence[Task], found: Found, clean: Statistics, attacked: Statistics
) -> NDArray[np.float64]:
    """For each sample the ARP [N] of the calibration slice with this sample added to it."""
    before = {task.name: metric_arrays(task, _added(found.clean, clean, task)) for task in tasks}
    after = {task.name: metric_arrays(task, _added(found.attacked, attacked, task)) for task in tasks}
    return arp_arrays(before, after, {task.name: task.directions for task in tasks})[1]


def _added(totals: Totals, rows: Statistics, task: Task) -> dict[str, NDArray[np.float64]]:
    table = rows.tasks[task.name]
    return {name: values + table[name].astype(np.float64) for name, values in totals[task.name].items()}
