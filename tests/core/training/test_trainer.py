"""The plain trainer: it learns, it repeats itself, and it refuses what cannot be trained."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.data.batch import Batch
from core.errors import InvalidError
from core.models import TreeModel
from core.models.heads import DeeplabHead
from core.training import Progress, TrainingRecipe, train
from tests.core.synthetic import SMALL, SyntheticDataset, losses, small_model

DENSE = SMALL[:4]
RECIPE = TrainingRecipe(epochs=4, batch_size=8, learning_rate=1e-2)


def data() -> SyntheticDataset:
    return SyntheticDataset(DENSE, samples=32)


def weights(model: TreeModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: TreeModel, other: TreeModel) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_every_tasks_loss_falls_on_the_data_it_was_trained_on() -> None:
    batch = data().batch(range(32))
    model = small_model(DENSE)
    before = losses(model, batch, batch.images, DENSE).mean(1)
    after = losses(train(model, data(), replace(RECIPE, epochs=12)), batch, batch.images, DENSE).mean(1)
    assert (after < before).all()
    assert after.sum() < 0.8 * before.sum()


def test_training_repeats_bit_for_bit_under_its_seed() -> None:
    assert same(train(small_model(DENSE), data(), RECIPE), train(small_model(DENSE), data(), RECIPE))


def test_another_seed_takes_the_samples_in_another_order() -> None:
    other = train(small_model(DENSE), data(), replace(RECIPE, seed=1))
    assert not same(train(small_model(DENSE), data(), RECIPE), other)


def test_training_neither_reads_nor_moves_the_global_random_state() -> None:
    def trained(seed: int) -> TreeModel:
        model = small_model(DENSE)
        model.heads["depth"] = DeeplabHead(64, 1)
        for parameter in model.heads["depth"].parameters():
            torch.nn.init.constant_(parameter, 1e-3)
        torch.manual_seed(seed)
        return train(model, SyntheticDataset(DENSE, samples=8), replace(RECIPE, epochs=1))

    first = trained(1)
    state = torch.random.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(first, trained(2)), "dropout draws from the recipe's seed"


def test_the_model_is_handed_back_in_eval_mode_and_is_the_one_handed_over() -> None:
    model = small_model(DENSE).train()
    trained = train(model, data(), RECIPE)
    assert trained is model
    assert not any(module.training for module in trained.modules())


def test_batch_statistics_are_learnt_too() -> None:
    trained = train(small_model(DENSE), data(), RECIPE)
    assert trained.state_dict()["stages.0.0.norm.running_mean"].any()


def test_progress_is_told_after_every_step_with_every_tasks_loss() -> None:
    told: list[Progress] = []
    train(small_model(DENSE), data(), RECIPE, progress=told.append)
    assert [progress.step for progress in told] == list(range(1, 17))
    assert {progress.steps for progress in told} == {16}
    assert {tuple(progress.losses) for progress in told} == {tuple(task.name for task in DENSE)}


def test_a_single_step_is_enough() -> None:
    told: list[Progress] = []
    train(small_model(DENSE), data(), replace(RECIPE, epochs=1, batch_size=32), progress=told.append)
    assert len(told) == 1


def test_a_task_of_weight_zero_is_not_learnt() -> None:
    model = small_model(DENSE)
    before = weights(model)
    recipe = replace(RECIPE, epochs=1, weight_decay=0.0, task_weights={"depth": 0.0})
    after = weights(train(model, data(), recipe))
    assert torch.equal(after["heads.depth.out.weight"], before["heads.depth.out.weight"])
    assert not torch.equal(after["heads.edges.out.weight"], before["heads.edges.out.weight"])


def test_only_the_first_samples_are_used_where_the_recipe_says_so() -> None:
    limited = train(small_model(DENSE), data(), replace(RECIPE, samples=8))
    assert same(limited, train(small_model(DENSE), SyntheticDataset(DENSE, samples=8), RECIPE))


@pytest.mark.parametrize(("samples", "batch_size"), [(4, 8), (0, 8)])
def test_too_few_samples_for_a_batch_are_refused(samples: int, batch_size: int) -> None:
    with pytest.raises(InvalidError, match="do not fill a batch of 8") as caught:
        train(small_model(DENSE), data(), replace(RECIPE, samples=samples, batch_size=batch_size))
    assert caught.value.field == "batch_size"


class Broken(SyntheticDataset):
    """Its sixth image is NaN."""

    def batch(self, indices: Sequence[int]) -> Batch:
        batch = super().batch(indices)
        batch.images[batch.indices == 5] = torch.nan
        return batch


def test_a_loss_that_is_no_number_is_refused_with_the_step_it_came_at() -> None:
    with pytest.raises(InvalidError, match="the loss became nan at step 1"):
        train(small_model(DENSE), Broken(DENSE, samples=32), replace(RECIPE, batch_size=32))
