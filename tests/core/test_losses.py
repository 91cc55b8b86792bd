"""Per-sample losses, each against a plain loop over pixels."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from core.data.batch import Batch
from core.errors import InvalidError
from core.losses import BatchLosses, LabelError, PredictionError, labels_of, resize_nearest
from core.tasks import IGNORE_VALUE, Task
from tests.core.synthetic import SMALL, small_batch

SEGMENTATION = Task("t", "segmentation", 4)
WEIGHTED = Task("t", "segmentation", 4, class_weights=(0.5, 2.0, 0.0, 1.0))
NORMALS = Task("t", "normals", 3)
DEPTH = Task("t", "depth", 1)
EDGES = Task("t", "regression", 2)
DIGIT = Task("t", "classification", 5)
ALL = (SEGMENTATION, WEIGHTED, NORMALS, DEPTH, EDGES, DIGIT)
IDS = ("segmentation", "weighted", "normals", "depth", "regression", "classification")


def drawn(
    task: Task, *, samples: int = 3, height: int = 6, width: int = 5, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """A random prediction and label of the same resolution, a fifth of the label to be ignored."""
    generator = torch.Generator().manual_seed(seed)
    if task.kind == "classification":
        return (
            torch.randn(samples, task.channels, generator=generator),
            torch.randint(task.channels, (samples,), generator=generator),
        )
    prediction = torch.randn(samples, task.channels, height, width, generator=generator)
    ignored = torch.rand(samples, height, width, generator=generator) < 0.2
    if task.kind == "segmentation":
        label = torch.randint(task.channels, (samples, height, width), generator=generator)
        return prediction, label.masked_fill(ignored, IGNORE_VALUE)
    label = torch.randn(samples, task.channels, height, width, generator=generator)
    label = label.abs() + 0.1 if task.kind == "depth" else label
    return prediction, label.masked_fill(ignored[:, None], IGNORE_VALUE)


def losses(task: Task, prediction: Tensor, label: Tensor, mask: Tensor | None = None) -> Tensor:
    batch = Batch(torch.zeros(len(label), 3, 2, 2), {"t": label}, {} if mask is None else {"t": mask})
    return BatchLosses((task,), batch)({"t": prediction})[0]


def pixel_loss(task: Task, prediction: list[float], label: list[float] | int) -> float:
    """The loss of one pixel (of one sample, for classification) in plain Python."""
    if isinstance(label, int):
        return math.log(sum(map(math.exp, prediction))) - prediction[label]
    if task.kind == "normals":
        norms = math.hypot(*prediction) * math.hypot(*label)
        return 1 - sum(p * q for p, q in zip(prediction, label, strict=True)) / norms
    return sum(abs(p - q) for p, q in zip(prediction, label, strict=True)) / len(label)


def looped(task: Task, prediction: Tensor, label: Tensor, mask: Tensor | None = None) -> list[float]:
    """The losses by a loop over samples and pixels at the prediction's resolution."""
    height, width = prediction.shape[-2:]
    found = []
    for n in range(len(label)):
        total = weights = 0.0
        for i in range(height):
            for j in range(width):
                row, column = i * label.shape[-2] // height, j * label.shape[-1] // width
                pixel: Any = label[n, ..., row, column].tolist()
                largest = pixel if isinstance(pixel, int) else max(pixel)
                kept = largest != IGNORE_VALUE and (mask is None or bool(mask[n, row, column]))
                if task.kind == "depth" and mask is None:
                    kept = kept and largest > 3e-5
                if not kept:
                    continue
                weight = task.class_weights[pixel] if task.class_weights else 1.0
                total += weight * pixel_loss(task, prediction[n, :, i, j].tolist(), pixel)
                weights += weight
        found.append(total / weights if weights else 0.0)
    return found


DENSE = [pytest.param(task, id=name) for task, name in zip(ALL[:5], IDS[:5], strict=True)]


@pytest.mark.parametrize("task", DENSE)
def test_a_loss_is_the_mean_over_a_samples_valid_pixels(task: Task) -> None:
    prediction, label = drawn(task)
    assert losses(task, prediction, label).tolist() == pytest.approx(
        looped(task, prediction, label), rel=1e-5
    )


@pytest.mark.parametrize("task", DENSE)
def test_pixels_outside_the_mask_do_not_count(task: Task) -> None:
    prediction, label = drawn(task)
    mask = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(1)) < 0.5
    expected = looped(task, prediction, label, mask)
    assert losses(task, prediction, label, mask).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("task", DENSE)
@pytest.mark.parametrize("size", [(3, 2), (12, 10), (4, 7), (1, 1)])
def test_labels_and_masks_are_resized_to_the_prediction_by_nearest(task: Task, size: tuple[int, int]) -> None:
    _, label = drawn(task)
    prediction, _ = drawn(task, height=size[0], width=size[1])
    mask = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(1)) < 0.7
    expected = looped(task, prediction, label, mask)
    assert losses(task, prediction, label, mask).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [(3, 2), (12, 10), (4, 7), (1, 1), (6, 5)])
def test_nearest_takes_the_row_and_column_that_integer_division_gives(size: tuple[int, int]) -> None:
    values = torch.arange(30).view(1, 6, 5)
    resized = resize_nearest(values, *size)
    expected = [
        [values[0, i * 6 // size[0], j * 5 // size[1]] for j in range(size[1])] for i in range(size[0])
    ]
    assert resized[0].tolist() == torch.tensor(expected).tolist()


def test_classification_is_the_cross_entropy_of_each_sample() -> None:
    prediction, label = drawn(DIGIT)
    expected = [pixel_loss(DIGIT, prediction[n].tolist(), int(label[n])) for n in range(3)]
    assert losses(DIGIT, prediction, label).tolist() == pytest.approx(expected, rel=1e-5)


def test_without_a_mask_depth_counts_only_above_its_least_value() -> None:
    label = torch.tensor([0.0, 2e-5, 4e-5, 1.0]).view(1, 1, 2, 2)
    prediction = torch.full((1, 1, 2, 2), 2.0)
    assert losses(DEPTH, prediction, label).item() == pytest.approx((2 - 4e-5 + 1) / 2)


def test_with_a_mask_depth_counts_down_to_zero() -> None:
    label = torch.tensor([0.0, 2e-5, 4e-5, 1.0]).view(1, 1, 2, 2)
    prediction = torch.full((1, 1, 2, 2), 2.0)
    mask = torch.tensor([True, False, False, True]).view(1, 2, 2)
    assert losses(DEPTH, prediction, label, mask).item() == pytest.approx((2 + 1) / 2)


def test_class_weights_divide_by_the_sum_of_weights_not_by_the_number_of_pixels() -> None:
    prediction = torch.zeros(1, 4, 1, 2)
    label = torch.tensor([[[0, 1]]])
    assert losses(WEIGHTED, prediction, label).item() == pytest.approx(math.log(4))


def test_a_sample_whose_every_class_weighs_nothing_has_loss_zero() -> None:
    prediction, label = drawn(WEIGHTED)
    label[1] = 2
    assert losses(WEIGHTED, prediction, label)[1] == 0


@pytest.mark.parametrize("task", [NORMALS, DEPTH, EDGES], ids=lambda task: task.kind)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_label_that_is_no_number_does_not_count(task: Task, value: float) -> None:
    prediction, label = drawn(task)
    ignored = label.clone()
    label[0, :, 2, 3] = value
    ignored[0, :, 2, 3] = IGNORE_VALUE
    assert torch.equal(losses(task, prediction, label), losses(task, prediction, ignored))


@pytest.mark.parametrize("task", ALL, ids=IDS)
def test_a_sample_without_a_valid_pixel_has_loss_zero_and_no_gradient(task: Task) -> None:
    prediction, label = drawn(task)
    label[1] = IGNORE_VALUE
    prediction.requires_grad_()
    found = losses(task, prediction, label)
    gradient = torch.autograd.grad(found.sum(), prediction)[0]
    assert found[1] == 0
    assert not gradient[1].any()
    assert gradient[0].any()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("task", ALL, ids=IDS)
def test_a_samples_loss_does_not_depend_on_its_neighbours(task: Task) -> None:
    prediction, label = drawn(task)
    alone = torch.cat([losses(task, prediction[n : n + 1], label[n : n + 1]) for n in range(3)])
    torch.testing.assert_close(losses(task, prediction, label), alone)


@pytest.mark.parametrize("task", ALL, ids=IDS)
def test_the_labels_handed_over_are_not_written_to(task: Task) -> None:
    prediction, label = drawn(task)
    before = label.clone()
    losses(task, prediction, label)
    assert torch.equal(label, before)


@pytest.mark.parametrize("task", [SEGMENTATION, WEIGHTED, DIGIT], ids=["segmentation", "weighted", "digit"])
@pytest.mark.parametrize("value", [-1, 5, 254])
def test_a_class_out_of_range_is_refused(task: Task, value: int) -> None:
    prediction, label = drawn(task)
    label.view(-1)[7 % label.numel()] = value
    with pytest.raises(LabelError, match=f"a label says {value}") as caught:
        losses(task, prediction, label)
    assert caught.value.field == "t"


def test_a_class_out_of_range_outside_the_mask_is_no_matter() -> None:
    prediction, label = drawn(SEGMENTATION)
    mask = torch.ones(3, 6, 5, dtype=torch.bool)
    label[0, 0, 0], mask[0, 0, 0] = -1, False
    assert torch.isfinite(losses(SEGMENTATION, prediction, label, mask)).all()


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (SEGMENTATION, (3, 1, 6, 5)),
        (NORMALS, (3, 6, 5)),
        (DEPTH, (3, 6, 5)),
        (DEPTH, (3, 3, 6, 5)),
        (EDGES, (3, 1, 6, 5)),
        (DIGIT, (3, 1)),
    ],
)
def test_labels_of_another_shape_are_refused(task: Task, shape: tuple[int, ...]) -> None:
    with pytest.raises(LabelError, match="labels must be"):
        losses(task, drawn(task)[0], torch.ones(shape, dtype=torch.int64))


@pytest.mark.parametrize(
    "mask", [torch.ones(3, 6, 5), torch.ones(3, 1, 6, 5).bool(), torch.ones(3, 3, 3).bool()]
)
def test_masks_of_another_type_or_size_are_refused(mask: Tensor) -> None:
    prediction, label = drawn(DEPTH)
    with pytest.raises(LabelError, match="the mask of t must be bool"):
        losses(DEPTH, prediction, label, mask)


def test_a_batch_without_a_tasks_labels_is_refused() -> None:
    with pytest.raises(LabelError, match="no labels for gloss") as caught:
        labels_of(Task("gloss", "depth", 1), small_batch())
    assert caught.value.field == "gloss"


@pytest.mark.parametrize("shape", [(3, 4, 6), (3, 5, 6, 5), (2, 4, 6, 5)])
def test_predictions_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PredictionError, match="t must be") as caught:
        losses(SEGMENTATION, torch.zeros(shape), drawn(SEGMENTATION)[1])
    assert caught.value.code == "invalid_prediction"


def test_losses_come_in_the_order_of_the_tasks() -> None:
    batch = small_batch()
    sizes = {task.name: (4, task.channels, 4, 4) for task in SMALL[:4]} | {"digit": (4, 5)}
    predictions = {name: torch.ones(size) for name, size in sizes.items()}
    straight = BatchLosses(SMALL, batch)(predictions)
    backwards = BatchLosses(SMALL[::-1], batch)(predictions)
    assert all(map(torch.equal, straight, backwards[::-1]))


def test_a_batch_whose_parts_differ_in_length_is_refused() -> None:
    with pytest.raises(InvalidError, match="depth has 2 samples for 3 images"):
        Batch(torch.zeros(3, 3, 2, 2), {"depth": torch.zeros(2, 1, 2, 2)})
