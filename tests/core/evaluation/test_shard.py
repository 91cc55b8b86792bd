"""A shard: rows that tell nothing of how the work was cut, statistics of the model as given, images on 8 bits."""

from dataclasses import replace
from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.attacks import AttackSpec, run_attack
from core.attacks.damage import CleanScale
from core.evaluation import Cost, Plan, Statistics, evaluate_plan, evaluate_shard, take_statistics
from core.evaluation.finalists import Found
from core.evaluation.search import search
from core.evaluation.shard import GRID_TOLERANCE, PIXEL_STEP, to_8_bits
from core.losses import PredictionError
from core.models import TreeModel
from core.models.prepare import Prepared, prepare
from core.specs import AttackSpecError
from tests.core.synthetic import (
    OBJECTIVES,
    SMALL,
    Counting,
    Reader,
    SyntheticDataset,
    WithoutOnly,
    small_model,
)

SAMPLES = 12
BATCH = 4
DENSE = SMALL[:4]
DATA = SyntheticDataset(SMALL, samples=SAMPLES)
READ = SyntheticDataset(DENSE, samples=SAMPLES, side=8, eight_bit=True)
PGD = AttackSpec(algorithm="pgd", objective="gb_mta", eps=8, steps=2, random_start=True)
AUTO = AttackSpec(algorithm="auto_mta", eps=8, steps=60)


@cache
def model() -> TreeModel:
    return small_model()


@cache
def prepared_model() -> Prepared:
    made = prepare(model(), DATA.batch([0, 1]).images)
    assert made.folded > 0
    return made


@cache
def shard(
    samples: range, attack: AttackSpec | None = None, *, prepared: bool = False, previews: int = 0
) -> Statistics:
    faster = prepared_model() if prepared else None
    table, _ = evaluate_shard(
        model(), DATA, samples, attack, tasks=SMALL, batch_size=BATCH, prepared=faster, previews=previews
    )
    return table


def read_shard(
    reader: nn.Module, samples: range, attack: AttackSpec | None, *, batch_size: int = BATCH
) -> tuple[Statistics, Cost]:
    return evaluate_shard(reader, READ, samples, attack, tasks=DENSE, batch_size=batch_size)


def pixel_attack(algorithm: str, objective: str) -> AttackSpec:
    if algorithm == "fgsm":
        return AttackSpec(algorithm="fgsm", objective=objective, eps=8)
    return AttackSpec(algorithm="pgd", objective=objective, eps=8, steps=2, random_start=True)


cuts = st.sets(st.integers(1, SAMPLES - 1), max_size=5).map(lambda inner: [0, *sorted(inner), SAMPLES])


@pytest.mark.parametrize(
    ("attack", "prepared"),
    [
        pytest.param(None, False, id="clean"),
        pytest.param(pixel_attack("fgsm", "total"), False, id="fgsm"),
        *(pytest.param(pixel_attack("pgd", objective), False, id=objective) for objective in OBJECTIVES),
        pytest.param(PGD, True, id="prepared"),
        pytest.param(AttackSpec(algorithm="apgd", eps=8, steps=3), True, id="prepared-apgd"),
    ],
)
@settings(max_examples=3, deadline=None, derandomize=True)
@given(cuts=cuts, shuffled=st.randoms(use_true_random=False))
def test_slices_of_any_length_join_to_the_whole_bit_for_bit(
    attack: AttackSpec | None, prepared: bool, cuts: list[int], shuffled: Random
) -> None:
    parts = [shard(range(begin, end), attack, prepared=prepared) for begin, end in pairwise(cuts)]
    shuffled.shuffle(parts)
    whole = shard(range(SAMPLES), attack, prepared=prepared)
    assert Statistics.concatenate(parts).to_bytes() == whole.to_bytes()


def test_so_do_slices_of_what_a_search_found() -> None:
    found = _found()

    def run(samples: range) -> Statistics:
        table, _ = evaluate_shard(Reader(), READ, samples, AUTO, tasks=DENSE, batch_size=BATCH, found=found)
        return table

    parts = [run(range(begin, end)) for begin, end in pairwise([0, 1, 3, 8])]
    assert Statistics.concatenate(parts).to_bytes() == run(range(8)).to_bytes()


@cache
def _found() -> Found:
    """Of a search, with short runs of the two that it tried first."""
    calibration = SyntheticDataset(DENSE, side=8, split="validation")
    found, _ = search(Reader(), calibration, AUTO, tasks=DENSE, evaluated=12, batch_size=BATCH)
    first, second = (trial.candidate for trial in found.trials[:2])
    return replace(found, finalists=(first, second))


def test_a_shard_repeats_bit_for_bit() -> None:
    again, _ = evaluate_shard(model(), DATA, range(3, 9), PGD, tasks=SMALL, batch_size=BATCH)
    assert again.to_bytes() == shard(range(3, 9), PGD).to_bytes()


@pytest.mark.parametrize("batch_size", [1, 5])
def test_across_batch_sizes_statistics_agree_to_rounding(batch_size: int) -> None:
    tables = [read_shard(Reader(), range(SAMPLES), PGD, batch_size=size)[0] for size in (BATCH, batch_size)]
    assert_close(*tables)


def assert_close(one: Statistics, other: Statistics) -> None:
    """Equal to rounding, which may carry a pixel in a hundred across a threshold."""
    assert one.indices.tolist() == other.indices.tolist()
    for task in DENSE:
        for name, values in one.tasks[task.name].items():
            others = other.tasks[task.name][name]
            if values.dtype.kind == "f":
                np.testing.assert_allclose(others.astype(float), values.astype(float), rtol=1e-3)
            else:
                apart = np.abs(others.astype(int) - values.astype(int)).sum()
                assert apart <= 0.01 * max(values.sum(), 100), (task.name, name)


def test_an_attack_makes_the_tasks_worse() -> None:
    clean, attacked = shard(range(SAMPLES)), shard(range(SAMPLES), PGD)
    assert attacked.totals("depth")["abs_sum"] > clean.totals("depth")["abs_sum"]


def test_the_clean_pass_raises_no_flags_and_an_attack_has_a_row_of_them_for_each_sample() -> None:
    assert shard(range(4)).flags == {}
    flags = shard(range(4), PGD).flags
    assert flags.keys() == {"floored", "non_finite", "zero_gradient", "rising"}
    assert {len(values) for values in flags.values()} == {4}


def test_a_tiny_eps_changes_nothing() -> None:
    tiny = AttackSpec(algorithm="apgd", eps=1e-5, steps=3)
    clean, _ = read_shard(Reader(), range(4), None)
    attacked, _ = read_shard(Reader(), range(4), tiny)
    assert_close(clean, attacked)
    for task in DENSE:
        for name, values in attacked.rounded[task.name].items():
            assert np.array_equal(values, clean.tasks[task.name][name]), "rounded, they are the clean images"


class Shifted(Reader):
    """Another model than the one given: it sees all images darker."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return super().forward(images - 0.2)


def test_statistics_are_of_the_model_as_given_whatever_made_the_images() -> None:
    other = Prepared(Shifted(), 0, 0.0, "float32", ())
    attack = AttackSpec(algorithm="pgd", objective="total", eps=8, steps=3)
    table, _ = evaluate_shard(
        Reader(), READ, range(4), attack, tasks=DENSE, batch_size=4, prepared=other, rounded=False
    )
    batch = READ.batch(range(4))
    images = run_attack(Shifted(), batch, DENSE, attack.scaled(1 / 255)).images
    expected = take_statistics(DENSE, Reader()(images), batch, {})
    for task in DENSE:
        for name, values in expected.tasks[task.name].items():
            assert np.array_equal(table.tasks[task.name][name], values)
    unprepared, _ = read_shard(Reader(), range(4), attack)
    assert unprepared.tasks["edges"]["abs_sum"].sum() > 1.05 * table.tasks["edges"]["abs_sum"].sum()


def test_a_clean_pass_is_of_the_model_as_given_too() -> None:
    other = Prepared(Shifted(), 0, 0.0, "float32", ())
    clean, _ = read_shard(Reader(), range(4), None)
    table, _ = evaluate_shard(Reader(), READ, range(4), None, tasks=DENSE, batch_size=4, prepared=other)
    assert table.to_bytes() == clean.to_bytes()


@pytest.mark.parametrize("eps", [0.4, 2.5, 8.0])
def test_rounded_statistics_are_those_of_images_rounded_by_hand(eps: float) -> None:
    attack = AttackSpec(algorithm="pgd", objective="total", eps=eps, steps=3)
    table, _ = read_shard(Reader(), range(4), attack)
    batch = READ.batch(range(4))
    images = run_attack(Reader(), batch, DENSE, attack.scaled(1 / 255)).images
    centre = np.rint(batch.images.numpy() * 255)
    by_hand = np.rint(images.numpy() * 255).clip(centre - np.floor(eps), centre + np.floor(eps))
    rounded = Reader()(torch.from_numpy(by_hand.clip(0, 255).astype(np.float32) / 255))
    expected = take_statistics(DENSE, rounded, batch, {})
    for task in DENSE:
        for name, values in expected.tasks[task.name].items():
            assert np.array_equal(table.rounded[task.name][name], values), (task.name, name)


@given(
    eps=st.floats(0.01, 16),
    clean=st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3),
    moves=st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3),
    on_grid=st.booleans(),
)
def test_an_8_bit_image_is_on_the_grid_and_in_the_ball(
    eps: float, clean: list[float], moves: list[float], on_grid: bool
) -> None:
    centre = torch.tensor(clean).view(1, 3, 1, 1)
    if on_grid:
        centre = (centre * 255).round() * torch.tensor(1 / 255)  # not to the last bit k / 255
    images = (centre + torch.tensor(moves).view(1, 3, 1, 1) * eps / 255).clamp(0, 1)
    steps = to_8_bits(images, centre, AttackSpec(algorithm="fgsm", eps=eps)) * 255
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert (steps >= 0).all()
    assert (steps <= 255).all()
    nearest = (centre * 255 - (centre * 255).round()).abs()
    reach = torch.maximum(nearest, torch.tensor(eps))  # the grid's next point may lie outside a tiny ball
    assert ((steps - centre * 255).abs() <= reach + 2 * GRID_TOLERANCE).all()


@given(eps=st.integers(1, 16), start=st.integers(0, 255), up=st.booleans())
def test_a_corner_of_a_whole_ball_survives_rounding(eps: int, start: int, up: bool) -> None:
    clean = torch.full((1, 3, 1, 1), start) * torch.tensor(1 / 255)
    corner = (clean + (eps if up else -eps) / 255).clamp(0, 1)
    rounded = to_8_bits(corner, clean, AttackSpec(algorithm="fgsm", eps=eps))
    assert torch.allclose(rounded, corner, atol=1e-5)


def test_an_l2_attack_is_rounded_to_the_nearest_step() -> None:
    images = torch.tensor([0.1234, 0.5, 0.9999]).view(1, 3, 1, 1)
    rounded = to_8_bits(images, images, AttackSpec(algorithm="fgsm", norm="l2", eps=1))
    assert (rounded * 255).round().flatten().tolist() == [31, 128, 255]
    assert torch.allclose(rounded * 255, (images * 255).round())


class Cramped(WithoutOnly):
    """Has memory for so many samples; notes how many it was handed."""

    def __init__(self, wrapped: nn.Module, room: int, error: Exception | None = None) -> None:
        super().__init__(wrapped)
        self.room = room
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.seen.append(len(images))
        if len(images) > self.room:
            raise self.error
        return super().forward(images)


@pytest.mark.parametrize("attack", [None, PGD], ids=["clean", "pgd"])
@pytest.mark.parametrize("room", [1, 2, 3])
@pytest.mark.parametrize("samples", [range(SAMPLES), range(3, 8)], ids=["whole", "with a batch of one"])
def test_a_batch_that_does_not_fit_is_halved(samples: range, room: int, attack: AttackSpec | None) -> None:
    roomy, roomy_cost = read_shard(Reader(), samples, attack)
    cramped, cost = read_shard(Cramped(Reader(), room), samples, attack)
    assert_close(roomy, cramped)
    assert (cost.forwards, cost.backwards) == (roomy_cost.forwards, roomy_cost.backwards)


def test_so_it_is_where_the_cpu_has_no_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    cramped, _ = read_shard(Cramped(Reader(), 2, caught.value), range(4), PGD)
    assert_close(read_shard(Reader(), range(4), PGD)[0], cramped)


def test_a_single_sample_that_does_not_fit_is_an_error() -> None:
    cramped = Cramped(Reader(), 0)
    with pytest.raises(torch.OutOfMemoryError):
        read_shard(cramped, range(4), None)
    assert cramped.seen == [4, 2, 1]


def test_no_other_error_halves_anything() -> None:
    cramped = Cramped(Reader(), 1, RuntimeError("the model is broken"))
    with pytest.raises(RuntimeError, match="broken"):
        read_shard(cramped, range(4), None)
    assert cramped.seen == [4]


@pytest.mark.parametrize(
    "attack",
    [
        None,
        PGD,
        AttackSpec(algorithm="apgd", eps=8, steps=4),
        AttackSpec(algorithm="pgd", objective="pcgrad", eps=8, steps=2),
        AttackSpec(algorithm="square", eps=8, steps=5),
        AUTO,
    ],
    ids=lambda spec: "clean" if spec is None else spec.label,
)
def test_cost_is_every_pass_that_was_made_and_no_other(attack: AttackSpec | None) -> None:
    counting = Counting(Reader())
    found = _found() if attack is AUTO else None
    _, cost = evaluate_shard(counting, READ, range(8), attack, tasks=DENSE, batch_size=BATCH, found=found)
    assert (cost.forwards, cost.backwards) == (counting.forwards, counting.backwards)


def test_cost_does_not_depend_on_the_batch_size_and_adds_up() -> None:
    costs = [read_shard(Reader(), range(7), PGD, batch_size=size)[1] for size in (2, 7)]
    steps, clean_losses, scorings = 2, 1, 2
    assert {(cost.forwards, cost.backwards) for cost in costs} == {
        (7 * (steps + clean_losses + scorings), 7 * steps)
    }
    both = costs[0] + costs[1]
    assert (both.forwards, both.backwards) == (2 * costs[0].forwards, 2 * costs[0].backwards)
    assert both.seconds == costs[0].seconds + costs[1].seconds


def test_images_of_one_model_are_scored_on_several_in_their_order() -> None:
    plan = Plan(source=Reader(), scored=(Shifted(), Reader()), attack=PGD, tasks=DENSE, rounded=False)
    (shifted, own), cost = evaluate_plan(plan, READ, range(4), batch_size=4)
    alone, _ = read_shard(Reader(), range(4), PGD)
    assert_close(own, alone)
    assert shifted.totals("depth")["abs_sum"] > own.totals("depth")["abs_sum"]
    assert own.rounded == {}
    assert cost.forwards == 4 * (2 + 1 + 2)


def test_auto_mta_without_a_search_is_refused() -> None:
    with pytest.raises(AttackSpecError, match="what its search found") as caught:
        read_shard(Reader(), range(4), AUTO)
    assert caught.value.field == "algorithm"


def test_damage_is_raised_in_the_place_of_losses_where_asked_for() -> None:
    attack = AttackSpec(algorithm="apgd", objective="total", eps=8, steps=3)
    scale = CleanScale({task.name: dict.fromkeys(task.directions, 10.0) for task in DENSE})
    batch = READ.batch(range(4))

    def abs_error(damage: CleanScale | None) -> float:
        table, _ = evaluate_shard(Reader(), READ, range(4), attack, tasks=DENSE, batch_size=4, damage=damage)
        images = run_attack(Reader(), batch, DENSE, attack.scaled(PIXEL_STEP), damage=damage).images
        expected = take_statistics(DENSE, Reader()(images), batch, {})
        assert np.array_equal(table.tasks["edges"]["abs_sum"], expected.tasks["edges"]["abs_sum"])
        return float(table.totals("edges")["abs_sum"])

    assert abs_error(scale) != pytest.approx(abs_error(None), rel=0.01)


def test_previews_are_the_first_images_of_the_data_set_only() -> None:
    early, late = shard(range(1, 5), previews=3), shard(range(6, 9), previews=3)
    assert early.previews is not None
    assert late.previews is None
    expected = (DATA.batch([1, 2]).images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(early.previews, expected)


def test_previews_of_an_attack_are_its_images() -> None:
    attack = AttackSpec(algorithm="fgsm", eps=8)
    table, _ = evaluate_shard(Reader(), READ, range(4), attack, tasks=DENSE, batch_size=4, previews=2)
    images = run_attack(Reader(), READ.batch(range(2)), DENSE, attack.scaled(PIXEL_STEP)).images
    assert table.previews is not None
    assert np.array_equal(table.previews, (images * 255).round().byte().permute(0, 2, 3, 1).numpy())


def test_a_check_that_raises_ends_the_work_before_the_next_batch() -> None:
    calls: list[int] = []

    def stop_later() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError("cancelled")

    with pytest.raises(InterruptedError, match="cancelled"):
        evaluate_shard(Reader(), READ, range(12), None, tasks=DENSE, batch_size=BATCH, check=stop_later)
    assert len(calls) == 2


def test_the_model_may_be_in_train_mode_and_is_measured_in_eval_mode() -> None:
    training = small_model().train()
    table, _ = evaluate_shard(training, DATA, range(4), None, tasks=SMALL, batch_size=BATCH)
    assert table.to_bytes() == shard(range(4)).to_bytes()
    assert training.training
    assert torch.equal(training.stages[0].get_submodule("0.norm").running_mean, torch.zeros(16))  # type: ignore[arg-type]


class Bare(Reader):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return super().forward(images)["depth"]  # type: ignore[return-value]


@pytest.mark.parametrize("broken", [Bare(), Reader(DENSE[:1])], ids=["a bare tensor", "a task missing"])
def test_a_model_that_does_not_predict_a_task_is_refused(broken: nn.Module) -> None:
    with pytest.raises(PredictionError, match="does not predict"):
        read_shard(broken, range(4), None)
