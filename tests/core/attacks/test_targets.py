"""Targeted attacks: which labels predictions are drawn to, and that they go there."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.attacks import AttackSpec, run_attack
from core.attacks.targets import aimed
from core.data.batch import Batch
from core.losses import BatchLosses
from core.specs import AttackSpecError
from core.specs.algorithms import Algorithm
from core.specs.attack import check_target
from core.tasks import Task
from tests.core.attacks.toys import TOYS, Pixelwise, toy_batch
from tests.core.synthetic import SMALL, small_batch, small_model

SEGMENTATION, DEPTH, EDGES = TOYS
DIGIT = SMALL[-1]
UPWARD: tuple[Algorithm, ...] = ("fgsm", "pgd", "mim", "apgd", "auto_sage", "square")


def predictions(images: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        found: dict[str, Tensor] = Pixelwise().eval()(images)
    return found


def drawn(algorithm: Algorithm, **changes: Any) -> Tensor:
    steps = {"fgsm": None, "square": 80}.get(algorithm, 6)
    spec = AttackSpec(algorithm=algorithm, eps=0.1, steps=steps, **changes)
    return run_attack(Pixelwise(), toy_batch(), TOYS, spec).images


def test_without_targets_the_batch_is_itself() -> None:
    batch = toy_batch()
    assert aimed(batch, TOYS, None) is batch


def test_labels_are_replaced_where_they_count_and_nowhere_else() -> None:
    batch = toy_batch()
    batch.labels["segmentation"][0, 0] = 255
    batch.masks["depth"][1] = False
    result = aimed(batch, TOYS, {"segmentation": 2, "depth": 0.0})
    valid = batch.labels["segmentation"] != 255
    assert (result.labels["segmentation"][valid] == 2).all()
    assert (result.labels["segmentation"][~valid] == 255).all()
    counted = batch.masks["depth"][:, None]
    assert (result.labels["depth"][counted] == 0).all()
    assert torch.equal(result.labels["depth"][~counted], batch.labels["depth"][~counted])
    assert result.labels["edges"] is batch.labels["edges"]
    assert not torch.equal(batch.labels["segmentation"], result.labels["segmentation"]), (
        "a label of the caller's"
    )


def test_next_is_the_class_after_the_true_one_and_the_first_after_the_last() -> None:
    images = torch.zeros(5, 3, 2, 2)
    classes = torch.tensor([0, 1, 2, 3, 4])
    digits = aimed(Batch(images, {"digit": classes}), (DIGIT,), {"digit": "next"})
    assert digits.labels["digit"].tolist() == [1, 2, 3, 4, 0]
    pixels = torch.tensor([0, 1, 2, 255, 2])[:, None, None].expand(5, 2, 2)
    dense = aimed(Batch(images, {"segmentation": pixels}), (SEGMENTATION,), {"segmentation": "next"})
    assert dense.labels["segmentation"][:, 0, 0].tolist() == [1, 2, 0, 255, 0]


@pytest.mark.parametrize("target", [0.0, -2.0, 3.5])
def test_a_depth_that_no_label_could_have_still_counts_on_every_valid_pixel(target: float) -> None:
    batch = toy_batch()
    batch.masks.clear()
    batch.labels["depth"][0, 0, 0] = 0.0  # not measured
    result = aimed(batch, TOYS, {"depth": target})
    zeros = {"depth": torch.zeros_like(batch.labels["depth"])}
    (loss,) = BatchLosses((DEPTH,), result)(zeros)
    torch.testing.assert_close(loss, torch.full((4,), abs(target)))
    assert not result.masks["depth"][0, 0].any()
    assert result.masks["depth"][0, 1:].all()


@pytest.mark.parametrize("algorithm", UPWARD)
@pytest.mark.parametrize("objective", ["single:segmentation", "total", "gb_mta"])
@pytest.mark.parametrize("target", [0, 2])
def test_more_pixels_are_called_what_they_are_drawn_to(
    algorithm: Algorithm, objective: str, target: int
) -> None:
    before = predictions(toy_batch().images)["segmentation"].argmax(1) == target
    images = drawn(algorithm, objective=objective, targets={"segmentation": target})
    after = predictions(images)["segmentation"].argmax(1) == target
    assert after.float().mean() > before.float().mean()


@pytest.mark.parametrize("algorithm", UPWARD)
def test_a_depth_is_drawn_to_its_target(algorithm: Algorithm) -> None:
    errors = [
        (predictions(images)["depth"] - 3.0).abs().mean()
        for images in (
            toy_batch().images,
            drawn(algorithm, objective="single:depth", targets={"depth": 3.0}),
        )
    ]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("objective", ["sign_total", "pcgrad", "mgda"])
def test_objectives_of_single_gradients_are_drawn_too(objective: str) -> None:
    images = drawn("pgd", objective=objective, targets={"segmentation": 1})
    before, after = (
        (predictions(each)["segmentation"].argmax(1) == 1).float().mean()
        for each in (toy_batch().images, images)
    )
    assert after > before


def test_samples_are_called_the_digit_that_they_are_drawn_to() -> None:
    model, batch = small_model((DIGIT,)), small_batch((DIGIT,), samples=8)
    spec = AttackSpec(
        algorithm="apgd", objective="single:digit", eps=0.3, steps=15, targets={"digit": "next"}
    )
    images = run_attack(model, batch, (DIGIT,), spec).images
    wanted = (batch.labels["digit"] + 1) % 5
    with torch.no_grad():
        before, after = ((model(each)["digit"].argmax(1) == wanted).sum() for each in (batch.images, images))
    assert after > before


@pytest.mark.parametrize(
    ("task", "value"),
    [
        (SEGMENTATION, 3),
        (SEGMENTATION, -1),
        (SEGMENTATION, 1.0),
        (SEGMENTATION, 0.5),
        (DIGIT, 5),
        (DEPTH, "next"),
        (DEPTH, 255),
        (EDGES, "next"),
        (EDGES, 255.0),
        (SMALL[1], 0),
        (SMALL[1], "next"),
    ],
    ids=str,
)
def test_a_target_that_a_task_cannot_have_is_refused(task: Task, value: float | str) -> None:
    with pytest.raises(AttackSpecError) as caught:
        check_target(task, value)
    assert caught.value.field == f"targets.{task.name}"


def test_run_attack_refuses_a_target_that_a_task_cannot_have() -> None:
    spec = AttackSpec(algorithm="pgd", objective="total", eps=0.1, targets={"segmentation": 3})
    with pytest.raises(AttackSpecError, match="classes 0 to 2") as caught:
        run_attack(Pixelwise(), toy_batch(), TOYS, spec)
    assert caught.value.field == "targets.segmentation"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("objective", {"objective": "single:gloss"}),
        ("objective", {"objective": "stealth:depth+gloss"}),
        ("weights", {"objective": "total", "weights": {"gloss": 2.0}}),
        ("targets", {"objective": "total", "targets": {"gloss": 1}}),
    ],
)
def test_a_task_that_is_not_there_is_refused_with_the_tasks_there_are(
    field: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(AttackSpecError, match="no task 'gloss' to attack; there are segmentation") as caught:
        run_attack(Pixelwise(), toy_batch(), TOYS, AttackSpec(algorithm="pgd", eps=0.1, **changes))
    assert caught.value.field == field


def test_an_attack_that_weighs_every_task_by_0_is_refused() -> None:
    spec = AttackSpec(algorithm="pgd", objective="total", eps=0.1, weights={task.name: 0.0 for task in TOYS})
    with pytest.raises(AttackSpecError, match="no task to attack") as caught:
        run_attack(Pixelwise(), Batch(toy_batch().images, toy_batch().labels), TOYS, spec)
    assert caught.value.field == "weights"
