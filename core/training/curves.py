"""What a training tells of itself: a report after every iteration, and all of them as curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Where a training is after an iteration.

    Attributes:
        iteration, iterations: done and in all.
        learning_rate: of this iteration.
        clean, adversarial: by task, the batch's mean loss on clean and on attacked images, as far as the recipe's
            mix trains on them; each before the optimiser step that it led to.
        inner_steps: mean over the samples of the attack's steps.
        steps_to_fool: by judged task, mean over the samples with labels for it of the steps after which it was
            first seen fooled, K where it was not; NaN where no sample has any.
    """

    iteration: int
    iterations: int
    learning_rate: float
    clean: Mapping[str, float] = field(default_factory=dict)
    adversarial: Mapping[str, float] = field(default_factory=dict)
    inner_steps: float | None = None
    steps_to_fool: Mapping[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, float]:
        """The numbers by the names of their curves."""
        row = {"learning_rate": self.learning_rate}
        if self.inner_steps is not None:
            row["inner_steps"] = self.inner_steps
        for group in ("clean", "adversarial", "steps_to_fool"):
            row |= {f"{group}.{task}": value for task, value in getattr(self, group).items()}
        return row


class Curves:
    """A row for each iteration.

    Attributes:
        columns: "learning_rate", "inner_steps", and "clean.<task>", "adversarial.<task>", "steps_to_fool.<task>", as
            far as the training has any; empty before the first iteration.
    """

    def __init__(self) -> None:
        self.columns: tuple[str, ...] = ()
        self._rows: list[list[float]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, column: str) -> NDArray[np.float64]:
        """One curve, [iterations]."""
        place = self.columns.index(column)
        return np.array([row[place] for row in self._rows])

    def append(self, report: Report) -> None:
        """Add an iteration; all have the same numbers."""
        row = report.row()
        self.columns = tuple(row)
        self._rows.append(list(row.values()))

    def tensor(self) -> Tensor:
        """Everything, float64 [iterations, columns]."""
        return torch.tensor(self._rows, dtype=torch.float64).reshape(len(self._rows), len(self.columns))

    def load(self, columns: Sequence[str], values: Tensor) -> None:
        """Put what `columns` and `tensor` were in the place of what is there."""
        self.columns = tuple(columns)
        self._rows = values.tolist()
