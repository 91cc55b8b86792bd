"""How objectives relate to one another, and which attack is stronger."""

import pytest
import torch
from torch import Tensor

from core.attacks import AttackSpec, run_attack
from core.attacks.threat import LinfBall
from core.data.batch import Batch
from core.losses import BatchLosses
from core.tasks import Task
from tests.core.synthetic import (
    ALGORITHMS,
    SMALL,
    Rescaled,
    SyntheticDataset,
    attack,
    losses,
    pgd,
    small_batch,
    small_model,
    trained_model,
)

DENSE = SMALL[:4]


def rescaled(batch: Batch, factor: float) -> Batch:
    """The same batch with depth in other units: its absolute error is so many times larger."""
    return Batch(batch.images, batch.labels | {"depth": batch.labels["depth"] * factor}, batch.masks)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("task", SMALL, ids=lambda task: task.kind)
def test_with_one_task_every_objective_is_the_same_attack(algorithm: str, task: Task) -> None:
    tasks = (task,)
    model, batch = small_model(tasks).double(), small_batch(tasks)
    precise = Batch(batch.images.double(), batch.labels, batch.masks)
    single, *others = (
        run_attack(model, precise, tasks, attack(algorithm, objective)).images
        for objective in (f"single:{task.name}", "total", "sign_total", "gb_mta")
    )
    assert not torch.equal(single, precise.images)
    for other in others:
        assert torch.equal(other, single)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("factor", [1 / 1024, 1024])
def test_gb_mta_is_unchanged_when_one_tasks_loss_is_rescaled(algorithm: str, factor: float) -> None:
    model, batch, spec = small_model(), small_batch(), attack(algorithm, "gb_mta")
    plain = run_attack(model, batch, SMALL, spec).images
    other = run_attack(Rescaled(model, "depth", factor), rescaled(batch, factor), SMALL, spec).images
    assert torch.equal(other, plain), "powers of two rescale without rounding"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("factor", [1 / 1024, 1024])
def test_total_changes_when_one_tasks_loss_is_rescaled(algorithm: str, factor: float) -> None:
    model, batch, spec = small_model(), small_batch(), attack(algorithm, "total")
    plain = run_attack(model, batch, SMALL, spec).images
    other = run_attack(Rescaled(model, "depth", factor), rescaled(batch, factor), SMALL, spec).images
    assert (other != plain).float().mean() > 0.05


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sign_total_is_unchanged_when_one_tasks_loss_is_rescaled(algorithm: str) -> None:
    model, batch, spec = small_model(), small_batch(), attack(algorithm, "sign_total")
    plain = run_attack(model, batch, SMALL, spec).images
    other = run_attack(Rescaled(model, "depth", 1024), rescaled(batch, 1024), SMALL, spec).images
    assert torch.equal(other, plain)


def test_the_order_of_tasks_changes_no_more_than_rounding() -> None:
    model, batch = small_model().double(), small_batch()
    precise = Batch(batch.images.double(), batch.labels, batch.masks)
    for objective in ("total", "sign_total", "gb_mta"):
        straight = run_attack(model, precise, SMALL, pgd(objective)).images
        assert torch.equal(run_attack(model, precise, SMALL[::-1], pgd(objective)).images, straight)


def test_gb_mta_is_the_gradient_of_the_sum_of_log_losses() -> None:
    model, batch = small_model().double(), small_batch()
    images = batch.images.double().requires_grad_()
    precise = Batch(batch.images.double(), batch.labels, batch.masks)
    logs = torch.stack(BatchLosses(SMALL, precise)(model(images))).log().sum()
    direction = torch.autograd.grad(logs, images)[0]
    expected = (precise.images + 0.03 * direction.sign()).clamp(0, 1)
    torch.testing.assert_close(run_attack(model, precise, SMALL, attack("fgsm", "gb_mta")).images, expected)


def summed(images: Tensor, batch: Batch, objective: str) -> float:
    """What the objective raises, over the batch: a loss, the sum of losses, or the sum of their logarithms."""
    each = losses(trained_model(), batch, images, DENSE)
    if objective == "gb_mta":
        return float(each.log().sum())
    return float(each[2].sum() if objective == "single:depth" else each.sum())


@pytest.mark.parametrize("objective", ["single:depth", "total", "gb_mta"])
def test_pgd_beats_fgsm_beats_noise(objective: str) -> None:
    batch = SyntheticDataset(DENSE, samples=16, side=32).batch(range(16))
    eps = 0.03
    ball = LinfBall.around(batch.images, eps=eps, bounds=(0, 1))
    noise = ball.random_start(batch.images, batch.indices, seed=0)
    fgsm = run_attack(trained_model(), batch, DENSE, attack("fgsm", objective, eps=eps)).images
    strong = run_attack(trained_model(), batch, DENSE, pgd(objective, eps=eps, steps=10)).images
    noisy, once, often = (summed(images, batch, objective) for images in (noise, fgsm, strong))
    assert noisy < once < often


def test_a_larger_ball_makes_a_stronger_attack() -> None:
    batch = SyntheticDataset(DENSE, samples=8, side=32).batch(range(8))
    raised = [
        summed(
            run_attack(trained_model(), batch, DENSE, pgd("total", eps=eps, steps=8)).images, batch, "total"
        )
        for eps in (0.004, 0.012, 0.03, 0.06)
    ]
    assert raised == sorted(raised)


def test_gb_mta_raises_the_tasks_more_evenly_than_total_where_one_loss_is_far_larger() -> None:
    data = SyntheticDataset(DENSE, samples=16, side=32).batch(range(16))
    model, batch = Rescaled(trained_model(), "depth", 1024.0), rescaled(data, 1024.0)

    def gains(objective: str) -> Tensor:
        spec = AttackSpec(algorithm="pgd", objective=objective, eps=0.03, steps=8)
        images = run_attack(model, batch, DENSE, spec).images
        return losses(model, batch, images, DENSE).mean(1) / losses(model, batch, batch.images, DENSE).mean(1)

    assert gains("gb_mta").log().mean() > gains("total").log().mean()
