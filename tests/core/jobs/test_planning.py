from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from core.jobs.planning import passes, plan_evaluation
from core.specs.attack import AttackSpec
from core.specs.documents import DatasetRef, EvaluationSpec


def spec(*, attacks: int = 1, batch_size: int = 16) -> EvaluationSpec:
    return EvaluationSpec(
        kind="evaluation",
        model=UUID(int=0),
        dataset=DatasetRef(name="digits"),
        attacks=[AttackSpec(algorithm="fgsm", objective="total", eps=1 + n) for n in range(attacks)],
        batch_size=batch_size,
    )


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
    covered: Counter[tuple[int | None, int]] = Counter()
    for shard in plan:
        payload = shard.payload
        assert payload["start"] % batch_size == 0
        assert payload["stop"] % batch_size == 0 or payload["stop"] == samples
        assert payload["stop"] - payload["start"] <= max(shard_samples, batch_size)
        covered.update((payload["attack"], sample) for sample in range(payload["start"], payload["stop"]))
    assert set(covered.values()) == {1}
    assert len(covered) == samples * (attacks + 1)


def test_the_clean_pass_comes_first() -> None:
    plan = plan_evaluation(spec(attacks=2), samples=100, shard_samples=64, tasks=2)
    assert [shard.payload["attack"] for shard in plan] == [None, None, 0, 0, 1, 1]


def test_work_counts_passes() -> None:
    pgd = AttackSpec(algorithm="pgd", objective="gb_mta", eps=8, steps=20)
    signs = AttackSpec(algorithm="pgd", objective="sign_total", eps=8, steps=20)
    assert passes(pgd, tasks=3) == 21
    assert passes(signs, tasks=3) == 61
    plan = plan_evaluation(spec(), samples=100, shard_samples=100, tasks=3)
    assert [shard.work for shard in plan] == [96, 4, 192, 8]
