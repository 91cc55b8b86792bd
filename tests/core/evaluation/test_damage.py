"""Damage on hand-made predictions: exactly what ARP says where that is linear, its softened steps where it is not."""

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.arp import average_relative_performance
from core.attacks.damage import CleanScale, Damage
from core.data.batch import Batch
from core.evaluation.metrics import all_metrics
from core.evaluation.search import class_shares
from core.evaluation.statistics import Statistics, take_statistics
from core.tasks import DEFAULT_METRICS, METRICS, Task, TaskKind

CHANNELS: dict[TaskKind, int] = {
    "segmentation": 3,
    "normals": 3,
    "depth": 1,
    "regression": 2,
    "classification": 4,
}
SAMPLES, SIDE = 4, 6


def task_of(kind: TaskKind, *metrics: str) -> Task:
    return Task(kind, kind, CHANNELS[kind], metrics=metrics)


EVERY = [
    pytest.param(task_of(kind, metric.name), id=f"{kind}.{metric.name}")
    for kind, metrics in METRICS.items()
    for metric in metrics
]
LINEAR = (
    task_of("depth", "abs_error"),
    task_of("depth", "rel_error"),
    task_of("normals", "mean"),
    task_of("normals", "cosine"),
    task_of("regression", "abs_error"),
    task_of("segmentation", "cross_entropy"),
    task_of("classification", "cross_entropy"),
)
STEPS = (
    task_of("depth", "within_1.25"),
    task_of("depth", "within_1.25^2"),
    task_of("depth", "within_1.25^3"),
    task_of("normals", "within_11.25"),
    task_of("normals", "within_22.5"),
    task_of("normals", "within_30"),
    task_of("segmentation", "pixel_accuracy"),
    task_of("classification", "accuracy"),
)
KINDS = [pytest.param(task_of(kind, *DEFAULT_METRICS[kind]), id=kind) for kind in METRICS]


def batch_of(task: Task, label: Tensor, mask: Tensor | None = None) -> Batch:
    images = torch.zeros(len(label), 3, SIDE, SIDE)
    return Batch(images, {task.name: label}, {} if mask is None else {task.name: mask})


def a_label(task: Task, generator: torch.Generator) -> Tensor:
    if task.kind == "segmentation":
        return torch.randint(task.channels, (SAMPLES, SIDE, SIDE), generator=generator)
    if task.kind == "classification":
        return torch.randint(task.channels, (SAMPLES,), generator=generator)
    noise = torch.randn(SAMPLES, task.channels, SIDE, SIDE, generator=generator)
    if task.kind == "normals":
        return torch.nn.functional.normalize(noise, dim=1)
    return 1 + noise.abs() if task.kind == "depth" else noise


def a_prediction(task: Task, label: Tensor, generator: torch.Generator, *, error: float) -> Tensor:
    """The label, or scores that say it, and noise."""
    if task.kind in ("segmentation", "classification"):
        said = torch.nn.functional.one_hot(label, task.channels).movedim(-1, 1).float()
        return said + error * torch.randn(said.shape, generator=generator)
    noise = torch.randn(label.shape, generator=generator)
    if task.kind == "depth":
        return label * (error * noise).exp()
    return label + error * noise


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def measured(task: Task, prediction: Tensor, batch: Batch) -> Statistics:
    return take_statistics([task], {task.name: prediction}, batch, {})


def scale_of(task: Task, prediction: Tensor, batch: Batch, *, softness: float = 1.0) -> CleanScale:
    """What `core.evaluation.search` would make of predictions before the attack."""
    totals = measured(task, prediction, batch).totals(task.name)
    shares = {task.name: class_shares(totals)} if task.kind == "segmentation" else {}
    return CleanScale(all_metrics([task], {task.name: totals}), shares, softness)


def arp(task: Task, before: Tensor, after: Tensor, batch: Batch) -> float:
    tables = (measured(task, prediction, batch) for prediction in (before, after))
    clean, attacked = (all_metrics([task], {task.name: table.totals(task.name)}) for table in tables)
    overall = average_relative_performance(clean, attacked, {task.name: task.directions}).overall
    assert overall is not None
    return overall


def damage(task: Task, prediction: Tensor, batch: Batch, scale: CleanScale) -> Tensor:
    (value,) = Damage([task], batch, scale)({task.name: prediction})
    return value


def with_gradient(task: Task, prediction: Tensor, batch: Batch, scale: CleanScale) -> tuple[Tensor, Tensor]:
    leaf = prediction.clone().requires_grad_()
    value = damage(task, leaf, batch, scale)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("task", LINEAR, ids=lambda task: f"{task.kind}.{task.metrics[0]}")
@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), clean_error=st.floats(0.2, 0.5), error=st.floats(0.2, 2.0))
def test_damage_of_a_mean_rises_exactly_as_arp_does(
    task: Task, seed: int, clean_error: float, error: float
) -> None:
    generator = seeded(seed)
    label = a_label(task, generator)
    batch = batch_of(task, label)
    clean = a_prediction(task, label, generator, error=clean_error)
    attacked = a_prediction(task, label, generator, error=error)
    scale = scale_of(task, clean, batch)
    rise = damage(task, attacked, batch, scale).mean() - damage(task, clean, batch, scale).mean()
    assert 100 * float(rise) == pytest.approx(arp(task, clean, attacked, batch), rel=2e-3, abs=0.05)


@pytest.mark.parametrize("task", STEPS, ids=lambda task: f"{task.kind}.{task.metrics[0]}")
def test_without_softness_damage_of_a_threshold_rises_exactly_as_arp_does(task: Task) -> None:
    generator = seeded(3)
    label = a_label(task, generator)
    batch = batch_of(task, label)
    clean = a_prediction(task, label, generator, error=0.15)
    attacked = a_prediction(task, label, generator, error=1.0)
    hard = scale_of(task, clean, batch, softness=1e-6)
    rise = damage(task, attacked, batch, hard).mean() - damage(task, clean, batch, hard).mean()
    expected = arp(task, clean, attacked, batch)
    assert expected > 10
    assert 100 * float(rise) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("task", EVERY)
def test_every_metric_has_a_damage_that_a_worse_prediction_raises(task: Task) -> None:
    generator = seeded(0)
    label = a_label(task, generator)
    batch = batch_of(task, label)
    clean = a_prediction(task, label, generator, error=0.2)
    worse = a_prediction(task, label, generator, error=3.0)
    scale = scale_of(task, clean, batch)
    values, gradient = with_gradient(task, clean, batch, scale)
    assert values.shape == (SAMPLES,)
    assert (values >= 0).all()
    assert damage(task, worse, batch, scale).mean() > values.mean()
    assert torch.isfinite(gradient).all()
    assert gradient.flatten(1).any(1).all()


@pytest.mark.parametrize("task", EVERY)
def test_the_gradient_is_the_damages_own_slope(task: Task) -> None:
    generator = seeded(1)
    label = a_label(task, generator)
    batch = batch_of(task, label)
    prediction = a_prediction(task, label, generator, error=0.5)
    scale = scale_of(task, prediction, batch)
    _, gradient = with_gradient(task, prediction, batch, scale)
    direction = gradient / gradient.norm()
    step = 1e-2
    ahead, behind = (
        float(damage(task, prediction + sign * step * direction, batch, scale).sum()) for sign in (1, -1)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(float(gradient.norm()), rel=0.05)


@pytest.mark.parametrize("task", STEPS, ids=lambda task: f"{task.kind}.{task.metrics[0]}")
def test_thresholds_saturate(task: Task) -> None:
    generator = seeded(2)
    label = a_label(task, generator)
    batch = batch_of(task, label)
    scale = CleanScale({task.name: {task.metrics[0]: 80.0}})
    right = a_prediction(task, label, generator, error=0)
    lost = right * (1000 if task.kind == "depth" else -100)
    values, gradient = with_gradient(task, lost, batch, scale)
    assert values.tolist() == pytest.approx([100 / 80] * SAMPLES, rel=1e-3), "as bad as can be, and no worse"
    assert float(gradient.abs().max()) < 1e-6


def test_the_clean_value_is_what_an_error_counts_against() -> None:
    task = task_of("regression")
    label = torch.zeros(SAMPLES, 2, SIDE, SIDE)
    batch = batch_of(task, label)
    half, whole = (CleanScale({task.name: {"abs_error": value}}) for value in (0.5, 1.0))
    assert damage(task, label + 3, batch, whole).tolist() == pytest.approx([3.0] * SAMPLES)
    assert damage(task, label + 3, batch, half).tolist() == pytest.approx([6.0] * SAMPLES)


def test_a_tasks_damage_is_the_mean_over_its_metrics_that_have_a_clean_value() -> None:
    task = task_of("depth", "abs_error", "rel_error", "within_1.25")
    label = torch.full((SAMPLES, 1, SIDE, SIDE), 2.0)
    batch = batch_of(task, label)
    prediction = label + 1

    def of(clean: Mapping[str, float | None]) -> float:
        return float(damage(task, prediction, batch, CleanScale({task.name: clean}))[0])

    assert of({"abs_error": 0.5, "rel_error": 0.25, "within_1.25": None}) == pytest.approx((2 + 2) / 2)
    assert of({"abs_error": 0.5, "rel_error": 0.0, "within_1.25": 0.0}) == pytest.approx(2)


@pytest.mark.parametrize("task", KINDS)
def test_a_task_of_which_nothing_has_a_clean_value_has_damage_and_gradient_0(task: Task) -> None:
    generator = seeded(4)
    label = a_label(task, generator)
    batch = batch_of(task, label)
    prediction = a_prediction(task, label, generator, error=0.5)
    scale = CleanScale({task.name: dict.fromkeys(task.directions)})
    values, gradient = with_gradient(task, prediction, batch, scale)
    assert not values.any()
    assert not gradient.any()


@pytest.mark.parametrize("task", KINDS)
def test_pixels_and_samples_that_do_not_count_have_neither_damage_nor_gradient(task: Task) -> None:
    generator = seeded(5)
    label = a_label(task, generator)
    prediction = a_prediction(task, label, generator, error=0.5)
    scale = scale_of(task, prediction, batch_of(task, label))
    spoilt = label.clone()
    spoilt[0] = 255
    if task.kind != "classification":
        spoilt[1:, ..., :2] = 255
    values, gradient = with_gradient(task, prediction, batch_of(task, spoilt), scale)
    assert values[0] == 0
    assert (values[1:] > 0).all()
    assert not gradient[0].any()
    if task.kind != "classification":
        assert not gradient[1:, ..., :2].any()
        assert gradient[1:, ..., 2:].flatten(1).any(1).all()


@pytest.mark.parametrize("task", KINDS)
def test_what_is_predicted_where_nothing_counts_changes_nothing(task: Task) -> None:
    generator = seeded(6)
    label = a_label(task, generator)
    prediction = a_prediction(task, label, generator, error=0.5)
    scale = scale_of(task, prediction, batch_of(task, label))
    mask = torch.ones(label.shape[:1] if task.kind == "classification" else (SAMPLES, SIDE, SIDE)).bool()
    mask[0] = False
    batch = batch_of(task, label, mask)
    before = with_gradient(task, prediction, batch, scale)
    other = prediction.clone()
    other[0] = 7.0
    after = with_gradient(task, other, batch, scale)
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


@pytest.mark.parametrize("task", EVERY)
def test_gradients_are_finite_where_the_prediction_is_perfect_or_zero(task: Task) -> None:
    label = a_label(task, seeded(7))
    batch = batch_of(task, label)
    scale = CleanScale({task.name: {task.metrics[0]: 0.5}}, {task.name: [0.4, 0.3, 0.3]})
    perfect = a_prediction(task, label, seeded(7), error=0)
    for prediction in (perfect, torch.zeros_like(perfect), -perfect):
        values, gradient = with_gradient(task, prediction, batch, scale)
        assert torch.isfinite(values).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("task", EVERY)
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_one_samples_broken_prediction_changes_no_other_sample(task: Task, broken: float) -> None:
    generator = seeded(8)
    label = a_label(task, generator)
    batch = batch_of(task, label)
    prediction = a_prediction(task, label, generator, error=0.5)
    scale = scale_of(task, prediction, batch)
    values, gradient = with_gradient(task, prediction, batch, scale)
    poisoned = prediction.clone()
    poisoned[2] = broken
    others = [0, 1, 3]
    found, slope = with_gradient(task, poisoned, batch, scale)
    assert torch.equal(found[others], values[others])
    assert torch.equal(slope[others], gradient[others])


def test_a_wrong_pixel_of_a_rare_class_costs_more_miou() -> None:
    task = task_of("segmentation", "miou")
    label = torch.tensor([0, 1])[:, None, None].expand(2, SIDE, SIDE)
    batch = batch_of(task, label)
    prediction = torch.zeros(2, 3, SIDE, SIDE)
    scale = CleanScale({task.name: {"miou": 50.0}}, {task.name: [0.6, 0.2, 0.2]})
    common, rare = with_gradient(task, prediction, batch, scale)[1].abs().flatten(1).sum(1).tolist()
    assert rare == pytest.approx(3 * common)


def test_a_wrong_pixel_costs_what_it_takes_from_miou() -> None:
    task = task_of("segmentation", "miou")
    label = torch.zeros(1, 10, 10, dtype=torch.int64)
    label[:, 5:] = 1
    label[:, 8:] = 2
    batch = Batch(torch.zeros(1, 3, 10, 10), {task.name: label})
    clean = 10 * torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    clean[0, :, 0, 0] = torch.tensor([0.0, 0.0, 10.0])  # some other class is called it already
    attacked = clean.clone()
    attacked[0, :, 9, 9] = torch.tensor([0.0, 10.0, 0.0])
    totals = measured(task, clean, batch).totals(task.name)
    union = totals["labelled"] + totals["predicted"] - totals["intersection"]
    scale = CleanScale(all_metrics([task], {task.name: totals}), {task.name: (union / 100).tolist()}, 1e-6)
    rise = damage(task, attacked, batch, scale) - damage(task, clean, batch, scale)
    lost = arp(task, clean, attacked, batch)
    own = 100 * (1 / 21) / (49 / 50 + 1 + 20 / 21)
    assert 100 * float(rise) == pytest.approx(own, rel=1e-3)
    assert own < lost, "the class that the pixel is called loses too, and the stand-in leaves that out"


def test_classes_are_all_alike_without_shares() -> None:
    task = task_of("segmentation", "miou")
    label = torch.tensor([0, 1])[:, None, None].expand(2, SIDE, SIDE)
    scale = CleanScale({task.name: {"miou": 50.0}})
    values = damage(task, torch.zeros(2, 3, SIDE, SIDE), batch_of(task, label), scale)
    assert values.tolist() == pytest.approx([1.0, 1.0]), "half wrong, of 50 %"


def test_shares_count_whatever_is_a_class_or_called_it_and_a_little_for_those_that_nobody_saw() -> None:
    task = task_of("segmentation", "miou")
    label = torch.zeros(1, SIDE, SIDE, dtype=torch.int64)
    label[:, :2] = 1
    prediction = torch.zeros(1, 3, SIDE, SIDE)
    prediction[:, 0] = 1.0
    shares = class_shares(measured(task, prediction, batch_of(task, label)).totals(task.name))
    assert shares == pytest.approx([1 + 0.01 / 3, 1 / 3 + 0.01 / 3, 0.01 / 3])


def test_softness_widens_thresholds_and_nothing_else() -> None:
    task = task_of("depth", "abs_error", "within_1.25")
    label = torch.full((SAMPLES, 1, SIDE, SIDE), 2.0)
    batch = batch_of(task, label)
    clean = {"abs_error": 0.2, "within_1.25": 90.0}

    def slope(softness: float, error: float, **kept: float | None) -> float:
        scale = CleanScale({task.name: clean | kept}, softness=softness)
        return float(with_gradient(task, label + error, batch, scale)[1].abs().sum())

    assert slope(4.0, 6.0, abs_error=None) > 2 * slope(1.0, 6.0, abs_error=None), "far from the threshold"
    assert slope(4.0, 0.5, abs_error=None) < slope(1.0, 0.5, abs_error=None) / 2, "at it"
    assert slope(4.0, 0.5, **{"within_1.25": None}) == slope(1.0, 0.5, **{"within_1.25": None})


def test_a_depth_of_0_that_the_mask_lets_count_has_an_absolute_error_alone() -> None:
    task = task_of("depth", "abs_error", "rel_error", "within_1.25")
    label = torch.zeros(1, 1, SIDE, SIDE)
    batch = batch_of(task, label, torch.ones(1, SIDE, SIDE, dtype=torch.bool))
    scale = CleanScale({task.name: {"abs_error": 0.5, "rel_error": 0.1, "within_1.25": 90.0}})
    table = measured(task, label + 1, batch)
    assert table.tasks[task.name]["relative_valid"].tolist() == [0]
    assert damage(task, label + 1, batch, scale).tolist() == pytest.approx([1 / 0.5 / 3])


def test_labels_are_brought_to_the_predictions_size() -> None:
    task = task_of("regression")
    label = torch.arange(SIDE * SIDE, dtype=torch.float32).view(1, 1, SIDE, SIDE).expand(-1, 2, -1, -1)
    batch = batch_of(task, label.contiguous())
    scale = CleanScale({task.name: {"abs_error": 1.0}})
    small = label[..., ::2, ::2]
    assert damage(task, small, batch, scale).tolist() == [0.0]


def test_tasks_come_out_in_their_order() -> None:
    depth, edges = task_of("depth", "abs_error"), task_of("regression")
    label = torch.ones(SAMPLES, 1, SIDE, SIDE)
    batch = Batch(
        torch.zeros(SAMPLES, 3, SIDE, SIDE), {"depth": label, "regression": label.expand(-1, 2, -1, -1)}
    )
    scale = CleanScale({"depth": {"abs_error": 1.0}, "regression": {"abs_error": 1.0}})
    predictions = {"regression": label.expand(-1, 2, -1, -1) + 5, "depth": label + 2}
    first, second = Damage([depth, edges], batch, scale)(predictions)
    assert (first.tolist(), second.tolist()) == ([2.0] * SAMPLES, [5.0] * SAMPLES)
