"""`evaluate_transferability`: each task attacked by itself, in and across models."""

from functools import cache
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from core.attacks import AttackSpec, run_attack
from core.data.batch import Batch
from core.errors import InvalidError
from core.evaluation import (
    Arp,
    TransferResult,
    average_relative_performance,
    evaluate,
    evaluate_transferability,
)
from core.evaluation.transfer import pair_transferability
from core.tasks import Task
from tests.core.synthetic import SMALL, Counting, Reader, SyntheticDataset

DENSE = SMALL[1:4]
NAMES = tuple(task.name for task in DENSE)
DATA = SyntheticDataset(DENSE, samples=8, side=8)
PGD = AttackSpec(algorithm="pgd", eps=8, steps=4)


class Crossed(Reader):
    """Another model of the same tasks: it sees the channels of its images the other way round."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return super().forward(images.flip(1).pow(2))


@cache
def between() -> TransferResult:
    return evaluate_transferability({"plain": Reader(DENSE), "crossed": Crossed(DENSE)}, DATA, PGD)


def single(task: str) -> AttackSpec:
    return AttackSpec(algorithm="pgd", objective=f"single:{task}", eps=8, steps=4)


def test_every_model_is_source_and_target_of_every_other() -> None:
    found = between()
    assert found.models == ("plain", "crossed")
    assert list(found.pairs) == list(product(("plain", "crossed"), repeat=2))
    for pair in found.pairs.values():
        assert pair.tasks == NAMES
        assert tuple(pair.matrix) == NAMES


@pytest.mark.parametrize("name", ["plain", "crossed"])
def test_within_a_model_the_matrix_is_what_each_single_attack_does_by_itself(name: str) -> None:
    model = Reader(DENSE) if name == "plain" else Crossed(DENSE)
    alone = evaluate(model, DATA, [single(task) for task in NAMES], health=False)
    pair = between().pairs[name, name]
    for attacked, result in zip(NAMES, alone.attacks, strict=True):
        assert result.arp is not None
        assert pair.matrix[attacked] == result.arp.tasks
        assert pair.matrix_intervals[attacked] == result.task_intervals


def test_from_model_to_model_it_is_what_the_sources_images_do_to_the_target() -> None:
    batch = DATA.batch(range(len(DATA)))
    clean = evaluate(Crossed(DENSE), DATA, []).clean.metrics
    directions = {task.name: task.directions for task in DENSE}
    for attacked in NAMES:
        images = run_attack(Reader(DENSE), batch, DENSE, single(attacked).scaled(1 / 255)).images
        moved = evaluate(Crossed(DENSE), Shown(images), []).clean.metrics
        expected = average_relative_performance(clean, moved, directions).tasks
        found = between().pairs["plain", "crossed"].matrix[attacked]
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


class Shown(SyntheticDataset):
    """The same labels under other images."""

    def __init__(self, images: Tensor) -> None:
        super().__init__(DENSE, samples=len(images), side=8)
        self.images = images

    def batch(self, indices: object) -> Batch:
        batch = super().batch(indices)  # type: ignore[arg-type]
        return Batch(self.images[batch.indices], batch.labels, batch.masks, batch.indices)


CHANNELS = tuple(Task(name, "regression", 1) for name in ("red", "green", "blue"))


class Painted(SyntheticDataset):
    """Each task's label is its channel."""

    def __init__(self) -> None:
        super().__init__((), samples=6, side=8)
        self.tasks = CHANNELS

    def batch(self, indices: object) -> Batch:
        batch = super().batch(indices)  # type: ignore[arg-type]
        labels = {task.name: batch.images[:, [n]] for n, task in enumerate(CHANNELS)}
        return Batch(batch.images, labels, {}, batch.indices)


class Apart(nn.Module):
    """Every task reads its own channel and no other."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {task.name: images[:, [n]] + 0.1 for n, task in enumerate(CHANNELS)}


def test_nothing_transfers_between_tasks_that_share_nothing() -> None:
    pair = evaluate_transferability({"apart": Apart()}, Painted(), PGD).pairs["apart", "apart"]
    for attacked in pair.matrix:
        own = pair.matrix[attacked][attacked]
        assert own is not None
        assert own > 20
        assert pair.values[attacked] == pytest.approx(0, abs=1e-3)
    assert (pair.undefined, pair.unstable) == ({}, ())


class Same(Painted):
    """All tasks have the same label."""

    def batch(self, indices: object) -> Batch:
        batch = super().batch(indices)
        grey = batch.images.mean(1, keepdim=True)
        return Batch(batch.images, {task.name: grey for task in CHANNELS}, {}, batch.indices)


class Repeated(nn.Module):
    """All tasks have the same prediction."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {task.name: images.mean(1, keepdim=True) + 0.1 for task in CHANNELS}


def test_everything_transfers_between_tasks_that_are_copies() -> None:
    pair = evaluate_transferability({"same": Repeated()}, Same(), PGD).pairs["same", "same"]
    for attacked in pair.matrix:
        assert len(set(pair.matrix[attacked].values())) == 1
        assert pair.values[attacked] == 1.0
        bounds = pair.intervals[attacked]
        assert bounds is not None
        assert bounds.low == bounds.high == 1.0


class Blind(Reader):
    """Its depth does not look at the image."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions = super().forward(images)
        return predictions | {"depth": torch.full_like(predictions["depth"], 2.0) + 0 * images.sum()}


def test_why_a_value_is_not_defined_is_said() -> None:
    pair = evaluate_transferability({"blind": Blind(DENSE)}, DATA, PGD).pairs["blind", "blind"]
    assert pair.values["depth"] is None
    assert "did not harm it" in pair.undefined["depth"]
    assert pair.undefined.keys() == {"depth"}
    assert pair.matrix["edges"]["depth"] == 0
    assert pair.matrix["depth"]["depth"] == 0


def test_a_single_task_has_none_to_transfer_to() -> None:
    found = evaluate_transferability({"one": Reader(DENSE[:1])}, DATA, PGD, tasks=DENSE[:1])
    assert "only task" in found.pairs["one", "one"].undefined["normals"]


def test_images_are_made_once_for_all_targets() -> None:
    source, target = Counting(Reader(DENSE)), Counting(Crossed(DENSE))
    evaluate_transferability({"source": source, "target": target}, DATA, PGD)
    clean, scored = 1, 2 * len(DENSE)
    assert target.forwards // len(DATA) == clean + scored, "its own attacks run on its prepared copy"


def test_limit_and_rules_are_as_in_evaluate() -> None:
    limited = evaluate_transferability({"m": Reader(DENSE)}, DATA, PGD, limit=3, batch_size=2)
    short = evaluate_transferability({"m": Reader(DENSE)}, SyntheticDataset(DENSE, samples=3, side=8), PGD)
    for attacked in NAMES:
        found, expected = (result.pairs["m", "m"].matrix[attacked] for result in (limited, short))
        assert found == pytest.approx(expected, rel=1e-3)


def test_no_model_and_no_sample_are_refused() -> None:
    with pytest.raises(InvalidError) as caught:
        evaluate_transferability({}, DATA, PGD)
    assert caught.value.field == "models"
    with pytest.raises(InvalidError) as caught:
        evaluate_transferability({"m": Reader(DENSE)}, DATA, PGD, limit=0)
    assert caught.value.field == "limit"


@pytest.mark.parametrize("algorithm", ["sign_noise", "auto_mta"])
def test_an_algorithm_that_cannot_attack_one_task_is_refused(algorithm: str) -> None:
    attack = AttackSpec(algorithm=algorithm, eps=8)  # type: ignore[arg-type]
    with pytest.raises(InvalidError, match="cannot attack one task") as caught:
        evaluate_transferability({"m": Reader(DENSE)}, DATA, attack)
    assert caught.value.field == "attack.algorithm"


def test_a_pair_is_no_more_than_its_results() -> None:
    alone = evaluate(Reader(DENSE), DATA, [single(task) for task in NAMES], health=False)
    results = dict(zip(NAMES, alone.attacks, strict=True))
    assert pair_transferability(results) == between().pairs["plain", "plain"]
    assert isinstance(results["depth"].arp, Arp)
