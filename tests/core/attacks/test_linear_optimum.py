"""On a linear model the strongest perturbation is known exactly."""

import pytest
import torch
from torch import Tensor

from core.attacks import AttackSpec, run_attack
from core.data.batch import Batch
from core.tasks import Task
from tests.core.synthetic import ALGORITHMS, LinearModel, attack

TASKS = tuple(Task(name, "regression", 1) for name in ("depth", "edges", "keypoints"))
EPS = 0.03


def linear(
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> tuple[LinearModel, Batch, dict[str, Tensor], Tensor]:
    """A model, a batch that its predictions lie above everywhere, its weights and its losses [tasks, N]."""
    generator = torch.Generator().manual_seed(3)
    weights = {
        task.name: scale * torch.randn(3, 4, 4, generator=generator)
        for task, scale in zip(TASKS, scales, strict=True)
    }
    images = 0.2 + 0.6 * torch.rand(5, 3, 4, 4, generator=generator)
    floors = {name: 40.0 * weight.abs().amax() for name, weight in weights.items()}
    labels = {name: torch.full((5, 1, 4, 4), -float(floor)) for name, floor in floors.items()}
    losses = torch.stack([(images * weights[task.name]).sum((1, 2, 3)) + floors[task.name] for task in TASKS])
    return LinearModel(weights), Batch(images, labels), weights, losses


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_single_moves_every_pixel_by_eps_along_its_tasks_weights(algorithm: str) -> None:
    model, batch, weights, _ = linear()
    outcome = run_attack(model, batch, TASKS, attack(algorithm, "single:edges", eps=EPS))
    torch.testing.assert_close(outcome.images, batch.images + EPS * weights["edges"].sign())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_total_moves_along_the_sum_of_weights(algorithm: str) -> None:
    model, batch, weights, _ = linear((1.0, 10.0, 100.0))
    outcome = run_attack(model, batch, TASKS, attack(algorithm, "total", eps=EPS))
    torch.testing.assert_close(
        outcome.images, batch.images + EPS * sum(weights.values(), torch.zeros(3, 4, 4)).sign()
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sign_total_moves_along_the_majority_of_signs(algorithm: str) -> None:
    model, batch, weights, _ = linear((1.0, 10.0, 100.0))
    signs = torch.stack([weight.sign() for weight in weights.values()]).sum(0)
    outcome = run_attack(model, batch, TASKS, attack(algorithm, "sign_total", eps=EPS))
    torch.testing.assert_close(outcome.images, batch.images + EPS * signs.sign())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sign_total_of_two_opposed_tasks_stays_at_the_image(algorithm: str) -> None:
    model, batch, _, _ = linear()
    two = TASKS[:2]
    model.weights["edges"] = -model.weights["depth"].detach()
    outcome = run_attack(model, batch, two, attack(algorithm, "sign_total", eps=EPS))
    assert torch.equal(outcome.images, batch.images)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (1.0, 10.0, 100.0)])
def test_gb_mta_moves_along_the_sum_of_weights_over_losses(
    algorithm: str, scales: tuple[float, float, float]
) -> None:
    model, batch, weights, losses = linear(scales)
    balanced = sum(
        (weights[task.name] / loss.view(-1, 1, 1, 1) for task, loss in zip(TASKS, losses, strict=True)),
        torch.zeros(5, 3, 4, 4),
    )
    assert balanced.abs().min() > 1e-7, "a tie would make the sign a matter of rounding"
    outcome = run_attack(model, batch, TASKS, attack(algorithm, "gb_mta", eps=EPS))
    expected = batch.images + EPS * balanced.sign()
    near_a_tie = balanced.abs() < 0.02 * balanced.abs().mean()  # losses, and so weights, move with the image
    certain = ~near_a_tie if algorithm == "pgd" else torch.ones_like(near_a_tie)
    torch.testing.assert_close(outcome.images[certain], expected[certain])


def test_where_the_prediction_lies_below_the_label_the_direction_turns_round() -> None:
    model, batch, weights, _ = linear()
    above = Batch(batch.images, {name: -label for name, label in batch.labels.items()})
    outcome = run_attack(model, above, TASKS, attack("fgsm", "single:depth", eps=EPS))
    torch.testing.assert_close(outcome.images, batch.images - EPS * weights["depth"].sign())


def test_a_step_size_larger_than_the_ball_is_projected_back() -> None:
    model, batch, weights, _ = linear()
    spec = AttackSpec(algorithm="pgd", objective="single:depth", eps=EPS, steps=2, step_size=10 * EPS)
    outcome = run_attack(model, batch, TASKS, spec)
    torch.testing.assert_close(outcome.images, batch.images + EPS * weights["depth"].sign())


def test_the_paper_preset_just_reaches_the_surface_of_the_ball() -> None:
    model, batch, weights, _ = linear()
    spec = AttackSpec(algorithm="pgd", objective="single:depth", eps=EPS, steps=5, preset="paper")
    outcome = run_attack(model, batch, TASKS, spec)
    torch.testing.assert_close(outcome.images, batch.images + EPS * weights["depth"].sign())


def test_a_step_size_is_taken_as_it_is_written() -> None:
    model, batch, weights, _ = linear()
    spec = AttackSpec(algorithm="pgd", objective="single:depth", eps=EPS, steps=1, step_size=EPS / 5)
    outcome = run_attack(model, batch, TASKS, spec)
    torch.testing.assert_close(outcome.images, batch.images + EPS / 5 * weights["depth"].sign())
