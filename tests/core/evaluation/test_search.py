"""`auto_mta`'s search: within its budget, on samples that are not evaluated, the same every time."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.attacks import AttackSpec, run_attack
from core.data.batch import Batch
from core.errors import InvalidError
from core.evaluation import Cost, EvaluationResult, average_relative_performance, evaluate, evaluate_shard
from core.evaluation.finalists import Candidate, Found, Trial
from core.evaluation.metrics import all_metrics
from core.evaluation.search import (
    MARGIN,
    MAX_SAMPLES,
    SEARCH_SHARE,
    SlicePlan,
    search,
    steps_each,
    with_steps,
)
from core.models.prepare import Prepared
from core.specs import AttackSpecError
from core.specs.algorithms import Norm
from core.tasks import Task
from tests.core.synthetic import SMALL, Reader, SyntheticDataset, trained_model

DENSE = SMALL[:4]
PAIR = (SMALL[0], SMALL[3])
CALIBRATION = SyntheticDataset(DENSE, samples=80, side=8, split="validation")
DATA = SyntheticDataset(DENSE, samples=8, side=8)


def auto(steps: int, *, eps: float = 8, norm: Norm = "linf") -> AttackSpec:
    return AttackSpec(algorithm="auto_mta", eps=eps, steps=steps, norm=norm)


def searched(
    steps: int,
    evaluated: int,
    *,
    tasks: Sequence[Task] = DENSE,
    samples: int = 80,
    model: nn.Module | None = None,
    prepared: Prepared | None = None,
    attack: AttackSpec | None = None,
) -> tuple[Found, Cost]:
    return search(
        model or Reader(tasks),
        SyntheticDataset(tasks, samples=samples, side=8, split="validation"),
        attack or auto(steps),
        tasks=tasks,
        evaluated=evaluated,
        batch_size=16,
        prepared=prepared,
    )


@cache
def a_search() -> tuple[Found, Cost]:
    return searched(100, 12)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    steps=st.integers(1, 60) | st.sampled_from([200, 400]),
    evaluated=st.integers(1, 60),
    samples=st.integers(1, 16),
)
@example(steps=1, evaluated=1, samples=1)
@example(steps=1, evaluated=10_000, samples=8)
@example(steps=2, evaluated=300, samples=80)
@example(steps=9, evaluated=10_000, samples=80)
@example(steps=400, evaluated=20, samples=8)
def test_the_budget_is_never_exceeded(steps: int, evaluated: int, samples: int) -> None:
    found, cost = searched(steps, evaluated, tasks=PAIR, samples=samples)
    spent = (cost.forwards + cost.backwards) / 2
    assert found.passes == spent <= SEARCH_SHARE * steps * evaluated
    table, attacking = evaluate_shard(
        Reader(PAIR), DATA, range(1), auto(steps), tasks=PAIR, batch_size=1, found=found, rounded=False
    )
    each = (attacking.forwards + attacking.backwards) / 2
    last_look, scoring = 0.5, 0.5  # APGD takes the one wherever it is run; the other is no part of an attack
    assert len(table) == 1
    assert spent + evaluated * (each - last_look - scoring) <= steps * evaluated


@given(passes=st.floats(1, 1e4), finalists=st.integers(1, 3))
def test_finalists_and_the_choice_among_them_share_what_is_left(passes: float, finalists: int) -> None:
    steps = steps_each(passes, finalists)
    choosing = (finalists + 1) / 2 if finalists > 1 else 0
    taken = finalists * (steps + 0.5) + choosing
    assert steps == 1 or taken <= passes + 0.5
    assert taken + finalists > passes, "and leave no step unused"


@given(allowance=st.floats(0, 1e6), steps=st.integers(1, 10_000), available=st.integers(1, 1000))
def test_a_slice_is_never_larger_than_the_split_nor_a_trial_longer_than_the_attack(
    allowance: float, steps: int, available: int
) -> None:
    plan = SlicePlan.of(allowance, steps=steps, available=available)
    assert 1 <= plan.samples <= min(available, MAX_SAMPLES)
    assert 1 <= plan.steps <= steps
    assert not plan.affords_a_trial or plan.trial <= allowance


def test_a_trial_costs_what_the_plan_says() -> None:
    found, cost = a_search()
    plan = SlicePlan.of(SEARCH_SHARE * 1200, steps=100, available=80)
    assert plan.samples == found.samples
    assert found.passes == 0.5 * plan.samples + len(found.trials) * plan.trial
    assert cost.backwards == len(found.trials) * plan.samples * plan.steps


@pytest.mark.parametrize(("steps", "evaluated"), [(1, 1), (1, 10_000), (5, 4), (20, 10)])
def test_a_budget_too_small_for_a_trial_goes_to_gb_mta_whole(steps: int, evaluated: int) -> None:
    found, cost = searched(steps, evaluated)
    assert found.trials == ()
    assert (found.passes, cost.forwards, cost.backwards) == (0, 0, 0)
    (only,) = found.finalists
    assert only.attack.label == AttackSpec(algorithm="apgd", eps=8, steps=steps).label
    table, _ = evaluate_shard(
        Reader(), DATA, range(4), auto(steps), tasks=DENSE, batch_size=4, found=found, rounded=False
    )
    plain, _ = evaluate_shard(Reader(), DATA, range(4), only.attack, tasks=DENSE, batch_size=4, rounded=False)
    assert table.to_bytes() == plain.to_bytes()


def test_a_larger_budget_tries_more() -> None:
    few, many = (len(searched(40, evaluated, tasks=PAIR)[0].trials) for evaluated in (20, 200))
    assert 0 < few < many


def test_a_search_ends_where_nothing_is_new_and_tries_nothing_twice() -> None:
    found, _ = searched(6, 2000, tasks=PAIR, samples=8)
    tried = [trial.candidate.label for trial in found.trials]
    assert found.passes < SEARCH_SHARE * 6 * 2000 / 2
    assert len(tried) > 8
    assert len(set(tried)) == len(tried)


def test_the_first_finalist_is_the_best_trial() -> None:
    found, _ = a_search()
    best = next(trial for trial in found.trials if same(trial, found))
    assert best.arp is not None
    assert all(trial.arp is not None for trial in found.trials)
    assert best.arp * (1 + MARGIN) >= max(trial.arp or 0 for trial in found.trials)


def same(trial: Trial, found: Found) -> bool:
    """Whether the first finalist is what this trial tried."""
    tried, chosen = trial.candidate, found.finalists[0]
    facts = [(one.attack.weights, one.attack.power, one.softness) for one in (tried, chosen)]
    return facts[0] == facts[1] and tried.attack.algorithm == chosen.attack.algorithm


def test_a_likelier_candidate_is_left_only_for_a_clearly_better_one() -> None:
    found, _ = a_search()
    arps = [trial.arp for trial in found.trials]
    best = 0
    for number, arp in enumerate(arps):
        assert arp is not None
        if arp > (1 + MARGIN) * (arps[best] or 0):
            best = number
    assert same(found.trials[best], found)


def test_a_trials_arp_is_what_its_attack_does_to_the_slice() -> None:
    found, _ = a_search()
    trial = next(trial for trial in found.trials if trial.candidate.softness is None)
    attack = trial.candidate.attack
    slice_ = SyntheticDataset(DENSE, samples=found.samples, side=8, split="validation")
    alone = evaluate(Reader(), slice_, [attack], health=False, prepared=False)
    assert trial.arp == pytest.approx(alone.arp[attack.label], rel=1e-4)


def test_what_was_found_is_measured_on_the_slice() -> None:
    found, _ = a_search()
    slice_ = SyntheticDataset(DENSE, samples=found.samples, side=8, split="validation")
    clean = evaluate(Reader(), slice_, [], health=False).clean
    for task in DENSE:
        assert found.scale.metrics[task.name] == pytest.approx(clean.metrics[task.name])
    assert found.scale.class_shares.keys() == {"segmentation"}
    attacked = all_metrics(DENSE, found.attacked)
    directions = {task.name: task.directions for task in DENSE}
    reached = average_relative_performance(found.scale.metrics, attacked, directions).overall
    best = next(trial for trial in found.trials if same(trial, found))
    assert reached == pytest.approx(best.arp)


def test_a_search_repeats_byte_for_byte() -> None:
    assert searched(100, 12)[0].to_bytes() == a_search()[0].to_bytes()


@pytest.mark.parametrize(("steps", "eps"), [(2, 255), (3, 255), (40, 0.25)])
def test_no_eps_and_no_number_of_steps_makes_an_attack_that_cannot_be_written(steps: int, eps: float) -> None:
    found, _ = searched(steps, 1000, tasks=PAIR, samples=8, attack=auto(steps, eps=eps))
    algorithms = {trial.candidate.attack.algorithm for trial in found.trials}
    assert algorithms == {"apgd", "pgd"}
    assert all(trial.candidate.attack.eps == eps for trial in found.trials)


@pytest.mark.parametrize(("steps", "step_size"), [(1, 510.0), (2, 510.0), (5, 255.0), (50, 25.5)])
def test_pgd_steps_less_far_the_more_steps_it_has(steps: int, step_size: float) -> None:
    pgd = AttackSpec(algorithm="pgd", objective="power", power=0.0, eps=255, steps=10, step_size=127.5)
    longer = with_steps(Candidate(pgd, softness=1.0), steps).attack
    assert (longer.steps, longer.step_size) == (steps, step_size)


def test_apgds_first_step_is_its_own() -> None:
    apgd = AttackSpec(algorithm="apgd", eps=8, steps=10, step_size=8)
    assert with_steps(Candidate(apgd, softness=None), 50).attack == replace(apgd, steps=50)


def test_candidates_are_of_the_attacks_norm() -> None:
    found, _ = searched(60, 12, attack=auto(60, eps=300, norm="l2"))
    assert {trial.candidate.attack.norm for trial in found.trials} == {"l2"}
    assert found.finalists[0].attack.norm == "l2"


class Shifted(Reader):
    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().forward(images - 0.2)


def test_the_slice_is_attacked_on_the_prepared_model_and_measured_on_the_one_given() -> None:
    found, _ = searched(100, 12, prepared=Prepared(Shifted(), 0, 0.0, "float32", ()))
    plain, _ = a_search()
    assert found.scale == plain.scale
    assert found.trials[0].arp != pytest.approx(plain.trials[0].arp, rel=1e-3)


LETTERS = tuple(Task(name, "classification", 5) for name in ("left", "right"))


class Scores(nn.Module):
    """Random linear scores of both letters."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.Parameter(torch.randn(3 * 8 * 8, 10, generator=generator))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        scores = images.flatten(1) @ self.weights
        return {"left": scores[:, :5], "right": scores[:, 5:].square()}


@pytest.mark.parametrize(("steps", "kinds"), [(40, [1, 0]), (400, [1, 0, 0])])
def test_classifiers_get_attacks_that_differ_in_the_place_of_a_search(steps: int, kinds: list[float]) -> None:
    found, cost = searched(steps, 60, tasks=LETTERS, model=Scores())
    assert [finalist.attack.power for finalist in found.finalists] == kinds
    assert len(set(found.finalists)) == len(kinds)
    assert not found.trials
    assert cost.backwards == 0, "only the slice's clean metrics, which weigh the tasks against each other"


def test_classifiers_with_steps_for_one_attack_get_gb_mta_whole() -> None:
    found, cost = searched(29, 60, tasks=LETTERS, model=Scores())
    (finalist,) = found.finalists
    assert (finalist.attack.objective, finalist.attack.steps) == ("gb_mta", 29)
    assert cost == Cost(0, 0, 0.0)


def test_a_sample_that_either_finalist_fools_is_fooled() -> None:
    model, data = Scores(), SyntheticDataset(LETTERS, samples=32, side=8)
    found, _ = searched(40, 32, tasks=LETTERS, model=model)

    def wrong(finalists: tuple[Candidate, ...]) -> int:
        table, _ = evaluate_shard(
            model,
            data,
            range(32),
            auto(40),
            tasks=LETTERS,
            batch_size=32,
            found=replace(found, finalists=finalists),
        )
        return 64 - sum(int(table.tasks[task.name]["correct"].sum()) for task in LETTERS)

    assert wrong(found.finalists) >= max(wrong((finalist,)) for finalist in found.finalists)


def test_a_model_on_which_nothing_has_an_arp_is_searched_all_the_same() -> None:
    class Nothing(Reader):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {name: value * torch.nan for name, value in super().forward(images).items()}

    broken = DENSE[2:]
    found, _ = searched(100, 12, tasks=broken, model=Nothing(broken))
    assert {trial.arp for trial in found.trials} == {None}
    assert same(found.trials[0], found), "the likeliest"
    assert Found.from_bytes(found.to_bytes()).trials == found.trials


class Recorded(SyntheticDataset):
    """Notes which samples of which split are read, in order."""

    def __init__(self, log: list[tuple[str, int]], samples: int, split: str = "test") -> None:
        super().__init__(DENSE, samples=samples, side=8, split=split)
        self.log = log

    def batch(self, indices: Sequence[int]) -> Batch:
        self.log += [(self.split, int(index)) for index in indices]
        return super().batch(indices)


TAKEN = 6
STEPS = 60


def recorded(calibration: bool) -> tuple[list[tuple[str, int]], EvaluationResult]:
    log: list[tuple[str, int]] = []
    other = Recorded(log, 20, "validation") if calibration else None
    data = Recorded(log, 20)
    found = evaluate(
        Reader(), data, [auto(STEPS)], limit=TAKEN, calibration=other, health=False, prepared=False
    )
    return log, found


@pytest.mark.parametrize("calibration", [False, True], ids=["the data set's rest", "another split"])
def test_a_search_reads_no_sample_that_is_evaluated(calibration: bool) -> None:
    log, _ = recorded(calibration)
    evaluated = [("test", index) for index in range(TAKEN)]
    assert log[:TAKEN] == evaluated, "the clean pass"
    assert log[-TAKEN:] == evaluated, "the attack"
    searched_on = log[TAKEN:-TAKEN]
    split, first = ("validation", 0) if calibration else ("test", TAKEN)
    assert set(searched_on) == {(split, first + index) for index in range(8)}


def test_the_searchs_cost_is_the_attacks() -> None:
    _, result = recorded(calibration=True)
    cost = result.attacks[0].cost
    passes = (cost.forwards + cost.backwards) / 2
    scoring = TAKEN * 1.0
    assert 0.9 * STEPS * TAKEN < passes <= STEPS * TAKEN + 0.5 * TAKEN + scoring


def test_a_data_set_without_samples_left_is_refused_with_the_way_out() -> None:
    with pytest.raises(InvalidError, match=r"set limit below .* or\s+hand over calibration") as caught:
        evaluate(Reader(), DATA, [auto(60)])
    assert caught.value.field == "calibration"


@pytest.mark.parametrize("same_object", [True, False])
def test_to_search_on_what_is_evaluated_is_refused(same_object: bool) -> None:
    other = DATA if same_object else SyntheticDataset(DENSE, samples=8, side=8)
    with pytest.raises(
        InvalidError, match="must not search on the samples that it is evaluated on"
    ) as caught:
        evaluate(Reader(), DATA, [auto(60)], limit=4, calibration=other)
    assert caught.value.field == "calibration"


def test_calibration_is_not_looked_at_where_nothing_is_searched() -> None:
    plain = AttackSpec(algorithm="fgsm", eps=8)
    assert len(evaluate(Reader(), DATA, [plain], calibration=DATA, health=False).arp) == 1


def test_run_attack_names_what_runs_auto_mta() -> None:
    batch = DATA.batch(range(2))
    with pytest.raises(AttackSpecError, match=r"core\.evaluation\.evaluate runs it") as caught:
        run_attack(Reader(), batch, DENSE, auto(60))
    assert caught.value.field == "algorithm"


def test_on_a_trained_model_it_is_at_least_as_strong_as_gb_mta_at_equal_passes() -> None:
    data = SyntheticDataset(DENSE, samples=24, side=32)
    steps, samples = 30, 12
    attacks = [AttackSpec(algorithm="apgd", eps=2, steps=steps), auto(steps, eps=2)]
    result = evaluate(trained_model(), data, attacks, limit=samples, health=False)
    plain, found = result.attacks
    assert found.cost.forwards + found.cost.backwards <= plain.cost.forwards + plain.cost.backwards
    ahead = result.difference(found.label, plain.label)
    assert ahead is not None
    assert ahead.low > 0
