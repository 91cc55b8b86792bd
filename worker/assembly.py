"""From the outputs of a job's shards to what the job found. Outputs are read one by one, and none is kept."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from core.evaluation import AttackResult, Cost, Flag, Statistics, Tally, attack_flags
from core.evaluation.bootstrap import Resampler
from core.evaluation.health import is_reliable
from core.evaluation.statistics import unpack
from core.evaluation.transfer import pair_transferability
from core.intervals import LEVEL, Interval
from core.jobs.planning import CLEAN
from core.specs.attack import AttackSpec
from core.specs.documents import EvaluationSpec, TransferabilitySpec
from core.specs.manifests import tasks_of
from core.tasks import METRIC_VERSION, Task
from worker.contract import Assembled, DatasetRecord, ModelRecord, ResultRow, ShardOutputRef


def assemble_evaluation(
    spec: EvaluationSpec, model: ModelRecord, outputs: Sequence[ShardOutputRef], *, dataset: DatasetRecord
) -> Assembled:
    """The clean pass first, then the attacks in the spec's order; the probe's flags are the job's.

    Args:
        spec: what was asked for.
        model: that it was asked of.
        outputs: of all shards.
        dataset: that it was measured on.
    """
    tasks = _measured(model, dataset)
    identity = dataset.identity(spec.dataset.split, spec.dataset.shuffle)
    resampler = Resampler()
    results: list[AttackResult] = []
    for ordinal in range(CLEAN, len(spec.attacks)):
        attack = None if ordinal == CLEAN else spec.attacks[ordinal]
        tally = Tally(attack, tasks, resampler)
        for output in outputs:
            if output.payload["kind"] == "evaluation" and _ordinal(output.payload) == ordinal:
                tally.add(Statistics.from_bytes(output.read()), _cost(output.cost))
            elif output.payload["kind"] == "calibration" and output.payload["attack"] == ordinal:
                tally.cost += _cost(output.cost)
        clean = results[0] if results else None
        results.append(tally.result(dataset=identity, clean=clean, rules=spec.metric_rules))
    rows = [_row(ordinal, result, results) for ordinal, result in enumerate(results, start=CLEAN)]
    report = _probe_report(outputs)
    searches = {
        str(output.payload["attack"]): _search_log(json.loads(output.read()))
        for output in outputs
        if output.payload["kind"] == "calibration"
    }
    summary = {
        "flags": report.get("flags", []),
        "probe": report.get("facts"),
        "searches": searches,
        "bootstrap": _bootstrap(resampler, results[0].samples),
    }
    everything = [flag["severity"] for flag in summary["flags"]]
    everything += [flag["severity"] for row in rows for flag in row.flags]
    return Assembled(rows, summary | {"reliable": "error" not in everything})


def _measured(model: ModelRecord, dataset: DatasetRecord) -> tuple[Task, ...]:
    return dataset.measured(tasks_of(model.manifest))


def _probe_report(outputs: Sequence[ShardOutputRef]) -> dict[str, Any]:
    for output in outputs:
        if output.payload["kind"] == "probe":
            report: dict[str, Any] = json.loads(output.read())
            return report
    return {}


def _search_log(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader wants of a search: what was tried, and what was run in the end."""
    return {
        "samples": found["samples"],
        "passes": found["passes"],
        "trials": [_described(trial["candidate"]) | {"arp": trial["arp"]} for trial in found["trials"]],
        "finalists": [_described(candidate) for candidate in found["finalists"]],
    }


def _described(candidate: Mapping[str, Any]) -> dict[str, Any]:
    attack = AttackSpec(**candidate["attack"])
    return {"label": attack.label, "attack": attack.to_json(), "softness": candidate["softness"]}


def _bootstrap(resampler: Resampler, samples: int) -> dict[str, Any]:
    return {
        "level": LEVEL,
        "replicates": resampler.replicates,
        "seed": resampler.seed,
        "samples": samples,
    }


def _row(ordinal: int, result: AttackResult, results: Sequence[AttackResult]) -> ResultRow:
    flags = attack_flags(result, [other for other in results if other is not result])
    return ResultRow(
        ordinal=ordinal,
        attack=None if result.attack is None else result.attack.to_json(),
        metrics=result.metrics,
        task_arp=None if result.arp is None else result.arp.tasks,
        arp=None if result.arp is None else result.arp.overall,
        arp_8bit=None if result.arp_8bit is None else result.arp_8bit.overall,
        intervals={
            "arp": _bounds(result.interval),
            "tasks": {task: _bounds(value) for task, value in result.task_intervals.items()},
            "metrics": {
                task: {name: _bounds(value) for name, value in values.items()}
                for task, values in result.metric_intervals.items()
            },
        },
        samples=result.samples,
        cost=cost_json(result.cost) | {"metric_version": METRIC_VERSION},
        flags=[flag.to_json() for flag in flags],
        replicates=result.replicates.to_bytes(),
    )


def assemble_transferability(
    spec: TransferabilitySpec,
    models: Sequence[ModelRecord],
    outputs: Sequence[ShardOutputRef],
    *,
    dataset: DatasetRecord,
) -> Assembled:
    """For every source and target what each SINGLE attack did to each task; see `api.views.transferability`."""
    tasks = _measured(models[0], dataset)
    identity = dataset.identity(spec.dataset.split, spec.dataset.shuffle)
    resampler = Resampler()
    everyone = range(len(models))
    clean = [
        _tallied(outputs, (target, None), [None], tasks, resampler)[0].result(
            dataset=identity, clean=None, rules=spec.metric_rules
        )
        for target in everyone
    ]
    found: dict[tuple[int, int], dict[str, AttackResult]] = {pair: {} for pair in product(everyone, everyone)}
    flags: list[Flag] = []
    for source, task in product(everyone, tasks):
        attack = spec.attack_on(task.name)
        tallies = _tallied(outputs, (source, task.name), [attack] * len(models), tasks, resampler)
        for target, tally in enumerate(tallies):
            result = tally.result(dataset=identity, clean=clean[target], rules=spec.metric_rules)
            found[source, target][task.name] = result
            if source == target:
                place = {"model": source, "attacked": task.name}
                flags += [replace(flag, evidence=flag.evidence | place) for flag in attack_flags(result)]
    pairs = [_pair(source, target, results) for (source, target), results in found.items()]
    return Assembled(
        [],
        {
            "models": [str(model.id) for model in models],
            "tasks": [task.name for task in tasks],
            "attack": spec.attack.to_json(),
            "pairs": pairs,
            "samples": clean[0].samples,
            "flags": [flag.to_json() for flag in flags],
            "reliable": is_reliable(flags),
            "bootstrap": _bootstrap(resampler, clean[0].samples),
        },
    )


def _tallied(
    outputs: Iterable[ShardOutputRef],
    wanted: tuple[int, str | None],
    attacks: Sequence[AttackSpec | None],
    tasks: Sequence[Task],
    resampler: Resampler,
) -> list[Tally]:
    """A tally for each model that the images of one source and attacked task were scored on."""
    tallies = [Tally(attack, tasks, resampler) for attack in attacks]
    for output in outputs:
        if (output.payload["model"], output.payload["task"]) == wanted:
            for tally, table in zip(tallies, unpack(output.read()), strict=True):
                tally.add(table, _cost(output.cost))
    return tallies


def _pair(source: int, target: int, results: Mapping[str, AttackResult]) -> dict[str, Any]:
    found = pair_transferability(results)
    return {
        "source": source,
        "target": target,
        "matrix": found.matrix,
        "intervals": {
            attacked: {task: _bounds(value) for task, value in row.items()}
            for attacked, row in found.matrix_intervals.items()
        },
        "transfer": found.values,
        "transfer_intervals": {task: _bounds(value) for task, value in found.intervals.items()},
        "undefined": found.undefined,
        "unstable": list(found.unstable),
    }


def _bounds(value: Interval | None) -> list[float] | None:
    return None if value is None else [value.low, value.high]


def _ordinal(payload: Mapping[str, Any]) -> int:
    return CLEAN if payload["attack"] is None else int(payload["attack"])


def cost_json(cost: Cost) -> dict[str, Any]:
    """A cost as JSON values."""
    return {"forwards": cost.forwards, "backwards": cost.backwards, "seconds": cost.seconds}


def _cost(cost: Mapping[str, Any]) -> Cost:
    return Cost(int(cost["forwards"]), int(cost["backwards"]), float(cost["seconds"]))
