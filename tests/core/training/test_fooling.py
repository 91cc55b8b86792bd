"""Rules by which a task is fooled, and how the tasks' verdicts are put together."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.data.batch import Batch
from core.evaluation.metrics import metric_values
from core.evaluation.statistics import task_statistics
from core.losses import labels_of
from core.specs.training import Fooled, FooledWhen
from core.tasks import Task
from core.training.fooling import NOT_JUDGED, Judge, Record
from tests.core.attacks.toys import TOYS, Pixelwise, toy_batch
from tests.core.synthetic import SMALL, small_batch, small_model

SCORES = torch.tensor(
    [
        [2.0, 2.0, 0.0, 2.0, torch.nan, 0.0, 5.0],
        [1.0, 0.0, 0.0, 0.5, 2.0, 0.0, 0.0],
        [1.5, 0.0, 0.0, 0.5, 2.0, 5.0, -1.0],
    ]
)
COUNTED = torch.ones_like(SCORES, dtype=torch.bool)
COUNTED[2, 5:] = False
COUNTED[1:, 6] = False


def judge(batch: Batch | None = None, tasks: tuple[Task, ...] = TOYS, **fields: Any) -> Judge:
    return Judge(Fooled(**fields), tasks, batch or toy_batch())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"aggregate": "all"}, [1, 0, 0, 0, 0, 0, 1]),
        ({"aggregate": "any"}, [1, 1, 0, 1, 1, 0, 1]),
        ({"aggregate": "count", "count": 1}, [1, 1, 0, 1, 1, 0, 1]),
        ({"aggregate": "count", "count": 2}, [1, 0, 0, 0, 1, 0, 1]),
        ({"aggregate": "count", "count": 3}, [1, 0, 0, 0, 0, 0, 1]),
        ({"aggregate": "mean"}, [1, 0, 0, 1, 0, 0, 1]),
    ],
    ids=str,
)
def test_each_aggregate_looks_at_the_tasks_that_count_and_at_no_others(
    fields: dict[str, Any], expected: list[int]
) -> None:
    assert judge(**fields).together(SCORES, COUNTED).int().tolist() == expected


@pytest.mark.parametrize("aggregate", ["all", "any", "mean"])
def test_a_sample_that_no_task_counts_for_has_nothing_left_to_lose(aggregate: Any) -> None:
    nothing = torch.zeros(3, 2, dtype=torch.bool)
    assert judge(aggregate=aggregate).together(torch.zeros(3, 2), nothing).all()


@pytest.mark.parametrize("aggregate", ["all", "any", "mean"])
def test_the_order_of_the_tasks_does_not_matter(aggregate: Any) -> None:
    order = torch.tensor([2, 0, 1])
    straight = judge(aggregate=aggregate).together(SCORES, COUNTED)
    assert torch.equal(judge(aggregate=aggregate).together(SCORES[order], COUNTED[order]), straight)


def test_a_rise_is_measured_against_the_clean_loss_or_the_floor() -> None:
    rules = Fooled(rule=FooledWhen(threshold=0.5, floor=0.1), tasks={"edges": FooledWhen(threshold=2.0)})
    clean = torch.tensor([[1.0, 0.001], [2.0, 2.0], [1.0, 1.0]])
    losses = torch.tensor([[1.5, 0.05], [2.9, 3.0], [3.0, 2.9]])
    scores = Judge(rules, TOYS, toy_batch(2)).scores(losses, clean, {})
    torch.testing.assert_close(scores, torch.tensor([[1.0, 0.98], [0.9, 1.0], [1.0, 0.95]]))


def predictions(tasks: tuple[Task, ...], batch: Batch) -> dict[str, Tensor]:
    with torch.no_grad():
        found: dict[str, Tensor] = (Pixelwise() if tasks == TOYS else small_model(tasks))(batch.images)
    return found


CASES = [
    ("segmentation", "miou"),
    ("segmentation", "pixel_accuracy"),
    ("normals", "mean"),
    ("normals", "within_30"),
    ("depth", "rel_error"),
    ("edges", "abs_error"),
    ("digit", "accuracy"),
]


@pytest.mark.parametrize(("name", "metric"), CASES)
def test_a_metric_is_that_of_the_sample_alone_and_its_threshold_in_its_unit(name: str, metric: str) -> None:
    task = next(task for task in SMALL if task.name == name)
    batch = small_batch(samples=6)
    found = predictions(SMALL, batch)
    alone = []
    for n in range(6):
        one = batch.select(slice(n, n + 1))
        counts = task_statistics(task, found[name][n : n + 1], *labels_of(task, one))
        totals = {key: values.sum(0).double().numpy() for key, values in counts.items()}
        asked = Task(name, task.kind, task.channels, metrics=(metric,))
        alone.append(metric_values(asked, totals)[metric])
    values = torch.tensor([value for value in alone if value is not None], dtype=torch.float64)
    assert len(values) == 6
    threshold = float(values.median())
    rule = Fooled(rule=FooledWhen(by="metric", metric=metric, threshold=threshold))
    zeros = torch.zeros(1, 6)
    verdict = Judge(rule, (task,), batch).scores(zeros, zeros, found)[0] >= 1
    higher = metric in ("miou", "pixel_accuracy", "within_30", "accuracy")
    assert torch.equal(verdict, values <= threshold if higher else values >= threshold)
    assert verdict.any()


def test_a_changed_label_fools_a_classification() -> None:
    batch = small_batch(samples=6)
    digit = (SMALL[4],)
    right = torch.nn.functional.one_hot(batch.labels["digit"], 5).float()
    right[2] = -right[2]
    zeros = torch.zeros(1, 6)
    scores = Judge(Fooled(), digit, batch).scores(zeros, zeros, {"digit": right})
    assert (scores[0] >= 1).tolist() == [False, False, True, False, False, False]


def test_after_samples_were_let_go_the_others_are_judged_by_their_own_labels() -> None:
    batch, rows = small_batch(samples=6), torch.tensor([1, 4])
    found = predictions(SMALL, batch)
    rule = FooledWhen(by="metric", metric="abs_error", threshold=1.0)
    rules = Fooled(tasks={"depth": rule}, rule=None)
    zeros = torch.zeros(len(SMALL), 6)
    whole = Judge(rules, SMALL, batch)
    expected = whole.scores(zeros, zeros, found)[:, rows]
    whole.keep(rows)
    some = {name: value[rows] for name, value in found.items()}
    assert torch.equal(whole.scores(zeros[:, rows], zeros[:, rows], some), expected)


def test_a_record_keeps_the_first_time_and_counts_tau_from_there() -> None:
    counted = torch.tensor([[True, True], [True, False]])
    record = Record(counted, steps=5, tau=2)
    no, yes = torch.zeros(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool)
    record.note(0, torch.stack([no, no]), no)
    record.note(1, torch.stack([yes, no]) & counted, torch.tensor([False, True]))
    record.note(2, torch.stack([no, yes]) & counted, no)
    record.note(4, torch.stack([yes, yes]) & counted, yes)
    assert record.seen.tolist() == [[1, 1], [2, NOT_JUDGED]]
    assert record.until.tolist() == [5, 3]
    assert record.fooled.tolist() == [True, True]
