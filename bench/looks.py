"""What planned looks are worth: how often a gate that may stop early passes, or fails, a model whose ARP is known.

A shipped model on its whole test split is the population, and its ARP there is the truth. Samples are drawn from it
with replacement again and again, evaluated and resampled as the service does, and held against limits at the truth and
beside it: in one look, in planned looks, and "peeking", which draws every look's interval at 95 %. And data sets drawn
so are sorted, to see what the order that gates draw is worth. Writes docs/results/looks.md and .json. Run as
`python -m bench.looks`; QUICK=1 is a small run, whose page is only printed; `--sorted` measures what is sorted alone.
"""

import argparse
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # said before NumPy is there

import numpy as np
import torch
from numpy.typing import NDArray

from bench.looks_report import Count, Found, Misses, Ordered, write_page
from core.comparison import Estimate
from core.data import open_dataset
from core.data.order import drawn_order
from core.evaluation import AttackResult, Cost, Statistics, Tally, evaluate_shard
from core.evaluation.bootstrap import REPLICATES, Resampler
from core.gates.limits import Finding, judge
from core.gates.looks import Look, level_of, plan_looks
from core.intervals import LEVEL, Interval
from core.models import load_checkpoint
from core.specs.attack import AttackSpec
from core.specs.documents import Attacked
from core.specs.gate_file import GateFile
from core.specs.policies import Limit
from core.tasks import Task
from worker.demo.models import DEMO_MODELS

ROOT = Path(__file__).parents[1]

MODELS = ("digits-all-shared", "scenes-all-shared")
ATTACK = AttackSpec(algorithm="pgd", objective="gb_mta", eps=8, steps=20)

SAMPLES = 1024
"""That the gate asks for."""

OFFSETS = (-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0)
"""By how much ARP is above a limit, in standard errors of ARP on `UNIT` samples."""

UNIT = 256

SORTED_OFFSETS = (-4.0, -2.0, 0.0, 2.0, 4.0)
SORTED_REPEATS = 1000

REPEATS = 4000
QUICK_REPEATS = 200

FREE = Cost(0, 0, 0.0)

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Population:
    """All samples that there are: their statistics before and after the attack."""

    name: str
    tasks: Sequence[Task]
    clean: Statistics
    attacked: Statistics

    @property
    def arp(self) -> float:
        """The truth."""
        size = len(self.clean)
        (found,) = evaluations(self, np.arange(size), [size], Resampler(replicates=1))
        return arp_of(found)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to look.

    Attributes:
        sizes: samples of every look, ascending.
        level: of their intervals.
    """

    name: str
    sizes: tuple[int, ...]
    level: float


@dataclass(frozen=True, slots=True)
class Seen:
    """ARP on the first so many of the samples that were drawn, and its intervals by level."""

    samples: int
    arp: float
    intervals: dict[float, Interval | None]


def ways(samples: int = SAMPLES) -> tuple[Way, ...]:
    """One look, the looks that a gate file plans, and these at 95 % each."""
    once, planned = looks(samples, early=False), looks(samples, early=True)
    sizes = tuple(look.samples for look in planned)
    return (
        Way("one", tuple(look.samples for look in once), level_of(once)),
        Way("peeking", sizes, LEVEL),
        Way("planned", sizes, level_of(planned)),
    )


def looks(samples: int, *, early: bool) -> tuple[Look, ...]:
    """What a gate file that asks for so many samples plans."""
    attacks = [{"algorithm": ATTACK.algorithm, "eps": ATTACK.eps}]
    document = {
        "version": 1,
        "model": {"file": "model.safetensors"},
        "dataset": {"name": "digits"},
        "suite": {"attacks": attacks},
        "rules": [{"name": "robust", "on": "arp", "at_most": 0}],
        "stop_early": early,
    }
    dataset = {"name": "digits", "version": "1", "limit": samples}
    evaluation = Attacked.model_validate({"dataset": dataset, "attacks": attacks})
    return plan_looks(GateFile.model_validate(document), evaluation, available=samples)


def shipped(name: str) -> Population:
    """A shipped model on the whole test split of its data set."""
    demo = next(model for model in DEMO_MODELS if model.name == name)
    manifest, tasks = demo.manifest, demo.manifest.task_list
    model = load_checkpoint(demo.weights, backbone=manifest.backbone, layout=manifest.layout, tasks=tasks)
    dataset = open_dataset(demo.dataset, "test")
    everything = range(len(dataset))
    clean, attacked = (
        evaluate_shard(model, dataset, everything, attack, tasks=tasks, batch_size=32, rounded=False)[0]
        for attack in (None, ATTACK)
    )
    return Population(name, tasks, clean, attacked)


def evaluations(
    population: Population, rows: Rows, sizes: Sequence[int], resampler: Resampler
) -> Iterator[AttackResult]:
    """The attack on rows [N] of a population, as the samples of a data set: on the first so many of them each."""
    before, after = Tally(None, population.tasks, resampler), Tally(ATTACK, population.tasks, resampler)
    start = 0
    for size in sizes:
        added = np.arange(start, size)
        before.add(_taken(population.clean, rows[added], added), FREE)
        after.add(_taken(population.attacked, rows[added], added), FREE)
        clean = before.result(dataset=population.name, clean=None, rules="standard")
        yield after.result(dataset=population.name, clean=clean, rules="standard")
        start = size


def _taken(table: Statistics, rows: Rows, indices: Rows) -> Statistics:
    tasks = {
        task: {name: values[rows] for name, values in statistics.items()}
        for task, statistics in table.tasks.items()
    }
    return Statistics(indices, tasks)


def arp_of(result: AttackResult) -> float:
    """ARP, where there is one."""
    assert result.arp is not None
    assert result.arp.overall is not None
    return result.arp.overall


def drawn(population: Population, looked: Sequence[Way], *, repeats: int, seed: int = 0) -> list[list[Seen]]:
    """So many times, what is seen of samples drawn from a population at each number of samples that any way has.

    Args:
        population: to draw from, with replacement.
        looked: say at how many samples, and which intervals.
        repeats: how many times.
        seed: of the draws; the bootstrap's is the service's.
    """
    sizes = sorted({size for way in looked for size in way.sizes})
    levels, resampler = sorted({way.level for way in looked}), Resampler()
    return [
        seen(population, rows, sizes, levels, resampler)
        for rows in data_sets(population, sizes[-1], repeats=repeats, seed=seed)
    ]


def data_sets(population: Population, samples: int, *, repeats: int, seed: int = 0) -> Iterator[Rows]:
    """So many times, rows [samples] of a population, drawn with replacement."""
    generator = np.random.default_rng(seed)
    return (generator.integers(len(population.clean), size=samples) for _ in range(repeats))


def seen(
    population: Population,
    rows: Rows,
    sizes: Sequence[int],
    levels: Sequence[float],
    resampler: Resampler,
) -> list[Seen]:
    """What is seen on the first so many of these rows each."""
    return [
        Seen(
            found.samples,
            arp_of(found),
            {level: found.replicates.interval(arp_of(found), level=level) for level in levels},
        )
        for found in evaluations(population, rows, sizes, resampler)
    ]


def settle(seen: Sequence[Seen], way: Way, limit: Limit) -> tuple[Finding, int]:
    """What a strict rule comes to, and on how many samples: the first look that passes or fails, or the last."""
    taken = [one for one in seen if one.samples in way.sizes]
    for one in taken:
        number = Estimate(one.arp, one.intervals[way.level])
        finding = judge(number, limit, strict=True, samples=one.samples).finding
        if finding in ("pass", "fail"):
            break
    return finding, one.samples


def count(repetitions: Sequence[Sequence[Seen]], way: Way, value: float, offset: float) -> Count:
    """What a rule that ARP is at most some value comes to, over all repetitions."""
    limit = Limit("at_most", value)
    settled = [settle(seen, way, limit) for seen in repetitions]
    findings = Counter(finding for finding, _ in settled)
    ended = Counter(samples for _, samples in settled)
    return Count(
        offset=offset,
        way=way.name,
        passed=findings["pass"],
        failed=findings["fail"],
        ended={size: ended[size] for size in way.sizes},
    )


def misses(repetitions: Sequence[Sequence[Seen]], truth: float) -> Iterator[Misses]:
    """How often the truth was beyond either end of an interval, by number of samples and level."""
    for look in zip(*repetitions, strict=True):
        for level in look[0].intervals:
            found = [bounds for one in look if (bounds := one.intervals[level]) is not None]
            yield Misses(
                samples=look[0].samples,
                level=level,
                intervals=len(found),
                below=sum(truth < bounds.low for bounds in found),
                above=sum(truth > bounds.high for bounds in found),
            )


def measure(population: Population, *, repeats: int) -> Found:
    """Everything about one population."""
    looked = ways()
    repetitions = drawn(population, looked, repeats=repeats)
    unit = float(np.std([one.arp for seen in repetitions for one in seen if one.samples == UNIT], ddof=1))
    truth = population.arp
    return Found(
        name=population.name,
        size=len(population.clean),
        arp=truth,
        unit=unit,
        repeats=repeats,
        counts=[
            count(repetitions, way, truth - offset * unit, offset) for offset in OFFSETS for way in looked
        ],
        misses=list(misses(repetitions, truth)),
    )


def fooled(population: Population) -> Rows:
    """[N], how many tasks the model has right before the attack and wrong after it; of classifications."""
    before, after = (
        sum(table.tasks[task.name]["correct"].astype(np.int64) for task in population.tasks)
        for table in (population.clean, population.attacked)
    )
    return np.asarray(before - after)


def measure_sorted(population: Population, *, unit: float, repeats: int) -> Ordered:
    """What planned looks come to on data sets that are sorted by the harm done, as they stand and in a drawn order.

    Args:
        population: to draw the data sets from.
        unit: the standard error of ARP that offsets are in.
        repeats: how many data sets.
    """
    *_, planned = ways()
    started, harm, resampler, truth = time.process_time(), fooled(population), Resampler(), population.arp
    given: list[list[Seen]] = []
    shuffled: list[list[Seen]] = []
    for number, rows in enumerate(data_sets(population, planned.sizes[-1], repeats=repeats)):
        by_harm = rows[np.argsort(harm[rows], kind="stable")]
        for order, found in ((by_harm, given), (by_harm[drawn_order(number, len(rows))], shuffled)):
            found.append(seen(population, order, planned.sizes, [planned.level], resampler))

    def counts(found: list[list[Seen]]) -> list[Count]:
        return [count(found, planned, truth - offset * unit, offset) for offset in SORTED_OFFSETS]

    return Ordered(
        name=population.name,
        samples=planned.sizes[-1],
        given=counts(given),
        drawn=counts(shuffled),
        seconds=round(time.process_time() - started),
    )


def kept(numbers: Mapping[str, Any]) -> list[Found]:
    """The populations that a former run has written."""
    return [
        Found(
            **population
            | {
                "counts": [
                    Count(**one | {"ended": {int(size): times for size, times in one["ended"].items()}})
                    for one in population["counts"]
                ],
                "misses": [Misses(**one) for one in population["misses"]],
            }
        )
        for population in numbers["populations"]
    ]


def facts(seconds: float) -> dict[str, Any]:
    """What the page says of a run that took so many seconds of processor time."""
    *_, planned = ways()
    return {
        "attack": f"{ATTACK.algorithm.upper()}-{ATTACK.steps} on `{ATTACK.objective}`, eps {ATTACK.eps:g} of 255",
        "sizes": planned.sizes,
        "level": planned.level,
        "unit": UNIT,
        "replicates": REPLICATES,
        "machine": f"one core of {os.cpu_count()}, {platform.machine()}",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "seconds": round(seconds),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every model and write the page."""
    quick = bool(os.environ.get("QUICK"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=QUICK_REPEATS if quick else REPEATS)
    parser.add_argument("--sorted-repeats", type=int, default=QUICK_REPEATS if quick else SORTED_REPEATS)
    parser.add_argument("--sorted", action="store_true", help="only what is sorted, beside what is there")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    started = time.process_time()
    if options.sorted:
        before = json.loads((options.out / "looks.json").read_text())
        found, run = kept(before), before["facts"]
    else:
        found = []
        for name in MODELS[:1] if quick else MODELS:
            found.append(measure(shipped(name), repeats=options.repeats))
            print(f"{name}: {options.repeats} repetitions, {time.process_time() - started:.0f} s", flush=True)
        run = facts(time.process_time() - started)
    ordered = measure_sorted(shipped(MODELS[0]), unit=found[0].unit, repeats=options.sorted_repeats)
    page = write_page(found, ordered, run)
    if quick:
        print(page)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    numbers = {
        "facts": run,
        "populations": [asdict(population) for population in found],
        "sorted": asdict(ordered),
    }
    (options.out / "looks.json").write_text(json.dumps(numbers, indent=1) + "\n")
    (options.out / "looks.md").write_text(page)


if __name__ == "__main__":
    main()
