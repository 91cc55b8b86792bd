"""What `run_attack` promises on convolutional models: what it costs, what it leaves alone, which branches it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.attacks import AttackSpec, run_attack
from core.data.batch import Batch
from core.losses import PredictionError
from core.models import TreeModel
from core.modules import frozen
from core.specs import AttackSpecError
from core.tasks import Task
from tests.core.attacks.toys import snapshot
from tests.core.synthetic import (
    ALGORITHMS,
    OBJECTIVES,
    SCENES,
    SMALL,
    WithoutOnly,
    attack,
    pgd,
    small_batch,
    small_model,
)

EPS = 0.05
EVERY = [(algorithm, objective) for algorithm in ALGORITHMS for objective in OBJECTIVES]
BRANCHED = [
    [[0, 1, 2, 3, 4]],
    [[0, 1, 2, 3, 4]],
    [[0, 1], [2, 3, 4]],
    [[0], [1], [2], [3, 4]],
    [[0], [1], [2], [3], [4]],
]


@contextmanager
def counted_calls(model: nn.Module) -> Iterator[dict[str, int]]:
    """How often each submodule's forward ran."""
    calls = dict.fromkeys(dict(model.named_modules()), 0)

    def count(name: str) -> Any:
        def hook(*_: object) -> None:
            calls[name] += 1

        return hook

    handles = [module.register_forward_hook(count(name)) for name, module in model.named_modules()]
    yield calls
    for handle in handles:
        handle.remove()


def half_trained_model() -> TreeModel:
    """Some submodules in train mode, some frozen, some with gradients."""
    model = small_model()
    model.train()
    model.stages[1].eval()
    model.stages[2].requires_grad_(False)
    for parameter in model.heads.parameters():
        parameter.grad = torch.ones_like(parameter)
    return model


def test_images_a_rounding_error_below_the_bounds_are_taken_and_clamped() -> None:
    clean = small_batch()
    batch = Batch(torch.full_like(clean.images, -3e-8), clean.labels, clean.masks)
    images = run_attack(small_model(), batch, SMALL, attack("fgsm", "total", eps=EPS)).images
    assert images.min() >= 0
    assert images.max() <= EPS + 1e-6


def test_bounds_and_eps_are_in_the_units_of_the_images() -> None:
    unit = small_batch()
    batch = Batch(unit.images * 255 - 120, unit.labels, unit.masks)
    images = run_attack(
        small_model(), batch, SMALL, attack("fgsm", "total", eps=8), bounds=(-120, 135)
    ).images
    assert images.min() >= -120
    assert images.max() <= 135
    assert (images - batch.images).abs().max() == pytest.approx(8, abs=1e-4)


@pytest.mark.parametrize(("algorithm", "objective"), EVERY)
def test_the_model_is_left_as_it_was(algorithm: str, objective: str) -> None:
    model = half_trained_model()
    before = snapshot(model)
    run_attack(model, small_batch(), SMALL, attack(algorithm, objective))
    assert snapshot(model) == before


def test_the_model_is_left_as_it_was_when_the_attack_fails_half_way() -> None:
    model = half_trained_model()
    before = snapshot(model)
    passes = []

    def fail_later(*_: object) -> None:
        passes.append(1)
        if len(passes) == 2:
            raise RuntimeError("out of luck")

    handle = model.heads["depth"].register_forward_hook(fail_later)
    with pytest.raises(RuntimeError, match="out of luck"):
        run_attack(model, small_batch(), SMALL, pgd("total"))
    handle.remove()
    assert snapshot(model) == before


def test_the_batch_is_left_as_it_was() -> None:
    batch, twin = small_batch(), small_batch()
    run_attack(small_model(), batch, SMALL, pgd("gb_mta", random_start=True))
    assert torch.equal(batch.images, twin.images)
    assert not batch.images.requires_grad
    assert all(torch.equal(batch.labels[name], label) for name, label in twin.labels.items())


def test_outcome_images_carry_no_graph_and_share_no_memory_with_the_batch() -> None:
    batch = small_batch()
    images = run_attack(small_model(), batch, SMALL, pgd("total")).images
    assert not images.requires_grad
    assert images.data_ptr() != batch.images.data_ptr()


def test_every_pass_is_in_eval_mode_with_parameters_frozen() -> None:
    model = half_trained_model()
    seen: list[tuple[bool, bool]] = []

    def look(*_: object) -> None:
        training = any(module.training for module in model.modules())
        seen.append((training, any(parameter.requires_grad for parameter in model.parameters())))

    model.register_forward_pre_hook(look)
    run_attack(model, small_batch(), SMALL, pgd("gb_mta", steps=2))
    assert seen == [(False, False)] * 2


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    run_attack(small_model(), small_batch(), SMALL, pgd("gb_mta", random_start=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_attack_works_inside_a_block_without_gradients() -> None:
    with torch.no_grad():
        images = run_attack(small_model(), small_batch(), SMALL, pgd("total")).images
    assert torch.equal(images, run_attack(small_model(), small_batch(), SMALL, pgd("total")).images)


def test_frozen_restores_each_modules_mode_and_each_parameters_flag() -> None:
    model = half_trained_model()
    before = snapshot(model)
    with frozen(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("objective", "backwards"), [("single:depth", 4), ("total", 4), ("gb_mta", 4), ("sign_total", 20)]
)
def test_passes_are_counted_as_they_are_taken(objective: str, backwards: int) -> None:
    model, arrived = small_model(), []

    def watch(_: nn.Module, __: tuple[Tensor], output: Tensor) -> None:
        output.register_hook(lambda gradient: arrived.append(gradient.shape))  # type: ignore[no-untyped-call]

    model.stages[0].get_submodule("0").register_forward_hook(watch)
    with counted_calls(model) as calls:
        outcome = run_attack(model, small_batch(), SMALL, pgd(objective, steps=4))
    assert outcome.forwards == calls[""] == 4
    assert outcome.backwards == len(arrived) == backwards


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_fgsm_is_one_step_and_its_direction_one_forward_pass(objective: str) -> None:
    outcome = run_attack(small_model(), small_batch(), SMALL, attack("fgsm", objective))
    assert outcome.forwards == 1
    assert outcome.backwards == (5 if objective == "sign_total" else 1)


def test_single_runs_its_own_branch_and_no_other() -> None:
    model = small_model(layout=BRANCHED)
    with counted_calls(model) as calls:
        run_attack(model, small_batch(), SMALL, pgd("single:depth", steps=1))
    stages = [
        name for name, count in calls.items() if count and name.startswith("stages.") and name.count(".") == 2
    ]
    assert stages == ["stages.0.0", "stages.1.0", "stages.2.1", "stages.3.2", "stages.4.2"]
    assert [task.name for task in SMALL if calls[f"heads.{task.name}"]] == ["depth"]


@pytest.mark.parametrize(("algorithm", "objective"), EVERY)
def test_a_model_that_cannot_choose_branches_is_attacked_alike(algorithm: str, objective: str) -> None:
    model, batch, spec = small_model(layout=BRANCHED), small_batch(), attack(algorithm, objective)
    with_only = run_attack(model, batch, SMALL, spec).images
    assert torch.equal(run_attack(WithoutOnly(model), batch, SMALL, spec).images, with_only)


def test_joint_objectives_attack_only_the_tasks_handed_over() -> None:
    model, batch = small_model(), small_batch()
    handed = run_attack(model, batch, SMALL[2:3], pgd("total")).images
    assert torch.equal(handed, run_attack(model, batch, SMALL, pgd("single:depth")).images)


def test_single_on_a_task_that_is_not_there_is_refused_with_the_tasks_there_are() -> None:
    with pytest.raises(AttackSpecError, match="no task 'gloss' to attack; there are segmentation") as caught:
        run_attack(small_model(), small_batch(), SMALL, pgd("single:gloss"))
    assert caught.value.field == "objective"


def test_an_attack_on_no_task_is_refused() -> None:
    with pytest.raises(AttackSpecError, match="no task to attack"):
        run_attack(small_model(), small_batch(), (), pgd("total"))


class Detached(nn.Module):
    """One task's prediction, or every one, has lost its gradient."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.model = small_model()
        self.names = names

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions: dict[str, Tensor] = self.model(images)
        return {name: value.detach() if name in self.names else value for name, value in predictions.items()}


@pytest.mark.parametrize(("algorithm", "objective"), EVERY)
def test_a_model_without_gradients_is_attacked_and_found_out(algorithm: str, objective: str) -> None:
    spec = attack(algorithm, objective, eps=EPS)
    outcome = run_attack(Detached(*(task.name for task in SMALL)), small_batch(), SMALL, spec)
    assert outcome.zero_gradient.all()
    assert not outcome.non_finite.any()


def test_one_task_without_a_gradient_leaves_the_others_theirs() -> None:
    first = SMALL[0].name
    rest = [task for task in SMALL if task.name != first]
    spec = attack("pgd", "total", eps=EPS)
    outcome = run_attack(Detached(first), small_batch(), SMALL, spec)
    assert not outcome.zero_gradient.any()
    assert torch.equal(outcome.images, run_attack(small_model(), small_batch(), rest, spec).images)


def test_a_model_that_lacks_an_attacked_task_is_refused() -> None:
    with pytest.raises(PredictionError, match="not normals") as caught:
        run_attack(WithoutOnly(small_model(SMALL[:1])), small_batch(), SMALL, pgd("total"))
    assert caught.value.field == "normals"


def test_a_model_that_gives_a_bare_tensor_is_refused() -> None:
    with pytest.raises(PredictionError, match="must map images to"):
        run_attack(nn.Conv2d(3, 1, 1), small_batch(), (Task("depth", "depth", 1),), pgd("total"))


def test_other_steps_go_on_from_where_fewer_steps_ended() -> None:
    model, batch = small_model(), small_batch()
    spec = AttackSpec(algorithm="pgd", objective="total", eps=1.0, steps=2, step_size=0.01)
    once = AttackSpec(algorithm="pgd", objective="total", eps=1.0, steps=1, step_size=0.01)
    first = run_attack(model, batch, SMALL, once).images
    second = run_attack(model, Batch(first, batch.labels, batch.masks), SMALL, once).images
    assert torch.equal(second, run_attack(model, batch, SMALL, spec).images)


def test_an_attack_on_five_scene_tasks_repeats_bit_for_bit() -> None:
    model, batch, spec = small_model(SCENES), small_batch(SCENES, side=32), pgd("gb_mta", random_start=True)
    assert torch.equal(
        run_attack(model, batch, SCENES, spec).images, run_attack(model, batch, SCENES, spec).images
    )
