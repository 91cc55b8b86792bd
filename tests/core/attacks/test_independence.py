"""What comes out for a sample does not depend on its neighbours, and one bad sample spoils no other."""

import pytest
import torch

from core.attacks import run_attack
from core.attacks.threat import LinfBall
from core.data.batch import Batch
from tests.core.synthetic import (
    ALGORITHMS,
    OBJECTIVES,
    SMALL,
    Poisoned,
    SyntheticDataset,
    attack,
    losses,
    pgd,
    small_batch,
    small_model,
)

EVERY = [(algorithm, objective) for algorithm in ALGORITHMS for objective in OBJECTIVES]


@pytest.mark.parametrize(("algorithm", "objective"), EVERY)
def test_permuting_a_batch_permutes_the_outcome_bit_for_bit(algorithm: str, objective: str) -> None:
    model, batch, spec = small_model(), small_batch(), attack(algorithm, objective)
    order = torch.tensor([2, 0, 3, 1])
    straight = run_attack(model, batch, SMALL, spec).images
    permuted = run_attack(model, batch.select(order), SMALL, spec).images
    assert torch.equal(permuted, straight[order])


@pytest.mark.parametrize(("algorithm", "objective"), EVERY)
def test_other_neighbours_change_nothing_bit_for_bit(algorithm: str, objective: str) -> None:
    model, data, spec = small_model(), SyntheticDataset(), attack(algorithm, objective)
    first = run_attack(model, data.batch([0, 1, 2, 3]), SMALL, spec).images
    second = run_attack(model, data.batch([0, 9, 8, 3]), SMALL, spec).images
    assert torch.equal(first[[0, 3]], second[[0, 3]])


@pytest.mark.parametrize(("algorithm", "objective"), EVERY)
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


def test_a_random_start_is_the_same_in_batches_of_any_size() -> None:
    images, indices = torch.full((6, 3, 4, 4), 0.5), torch.arange(6)
    whole = LinfBall.around(images, eps=0.1, bounds=(0, 1)).random_start(images, indices, seed=1)
    ball = LinfBall.around(images[:2], eps=0.1, bounds=(0, 1))
    assert torch.equal(ball.random_start(images[:2], indices[4:], seed=1), whole[4:])


def test_random_starts_differ_between_samples_and_between_seeds() -> None:
    images, indices = torch.full((2, 3, 4, 4), 0.5), torch.arange(2)
    ball = LinfBall.around(images, eps=0.1, bounds=(0, 1))
    one, other = (ball.random_start(images, indices, seed=seed) for seed in (0, 2**63 - 1))
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, other)


def test_random_starts_fill_the_ball_evenly() -> None:
    images = torch.full((4, 3, 32, 32), 0.5)
    offsets = (
        LinfBall.around(images, eps=0.1, bounds=(0, 1)).random_start(images, torch.arange(4), seed=0) - 0.5
    )
    assert offsets.abs().max() <= 0.1 + 1e-6
    assert abs(float(offsets.mean())) < 0.003
    assert float(offsets.std()) == pytest.approx(0.1 / 3**0.5, rel=0.02)


@pytest.mark.parametrize(("algorithm", "objective"), EVERY)
def test_a_sample_with_a_nan_loss_is_counted_and_changes_no_other(algorithm: str, objective: str) -> None:
    model, spec = Poisoned(small_model()), attack(algorithm, objective)
    healthy = small_batch()
    images = healthy.images.clone()
    images[1, :, 0, 0] = 1.0
    sick = run_attack(model, Batch(images, healthy.labels, healthy.masks), SMALL, spec)
    well = run_attack(model, healthy, SMALL, spec)
    others = [0, 2, 3]
    assert torch.equal(sick.images[others], well.images[others])
    assert sick.non_finite.tolist() == [False, True, False, False]
    assert not well.non_finite.any()
    assert torch.equal(sick.images[1], images[1])


@pytest.mark.parametrize(("algorithm", "objective"), EVERY)
def test_a_sample_without_a_valid_label_changes_no_other(algorithm: str, objective: str) -> None:
    model, batch, spec = small_model(), small_batch(), attack(algorithm, objective)
    masks = {"depth": batch.masks["depth"].clone()}
    masks["depth"][2] = False
    blind = run_attack(model, Batch(batch.images, batch.labels, masks), SMALL, spec)
    seeing = run_attack(model, batch, SMALL, spec)
    others = [0, 1, 3]
    assert torch.equal(blind.images[others], seeing.images[others])
    assert not blind.non_finite.any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_sample_that_no_task_labels_keeps_its_image(algorithm: str) -> None:
    batch = small_batch(SMALL[2:3])
    batch.masks["depth"][2] = False
    outcome = run_attack(small_model(SMALL[2:3]), batch, SMALL[2:3], attack(algorithm, "gb_mta"))
    assert torch.equal(outcome.images[2], batch.images[2])
    assert not torch.equal(outcome.images[1], batch.images[1])


def test_the_floor_counts_each_sample_once_however_many_steps_and_tasks_hit_it() -> None:
    batch = small_batch()
    batch.masks["depth"][2] = False
    batch.labels["segmentation"][2] = 255
    outcome = run_attack(small_model(), batch, SMALL, pgd("gb_mta", steps=4))
    assert outcome.floored.tolist() == [False, False, True, False]


@pytest.mark.parametrize("objective", ["single:depth", "total", "sign_total"])
def test_objectives_that_divide_by_nothing_count_no_floor(objective: str) -> None:
    batch = small_batch()
    batch.masks["depth"][2] = False
    assert not run_attack(small_model(), batch, SMALL, pgd(objective)).floored.any()
