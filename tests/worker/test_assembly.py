"""Assembly: from the bytes that shards left to what a job found. No broker, no database."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import pytest

from core.evaluation import (
    AttackResult,
    Cost,
    Flag,
    Plan,
    Tally,
    attack_flags,
    evaluate_plan,
    evaluate_shard,
    evaluate_transferability,
)
from core.evaluation.bootstrap import Resampler
from core.evaluation.finalists import Found
from core.evaluation.probe import probe
from core.evaluation.search import search
from core.evaluation.statistics import pack
from core.intervals import LEVEL, Interval, Replicates
from core.models.prepare import prepare
from core.specs.attack import AttackSpec
from core.specs.documents import EvaluationSpec, TransferabilitySpec
from core.specs.manifests import ModelManifest
from core.tasks import METRIC_VERSION
from tests.core.synthetic import Reader, SyntheticDataset
from worker.assembly import assemble_evaluation, assemble_transferability, cost_json
from worker.contract import Assembled, DatasetRecord, ModelRecord, ShardOutputRef

MANIFEST = ModelManifest(
    backbone="sapling", layout="all-shared", profile="scenes", tasks=("normals", "depth", "edges")
)
TASKS = MANIFEST.task_list
DATA = SyntheticDataset(TASKS, samples=12, side=8, eight_bit=True)
RECORD = DatasetRecord(name="synthetic", version="1", tasks=TASKS, splits={"test": 12})
CALIBRATION = SyntheticDataset(TASKS, samples=8, side=8, split="validation")
IDS = [UUID(int=number) for number in (1, 2)]
ATTACKS = [
    AttackSpec(algorithm="pgd", eps=2.5, steps=3),
    AttackSpec(algorithm="auto_mta", eps=8, steps=40),
    AttackSpec(algorithm="sign_noise", eps=8),
]
SHARD = 5


def record(number: int) -> ModelRecord:
    return ModelRecord(IDS[number], f"{number:064x}", MANIFEST.model_dump(mode="json"))


def spec(attacks: Sequence[AttackSpec]) -> EvaluationSpec:
    return EvaluationSpec.model_validate(
        {
            "kind": "evaluation",
            "model": IDS[0],
            "dataset": {"name": "scenes", "limit": 12},
            "attacks": [attack.to_json() for attack in attacks],
        }
    )


class Blob(bytes):
    """Knows how many of its kind are alive."""

    alive = 0

    def __init__(self, *_: object) -> None:
        Blob.alive += 1

    def __del__(self) -> None:
        Blob.alive -= 1


class Store:
    """Outputs of shards; counts how often each is read, and how many were held at once."""

    def __init__(self) -> None:
        self.outputs: list[ShardOutputRef] = []
        self.reads: list[int] = []
        self.most_alive = 0

    def add(self, payload: dict[str, Any], blob: bytes, cost: Cost, samples: int = 0) -> None:
        self.reads.append(0)
        self.outputs.append(
            ShardOutputRef(payload, cost_json(cost), samples, self._reader(len(self.outputs), blob))
        )

    def _reader(self, position: int, blob: bytes) -> Callable[[], bytes]:
        def read() -> bytes:
            self.reads[position] += 1
            fetched = Blob(blob)
            self.most_alive = max(self.most_alive, Blob.alive)
            return fetched

        return read


@cache
def a_search() -> tuple[Found, Cost]:
    return search(Reader(TASKS), CALIBRATION, ATTACKS[1], tasks=TASKS, evaluated=12, batch_size=8)


@cache
def statistics(begin: int, end: int, number: int | None) -> tuple[bytes, Cost]:
    found = a_search()[0] if number == 1 else None
    attack = None if number is None else ATTACKS[number]
    table, cost = evaluate_shard(
        Reader(TASKS), DATA, range(begin, end), attack, tasks=TASKS, batch_size=5, found=found
    )
    return table.to_bytes(), cost


def an_evaluation(*, health: Mapping[str, Any] | None = None, shard: int = SHARD) -> Store:
    """What the shards of a job with all three attacks left, in the plan's order."""
    store = Store()
    for number in (None, *range(len(ATTACKS))):
        if number == 1:
            found, cost = a_search()
            store.add({"kind": "calibration", "attack": number}, found.to_bytes(), cost, found.samples)
        for begin in range(0, 12, shard):
            end = min(begin + shard, 12)
            blob, cost = statistics(begin, end, number)
            payload = {"kind": "evaluation", "attack": number, "start": begin, "stop": end}
            store.add(payload, blob, cost, end - begin)
    if health is not None:
        store.add({"kind": "probe"}, json.dumps(health).encode(), Cost(1, 1, 0.1))
    return store


def assembled(store: Store, attacks: Sequence[AttackSpec] = ATTACKS) -> Assembled:
    return assemble_evaluation(spec(attacks), record(0), store.outputs, dataset=RECORD)


@cache
def directly() -> tuple[AttackResult, ...]:
    """The same without shards, bytes and assembly."""
    resampler = Resampler()
    results: list[AttackResult] = []
    for number in (None, *range(len(ATTACKS))):
        attack, found = (None, None) if number is None else (ATTACKS[number], a_search()[0])
        tally = Tally(attack, TASKS, resampler)
        table, cost = evaluate_shard(
            Reader(TASKS),
            DATA,
            range(12),
            attack,
            tasks=TASKS,
            batch_size=5,
            found=found if number == 1 else None,
        )
        tally.add(table, cost)
        clean = results[0] if results else None
        results.append(tally.result(dataset=RECORD.identity("test"), clean=clean, rules="standard"))
    return tuple(results)


def pair(bounds: Interval | None) -> list[float] | None:
    return None if bounds is None else [bounds.low, bounds.high]


def test_rows_are_the_clean_pass_and_the_attacks_in_the_specs_order() -> None:
    rows = assembled(an_evaluation()).rows
    assert [row.ordinal for row in rows] == [-1, 0, 1, 2]
    assert [row.attack for row in rows] == [None, *(attack.to_json() for attack in ATTACKS)]
    assert {row.samples for row in rows} == {12}


@pytest.mark.parametrize("ordinal", [-1, 0, 1, 2])
def test_a_rows_numbers_are_those_of_all_its_samples_together(ordinal: int) -> None:
    row, expected = assembled(an_evaluation()).rows[ordinal + 1], directly()[ordinal + 1]
    assert row.metrics == expected.metrics
    if expected.arp is None or expected.arp_8bit is None:
        assert (row.arp, row.task_arp, row.arp_8bit) == (None, None, None)
    else:
        assert (row.arp, row.task_arp) == (expected.arp.overall, expected.arp.tasks)
        assert row.arp_8bit == expected.arp_8bit.overall
        assert row.arp != row.arp_8bit or ordinal != 0, "an eps of 2.5"
    assert row.intervals is not None
    assert row.intervals["arp"] == pair(expected.interval)
    assert row.intervals["tasks"] == {name: pair(bounds) for name, bounds in expected.task_intervals.items()}
    assert row.intervals["metrics"] == {
        task: {name: pair(bounds) for name, bounds in named.items()}
        for task, named in expected.metric_intervals.items()
    }
    assert row.replicates == expected.replicates.to_bytes()
    assert row.replicates is not None
    assert Replicates.from_bytes(row.replicates).origin.samples == 12


@pytest.mark.parametrize("shard", [5, 10])
def test_how_the_job_was_cut_does_not_matter(shard: int) -> None:
    whole, cut = (assembled(an_evaluation(shard=size)) for size in (15, shard))
    for one, other in zip(whole.rows, cut.rows, strict=True):
        assert (one.metrics, one.arp, one.arp_8bit, one.intervals) == (
            other.metrics,
            other.arp,
            other.arp_8bit,
            other.intervals,
        )
        assert one.replicates == other.replicates


def test_neither_does_the_order_in_which_shards_are_listed() -> None:
    store = an_evaluation()
    store.outputs.reverse()
    assert [row.arp for row in assembled(store).rows] == [row.arp for row in assembled(an_evaluation()).rows]


def test_costs_add_up_and_a_search_is_its_attacks() -> None:
    rows = assembled(an_evaluation()).rows
    found, cost = a_search()
    assert found.passes > 0
    shards = [statistics(begin, min(begin + SHARD, 12), 1)[1] for begin in range(0, 12, SHARD)]
    assert rows[2].cost["forwards"] == cost.forwards + sum(one.forwards for one in shards)
    assert rows[2].cost["backwards"] == cost.backwards + sum(one.backwards for one in shards)
    assert rows[0].cost["backwards"] == 0
    assert {row.cost["metric_version"] for row in rows} == {METRIC_VERSION}


def test_the_summary_says_what_a_search_tried_and_ran() -> None:
    searches = assembled(an_evaluation()).summary["searches"]
    found, _ = a_search()
    assert searches.keys() == {"1"}
    log = searches["1"]
    assert (log["samples"], log["passes"]) == (found.samples, found.passes)
    assert [trial["arp"] for trial in log["trials"]] == [trial.arp for trial in found.trials]
    assert [trial["softness"] for trial in log["trials"]] == [
        trial.candidate.softness for trial in found.trials
    ]
    (only,) = log["finalists"]
    assert only["label"] == found.finalists[0].attack.label
    assert AttackSpec(**only["attack"]) == found.finalists[0].attack


def test_the_summary_says_how_it_was_resampled() -> None:
    summary = assembled(an_evaluation()).summary
    assert summary["bootstrap"] == {"level": LEVEL, "replicates": 1000, "seed": 0, "samples": 12}


def test_without_a_probe_there_are_no_facts_and_no_flags_about_everything() -> None:
    summary = assembled(an_evaluation()).summary
    assert (summary["flags"], summary["probe"]) == ([], None)
    assert summary["reliable"]


def test_a_probes_report_is_the_jobs() -> None:
    found = probe(Reader(TASKS), DATA, ATTACKS, tasks=TASKS, samples=4)
    report = {"flags": [flag.to_json() for flag in found.flags], "facts": found.facts}
    summary = assembled(an_evaluation(health=report)).summary
    assert summary["probe"] == found.facts
    assert summary["flags"] == report["flags"]
    assert summary["reliable"]


def test_an_error_about_everything_makes_the_job_unreliable() -> None:
    flag = Flag("stochastic_forward", "error", "random", {"difference": 1.0}).to_json()
    summary = assembled(an_evaluation(health={"flags": [flag], "facts": {}})).summary
    assert summary["flags"] == [flag]
    assert not summary["reliable"]


def test_rows_carry_their_own_flags() -> None:
    rows = assembled(an_evaluation()).rows
    expected = directly()
    for row, result in zip(rows, expected, strict=True):
        others = [other for other in expected if other is not result]
        assert list(row.flags) == [flag.to_json() for flag in attack_flags(result, others)]
    assert "eight_bit" in {flag["code"] for flag in rows[1].flags}, "an eps of 2.5"


class Masked(Reader):
    """Its gradients are zero."""

    def forward(self, images: Any) -> Any:
        return {name: value.detach() + 0 * images.sum() for name, value in super().forward(images).items()}


def test_an_attacks_error_makes_the_job_unreliable_too() -> None:
    store = Store()
    attacks = [AttackSpec(algorithm="pgd", eps=8, steps=3), AttackSpec(algorithm="square", eps=8, steps=30)]
    for attack, number in ((None, None), *zip(attacks, range(2), strict=True)):
        table, cost = evaluate_shard(Masked(TASKS), DATA, range(12), attack, tasks=TASKS, batch_size=12)
        payload = {"kind": "evaluation", "attack": number, "start": 0, "stop": 12}
        store.add(payload, table.to_bytes(), cost)
    found = assembled(store, attacks)
    assert [flag["code"] for flag in found.rows[1].flags] == ["zero_gradient", "beaten_without_gradients"]
    assert found.rows[2].flags == []
    assert not found.summary["reliable"]


def test_every_output_is_read_once_and_none_is_kept() -> None:
    store = an_evaluation(health={"flags": [], "facts": {}})
    assembled(store)
    assert set(store.reads) == {1}
    assert store.most_alive == 1


def test_what_comes_out_is_json() -> None:
    found = assembled(an_evaluation(health={"flags": [], "facts": {}}))
    json.dumps(found.summary, allow_nan=False)
    for row in found.rows:
        json.dumps([row.metrics, row.task_arp, row.intervals, row.cost, list(row.flags)], allow_nan=False)


class Crossed(Reader):
    """Another model of the same tasks."""

    def forward(self, images: Any) -> Any:
        return super().forward(images.flip(1).pow(2))


SINGLE = AttackSpec(algorithm="pgd", eps=8, steps=3)
MODELS = (Reader(TASKS), Crossed(TASKS))


def transfer_spec() -> TransferabilitySpec:
    return TransferabilitySpec.model_validate(
        {
            "kind": "transferability",
            "models": IDS,
            "dataset": {"name": "scenes", "limit": 12},
            "attack": SINGLE.to_json(),
        }
    )


@cache
def a_transfer() -> Store:
    """What the shards of a transferability job left."""
    store, written = Store(), transfer_spec()
    for source, model in enumerate(MODELS):
        faster = prepare(model, DATA.batch([0, 1]).images)
        for task in (None, *(task.name for task in TASKS)):
            for begin in range(0, 12, 6):
                plan = Plan(
                    source=model,
                    scored=(model,) if task is None else MODELS,
                    attack=None if task is None else written.attack_on(task),
                    tasks=TASKS,
                    prepared=None if task is None else faster,
                    rounded=False,
                )
                tables, cost = evaluate_plan(plan, DATA, range(begin, begin + 6), batch_size=6)
                payload = {
                    "kind": "transfer",
                    "model": source,
                    "task": task,
                    "start": begin,
                    "stop": begin + 6,
                }
                store.add(payload, pack(tables), cost, 6)
    return store


def transferred() -> Assembled:
    records = [record(0), record(1)]
    return assemble_transferability(transfer_spec(), records, a_transfer().outputs, dataset=RECORD)


def test_a_transferability_job_finds_what_the_library_does() -> None:
    library = evaluate_transferability(dict(zip(("0", "1"), MODELS, strict=True)), DATA, SINGLE, batch_size=6)
    found = transferred()
    assert found.rows == []
    assert [(one["source"], one["target"]) for one in found.summary["pairs"]] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    for one in found.summary["pairs"]:
        expected = library.pairs[str(one["source"]), str(one["target"])]
        assert one["matrix"] == expected.matrix
        assert one["transfer"] == expected.values
        assert one["undefined"] == expected.undefined
        assert one["unstable"] == list(expected.unstable)
        assert one["transfer_intervals"] == {name: pair(value) for name, value in expected.intervals.items()}
        assert one["intervals"] == {
            attacked: {task: pair(value) for task, value in row.items()}
            for attacked, row in expected.matrix_intervals.items()
        }


def test_its_summary_names_models_tasks_and_attack() -> None:
    summary = transferred().summary
    assert summary["models"] == [str(identifier) for identifier in IDS]
    assert summary["tasks"] == ["normals", "depth", "edges"]
    assert summary["attack"] == SINGLE.to_json()
    assert (summary["samples"], summary["reliable"], summary["flags"]) == (12, True, [])
    json.dumps(summary, allow_nan=False)


def test_its_outputs_are_read_once_and_none_is_kept() -> None:
    store = a_transfer()
    before, store.most_alive = list(store.reads), 0
    transferred()
    assert [after - once for after, once in zip(store.reads, before, strict=True)] == [1] * len(before)
    assert store.most_alive == 1


def test_its_flags_name_the_model_and_the_attacked_task() -> None:
    masked = Masked(TASKS)
    store, written = Store(), transfer_spec().model_copy(update={"models": IDS[:1]})
    for task in (None, *(task.name for task in TASKS)):
        attack = None if task is None else written.attack_on(task)
        plan = Plan(source=masked, scored=(masked,), attack=attack, tasks=TASKS, rounded=False)
        tables, cost = evaluate_plan(plan, DATA, range(12), batch_size=12)
        store.add({"kind": "transfer", "model": 0, "task": task, "start": 0, "stop": 12}, pack(tables), cost)
    summary = assemble_transferability(written, [record(0)], store.outputs, dataset=RECORD).summary
    zero = [flag for flag in summary["flags"] if flag["code"] == "zero_gradient"]
    assert [(flag["evidence"]["model"], flag["evidence"]["attacked"]) for flag in zero] == [
        (0, "normals"),
        (0, "depth"),
        (0, "edges"),
    ]
    assert not summary["reliable"]
    assert "did not harm it" in summary["pairs"][0]["undefined"]["depth"]
