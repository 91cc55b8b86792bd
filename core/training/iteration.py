"""What one iteration does: attack the batch, then step down the losses on clean images, attacked ones or both."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from core.attacks.draws import Draws
from core.data.batch import Batch
from core.errors import InvalidError
from core.losses import BatchLosses
from core.models.prepare import precision_context
from core.models.prepare.adapter import adapted
from core.modules import device_of
from core.specs.training import Adversarial, Recipe
from core.tasks import Task
from core.training.curves import Report
from core.training.friendly import FriendlyOutcome, friendly_attack
from core.training.keys import torch_seed
from core.training.norms import synchronised
from core.training.optimise import make_optimiser, set_learning_rate, share_of_rate
from core.training.team import Team, add_gradients
from core.training.weights import Restorable

Parts = Sequence[Batch]
"""A process's samples of one batch, in the parts that it is computed in."""


class DivergenceError(InvalidError):
    """A loss or a gradient is no longer a number.

    Attributes:
        iteration: the one that was not done, counted from 1.
        task: whose loss it was; None for a gradient.
    """

    code = "diverged"

    def __init__(self, message: str, *, iteration: int, task: str | None = None) -> None:
        super().__init__(f"{message} in iteration {iteration}; lower the learning rate", field="optimiser")
        self.iteration = iteration
        self.task = task


class Iteration:
    """Moves a model's weights by one iteration at a time, or fails and leaves them as they were.

    Args:
        iterations: in all, for the learning rate.

    Attributes:
        optimiser: the one that the recipe says.
    """

    def __init__(
        self, model: nn.Module, tasks: tuple[Task, ...], recipe: Recipe, iterations: int, team: Team
    ) -> None:
        self._model = model
        self._tasks = tasks
        self._recipe = recipe
        self._iterations = iterations
        self._team = team
        self._device = device_of(model)
        self._forward = (
            adapted(model, like=model, channels_last=False, precision="bfloat16")
            if recipe.precision == "bfloat16"
            else model
        )
        weights = [recipe.task_weights.get(task.name, 1.0) for task in tasks]
        self._weights = torch.tensor(weights, device=self._device)
        self.optimiser = make_optimiser(model.parameters(), recipe.optimiser)

    def __call__(self, iteration: int, parts: Parts) -> Report:
        """Do an iteration, the first being 0, on this process's samples.

        Raises:
            DivergenceError: a loss or a gradient is NaN or infinite. Weights, statistics and optimiser are then as
                they were before.
        """
        recipe = self._recipe
        share = share_of_rate(recipe.schedule, iteration, self._iterations)
        rate = recipe.optimiser.learning_rate * share
        set_learning_rate(self.optimiser, rate)
        report = Report(iteration=iteration + 1, iterations=self._iterations, learning_rate=rate)
        twice = recipe.adversarial is not None and recipe.adversarial.mix == "both"
        before = Restorable(self._model, self.optimiser if twice else None)
        try:
            with precision_context(recipe.precision), self._seeded(iteration):
                if recipe.adversarial is None:
                    return self._descend(report, clean=parts)
                return self._adversarial(report, parts, recipe.adversarial)
        except BaseException:
            before.restore()
            raise
        finally:
            self._model.eval()

    def _adversarial(self, report: Report, parts: Parts, how: Adversarial) -> Report:
        """The attack is against the weights that its images are trained on: after the clean step, if there is one."""
        if how.mix == "both":
            report = self._descend(report, clean=parts)
        outcomes = [
            friendly_attack(
                self._forward,
                part,
                self._tasks,
                how,
                draws=Draws(self._recipe.seed, part.indices, report.iteration),
            )
            for part in parts
        ]
        attacked = [
            replace(part, images=outcome.images) for part, outcome in zip(parts, outcomes, strict=True)
        ]
        report = self._descend(report, clean=parts if how.mix == "joint" else (), adversarial=attacked)
        return self._with_steps(report, outcomes)

    def _descend(self, report: Report, *, clean: Parts = (), adversarial: Parts = ()) -> Report:
        """One optimiser step down the mean of the groups' losses; the report with these losses in it."""
        groups = {name: parts for name, parts in (("clean", clean), ("adversarial", adversarial)) if parts}
        self._model.train()
        self.optimiser.zero_grad(set_to_none=True)
        with synchronised(self._model, self._team):
            losses = torch.stack([self._backward(parts, 1 / len(groups)) for parts in groups.values()])
        self._team.add(losses)
        add_gradients(self._team, self._model.parameters())
        means = {
            name: dict(zip((task.name for task in self._tasks), values, strict=True))
            for name, values in zip(groups, losses.tolist(), strict=True)
        }
        self._check(report.iteration, means)
        self.optimiser.step()
        return replace(
            report,
            clean=means.get("clean", report.clean),
            adversarial=means.get("adversarial", report.adversarial),
        )

    def _backward(self, parts: Parts, share: float) -> Tensor:
        """Add the gradients of a share of these losses; each task's sum over the size of all processes' batch."""
        losses = torch.zeros_like(self._weights)
        for part in parts:
            found = BatchLosses(self._tasks, part)(self._forward(part.images))
            sums = torch.stack([loss.sum() for loss in found]) / self._recipe.batch_size
            total = share * (self._weights * sums).sum()
            total.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward untyped
            losses += sums.detach()
        return losses

    def _check(self, iteration: int, means: Mapping[str, Mapping[str, float]]) -> None:
        for group, losses in means.items():
            for task, loss in losses.items():
                if not abs(loss) < torch.inf:
                    raise DivergenceError(
                        f"the {group} loss of {task} became {loss}", iteration=iteration, task=task
                    )
        gradients = [value.grad for value in self._model.parameters() if value.grad is not None]
        length = float(torch.nn.utils.get_total_norm(gradients))
        if not length < torch.inf:
            raise DivergenceError(f"the gradient's length became {length}", iteration=iteration)

    def _with_steps(self, report: Report, outcomes: Sequence[FriendlyOutcome]) -> Report:
        """The report with what the attack took, over all processes."""
        tasks = outcomes[0].tasks
        seen = torch.cat([outcome.steps_to_fool for outcome in outcomes], 1)
        judged = seen >= 0
        taken = torch.cat([outcome.steps for outcome in outcomes]).sum()
        sums = torch.cat([taken[None], (seen * judged).sum(1), judged.sum(1)]).double()
        self._team.add(sums)
        values = sums.cpu().numpy()
        with np.errstate(invalid="ignore"):
            means = values[1 : 1 + len(tasks)] / values[1 + len(tasks) :]
        return replace(
            report,
            inner_steps=float(values[0]) / self._recipe.batch_size,
            steps_to_fool={task.name: float(mean) for task, mean in zip(tasks, means, strict=True)},
        )

    @contextmanager
    def _seeded(self, iteration: int) -> Iterator[None]:
        """Torch's own random numbers, for dropout, keyed by seed, iteration and process."""
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(torch_seed(self._recipe.seed, iteration, self._team.rank))
            yield
