"""Trainings on the first samples of a drawn order: a random subset of the split."""

from collections.abc import Sequence

import pytest

from core.data import in_order
from core.data.batch import Batch
from core.data.order import drawn_order
from core.training import StateError, Trainer
from tests.core.synthetic import SyntheticDataset, small_model
from tests.core.training.runs import DENSE, recipe

SPLIT, SAMPLES, SEED = 40, 8, 3


class Noting(SyntheticDataset):
    """Notes which samples it is asked for."""

    def __init__(self) -> None:
        super().__init__(DENSE, samples=SPLIT, side=8, split="train")
        self.asked: set[int] = set()

    def batch(self, indices: Sequence[int]) -> Batch:
        self.asked.update(indices)
        return super().batch(indices)


def trainer(data: SyntheticDataset, shuffle: int | None) -> Trainer:
    return Trainer(small_model(DENSE), DENSE, in_order(data, shuffle), recipe(), samples=SAMPLES)


def test_a_part_of_a_shuffled_split_is_a_random_subset() -> None:
    data = Noting()
    trainer(data, SEED).run()
    assert data.asked == set(drawn_order(SEED, SPLIT)[:SAMPLES].tolist())


def test_a_state_of_another_subset_is_refused() -> None:
    state = trainer(Noting(), SEED).state_dict()
    trainer(Noting(), SEED).load_state_dict(state)
    for other in (None, SEED + 1):
        with pytest.raises(StateError, match="dataset"):
            trainer(Noting(), other).load_state_dict(state)
