"""How objectives relate to one another, and which attack is stronger."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.attacks import AttackSpec, run_attack
from core.attacks.draws import Draws
from core.attacks.objectives import GradientBalancing, Power, Stealth, Weighted
from core.attacks.threat import ball_around
from core.data.batch import Batch
from core.losses import BatchLosses
from core.specs.algorithms import METHODS, Algorithm, Norm
from core.tasks import Task
from tests.core.attacks.test_linear_optimum import TASKS as LINEAR_TASKS
from tests.core.attacks.test_linear_optimum import linear
from tests.core.attacks.toys import ASCENDING, EPS, TOYS, Pixelwise, toy_batch
from tests.core.synthetic import (
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
EVERYWHERE = [(name, norm) for name in ASCENDING for norm in METHODS[name].norms]


def toy(algorithm: Algorithm, norm: Norm, objective: str, **changes: Any) -> AttackSpec:
    steps = None if METHODS[algorithm].steps is None else 6
    return AttackSpec(
        algorithm=algorithm, objective=objective, eps=EPS[norm], norm=norm, steps=steps, **changes
    )


def on_toys(algorithm: Algorithm, norm: Norm, objective: str, **changes: Any) -> Tensor:
    return run_attack(Pixelwise(), toy_batch(), TOYS, toy(algorithm, norm, objective, **changes)).images


def rescaled(batch: Batch, factor: float) -> Batch:
    """The same batch with depth in other units: its absolute error is so many times larger."""
    return Batch(batch.images, batch.labels | {"depth": batch.labels["depth"] * factor}, batch.masks)


@pytest.mark.parametrize("algorithm", ["fgsm", "pgd", "apgd"])
@pytest.mark.parametrize("task", SMALL, ids=lambda task: task.kind)
def test_with_one_task_every_objective_is_the_same_attack(algorithm: Algorithm, task: Task) -> None:
    tasks, steps = (task,), None if algorithm == "fgsm" else 3
    model, batch = small_model(tasks).double(), small_batch(tasks)
    precise = Batch(batch.images.double(), batch.labels, batch.masks)
    single, *others = (
        run_attack(
            model, precise, tasks, AttackSpec(algorithm=algorithm, objective=objective, eps=0.03, steps=steps)
        ).images
        for objective in (f"single:{task.name}", "total", "sign_total", "gb_mta", "pcgrad", "mgda")
    )
    assert not torch.equal(single, precise.images)
    for other in others:
        assert torch.equal(other, single)


@pytest.mark.parametrize(("algorithm", "norm"), EVERYWHERE)
@pytest.mark.parametrize("factor", [1 / 1024, 1024])
def test_gb_mta_is_unchanged_when_one_tasks_loss_is_rescaled(
    algorithm: Algorithm, norm: Norm, factor: float
) -> None:
    model, batch, spec = Pixelwise(), toy_batch(), toy(algorithm, norm, "gb_mta")
    plain = run_attack(model, batch, TOYS, spec).images
    other = run_attack(Rescaled(model, "depth", factor), rescaled(batch, factor), TOYS, spec).images
    assert torch.equal(other, plain), "powers of two rescale without rounding"


@pytest.mark.parametrize(("algorithm", "norm"), EVERYWHERE)
def test_total_changes_when_one_tasks_loss_is_rescaled(algorithm: Algorithm, norm: Norm) -> None:
    model, batch, spec = Pixelwise(), toy_batch(), toy(algorithm, norm, "total")
    plain = run_attack(model, batch, TOYS, spec).images
    other = run_attack(Rescaled(model, "depth", 1024), rescaled(batch, 1024), TOYS, spec).images
    assert (other != plain).float().mean() > 0.005


@pytest.mark.parametrize("algorithm", ["fgsm", "pgd", "mim"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_sign_total_is_unchanged_when_one_tasks_loss_is_rescaled(algorithm: Algorithm, norm: Norm) -> None:
    model, batch, spec = Pixelwise(), toy_batch(), toy(algorithm, norm, "sign_total")
    plain = run_attack(model, batch, TOYS, spec).images
    other = run_attack(Rescaled(model, "depth", 1024), rescaled(batch, 1024), TOYS, spec).images
    assert torch.equal(other, plain)


@pytest.mark.parametrize("objective", ["total", "sign_total", "gb_mta", "pcgrad", "mgda", "stealth:depth"])
def test_the_order_of_tasks_changes_no_more_than_rounding(objective: str) -> None:
    model, batch = small_model(SMALL[1:4]).double(), small_batch(SMALL[1:4])
    precise = Batch(batch.images.double(), batch.labels, batch.masks)
    straight = run_attack(model, precise, SMALL[1:4], pgd(objective)).images
    turned = run_attack(model, precise, (SMALL[2], SMALL[3], SMALL[1]), pgd(objective)).images
    assert torch.equal(turned, straight)


def test_gb_mta_is_the_gradient_of_the_sum_of_log_losses() -> None:
    model, batch = small_model().double(), small_batch()
    images = batch.images.double().requires_grad_()
    precise = Batch(batch.images.double(), batch.labels, batch.masks)
    logs = torch.stack(BatchLosses(SMALL, precise)(model(images))).log().sum()
    direction = torch.autograd.grad(logs, images)[0]
    expected = (precise.images + 0.03 * direction.sign()).clamp(0, 1)
    torch.testing.assert_close(run_attack(model, precise, SMALL, attack("fgsm", "gb_mta")).images, expected)


@pytest.mark.parametrize(("algorithm", "norm"), EVERYWHERE)
def test_the_power_0_is_total_bit_for_bit(algorithm: Algorithm, norm: Norm) -> None:
    weights = {"depth": 2.0, "edges": 0.5}
    assert torch.equal(
        on_toys(algorithm, norm, "power", power=0.0, weights=weights),
        on_toys(algorithm, norm, "total", weights=weights),
    )


@pytest.mark.parametrize(
    ("algorithm", "norm"), [(name, norm) for name, norm in EVERYWHERE if name not in ("apgd", "square")]
)
def test_the_power_1_has_the_direction_of_gb_mta(algorithm: Algorithm, norm: Norm) -> None:
    weights = {"depth": 2.0, "edges": 0.5}
    assert torch.equal(
        on_toys(algorithm, norm, "power", power=1.0, weights=weights),
        on_toys(algorithm, norm, "gb_mta", weights=weights),
    )


@pytest.mark.parametrize(("algorithm", "norm"), EVERYWHERE)
def test_weights_of_1_for_one_task_and_0_for_the_others_are_single(algorithm: Algorithm, norm: Norm) -> None:
    weights = {"segmentation": 0.0, "depth": 1.0, "edges": 0.0}
    outcome = run_attack(Pixelwise(), toy_batch(), TOYS, toy(algorithm, norm, "total", weights=weights))
    single = run_attack(Pixelwise(), toy_batch(), TOYS, toy(algorithm, norm, "single:depth"))
    assert torch.equal(outcome.images, single.images)
    assert (outcome.forwards, outcome.backwards) == (single.forwards, single.backwards)


@pytest.mark.parametrize(("algorithm", "norm"), EVERYWHERE)
@pytest.mark.parametrize("objective", [{"objective": "total"}, {"objective": "gb_mta"}], ids=str)
def test_the_common_factor_of_all_weights_does_not_matter(
    algorithm: Algorithm, norm: Norm, objective: dict[str, str]
) -> None:
    weights = {"segmentation": 4.0, "depth": 4.0, "edges": 4.0}
    assert torch.equal(
        on_toys(algorithm, norm, **objective, weights=weights), on_toys(algorithm, norm, **objective)
    )


LOSSES = torch.tensor([[0.3, 2.0], [40.0, 0.01], [1.0, 1.0]], dtype=torch.float64)
CLEAN = torch.tensor([[0.2, 2.5], [30.0, 0.02], [1.5, 0.5]], dtype=torch.float64)
SCALE = torch.tensor([[1.0], [0.5], [-2.0]], dtype=torch.float64)
HELD = torch.tensor([[True], [False], [False]])


@pytest.mark.parametrize(
    "objective",
    [Weighted(), Weighted(SCALE), Stealth(HELD, torch.tensor([[4.0], [4.0], [1.0]], dtype=torch.float64))]
    + [Power(power, scale) for power in (0.0, 0.5, 1.0, 1.5, 2.0, 4.0) for scale in (None, SCALE)],
    ids=lambda objective: f"{type(objective).__name__}-{getattr(objective, 'power', '')}",
)
def test_the_weights_are_the_slope_of_the_value(objective: Weighted) -> None:
    losses_ = LOSSES.clone().requires_grad_()
    slope = torch.autograd.grad(objective.value(losses_, CLEAN).sum(), losses_)[0]
    weights = objective.weights(LOSSES, CLEAN)
    torch.testing.assert_close(
        slope, torch.ones_like(LOSSES) if weights is None else weights.expand_as(LOSSES)
    )


def test_gb_mtas_value_is_the_relative_rise_and_its_weights_are_the_slope_of_that_at_the_clean_image() -> (
    None
):
    objective = GradientBalancing(SCALE)
    rise = SCALE * (LOSSES - CLEAN) / CLEAN
    torch.testing.assert_close(objective.value(LOSSES, CLEAN), rise.sum(0))
    torch.testing.assert_close(objective.weights(CLEAN, CLEAN), SCALE / CLEAN)
    torch.testing.assert_close(objective.weights(LOSSES, CLEAN), SCALE / LOSSES)


def test_a_loss_that_stays_at_nothing_leaves_the_others_their_digits() -> None:
    clean = torch.tensor([[0.0, 0.0], [0.5, 0.5]])
    raised = torch.tensor([[0.0, 0.0], [0.5, 0.5001]])
    value = Power(4.0).value(raised, clean)
    assert value[1] > value[0] == 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("algorithm", ["pgd", "mim", "apgd"])
def test_stealth_raises_its_task_and_holds_the_other_at_its_clean_loss(
    algorithm: Algorithm, norm: Norm
) -> None:
    model, batch, weights, _ = linear()
    two = LINEAR_TASKS[:2]
    model.weights["edges"] = (0.7 * weights["depth"] + 0.7 * weights["edges"]).detach()

    def rises(objective: str, **changes: Any) -> Tensor:
        eps = 0.03 if norm == "linf" else 0.2
        spec = AttackSpec(algorithm=algorithm, objective=objective, eps=eps, norm=norm, steps=40, **changes)
        before = losses(model, batch, batch.images, two)
        return losses(model, batch, run_attack(model, batch, two, spec).images, two) / before - 1

    alone, stealthy = rises("single:depth"), rises("stealth:depth")
    assert (alone[1] > 0.005).all(), "the tasks go together"
    assert (stealthy[1] < 0.07 * alone[1]).all()
    assert (stealthy[0] > 0.3 * alone[0]).all()
    free = rises("stealth:depth", weights={"edges": 0.0})
    torch.testing.assert_close(free, alone, atol=1e-5, rtol=0)


def summed(images: Tensor, batch: Batch, objective: str) -> float:
    """What the objective raises, over the batch: a loss, the sum of losses, or the sum of their logarithms."""
    each = losses(trained_model(), batch, images, DENSE)
    if objective == "gb_mta":
        return float(each.log().sum())
    return float(each[2].sum() if objective == "single:depth" else each.sum())


LADDER: tuple[tuple[Algorithm, int | None], ...] = (("fgsm", None), ("pgd", 10), ("apgd", 20))


@pytest.mark.parametrize("objective", ["single:depth", "total", "gb_mta"])
def test_apgd_beats_pgd_beats_fgsm_beats_noise(objective: str) -> None:
    batch = SyntheticDataset(DENSE, samples=8, side=32).batch(range(8))
    ball = ball_around(batch.images, norm="linf", eps=0.03, bounds=(0, 1))
    noise = ball.random_point(Draws(0, batch.indices))
    images = [
        run_attack(
            trained_model(),
            batch,
            DENSE,
            AttackSpec(algorithm=name, objective=objective, eps=0.03, steps=steps),
        ).images
        for name, steps in LADDER
    ]
    raised = [summed(each, batch, objective) for each in (noise, *images)]
    assert raised == sorted(raised)
    assert len(set(raised)) == 4


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
