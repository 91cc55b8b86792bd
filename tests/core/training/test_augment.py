"""Augmentation: labels move with their image, normals turn round, and each sample has random numbers of its own."""

import pytest
import torch

from core.data.batch import Batch
from core.errors import InvalidError
from core.losses import labels_of, valid_pixels
from core.specs.training import Augmentation
from core.tasks import IGNORE_VALUE, Task
from core.training.augment import augmented, flipped, shifted
from tests.core.synthetic import SMALL, SyntheticDataset, small_batch

ALL = torch.ones(4, dtype=torch.bool)


def same(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.images, other.images)
        and all(torch.equal(label, other.labels[name]) for name, label in one.labels.items())
        and all(torch.equal(mask, other.masks[name]) for name, mask in one.masks.items())
    )


def test_a_flip_mirrors_images_labels_and_masks() -> None:
    batch = small_batch()
    mirrored = flipped(batch, SMALL, ALL)
    assert torch.equal(mirrored.images, batch.images.flip(-1))
    for name in ("segmentation", "depth", "edges"):
        assert torch.equal(mirrored.labels[name], batch.labels[name].flip(-1))
    assert torch.equal(mirrored.masks["depth"], batch.masks["depth"].flip(-1))
    assert torch.equal(mirrored.labels["digit"], batch.labels["digit"])


def test_a_flip_turns_the_x_component_of_normals_round_and_no_other() -> None:
    batch = small_batch()
    mirrored = flipped(batch, SMALL, ALL).labels["normals"].flip(-1)
    assert torch.equal(mirrored[:, 0], -batch.labels["normals"][:, 0])
    assert torch.equal(mirrored[:, 1:], batch.labels["normals"][:, 1:])


def test_a_flip_leaves_normals_that_do_not_count_not_counting() -> None:
    batch = small_batch()
    batch.labels["normals"][:, :, 0, 3] = IGNORE_VALUE
    mirrored = flipped(batch, SMALL, ALL)
    assert (mirrored.labels["normals"][:, :, 0, 12] == IGNORE_VALUE).all()


def test_two_flips_are_none() -> None:
    batch = small_batch()
    assert same(flipped(flipped(batch, SMALL, ALL), SMALL, ALL), batch)


def test_only_the_samples_asked_for_are_flipped() -> None:
    batch = small_batch()
    some = flipped(batch, SMALL, torch.tensor([True, False, False, True]))
    assert torch.equal(some.images[1:3], batch.images[1:3])
    assert torch.equal(some.labels["normals"][1:3], batch.labels["normals"][1:3])
    assert torch.equal(some.images[3], batch.images[3].flip(-1))


@pytest.mark.parametrize("task", SMALL[:4], ids=lambda task: task.name)
def test_a_shift_moves_labels_with_the_image_and_what_comes_in_does_not_count(task: Task) -> None:
    batch = small_batch()
    down, right = 3, -2
    moved = shifted(batch, SMALL, torch.tensor([[down, right]] * 4))
    assert torch.equal(moved.images[:, :, down:, :right], batch.images[:, :, :-down, -right:])
    label, mask = labels_of(task, moved)
    before, mask_before = labels_of(task, batch)
    valid = valid_pixels(task, label, mask)
    valid_before = valid_pixels(task, before, mask_before)
    assert torch.equal(valid[..., down:, :right], valid_before[..., :-down, -right:])
    assert not valid[..., :down, :].any()
    assert not valid[..., right:].any()
    assert torch.equal(label[..., down:, :right], before[..., :-down, -right:])
    assert label.dtype == before.dtype


def test_a_shift_repeats_the_images_edge() -> None:
    batch = small_batch()
    moved = shifted(batch, SMALL, torch.tensor([[0, 2]] * 4))
    assert torch.equal(moved.images[..., :2], batch.images[..., :1].expand(-1, -1, -1, 2))


def test_shifting_labels_of_another_size_is_refused() -> None:
    batch = small_batch()
    batch.labels["depth"] = batch.labels["depth"][:, :, ::2, ::2]
    batch.masks.clear()
    with pytest.raises(InvalidError, match="images' size") as caught:
        shifted(batch, SMALL, torch.ones(4, 2, dtype=torch.long))
    assert caught.value.field == "augmentation.shift"


HOW = Augmentation(flip=True, shift=2)


def test_a_samples_augmentation_depends_on_seed_iteration_and_itself_alone() -> None:
    data = SyntheticDataset(samples=8)
    batch = augmented(data.batch(range(8)), SMALL, HOW, seed=3, iteration=5)
    part = augmented(data.batch([6, 1]), SMALL, HOW, seed=3, iteration=5)
    assert same(part, batch.select(torch.tensor([6, 1])))
    for seed, iteration in ((4, 5), (3, 6)):
        other = augmented(data.batch(range(8)), SMALL, HOW, seed=seed, iteration=iteration)
        assert not torch.equal(other.images, batch.images)


def test_about_half_of_the_samples_are_flipped_and_every_shift_comes_up() -> None:
    data = SyntheticDataset(samples=200)
    batch = data.batch(range(200))
    flips = augmented(batch, SMALL, Augmentation(flip=True), seed=0, iteration=0)
    share = (flips.images == batch.images).flatten(1).all(1).float().mean()
    assert 0.4 < share < 0.6
    shifts = augmented(batch, SMALL, Augmentation(shift=1), seed=0, iteration=0)
    unmoved = (shifts.images == batch.images).flatten(1).all(1).float().mean()
    assert 1 / 9 - 0.08 < unmoved < 1 / 9 + 0.08


def test_without_augmentation_the_batch_is_handed_on_as_it_is() -> None:
    batch = small_batch()
    assert augmented(batch, SMALL, Augmentation(), seed=0, iteration=0) is batch
