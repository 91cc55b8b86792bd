"""What an iteration does to the weights, what the trainer reads and reports, and how it fails."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.attacks import AttackSpec, run_attack
from core.data.batch import Batch
from core.errors import InvalidError
from core.losses import BatchLosses, LabelError
from core.specs.training import Adversarial, Optimiser, Recipe, Schedule
from core.training import DivergenceError, Report
from core.training.keys import rows_of
from tests.core.synthetic import SMALL, SyntheticDataset, losses, small_model
from tests.core.training.runs import (
    ATTACK,
    DENSE,
    EVERYTHING,
    MIXES,
    Plain,
    data,
    equal,
    name_of,
    recipe,
    same,
    trainer,
)

SGD = Optimiser(name="sgd", learning_rate=0.05, weight_decay=0.0, momentum=0.9)


def by_hand(model: nn.Module, how: Recipe) -> nn.Module:
    """The same training in plain torch, one line after the other."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    mix = name_of(how.adversarial)
    for iteration in range(how.iterations or 0):
        rows = rows_of(iteration, seed=how.seed, samples=20, batch_size=how.batch_size)
        batch = data().batch(rows.tolist())

        def attacked(batch: Batch = batch) -> Batch:
            images = run_attack(model, batch, DENSE, ATTACK.scaled(1 / 255)).images
            return Batch(images, batch.labels, batch.masks)

        def step(*batches: Batch) -> None:
            model.train()
            optimiser.zero_grad()
            for part in batches:
                values = [loss.mean() for loss in BatchLosses(DENSE, part)(model(part.images))]
                (torch.stack(values).sum() / len(batches)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

        if mix in ("clean", "both"):
            step(batch)
        if mix in ("both", "adversarial"):
            step(attacked())
        if mix == "joint":
            step(batch, attacked())
    return model


@pytest.mark.parametrize("adversarial", MIXES, ids=name_of)
def test_a_mix_does_what_plain_torch_does_by_hand(adversarial: Adversarial | None) -> None:
    how = recipe(iterations=3, optimiser=SGD, adversarial=adversarial)
    ours = trainer(how)
    ours.run()
    theirs = by_hand(small_model(DENSE), how)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("adversarial", MIXES, ids=name_of)
def test_training_repeats_bit_for_bit_under_its_seed_and_not_under_another(adversarial: Any) -> None:
    one, two = (trainer(recipe(adversarial=adversarial)) for _ in range(2))
    other = trainer(recipe(adversarial=adversarial, seed=1))
    for run in (one, two, other):
        run.run()
    assert equal(one.state_dict(), two.state_dict())
    assert not same(one.model, other.model)


@pytest.mark.parametrize("adversarial", MIXES, ids=name_of)
def test_losses_fall(adversarial: Adversarial | None) -> None:
    batch, model = data().batch(range(20)), small_model(DENSE)
    before = losses(model, batch, batch.images, DENSE).mean(1)
    run = trainer(recipe(iterations=40, adversarial=adversarial), model=model)
    run.run()
    after = losses(run.trained(), batch, batch.images, DENSE).mean(1)
    assert (after < before).all()
    assert after.sum() < 0.8 * before.sum()


def test_training_neither_reads_nor_moves_the_global_random_state() -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    trainer(recipe(iterations=2, adversarial=MIXES[1])).run()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_batch_in_parts_has_the_gradient_of_the_whole() -> None:
    whole = trainer(recipe(optimiser=SGD, adversarial=MIXES[3]), model=Plain())
    parts = trainer(recipe(optimiser=SGD, adversarial=MIXES[3], accumulation=3), model=Plain())
    for run in (whole, parts):
        run.run(until=3)
    torch.testing.assert_close(whole.curves.tensor(), parts.curves.tensor(), atol=1e-5, rtol=1e-4)


def test_every_iteration_is_reported_with_what_its_mix_trains_on() -> None:
    for adversarial, clean, attacked in zip(MIXES, (1, 1, 0, 1), (0, 1, 1, 1), strict=True):
        told: list[Report] = []
        run = trainer(recipe(iterations=3, adversarial=adversarial))
        run.run(progress=told.append)
        assert [report.iteration for report in told] == [1, 2, 3]
        assert {report.iterations for report in told} == {3}
        names = tuple(task.name for task in DENSE)
        assert tuple(told[0].clean) == names * clean
        assert tuple(told[0].adversarial) == tuple(told[0].steps_to_fool) == names * attacked
        assert told[0].inner_steps == (ATTACK.steps if attacked else None)
        assert run.curves["learning_rate"].tolist() == [report.learning_rate for report in told]
        assert len(run.curves) == 3


def test_the_reported_loss_is_the_batchs_before_the_step() -> None:
    told: list[Report] = []
    trainer(recipe(iterations=1), model=Plain()).run(progress=told.append)
    rows = rows_of(0, seed=0, samples=20, batch_size=4)
    batch = data().batch(rows.tolist())
    expected = losses(Plain(), batch, batch.images, DENSE).mean(1)
    assert list(told[0].clean.values()) == pytest.approx(expected.tolist(), rel=1e-5)


def test_the_learning_rate_follows_the_schedule_by_iteration_not_by_optimiser_step() -> None:
    schedule = Schedule(name="step", every=2)
    run = trainer(recipe(iterations=5, schedule=schedule, adversarial=MIXES[1]))
    run.run()
    assert run.curves["learning_rate"].tolist() == [5e-3, 5e-3, 2.5e-3, 2.5e-3, 1.25e-3]


class Watched(SyntheticDataset):
    """Notes what is read of it."""

    def __init__(self) -> None:
        super().__init__(DENSE, samples=20)
        self.read: list[list[int]] = []

    def batch(self, indices: Sequence[int]) -> Batch:
        self.read.append(list(indices))
        return super().batch(indices)


def test_data_is_read_batch_by_batch_and_one_batch_ahead() -> None:
    dataset = Watched()
    run = trainer(recipe(epochs=1, iterations=None), dataset=dataset)
    ahead: list[int] = []
    run.run(progress=lambda report: ahead.append(len(dataset.read) - report.iteration))
    assert [len(rows) for rows in dataset.read] == [4] * 5
    assert sorted(chain(*dataset.read)) == list(range(20))
    assert max(ahead) <= 1


def test_only_the_first_samples_are_used_where_one_says_so() -> None:
    dataset = Watched()
    trainer(recipe(iterations=4), dataset=dataset, samples=8).run()
    assert max(chain(*dataset.read)) < 8


def test_too_few_samples_for_a_batch_are_refused() -> None:
    with pytest.raises(InvalidError, match="3 samples do not fill a batch of 4") as caught:
        trainer(recipe(), samples=3)
    assert caught.value.field == "batch_size"


def test_a_data_set_without_labels_for_a_task_is_refused() -> None:
    with pytest.raises(LabelError, match="no labels for edges"):
        trainer(recipe(), dataset=SyntheticDataset(SMALL[:3])).run()


def test_a_model_that_runs_all_its_branches_at_once_is_trained_too() -> None:
    told: list[Report] = []
    single = AttackSpec(algorithm="pgd", eps=8, steps=2, objective="single:depth")
    adversarial = Adversarial(attack=single)
    trainer(recipe(adversarial=adversarial), model=Plain()).run(progress=told.append)
    assert set(told[0].steps_to_fool) == {"depth"}
    assert set(told[0].adversarial) == {task.name for task in DENSE}


def test_a_task_of_weight_zero_is_not_learnt() -> None:
    run = trainer(recipe(optimiser=SGD, task_weights={"depth": 0.0}))
    before = run.state_dict()["model"]
    run.run()
    after = run.state_dict()["model"]
    assert torch.equal(after["heads.depth.out.weight"], before["heads.depth.out.weight"])
    assert not torch.equal(after["heads.edges.out.weight"], before["heads.edges.out.weight"])


def test_bfloat16_casts_and_stays_near_float32() -> None:
    full, cast = (trainer(recipe(adversarial=MIXES[1], precision=p)) for p in ("float32", "bfloat16"))
    for run in (full, cast):
        run.run()
    assert not same(full.model, cast.model)
    assert all(value.dtype == torch.float32 for value in cast.model.parameters())
    first, last = full.curves["clean.depth"], cast.curves["clean.depth"]
    assert last[0] == pytest.approx(first[0], rel=0.05)
    assert last[-1] < last[0]


def test_averaged_weights_are_what_is_handed_out_and_batch_statistics_with_them() -> None:
    run = trainer(recipe(ema=0.99))
    run.run()
    trained = run.trained()
    assert not same(trained, run.model)
    name = "stages.0.0.norm.running_mean"
    assert trained.state_dict()[name].any()
    assert not torch.equal(trained.state_dict()[name], run.model.state_dict()[name])


@pytest.mark.parametrize("call", [-1, 3])
def test_between_iterations_the_model_is_in_eval_mode_whatever_happened(call: int) -> None:
    modes: list[bool] = []
    model = Failing(call)
    with suppress(DivergenceError):
        trainer(recipe(), model=model).run(progress=lambda _: modes.append(model.model.training))
    assert modes
    assert not any([*modes, *(module.training for module in model.modules())])


def test_the_model_handed_out_is_a_copy_in_eval_mode_and_usual_memory_order() -> None:
    run = trainer(recipe())
    run.run()
    trained = run.trained()
    assert trained is not run.model
    assert same(trained, run.model)
    assert not any(module.training for module in trained.modules())
    assert all(value.is_contiguous() and value.grad is None for value in trained.parameters())


class Failing(nn.Module):
    """Its depth is no number in one of its calls in train mode."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.model = small_model(DENSE)
        self.left = call

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions: dict[str, Tensor] = self.model(images)
        self.left -= self.training
        if self.left == 0 and self.training:
            self.left = -1
            return predictions | {"depth": predictions["depth"] * torch.nan}
        return predictions


@pytest.mark.parametrize(
    ("adversarial", "call", "group"),
    [
        (MIXES[0], 3, "clean"),
        (MIXES[1], 5, "clean"),
        (MIXES[1], 6, "adversarial"),
        (MIXES[2], 3, "adversarial"),
    ],
)
def test_a_loss_that_is_no_number_names_step_and_task_and_leaves_the_last_good_state(
    adversarial: Adversarial | None, call: int, group: str
) -> None:
    how = recipe(adversarial=adversarial, **EVERYTHING | {"accumulation": 1})
    run, good = trainer(how, model=Failing(call)), trainer(how, model=Failing(-1))
    with pytest.raises(
        DivergenceError, match=f"the {group} loss of depth became nan in iteration 3"
    ) as caught:
        run.run()
    assert (caught.value.iteration, caught.value.task) == (3, "depth")
    good.run(until=2)
    assert equal(run.state_dict(), good.state_dict())
    run.run()
    good.run()
    assert equal(run.state_dict(), good.state_dict())


class Steep(Plain):
    """Its loss is a number, the gradient of one of its weights is none."""

    def __init__(self) -> None:
        super().__init__()
        self.cliff = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions = super().forward(images)
        return predictions | {"depth": predictions["depth"] + self.cliff.sqrt()}


def test_a_gradient_that_is_no_number_is_refused_before_the_weights_are_moved() -> None:
    run = trainer(recipe(), model=Steep())
    before = run.state_dict()
    with pytest.raises(DivergenceError, match=r"gradient's length became .* in iteration 1") as caught:
        run.run()
    assert caught.value.task is None
    assert equal(run.state_dict(), before)
