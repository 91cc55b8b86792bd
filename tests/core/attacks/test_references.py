"""APGD, MIM and Auto-SAGE on batches against the same algorithms written out for one image."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.attacks import AttackSpec, run_attack
from core.attacks.apgd import Halving, checkpoints
from core.data.batch import Batch
from core.specs.algorithms import Norm
from core.tasks import Task
from tests.core.attacks import references
from tests.core.attacks.references import Losses, Threat

TASKS = (Task("left", "classification", 5), Task("right", "classification", 4))
EPS: dict[Norm, tuple[float, ...]] = {"linf": (0.02, 0.3), "l2": (0.1, 2.0)}


class Classifier(nn.Module):
    """Two tasks on one hidden layer, in double precision."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.hidden, self.left, self.right = (
            nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64) * 2 / shape[0] ** 0.5)
            for shape in ((48, 16), (16, 5), (16, 4))
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = torch.tanh((images.flatten(1) - 0.5) @ self.hidden)
        return {"left": features @ self.left, "right": features @ self.right}


def problem(seed: int, samples: int = 3) -> tuple[Classifier, Batch]:
    generator = torch.Generator().manual_seed(seed + 100)
    images = torch.rand(samples, 3, 4, 4, generator=generator, dtype=torch.float64)
    labels = {task.name: torch.randint(task.channels, (samples,), generator=generator) for task in TASKS}
    return Classifier(seed), Batch(images, labels)


def losses_of(model: Classifier, batch: Batch, sample: int, tasks: tuple[str, ...]) -> Losses:
    def losses(image: Tensor) -> Tensor:
        scores = model(image[None])
        return torch.stack([F.cross_entropy(scores[name][0], batch.labels[name][sample]) for name in tasks])

    return losses


GRID = [(norm, eps) for norm in EPS for eps in EPS[norm]]


@pytest.mark.parametrize(("norm", "eps"), GRID)
@pytest.mark.parametrize("objective", ["single:left", "total", "gb_mta"])
@pytest.mark.parametrize(("steps", "preset"), [(1, "strong"), (7, "strong"), (33, "strong"), (20, "paper")])
def test_apgd_is_the_published_algorithm_for_each_sample_by_itself(
    objective: str, norm: Norm, eps: float, steps: int, preset: str
) -> None:
    tasks = ("left",) if objective == "single:left" else ("left", "right")
    raised = references.gb_mta if objective == "gb_mta" else references.total
    for seed in range(2):
        model, batch = problem(seed)
        spec = AttackSpec(
            algorithm="apgd",
            objective=objective,
            eps=eps,
            norm=norm,
            steps=steps,
            preset=preset,  # type: ignore[arg-type]
        )
        images = run_attack(model, batch, TASKS, spec).images
        size = eps / steps if preset == "paper" else 2 * eps
        for sample, image in enumerate(images):
            threat = Threat(batch.images[sample], eps, norm)
            expected = references.apgd(raised, losses_of(model, batch, sample, tasks), threat, steps, size)
            torch.testing.assert_close(image, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize(("norm", "eps"), GRID)
@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_mim_is_the_published_algorithm_for_each_sample_by_itself(
    decay: float, norm: Norm, eps: float
) -> None:
    model, batch = problem(0)
    spec = AttackSpec(
        algorithm="mim", objective="total", eps=eps, norm=norm, steps=6, step_size=eps / 4, decay=decay
    )
    images = run_attack(model, batch, TASKS, spec).images
    for sample, image in enumerate(images):
        threat = Threat(batch.images[sample], eps, norm)
        losses = losses_of(model, batch, sample, ("left", "right"))
        expected = references.mim(losses, threat, steps=6, size=eps / 4, decay=decay)
        torch.testing.assert_close(image, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("eps", EPS["linf"])
@pytest.mark.parametrize("decay", [0.0, 0.8])
def test_auto_sage_follows_its_formulas_for_each_sample_by_itself(decay: float, eps: float) -> None:
    model, batch = problem(2)
    spec = AttackSpec(
        algorithm="auto_sage", objective="total", eps=eps, steps=6, step_size=eps / 4, decay=decay
    )
    images = run_attack(model, batch, TASKS, spec).images
    for sample, image in enumerate(images):
        threat = Threat(batch.images[sample], eps, "linf")
        losses = losses_of(model, batch, sample, ("left", "right"))
        expected = references.auto_sage(losses, threat, steps=6, size=eps / 4, decay=decay)
        torch.testing.assert_close(image, expected, atol=1e-7, rtol=0)


def test_mim_without_decay_is_pgd() -> None:
    model, batch = problem(1)
    pgd = AttackSpec(algorithm="pgd", objective="total", eps=0.1, steps=5)
    mim = AttackSpec(algorithm="mim", objective="total", eps=0.1, steps=5, decay=0.0)
    images = [run_attack(model, batch, TASKS, spec).images for spec in (pgd, mim)]
    assert torch.equal(*images)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [1]),
        (20, [4, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]),
        (100, [22, 41, 57, 70, 80, 87, 93, 99]),
    ],
)
def test_checkpoints_are_the_published_ones(steps: int, expected: list[int]) -> None:
    assert list(checkpoints(steps)) == expected


def halving(values: Sequence[float], best: Sequence[float]) -> list[bool]:
    """What one sample decides at checkpoints four moves apart, by the values of its moves and its best ones."""
    state = Halving(torch.tensor([values[0]]))
    decisions = []
    for number, (before, value) in enumerate(pairwise(values), 1):
        state.note(torch.tensor([value > before]))
        if number % 4 == 0:
            decisions.append(bool(state.check(torch.tensor([best[number // 4 - 1]]))))
    return decisions


def test_a_step_is_kept_while_more_than_three_of_four_moves_raise_the_value_and_the_best_rises() -> None:
    assert halving([0, 1, 2, 3, 4, 5, 6, 7, 8], best=[4, 8]) == [False, False]


def test_a_step_is_halved_when_no_more_than_three_of_four_moves_raise_the_value() -> None:
    assert halving([0, 1, 2, 3, 2, 3, 4, 5, 6], best=[3, 6]) == [True, False]


def test_a_step_is_halved_when_the_best_value_stands_still_unless_it_was_halved_just_before() -> None:
    values = [0, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
    assert halving(values, best=[9, 9, 9]) == [False, True, False]


def test_each_sample_decides_by_itself() -> None:
    state = Halving(torch.tensor([0.0, 0.0]))
    for _ in range(4):
        state.note(torch.tensor([True, False]))
    assert state.check(torch.tensor([1.0, 0.0])).tolist() == [False, True]
