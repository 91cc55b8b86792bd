from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.jobs.planning import ShardPlan, passes, plan_evaluation, plan_transferability
from core.specs.attack import AttackSpec
from core.specs.documents import DatasetRef, EvaluationSpec, TransferabilitySpec

FGSM = AttackSpec(algorithm="fgsm", objective="total", eps=1)
AUTO = AttackSpec(algorithm="auto_mta", eps=8)


def spec(*, attacks: int = 1, batch_size: int = 16) -> EvaluationSpec:
    return EvaluationSpec(
        kind="evaluation",
        model=UUID(int=0),
        dataset=DatasetRef(name="digits"),
        attacks=[AttackSpec(algorithm="fgsm", objective="total", eps=1 + n) for n in range(attacks)],
        batch_size=batch_size,
        health=False,
    )


def transferability(*, models: int = 2, batch_size: int = 16) -> TransferabilitySpec:
    return TransferabilitySpec(
        kind="transferability",
        models=[UUID(int=number) for number in range(models)],
        dataset=DatasetRef(name="digits"),
        attack=AttackSpec(algorithm="pgd", eps=8, steps=10),
        batch_size=batch_size,
    )


def covered(plan: list[ShardPlan], *names: str) -> Counter[tuple[Any, ...]]:
    """How often each sample is done for each combination of these parts of the payload."""
    found: Counter[tuple[Any, ...]] = Counter()
    for shard in plan:
        payload = shard.payload
        part = tuple(payload[name] for name in names)
        found.update((*part, sample) for sample in range(payload["start"], payload["stop"]))
    return found


@given(
    samples=st.integers(1, 3000),
    attacks=st.integers(1, 5),
    batch_size=st.integers(1, 300),
    shard_samples=st.integers(1, 1000),
)
def test_every_sample_is_covered_once_per_attack_in_whole_batches(
    samples: int, attacks: int, batch_size: int, shard_samples: int
) -> None:
    plan = plan_evaluation(
        spec(attacks=attacks, batch_size=batch_size), samples=samples, shard_samples=shard_samples, tasks=2
    )
    for shard in plan:
        start, stop = shard.payload["start"], shard.payload["stop"]
        assert start % batch_size == 0
        assert stop % batch_size == 0 or stop == samples
        assert stop - start <= max(shard_samples, batch_size)
    found = covered(plan, "attack")
    assert set(found.values()) == {1}
    assert len(found) == samples * (attacks + 1)


@given(few=st.integers(1, 3000), more=st.integers(1, 3000), batch_size=st.integers(1, 300))
def test_few_samples_are_the_beginning_of_many(few: int, more: int, batch_size: int) -> None:
    def slices(samples: int) -> list[tuple[int, int]]:
        plan = plan_evaluation(
            spec(attacks=1, batch_size=batch_size), samples=samples, shard_samples=256, tasks=2
        )
        return [
            (shard.payload["start"], shard.payload["stop"])
            for shard in plan
            if shard.payload["attack"] is None
        ]

    few, more = sorted((few, more))
    whole = [one for one in slices(few) if one[1] < few]
    assert slices(more)[: len(whole)] == whole


def test_the_samples_of_a_gates_looks_are_whole_slices() -> None:
    plan = plan_evaluation(spec(attacks=1), samples=1024, shard_samples=256, tasks=2)
    ends = {shard.payload["stop"] for shard in plan}
    assert ends == {64, 128, 256, 512, 768, 1024}


def test_the_clean_pass_comes_first() -> None:
    plan = plan_evaluation(spec(attacks=2), samples=100, shard_samples=64, tasks=2)
    assert [shard.payload["attack"] for shard in plan] == [None, None, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        ({"algorithm": "fgsm"}, 1 + 1),
        ({"algorithm": "pgd", "steps": 20}, 20 + 1),
        ({"algorithm": "mim", "steps": 20, "objective": "single:depth"}, 20 + 1),
        ({"algorithm": "apgd", "objective": "power", "power": 0.5}, 20 + 1),
        ({"algorithm": "pgd", "objective": "sign_total"}, 20 * (1 + 3) / 2 + 1),
        ({"algorithm": "apgd", "objective": "pcgrad"}, 20 * (1 + 3) / 2 + 1),
        ({"algorithm": "mim", "objective": "mgda"}, 20 * (1 + 3) / 2 + 1),
        ({"algorithm": "pgd", "objective": "stealth:depth"}, 20 + 1),
        ({"algorithm": "auto_sage", "steps": 10}, 10 * (2 + 3 + 1) / 2 + 1),
        ({"algorithm": "square", "steps": 300}, 300 / 2 + 1),
        ({"algorithm": "square", "steps": 300, "restarts": 2}, 300 + 1),
        ({"algorithm": "pgd", "random_start": True, "restarts": 5, "eot": 4}, 20 * 5 * 4 + 1),
        ({"algorithm": "uniform_noise"}, 1),
        ({"algorithm": "sign_noise"}, 1),
        ({"algorithm": "auto_mta"}, 100 + 1),
        ({"algorithm": "auto_mta", "steps": 40}, 40 + 1),
    ],
)
def test_every_algorithm_is_counted_in_passes(attack: dict[str, Any], expected: float) -> None:
    assert passes(AttackSpec(eps=8, **attack), tasks=3) == expected


def test_work_is_a_slices_samples_times_passes() -> None:
    plan = plan_evaluation(spec(), samples=100, shard_samples=100, tasks=3)
    assert [shard.work for shard in plan] == [32, 18, 64 * 2, 36 * 2]


def test_a_search_comes_before_the_slices_that_need_it() -> None:
    attacks = [FGSM, AUTO, AttackSpec(algorithm="auto_mta", eps=4)]
    searched = spec().model_copy(update={"attacks": attacks})
    plan = plan_evaluation(searched, samples=32, shard_samples=16, tasks=2)
    clean, fgsm = [("evaluation", None, None)] * 2, [("evaluation", 0, None)] * 2
    first = [("calibration", 1, None), ("evaluation", 1, 4), ("evaluation", 1, 4)]
    second = [("calibration", 2, None), ("evaluation", 2, 7), ("evaluation", 2, 7)]
    found = [(shard.payload["kind"], shard.payload["attack"], shard.after) for shard in plan]
    assert found == clean + fgsm + first + second
    assert plan[4].payload == {"kind": "calibration", "attack": 1}
    assert plan[4].work == 0.2 * 32 * 100


@pytest.mark.parametrize(("samples", "work"), [(1000, 3200), (8, 800)])
def test_the_probe_ends_the_plan_of_a_job_that_asks_for_health(samples: int, work: float) -> None:
    plan = plan_evaluation(
        spec().model_copy(update={"health": True}), samples=samples, shard_samples=64, tasks=2
    )
    assert plan[-1] == ShardPlan(payload={"kind": "probe"}, work=work)
    assert {shard.payload["kind"] for shard in plan[:-1]} == {"evaluation"}


@given(
    samples=st.integers(1, 2000),
    models=st.integers(1, 16),
    batch_size=st.integers(1, 300),
    shard_samples=st.integers(100, 1000),
)
def test_every_sample_is_transferred_once_per_model_and_task(
    samples: int, models: int, batch_size: int, shard_samples: int
) -> None:
    plan = plan_transferability(
        transferability(models=models, batch_size=batch_size),
        samples=samples,
        shard_samples=shard_samples,
        tasks=["left", "right"],
    )
    found = covered(plan, "model", "task")
    assert set(found.values()) == {1}
    assert len(found) == samples * models * 3
    assert all(shard.payload["start"] % batch_size == 0 and shard.after is None for shard in plan)


def test_attacked_images_are_scored_on_every_model() -> None:
    plan = plan_transferability(
        transferability(models=2), samples=16, shard_samples=16, tasks=["left", "right"]
    )
    assert [(shard.payload["model"], shard.payload["task"]) for shard in plan] == [
        (model, task) for model in (0, 1) for task in (None, "left", "right")
    ]
    assert [shard.work for shard in plan[:3]] == [16 / 2, 16 * (10 + 1), 16 * (10 + 1)]
    assert plan[0].payload == {"kind": "transfer", "model": 0, "task": None, "start": 0, "stop": 16}
