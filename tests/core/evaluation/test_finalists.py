"""Finalists: every sample keeps the images that raise ARP most, whoever its neighbours are; what was found as bytes."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from core.attacks import AttackOutcome, AttackSpec, run_attack
from core.attacks.damage import CleanScale
from core.data.batch import Batch
from core.evaluation import average_relative_performance, take_statistics
from core.evaluation.finalists import Candidate, Found, Trial, raised_arp, run_finalists
from core.evaluation.metrics import all_metrics
from core.evaluation.search import search
from tests.core.synthetic import SMALL, Poisoned, Reader, SyntheticDataset

DENSE = SMALL[:4]
DATA = SyntheticDataset(DENSE, samples=8, side=8)
UNIT = 1 / 255


def towards(task: str, *, softness: float | None = 1.0) -> Candidate:
    """An attack on one task alone."""
    weights = {other.name: 0.0 for other in DENSE if other.name != task}
    attack = AttackSpec(
        algorithm="apgd", objective="power", power=0.0, eps=8, steps=6, weights=weights | {task: 1.0}
    )
    return Candidate(attack, softness)


@cache
def a_search() -> Found:
    calibration = SyntheticDataset(DENSE, samples=16, side=8, split="validation")
    attack = AttackSpec(algorithm="auto_mta", eps=8, steps=100)
    found, _ = search(Reader(), calibration, attack, tasks=DENSE, evaluated=8, batch_size=8)
    return found


def found_of(*finalists: Candidate) -> Found:
    return replace(a_search(), finalists=finalists)


RIVALS = (towards("segmentation"), towards("depth", softness=None), towards("normals", softness=2.0))


def alone(finalist: Candidate, batch: Batch) -> AttackOutcome:
    scale = a_search().scale
    damage = None if finalist.softness is None else replace(scale, softness=finalist.softness)
    return run_attack(Reader(), batch, DENSE, finalist.attack.scaled(UNIT), damage=damage)


def arps(batch: Batch, images: Tensor) -> list[float]:
    """For each sample, from scratch: the slice's ARP with this sample and nothing else added."""
    found, directions = a_search(), {task.name: task.directions for task in DENSE}
    tables = [take_statistics(DENSE, Reader()(shown), batch, {}) for shown in (batch.images, images)]
    values = []
    for row in range(len(batch)):
        before, after = (
            all_metrics(
                DENSE,
                {
                    task.name: {
                        name: total + table.tasks[task.name][name][row].astype(float)
                        for name, total in totals[task.name].items()
                    }
                    for task in DENSE
                },
            )
            for totals, table in zip((found.clean, found.attacked), tables, strict=True)
        )
        overall = average_relative_performance(before, after, directions).overall
        assert overall is not None
        values.append(overall)
    return values


def test_each_sample_keeps_the_images_that_raise_arp_most() -> None:
    batch = DATA.batch(range(8))
    outcome = run_finalists(Reader(), batch, DENSE, found_of(*RIVALS), unit=UNIT)
    candidates = [alone(finalist, batch).images for finalist in RIVALS]
    best = np.argmax([arps(batch, images) for images in candidates], axis=0)
    assert len(set(best.tolist())) > 1, "or there would be nothing to choose"
    for row, winner in enumerate(best):
        assert torch.equal(outcome.images[row], candidates[winner][row])


def test_how_much_a_sample_raises_arp_is_that_of_the_slice_with_it() -> None:
    batch = DATA.batch(range(8))
    images = alone(RIVALS[0], batch).images
    clean, attacked = (take_statistics(DENSE, Reader()(shown), batch, {}) for shown in (batch.images, images))
    assert raised_arp(DENSE, a_search(), clean, attacked).tolist() == pytest.approx(arps(batch, images))


@pytest.mark.parametrize("rows", [[3], [5, 2], [7, 6, 5, 4, 3, 2, 1, 0]], ids=str)
def test_a_samples_images_do_not_depend_on_its_neighbours(rows: list[int]) -> None:
    found = found_of(*RIVALS)
    together = run_finalists(Reader(), DATA.batch(range(8)), DENSE, found, unit=UNIT)
    others = run_finalists(Reader(), DATA.batch(rows), DENSE, found, unit=UNIT)
    assert torch.equal(others.images, together.images[rows])


def test_flags_are_those_of_the_run_that_was_kept() -> None:
    batch = DATA.batch(range(8))
    outcome = run_finalists(Reader(), batch, DENSE, found_of(*RIVALS), unit=UNIT)
    runs = [alone(finalist, batch) for finalist in RIVALS]
    for row in range(8):
        kept = [run for run in runs if torch.equal(run.images[row], outcome.images[row])]
        for name in ("floored", "non_finite", "zero_gradient", "rising"):
            assert any(getattr(outcome, name)[row] == getattr(run, name)[row] for run in kept)
    assert outcome.rising.shape == (8,)


def test_a_single_finalist_is_run_and_nothing_is_compared() -> None:
    batch = DATA.batch(range(4))
    outcome = run_finalists(Reader(), batch, DENSE, found_of(RIVALS[1]), unit=UNIT)
    plain = alone(RIVALS[1], batch)
    assert torch.equal(outcome.images, plain.images)
    assert (outcome.forwards, outcome.backwards) == (plain.forwards, plain.backwards)


def test_a_finalist_has_its_own_softness() -> None:
    batch = DATA.batch(range(4))
    everything = AttackSpec(algorithm="apgd", objective="power", power=0.0, eps=8, steps=6)
    soft, hard = Candidate(everything, softness=4.0), Candidate(everything, softness=0.25)
    images = [run_finalists(Reader(), batch, DENSE, found_of(one), unit=UNIT).images for one in (soft, hard)]
    assert not torch.equal(*images)
    assert torch.equal(images[0], alone(soft, batch).images)
    assert torch.equal(images[1], alone(hard, batch).images)


def test_several_cost_their_runs_and_a_look_at_each_and_at_the_clean_images() -> None:
    batch = DATA.batch(range(4))
    outcome = run_finalists(Reader(), batch, DENSE, found_of(*RIVALS), unit=UNIT)
    runs = [alone(finalist, batch) for finalist in RIVALS]
    assert outcome.forwards == sum(run.forwards for run in runs) + len(RIVALS) + 1
    assert outcome.backwards == sum(run.backwards for run in runs)


def test_a_sample_that_the_model_knows_nothing_of_changes_no_other() -> None:
    batch = DATA.batch(range(4))
    images = batch.images.clone()
    images[2, :, 0, 0] = 1.0
    whitened = Batch(images, batch.labels, batch.masks, batch.indices)
    found = found_of(*RIVALS)
    healthy = run_finalists(Reader(), whitened, DENSE, found, unit=UNIT)
    outcome = run_finalists(Poisoned(Reader()), whitened, DENSE, found, unit=UNIT)
    others = [0, 1, 3]
    assert torch.equal(outcome.images[others], healthy.images[others])
    assert outcome.non_finite.tolist() == [False, False, True, False]
    assert torch.isfinite(outcome.images).all()


def test_what_was_found_reads_back_from_its_bytes() -> None:
    written = replace(
        a_search(),
        finalists=RIVALS,
        trials=(*a_search().trials, Trial(RIVALS[1], None), Trial(RIVALS[0], 1.5)),
    )
    read = Found.from_bytes(written.to_bytes())
    assert read.to_bytes() == written.to_bytes()
    assert (read.finalists, read.trials) == (written.finalists, written.trials)
    assert (read.scale, read.samples, read.passes) == (written.scale, written.samples, written.passes)
    for totals, others in ((read.clean, written.clean), (read.attacked, written.attacked)):
        for task in DENSE:
            for name, values in others[task.name].items():
                assert np.array_equal(totals[task.name][name], values)


def test_what_reads_back_makes_the_same_images() -> None:
    found = found_of(*RIVALS)
    batch = DATA.batch(range(4))
    first, second = (
        run_finalists(Reader(), batch, DENSE, one, unit=UNIT).images
        for one in (found, Found.from_bytes(found.to_bytes()))
    )
    assert torch.equal(first, second)


def test_an_empty_find_reads_back_too() -> None:
    empty = Found((towards("depth"),), CleanScale({}), {}, {}, (), 0, 0.0)
    assert Found.from_bytes(empty.to_bytes()) == empty


def test_a_candidate_says_what_it_raises() -> None:
    assert towards("depth", softness=None).label.endswith(" on losses")
    assert towards("depth", softness=0.5).label.endswith(" on damage, softness 0.5")
