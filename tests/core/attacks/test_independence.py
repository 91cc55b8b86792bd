"""What comes out for a sample does not depend on its neighbours, and one bad sample spoils no other."""

import pytest
import torch
from torch import Tensor

from core.attacks import AttackSpec, run_attack
from core.data.batch import Batch
from tests.core.attacks.toys import (
    ASCENDING,
    RANDOM_START,
    TOYS,
    Pixelwise,
    attempt,
    every,
    label,
    toy_batch,
    undisturbed,
)
from tests.core.synthetic import (
    ALGORITHMS,
    OBJECTIVES,
    SMALL,
    Poisoned,
    SyntheticDataset,
    WithoutOnly,
    attack,
    losses,
    pgd,
    small_batch,
    small_model,
)

CONVOLVED = [(algorithm, objective) for algorithm in ALGORITHMS for objective in OBJECTIVES]
DRAWING = every(RANDOM_START, random_start=True, restarts=2) + every(("square",), restarts=2)
OTHERS = [0, 2, 3]


class Dead(WithoutOnly):
    """Predictions that do not depend on the image, for every sample whose first pixel is black."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        black = images[:, :, 0, 0].amax(1) < 0.01
        return {
            name: torch.where(black.view(-1, 1, 1, 1), value.detach(), value)
            for name, value in super().forward(images).items()
        }


def with_first_pixel(value: float) -> Batch:
    """The toy batch, one pixel of its sample 1 changed."""
    batch = toy_batch()
    batch.images[1, :, 0, 0] = value
    return batch


def without_labels(*names: str) -> Batch:
    """The toy batch, no label of its sample 1 valid for these tasks."""
    batch = toy_batch()
    for name in names:
        batch.masks.setdefault(name, torch.ones(batch.images[:, 0].shape, dtype=torch.bool))
        batch.masks[name][1] = False
    return batch


@pytest.mark.parametrize("spec", every() + DRAWING, ids=label)
def test_splitting_and_permuting_a_batch_changes_nothing_bit_for_bit(spec: AttackSpec) -> None:
    model, batch = Pixelwise(), toy_batch()
    order = torch.tensor([2, 0, 3, 1])
    straight = undisturbed(spec).images
    permuted = [run_attack(model, batch.select(rows), TOYS, spec).images for rows in (order[:1], order[1:])]
    assert torch.equal(torch.cat(permuted), straight[order])


@pytest.mark.parametrize("spec", every(), ids=label)
def test_a_sample_with_a_nan_loss_is_flagged_and_changes_no_other(spec: AttackSpec) -> None:
    model, batch = Poisoned(Pixelwise()), with_first_pixel(1.0)
    sick = run_attack(model, batch, TOYS, spec)
    well = undisturbed(spec)
    assert torch.equal(sick.images[OTHERS], well.images[OTHERS])
    assert sick.non_finite.tolist() == [False, spec.method.objective, False, False]
    assert not well.non_finite.any()
    assert torch.equal(sick.images[1], batch.images[1]) or not spec.method.gradients


def test_a_nan_value_is_below_every_other_so_that_a_later_restart_beats_it() -> None:
    model, batch = Poisoned(Pixelwise()).eval(), with_first_pixel(0.89)
    spec = AttackSpec(algorithm="square", objective="total", eps=0.03, steps=1, restarts=2)
    starts = [attempt(model, batch, spec, restart=restart)[0] for restart in range(2)]
    assert [float(start.value[1]) == -torch.inf for start in starts if start.value is not None] == [
        True,
        False,
    ]
    outcome = run_attack(model, batch, TOYS, spec)
    assert torch.equal(outcome.images[1], starts[1].images[1])
    assert outcome.non_finite.tolist() == [False, True, False, False]


@pytest.mark.parametrize("spec", every(ASCENDING), ids=label)
def test_a_sample_without_any_gradient_is_flagged_and_changes_no_other(spec: AttackSpec) -> None:
    model, batch = Dead(Pixelwise()), with_first_pixel(0.0)
    dead = run_attack(model, batch, TOYS, spec)
    well = undisturbed(spec)
    assert torch.equal(dead.images[OTHERS], well.images[OTHERS])
    assert dead.zero_gradient.tolist() == [False, spec.method.gradients, False, False]
    assert not well.zero_gradient.any()
    assert not dead.non_finite.any()
    assert torch.equal(dead.images[1], batch.images[1]) or not spec.method.gradients


@pytest.mark.parametrize("spec", every(ASCENDING), ids=label)
def test_a_sample_that_one_task_does_not_label_changes_no_other_and_is_attacked_for_the_rest(
    spec: AttackSpec,
) -> None:
    batch = without_labels("depth")
    blind = run_attack(Pixelwise(), batch, TOYS, spec)
    seeing = undisturbed(spec)
    assert torch.equal(blind.images[OTHERS], seeing.images[OTHERS])
    assert not blind.non_finite.any()
    all_that_it_raises = spec.aim is not None and spec.aim.tasks == ("depth",)
    assert blind.zero_gradient.tolist() == [False, all_that_it_raises and spec.method.gradients, False, False]
    if not all_that_it_raises and (spec.algorithm, spec.objective) not in (
        ("apgd", "sign_total"),
        ("apgd", "mgda"),
    ):
        assert not torch.equal(blind.images[1], batch.images[1])


@pytest.mark.parametrize("spec", every(ASCENDING), ids=label)
def test_a_sample_that_no_task_labels_keeps_its_image_and_changes_no_other(spec: AttackSpec) -> None:
    batch = without_labels(*(task.name for task in TOYS))
    outcome = run_attack(Pixelwise(), batch, TOYS, spec)
    well = undisturbed(spec)
    assert torch.equal(outcome.images[OTHERS], well.images[OTHERS])
    assert torch.equal(outcome.images[1], batch.images[1]) or not spec.method.gradients
    assert outcome.zero_gradient.tolist() == [False, spec.method.gradients, False, False]


@pytest.mark.parametrize(("algorithm", "objective"), CONVOLVED)
def test_other_neighbours_change_nothing_bit_for_bit(algorithm: str, objective: str) -> None:
    model, data, spec = small_model(), SyntheticDataset(), attack(algorithm, objective)
    first = run_attack(model, data.batch([0, 1, 2, 3]), SMALL, spec).images
    second = run_attack(model, data.batch([0, 9, 8, 3]), SMALL, spec).images
    assert torch.equal(first[[0, 3]], second[[0, 3]])


@pytest.mark.parametrize(("algorithm", "objective"), CONVOLVED)
def test_splitting_a_batch_leaves_the_losses_as_they_were_to_rounding(algorithm: str, objective: str) -> None:
    model, batch, spec = small_model(), small_batch(), attack(algorithm, objective)
    whole = run_attack(model, batch, SMALL, spec).images
    parts = [run_attack(model, batch.select(slice(n, n + 1)), SMALL, spec).images for n in range(4)]
    torch.testing.assert_close(
        losses(model, batch, torch.cat(parts), SMALL),
        losses(model, batch, whole, SMALL),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_random_start_is_keyed_by_the_samples_index_not_its_place(objective: str) -> None:
    model, batch, spec = small_model(), small_batch(), pgd(objective, random_start=True, seed=5)
    straight = run_attack(model, batch, SMALL, spec).images
    reversed_ = run_attack(model, batch.select(torch.tensor([3, 2, 1, 0])), SMALL, spec).images
    assert torch.equal(reversed_, straight.flip(0))


def test_the_floor_counts_each_sample_once_however_many_steps_and_tasks_hit_it() -> None:
    batch = without_labels("depth", "segmentation")
    outcome = run_attack(Pixelwise(), batch, TOYS, pgd("gb_mta", steps=4))
    assert outcome.floored.tolist() == [False, True, False, False]


@pytest.mark.parametrize("objective", ["gb_mta", "stealth:depth"])
@pytest.mark.parametrize("random_start", [False, True])
def test_a_clean_loss_below_the_floor_is_counted_wherever_the_attack_begins(
    objective: str, random_start: bool
) -> None:
    model, batch = Pixelwise().eval(), toy_batch()
    with torch.no_grad():
        batch.labels["edges"][1] = model(batch.images)["edges"][1]
    spec = AttackSpec(algorithm="pgd", objective=objective, eps=0.03, steps=1, random_start=random_start)
    assert run_attack(model, batch, TOYS, spec).floored.tolist() == [False, True, False, False]


@pytest.mark.parametrize("objective", ["single:depth", "total", "sign_total", "pcgrad", "mgda"])
def test_objectives_that_divide_by_nothing_count_no_floor(objective: str) -> None:
    batch = without_labels("depth")
    assert not run_attack(Pixelwise(), batch, TOYS, pgd(objective)).floored.any()
