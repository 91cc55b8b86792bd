"""On a linear model the strongest perturbation is known exactly."""

import pytest
import torch
from torch import Tensor

from core.attacks import AttackSpec, run_attack
from core.attacks.threat import lengths
from core.data.batch import Batch
from core.specs.algorithms import METHODS, Algorithm, Norm
from core.tasks import Task
from tests.core.attacks.toys import ALGORITHMS, GRADIENT
from tests.core.synthetic import LinearModel

TASKS = tuple(Task(name, "regression", 1) for name in ("depth", "edges", "keypoints"))
EPS = 0.03
REACHING: list[tuple[Algorithm, Norm]] = [(name, norm) for name in GRADIENT for norm in METHODS[name].norms]
"""Those that go to the surface of the ball along one direction if there is only one."""


def attack(algorithm: str, objective: str, norm: Norm = "linf", **changes: object) -> AttackSpec:
    steps = None if algorithm == "fgsm" else 6
    return AttackSpec(
        **{
            "algorithm": algorithm,
            "objective": objective,
            "eps": EPS,
            "norm": norm,
            "steps": steps,
            **changes,
        }  # type: ignore[arg-type]
    )


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


def farthest(images: Tensor, direction: Tensor, norm: Norm) -> Tensor:
    """The point of each ball that lies farthest along a direction, [3, H, W] or [N, 3, H, W]."""
    if norm == "linf":
        return images + EPS * direction.sign()
    return images + EPS * direction / lengths(direction.expand_as(images))


@pytest.mark.parametrize(("algorithm", "norm"), REACHING)
def test_single_goes_as_far_as_it_can_along_its_tasks_weights(algorithm: str, norm: Norm) -> None:
    model, batch, weights, _ = linear()
    outcome = run_attack(model, batch, TASKS, attack(algorithm, "single:edges", norm))
    torch.testing.assert_close(outcome.images, farthest(batch.images, weights["edges"], norm))


@pytest.mark.parametrize(("algorithm", "norm"), REACHING)
def test_total_goes_along_the_sum_of_weights(algorithm: str, norm: Norm) -> None:
    model, batch, weights, _ = linear((1.0, 10.0, 100.0))
    outcome = run_attack(model, batch, TASKS, attack(algorithm, "total", norm))
    direction = sum(weights.values(), torch.zeros(3, 4, 4))
    torch.testing.assert_close(outcome.images, farthest(batch.images, direction, norm))


@pytest.mark.parametrize(("algorithm", "norm"), REACHING)
def test_total_with_weights_goes_along_the_weighted_sum(algorithm: str, norm: Norm) -> None:
    model, batch, weights, _ = linear()
    spec = attack(algorithm, "total", norm, weights={"depth": 3.0, "edges": 0.25})
    direction = 3.0 * weights["depth"] + 0.25 * weights["edges"] + weights["keypoints"]
    torch.testing.assert_close(
        run_attack(model, batch, TASKS, spec).images, farthest(batch.images, direction, norm)
    )


@pytest.mark.parametrize("algorithm", ["fgsm", "pgd", "mim"])
def test_sign_total_moves_along_the_majority_of_signs(algorithm: str) -> None:
    model, batch, weights, _ = linear((1.0, 10.0, 100.0))
    signs = torch.stack([weight.sign() for weight in weights.values()]).sum(0)
    outcome = run_attack(model, batch, TASKS, attack(algorithm, "sign_total"))
    torch.testing.assert_close(outcome.images, batch.images + EPS * signs.sign())


@pytest.mark.parametrize("objective", ["sign_total", "pcgrad", "mgda"])
@pytest.mark.parametrize("algorithm", ["fgsm", "pgd", "mim", "apgd"])
def test_two_opposed_tasks_leave_nowhere_to_go(algorithm: str, objective: str) -> None:
    model, batch, _, _ = linear()
    model.weights["edges"] = -model.weights["depth"].detach()
    outcome = run_attack(model, batch, TASKS[:2], attack(algorithm, objective))
    assert torch.equal(outcome.images, batch.images)


@pytest.mark.parametrize("algorithm", GRADIENT)
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
    outcome = run_attack(model, batch, TASKS, attack(algorithm, "gb_mta"))
    expected = batch.images + EPS * balanced.sign()
    near_a_tie = balanced.abs() < 0.02 * balanced.abs().mean()  # losses, and so weights, move with the image
    certain = torch.ones_like(near_a_tie) if algorithm == "fgsm" else ~near_a_tie
    torch.testing.assert_close(outcome.images[certain], expected[certain])


@pytest.mark.parametrize(
    ("objective", "power", "side"),
    [
        ("total", None, 1.0),  # 10 - 1 > 0
        ("power", 0.0, 1.0),
        ("power", 0.5, 1.0),  # 10 / sqrt(100) - 1 / sqrt(4) > 0
        ("power", 1.0, -1.0),  # 10 / 100 - 1 / 4 < 0
        ("gb_mta", None, -1.0),
        ("sign_total", None, 0.0),  # 1 - 1
        ("single:depth", None, 1.0),
        ("single:edges", None, -1.0),
    ],
)
@pytest.mark.parametrize("algorithm", ["fgsm", "pgd", "mim"])
def test_two_opposed_tasks_of_different_size_by_hand(
    algorithm: str, objective: str, power: float | None, side: float
) -> None:
    """Depth has slope 10 and loss 100, edges slope -1 and loss 4."""
    model = LinearModel({"depth": torch.full((3, 1, 1), 10.0 / 3), "edges": torch.full((3, 1, 1), -1.0 / 3)})
    labels = {"depth": torch.full((1, 1, 1, 1), 5.0 - 100), "edges": torch.full((1, 1, 1, 1), -0.5 - 4)}
    batch = Batch(torch.full((1, 3, 1, 1), 0.5), labels)
    spec = attack(algorithm, objective, power=power)
    torch.testing.assert_close(
        run_attack(model, batch, TASKS[:2], spec).images, batch.images + side * EPS, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(("algorithm", "norm"), REACHING)
def test_where_the_prediction_lies_below_the_label_the_direction_turns_round(
    algorithm: str, norm: Norm
) -> None:
    model, batch, weights, _ = linear()
    above = Batch(batch.images, {name: -label for name, label in batch.labels.items()})
    outcome = run_attack(model, above, TASKS, attack(algorithm, "single:depth", norm))
    torch.testing.assert_close(outcome.images, farthest(batch.images, -weights["depth"], norm))


@pytest.mark.parametrize(("algorithm", "norm"), REACHING)
def test_a_targeted_attack_goes_the_other_way_for_its_task_and_no_other(algorithm: str, norm: Norm) -> None:
    model, batch, weights, losses = linear()
    spec = attack(algorithm, "total", norm, targets={"depth": float(batch.labels["depth"][0, 0, 0, 0])})
    direction = -weights["depth"] + weights["edges"] + weights["keypoints"]
    assert losses.min() > 1, "the target is not reached"
    torch.testing.assert_close(
        run_attack(model, batch, TASKS, spec).images, farthest(batch.images, direction, norm)
    )


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("size", [10 * EPS, EPS / 5])
def test_a_step_is_as_long_as_it_is_written_within_the_ball(norm: Norm, size: float) -> None:
    model, batch, weights, _ = linear()
    spec = attack("pgd", "single:depth", norm, steps=2, step_size=size)
    moved = run_attack(model, batch, TASKS, spec).images - batch.images
    whole = farthest(batch.images, weights["depth"], norm) - batch.images
    torch.testing.assert_close(moved, whole * min(1.0, 2 * size / EPS), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("algorithm", ["pgd", "mim"])
def test_the_paper_preset_just_reaches_the_surface_of_the_ball(algorithm: Algorithm) -> None:
    model, batch, weights, _ = linear()
    spec = attack(algorithm, "single:depth", steps=5, preset="paper")
    outcome = run_attack(model, batch, TASKS, spec)
    torch.testing.assert_close(outcome.images, batch.images + EPS * weights["depth"].sign())


def test_square_finds_the_optimum_of_a_small_image() -> None:
    weight = torch.tensor([3.0, -2.0, 1.0]).view(3, 1, 1) * torch.tensor([[1.0, -1.0], [0.5, -2.0]])
    labels = {"depth": torch.full((4, 1, 2, 2), -100.0)}
    batch = Batch(torch.full((4, 3, 2, 2), 0.5), labels)
    outcome = run_attack(
        LinearModel({"depth": weight}), batch, TASKS[:1], attack("square", "single:depth", steps=400)
    )
    torch.testing.assert_close(outcome.images, batch.images + EPS * weight.sign())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("factor", [2.0**-40, 2.0**30])
def test_the_size_of_the_loss_does_not_matter(algorithm: Algorithm, factor: float) -> None:
    model, batch, weights, _ = linear()
    objective = None if algorithm in ("uniform_noise", "sign_noise") else "total"
    spec = attack(algorithm, objective, steps=None)  # type: ignore[arg-type]
    plain = run_attack(model, batch, TASKS, spec).images
    scaled = LinearModel({name: weight * factor for name, weight in weights.items()})
    labels = {name: label * factor for name, label in batch.labels.items()}
    assert torch.equal(run_attack(scaled, Batch(batch.images, labels), TASKS, spec).images, plain)


def test_a_gradient_whose_values_share_memory_is_taken_like_any_other() -> None:
    class Sum(LinearModel):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"depth": images.sum((1, 2, 3), keepdim=True)}

    batch = Batch(torch.full((2, 3, 2, 2), 0.5), {"depth": torch.full((2, 1, 2, 2), -1.0)})
    for algorithm, norm in REACHING:
        images = run_attack(Sum({}), batch, TASKS[:1], attack(algorithm, "single:depth", norm, eot=2)).images
        torch.testing.assert_close(images, farthest(batch.images, torch.ones(3, 2, 2), norm))
