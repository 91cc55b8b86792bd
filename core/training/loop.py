"""`Trainer`: clean and friendly adversarial training that can stop after any iteration and go on elsewhere.

What an iteration does to the weights is `core.training.iteration`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from core.data.batch import Batch, Dataset
from core.data.order import shuffle_of
from core.modules import device_of
from core.specs.fitting import check_recipe
from core.specs.training import Recipe
from core.tasks import Task
from core.training.augment import augmented
from core.training.curves import Curves, Report
from core.training.feed import ahead
from core.training.iteration import Iteration
from core.training.keys import rows_of
from core.training.optimise import copied, load_optimiser_state, optimiser_state
from core.training.state import StateError
from core.training.team import Alone, Team
from core.training.weights import Average

VERSION = 1


class StoppedError(RuntimeError):
    """Another process of the same training was told to stop."""


class Trainer:
    """One training: a model, the data, a recipe and a position.

    Everything random is keyed by the recipe's seed, the iteration and the sample, so that a position and what
    `state_dict` holds decide the rest: interrupted and resumed, a training ends with the same weights, on the CPU
    and with as many threads bit for bit.

    Args:
        model: maps images [N, 3, H, W] in [0, 1] to {task: prediction}; initialised, on its device. It is trained in
            place, its memory channels-last from here on.
        tasks: those that it is trained on.
        dataset: read batch by batch, from a thread.
        samples: how many of the data set's first samples are used; None is all.
        team: the processes that share the work; see `core.training.parallel`.

    Attributes:
        iteration, iterations: done and in all.
        curves: what was reported after each.

    Raises:
        InvalidError: the recipe names a task that is not there, has rules that do not fit its task, or the samples
            do not fill a batch.
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: Sequence[Task],
        dataset: Dataset,
        recipe: Recipe,
        *,
        samples: int | None = None,
        team: Team | None = None,
    ) -> None:
        self.model = model
        self.tasks = tuple(tasks)
        self.recipe = recipe
        self._dataset = dataset
        self._samples = min(len(dataset), len(dataset) if samples is None else samples)
        self._team = team or Alone()
        self.iteration, self.iterations = 0, recipe.total(self._samples)
        check_recipe(recipe, self.tasks, processes=self._team.size)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's annotations
        for tensor in (*model.parameters(), *model.buffers()):
            self._team.share(tensor.detach())
        self._step = Iteration(model, self.tasks, recipe, self.iterations, self._team)
        self._average = None if recipe.ema is None else Average(model, recipe.ema)
        self.curves = Curves()

    def run(
        self,
        *,
        until: int | None = None,
        check: Callable[[], None] | None = None,
        progress: Callable[[Report], None] | None = None,
    ) -> None:
        """Train to the end, or until so many iterations are done.

        Args:
            until: None is the end.
            check: called before every iteration; whatever it raises ends the run, in all processes.
            progress: called after every iteration, the model in eval mode; `state_dict` may be taken there.

        Raises:
            DivergenceError: a loss or a gradient became NaN or infinite. The trainer is then as it was before that
                iteration; so it is when the model or the data raise something.
        """
        end = self.iterations if until is None else min(until, self.iterations)
        with closing(ahead(self._load, range(self.iteration, end))) as feed:
            while self.iteration < end:
                self._ask(check)
                report = self._advance(next(feed))
                if progress is not None:
                    progress(report)

    def trained(self) -> nn.Module:
        """A copy of the model in eval mode and torch's usual memory order, with averaged weights if there are any."""
        model = deepcopy(self.model)
        if self._average is not None:
            model.load_state_dict(self._average.values, strict=False)
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as above
        return model.eval()

    def state_dict(self) -> dict[str, Any]:
        """All that a trainer made of the same model, data and recipe needs to go on, copied to the CPU.

        Nested dicts of tensors, numbers and text, for `save_state`, or for `torch.save` and `weights_only` loading.
        """
        average = {} if self._average is None else self._average.values
        return {
            "version": VERSION,
            "training": self._facts(),
            "iteration": self.iteration,
            "model": {name: copied(value) for name, value in self.model.state_dict().items()},
            "optimiser": optimiser_state(self.model, self._step.optimiser),
            "average": {name: copied(value) for name, value in average.items()},
            "columns": list(self.curves.columns),
            "curves": self.curves.tensor(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            StateError: the state is of another version, model, data set or recipe.
        """
        if state["version"] != VERSION:
            raise StateError(f"the state is of version {state['version']}, not {VERSION}", field="version")
        for name, value in self._facts().items():
            if (found := state["training"].get(name)) != value:
                raise StateError(f"the state is of another {name}: {found}, not {value}", field=name)
        with torch.no_grad():
            try:
                self.model.load_state_dict(state["model"])
            except RuntimeError as error:
                raise StateError(f"the state is of another model: {error}", field="model") from error
        load_optimiser_state(self.model, self._step.optimiser, state["optimiser"])
        if self._average is not None:
            self._average.load(state["average"])
        self.curves.load(state["columns"], state["curves"])
        self.iteration = state["iteration"]

    def _facts(self) -> dict[str, Any]:
        """What decides the weights, as JSON values."""
        names = {name: getattr(self._dataset, name) for name in ("name", "version", "split")}
        shuffle = shuffle_of(self._dataset)
        drawn = {} if shuffle is None else {"shuffle": shuffle}
        return {
            "recipe": self.recipe.to_json(),
            "tasks": [task.name for task in self.tasks],
            "dataset": names | {"samples": self._samples} | drawn,
        }

    def _load(self, iteration: int) -> list[Batch]:
        """This process's part of an iteration's samples, cut as it is computed."""
        recipe = self.recipe
        rows = rows_of(iteration, seed=recipe.seed, samples=self._samples, batch_size=recipe.batch_size)
        parts = np.array_split(rows, recipe.accumulation)
        mine = [np.array_split(part, self._team.size)[self._team.rank] for part in parts]
        batch = self._dataset.batch(np.concatenate(mine).tolist())
        batch = augmented(batch, self.tasks, recipe.augmentation, seed=recipe.seed, iteration=iteration)
        ends = np.cumsum([0, *map(len, mine)]).tolist()
        return [batch.select(slice(*ends[place : place + 2])) for place in range(len(mine))]

    def _advance(self, parts: Sequence[Batch]) -> Report:
        device = device_of(self.model)
        report = self._step(self.iteration, [channels_last(part.to(device)) for part in parts])
        self.iteration = report.iteration
        if self._average is not None:
            self._average.update(self.iteration)
        self.curves.append(report)
        return report

    def _ask(self, check: Callable[[], None] | None) -> None:
        """Ask whether to stop; if one process is told to, all do, lest they wait for it for ever."""
        raised: Exception | None = None
        try:
            if check is not None:
                check()
        except Exception as error:  # noqa: BLE001 - raised below, once the others know
            raised = error
        if self._team.size > 1:
            told = torch.tensor(float(raised is not None), device=device_of(self.model))
            self._team.add(told)
            if raised is None and told:
                raise StoppedError("another process was told to stop")
        if raised is not None:
            raise raised


def channels_last(batch: Batch) -> Batch:
    """The batch with its images laid out as the weights are: an attack's steps are slow between two layouts."""
    return replace(batch, images=batch.images.contiguous(memory_format=torch.channels_last))
