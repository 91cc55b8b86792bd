"""Statistics and metrics against a naive NumPy implementation that sees every pixel at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from core.data.batch import Batch
from core.evaluation import Statistics, all_metrics, metric_values, take_statistics
from core.evaluation.metrics import metric_arrays
from core.losses import LabelError, PredictionError
from core.tasks import METRICS, MetricRules, Task, TaskKind

Floats = NDArray[np.float64]
N, SIDE, SMALLER = 4, 12, 5


def task_of(kind: TaskKind, channels: int, **changes: Any) -> Task:
    """A task that reports every metric of its kind."""
    return Task("t", kind, channels, metrics=tuple(metric.name for metric in METRICS[kind]), **changes)


SEGMENTATION = task_of("segmentation", 4)
WEIGHTED = task_of("segmentation", 4, class_weights=(0.5, 2.0, 1.0, 0.1))
NORMALS = task_of("normals", 3)
DEPTH = task_of("depth", 1)
REGRESSION = task_of("regression", 2)
DIGIT = task_of("classification", 5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def statistics(task: Task, prediction: Tensor, label: Tensor, mask: Tensor | None = None) -> Statistics:
    batch = Batch(torch.zeros(len(label), 3, 2, 2), {"t": label}, {} if mask is None else {"t": mask})
    return take_statistics((task,), {"t": prediction}, batch, {})


def measured(
    task: Task, prediction: Tensor, label: Tensor, mask: Tensor | None = None, **rules: Any
) -> dict[str, Any]:
    return metric_values(task, statistics(task, prediction, label, mask).totals("t"), **rules)


def enlarged(prediction: Tensor) -> Floats:
    """[N, C, SMALLER, SMALLER] to [N, C, SIDE, SIDE], by a loop."""
    source: Floats = prediction.double().numpy()
    picked = [i * SMALLER // SIDE for i in range(SIDE)]
    return source[:, :, picked, :][:, :, :, picked]


def dense(channels: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A prediction at a lower resolution, a real-valued label, and a mask."""
    source = generator(seed)
    prediction = torch.randn(N, channels, SMALLER, SMALLER, generator=source)
    label = torch.randn(N, channels, SIDE, SIDE, generator=source)
    return prediction, label, torch.rand(N, SIDE, SIDE, generator=source) < 0.8


def classes(*, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    prediction, _, mask = dense(4, seed=seed)
    label = torch.randint(4, (N, SIDE, SIDE), generator=generator(seed + 1))
    label[torch.rand(N, SIDE, SIDE, generator=generator(seed + 2)) < 0.2] = 255
    return prediction, label, mask


def naive_miou(predicted: Floats, label: Floats, *, keep: Callable[[int, int], bool]) -> float:
    overlaps = []
    for one in range(4):
        both = int(((predicted == one) & (label == one)).sum())
        either = int(((predicted == one) | (label == one)).sum())
        if keep(both, either):
            overlaps.append(both / either)
    return 100 * float(np.mean(overlaps))


@pytest.mark.parametrize("task", [SEGMENTATION, WEIGHTED], ids=["plain", "weighted"])
def test_segmentation_counts_pixels_at_the_labels_resolution(task: Task) -> None:
    prediction, label, mask = classes()
    scores = enlarged(prediction)
    kept = (label.numpy() != 255) & mask.numpy()
    predicted, truth = scores.argmax(1)[kept], label.numpy()[kept]
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    chosen = np.take_along_axis(logs, np.where(kept, label.numpy(), 0)[:, None], 1)[:, 0][kept]
    weights = np.array(task.class_weights or (1.0,) * 4)[truth]
    values = measured(task, prediction, label, mask)
    assert values["pixel_accuracy"] == pytest.approx(100 * (predicted == truth).mean())
    assert values["miou"] == pytest.approx(naive_miou(predicted, truth, keep=lambda _, either: either > 0))
    assert values["cross_entropy"] == pytest.approx(-(weights * chosen).sum() / weights.sum(), rel=1e-5)


def test_a_class_that_is_wiped_out_lowers_miou_but_raises_the_paper_rules() -> None:
    label = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2]).view(1, 2, 4)
    scores = torch.nn.functional.one_hot(label, 4).permute(0, 3, 1, 2).float()
    as_wall = torch.tensor([1.0, 0.0, 0.0, 0.0])
    scores[0, :, 1, 2] = as_wall
    wiped = scores.clone()
    wiped[0, :, 1, 3] = as_wall
    before, after = (measured(SEGMENTATION, value, label)["miou"] for value in (scores, wiped))
    assert after < before
    before, after = (measured(SEGMENTATION, value, label, rules="paper")["miou"] for value in (scores, wiped))
    assert after > before


def test_the_paper_rule_leaves_classes_without_a_true_positive_out() -> None:
    prediction, label, _ = classes(seed=5)
    prediction[:, 3] = -100.0
    predicted, truth = enlarged(prediction).argmax(1), label.numpy()
    kept = truth != 255
    values = measured(SEGMENTATION, prediction, label, rules="paper")
    expected = naive_miou(predicted[kept], truth[kept], keep=lambda both, _: both > 0)
    assert values["miou"] == pytest.approx(expected)
    assert measured(SEGMENTATION, prediction, label)["miou"] < values["miou"]


def test_a_class_in_neither_label_nor_prediction_does_not_count() -> None:
    label = torch.zeros(1, 2, 2, dtype=torch.int64)
    scores = torch.zeros(1, 4, 2, 2)
    scores[:, 0] = 1
    assert measured(SEGMENTATION, scores, label)["miou"] == 100


def test_normals_are_measured_in_degrees() -> None:
    prediction, label, mask = dense(3)
    label = torch.nn.functional.normalize(label, dim=1)
    scores, truth = enlarged(prediction), label.double().numpy()
    cosine = (scores * truth).sum(1) / np.linalg.norm(scores, axis=1) / np.linalg.norm(truth, axis=1)
    angles = np.degrees(np.arccos(cosine))[mask.numpy()]
    values = measured(NORMALS, prediction, label, mask)
    assert values["mean"] == pytest.approx(angles.mean(), rel=1e-5)
    assert values["median"] == pytest.approx(np.median(angles), abs=0.5)
    assert values["cosine"] == pytest.approx(cosine[mask.numpy()].mean(), abs=1e-6)
    for degrees in (11.25, 22.5, 30):
        assert values[f"within_{degrees:g}"] == pytest.approx(100 * (angles < degrees).mean())


def test_the_median_angle_is_right_to_a_quarter_of_a_degree_where_angles_are_many() -> None:
    angles = torch.linspace(2.0, 57.0, 10_001, dtype=torch.float64).view(1, 1, 73, 137)
    prediction = torch.cat(
        [angles.deg2rad().sin(), torch.zeros_like(angles), angles.deg2rad().cos()], 1
    ).float()
    label = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 73, 137)
    assert measured(NORMALS, prediction, label)["median"] == pytest.approx(29.5, abs=0.25)


@pytest.mark.parametrize(("degrees", "share"), [(11.2, 100.0), (11.3, 0.0)])
def test_an_angle_just_below_a_threshold_is_within_it_and_one_above_is_not(
    degrees: float, share: float
) -> None:
    angle = torch.tensor(degrees).deg2rad()
    prediction = torch.stack([angle.sin(), torch.zeros(()), angle.cos()]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    label = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert measured(NORMALS, prediction, label)["within_11.25"] == share


def test_perfect_normals_have_no_angle_and_opposite_ones_half_a_turn() -> None:
    label = torch.nn.functional.normalize(torch.randn(1, 3, 4, 4, generator=generator()), dim=1)
    assert measured(NORMALS, label, label)["mean"] == pytest.approx(0, abs=0.05)
    assert measured(NORMALS, -label, label)["mean"] == pytest.approx(180, abs=0.05)


def test_the_length_of_a_predicted_normal_does_not_matter() -> None:
    prediction, label, _ = dense(3)
    short, long = (measured(NORMALS, prediction * scale, label) for scale in (0.01, 100.0))
    assert short == pytest.approx(long, rel=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_depth_is_measured_where_it_is_known(masked: bool) -> None:
    prediction, label, drawn_mask = dense(1)
    label = label.abs() + 0.2
    label[:, :, :2] = 255.0
    label[:, :, 2] = 0.0
    scores, truth = enlarged(prediction)[:, 0], label.double().numpy()[:, 0]
    mask = drawn_mask if masked else None
    kept = (truth != 255) & (drawn_mask.numpy() if masked else truth > 3e-5)
    positive = kept & (truth > 0)
    error = np.abs(scores - truth)
    p, g = scores[positive], truth[positive]
    with np.errstate(divide="ignore"):
        ratio = np.where(p > 0, np.maximum(p / g, g / p), np.inf)
    assert (p <= 0).any(), "a prediction that is not positive is in no threshold"
    values = measured(DEPTH, prediction, label, mask)
    assert values["abs_error"] == pytest.approx(error[kept].mean(), rel=1e-5)
    assert values["rel_error"] == pytest.approx((error[positive] / g).mean(), rel=1e-5)
    for name, threshold in (("1.25", 1.25), ("1.25^2", 1.25**2), ("1.25^3", 1.25**3)):
        assert values[f"within_{name}"] == pytest.approx(100 * (ratio < threshold).mean())


def test_regression_is_the_mean_absolute_error_over_pixels_and_channels() -> None:
    prediction, label, mask = dense(2)
    label[0, 1, 3] = 255.0
    truth = label.double().numpy()
    kept = (truth != 255) & mask.numpy()[:, None]
    error = np.abs(enlarged(prediction) - truth)[kept]
    assert measured(REGRESSION, prediction, label, mask)["abs_error"] == pytest.approx(error.mean(), rel=1e-5)


def test_classification_counts_samples_with_a_label() -> None:
    prediction = torch.randn(20, 5, generator=generator())
    label = torch.randint(5, (20,), generator=generator(1))
    label[3] = 255
    kept = label != 255
    values = measured(DIGIT, prediction, label)
    assert values["accuracy"] == pytest.approx(
        100 * float((prediction.argmax(1) == label)[kept].double().mean())
    )
    logs = prediction.double().log_softmax(1)[kept].gather(1, label[kept, None])
    assert values["cross_entropy"] == pytest.approx(-float(logs.mean()), rel=1e-5)


def test_metrics_weigh_pixels_over_the_split_not_batches() -> None:
    prediction, label, mask = dense(1)
    label, mask = label.abs() + 0.2, mask.clone()
    mask[0, 1:] = False
    whole = statistics(DEPTH, prediction, label, mask)
    parts = [statistics(DEPTH, prediction[n : n + 1], label[n : n + 1], mask[n : n + 1]) for n in range(N)]
    numbered = [Statistics(np.array([n]), part.tasks) for n, part in enumerate(parts)]
    merged = Statistics.concatenate(numbered)
    assert metric_values(DEPTH, merged.totals("t")) == metric_values(DEPTH, whole.totals("t"))


ALL = [
    pytest.param(SEGMENTATION, (N, 4, SMALLER, SMALLER), (N, SIDE, SIDE), id="segmentation"),
    pytest.param(NORMALS, (N, 3, SMALLER, SMALLER), (N, 3, SIDE, SIDE), id="normals"),
    pytest.param(DEPTH, (N, 1, SMALLER, SMALLER), (N, 1, SIDE, SIDE), id="depth"),
    pytest.param(REGRESSION, (N, 2, SMALLER, SMALLER), (N, 2, SIDE, SIDE), id="regression"),
    pytest.param(DIGIT, (N, 5), (N,), id="classification"),
]


@pytest.mark.parametrize(("task", "predicted", "labelled"), ALL)
def test_where_nothing_is_valid_every_metric_is_none(
    task: Task, predicted: tuple[int, ...], labelled: tuple[int, ...]
) -> None:
    label = torch.full(labelled, 255, dtype=torch.int64 if len(labelled) in (1, 3) else torch.float32)
    values = measured(task, torch.ones(predicted), label)
    assert values == dict.fromkeys(values)
    assert set(values) == {metric.name for metric in task.reported}


def test_an_empty_mask_is_none_too() -> None:
    prediction, label, mask = dense(1)
    assert set(measured(DEPTH, prediction, label.abs(), torch.zeros_like(mask)).values()) == {None}


@pytest.mark.parametrize("value", [-1, 4, 200])
def test_a_class_out_of_range_is_refused_not_counted_as_another(value: int) -> None:
    prediction, label, _ = classes()
    label[1, 2, 3] = value
    with pytest.raises(LabelError, match=f"a label says {value}"):
        measured(SEGMENTATION, prediction, label)


def test_a_missing_label_is_refused() -> None:
    with pytest.raises(LabelError, match="no labels for t"):
        take_statistics((DEPTH,), {"t": torch.ones(1, 1, 2, 2)}, Batch(torch.zeros(1, 3, 2, 2), {}), {})


def test_a_missing_prediction_is_refused() -> None:
    prediction, label, _ = dense(1)
    batch = Batch(torch.zeros(N, 3, 2, 2), {"t": label})
    with pytest.raises(PredictionError, match="the model predicts u, not t"):
        take_statistics((DEPTH,), {"u": prediction}, batch, {})


def test_a_task_reports_its_own_metrics_only() -> None:
    prediction, label, _ = classes()
    plain = Task("t", "segmentation", 4)
    assert measured(plain, prediction, label).keys() == {"miou", "pixel_accuracy"}


def test_all_metrics_are_keyed_by_task() -> None:
    prediction, label, _ = classes()
    totals = statistics(SEGMENTATION, prediction, label).totals("t")
    assert all_metrics((SEGMENTATION,), {"t": totals}) == {"t": metric_values(SEGMENTATION, totals)}


MANY_CLASSES = task_of("segmentation", 13)
ROWS = (2, 3)


def random_totals(task: Task, seed: int) -> dict[str, Floats]:
    """Totals of ROWS splits, many of them with little or nothing in them."""
    source = np.random.default_rng(seed)

    def counts(*shape: int) -> Floats:
        share = source.choice([0.0, 0.2, 1.0], ROWS + (1,) * len(shape))
        kept = source.random((*ROWS, *shape)) < share
        return np.where(kept, source.integers(0, 9, kept.shape), 0).astype(np.float64)

    intersection = counts(task.channels)
    return {
        "valid": counts(),
        "relative_valid": counts(),
        "weight_sum": counts(),
        "correct": counts(),
        "intersection": intersection,
        "labelled": intersection + counts(task.channels),
        "predicted": intersection + counts(task.channels),
        "within": counts(3),
        "angle_histogram": counts(720),
        **{name: source.normal(size=ROWS) for name in ("angle_sum", "cosine_sum", "abs_sum", "rel_sum")},
        "loss_sum": np.where(source.random(ROWS) < 0.2, np.inf, source.random(ROWS)),
    }


@pytest.mark.parametrize(
    "task",
    [SEGMENTATION, MANY_CLASSES, NORMALS, DEPTH, REGRESSION, DIGIT],
    ids=lambda task: f"{task.kind}{task.channels}",
)
@pytest.mark.parametrize("rules", ["standard", "paper"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_arrays_of_metrics_are_those_of_each_split_bit_for_bit(
    task: Task, rules: MetricRules, seed: int
) -> None:
    totals = random_totals(task, seed)
    arrays = metric_arrays(task, totals, rules=rules)
    for split in np.ndindex(ROWS):
        alone = metric_values(task, {name: values[split] for name, values in totals.items()}, rules=rules)
        among = {name: float(values[split]) for name, values in arrays.items()}
        assert {name: None if np.isnan(value) else value for name, value in among.items()} == alone


@given(st.dictionaries(st.integers(0, 719), st.integers(1, 50), min_size=1, max_size=30))
def test_the_median_angle_has_half_the_pixels_below_it(pixels: dict[int, int]) -> None:
    histogram = np.zeros(720)
    histogram[list(pixels)] = list(pixels.values())
    median = metric_arrays(NORMALS, random_totals(NORMALS, 0) | {"angle_histogram": histogram})["median"]
    below = np.interp(float(median) * 4, np.arange(721), np.concatenate([[0], histogram.cumsum()]))
    assert below == pytest.approx(histogram.sum() / 2)
