"""`evaluate`, the library call: a model, a data set and attacks in, a table of ARP with intervals out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from core.attacks import attacked_tasks
from core.attacks.targets import check_targets
from core.data.batch import Batch, Dataset
from core.data.order import in_order, shuffle_of, whole_of
from core.datasets import samples_identity
from core.errors import InvalidError
from core.evaluation.bootstrap import Resampler
from core.evaluation.health import Flag, attack_flags, difference, is_reliable
from core.evaluation.memory import suitable_batch_size
from core.evaluation.probe import PROBE_SAMPLES, Probe, probe
from core.evaluation.search import search
from core.evaluation.shard import evaluate_shard
from core.evaluation.tally import AttackResult, Tally
from core.intervals import Interval
from core.models.prepare import Prepared, prepare
from core.modules import device_of
from core.specs.attack import AttackSpec
from core.specs.precision import Precision
from core.tasks import MetricRules, Task

SHARD = 1024
"""Samples whose statistics are held at once."""


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The clean pass and every attack, in the order asked for.

    Attributes:
        probe: what the health checks found; None where they were not asked for.
        flags: of each attack, in the same order.
    """

    tasks: tuple[Task, ...]
    clean: AttackResult
    attacks: tuple[AttackResult, ...]
    flags: tuple[tuple[Flag, ...], ...]
    probe: Probe | None

    @property
    def arp(self) -> dict[str, float | None]:
        """Overall ARP in percent, by the attack's label ("pgd/gb_mta/eps=8")."""
        return {result.label: result.arp.overall for result in self.attacks if result.arp is not None}

    @property
    def intervals(self) -> dict[str, Interval | None]:
        """95 % intervals of overall ARP, by the attack's label."""
        return {result.label: result.interval for result in self.attacks}

    @property
    def reliable(self) -> bool:
        """Whether neither the model's checks nor any attack raised a flag that is an error."""
        model = () if self.probe is None else self.probe.flags
        return is_reliable([*model, *(flag for flags in self.flags for flag in flags)])

    def difference(self, one: str, other: str) -> Interval | None:
        """95 % interval of one attack's ARP minus another's, by their labels; paired over the samples."""
        by_label = {result.label: result for result in self.attacks}
        return difference(by_label[one], by_label[other])

    def table(self) -> str:
        """ARP overall, its interval, and ARP by task, one line an attack, as plain text."""
        names = [task.name for task in self.tasks]
        head = ["attack", "ARP %", "95 % interval", *names]
        rows = [
            [
                result.label,
                _number(result.arp.overall),
                _bounds(result.interval),
                *(_number(result.arp.tasks[name]) for name in names),
            ]
            for result in self.attacks
            if result.arp is not None
        ]
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in [head, *rows]
        )


def evaluate(
    model: nn.Module,
    dataset: Dataset,
    attacks: Iterable[AttackSpec],
    *,
    tasks: Sequence[Task] | None = None,
    limit: int | None = None,
    shuffle: int | None = None,
    batch_size: int | None = None,
    rules: MetricRules = "standard",
    precision: Precision = "float32",
    prepared: bool = True,
    calibration: Dataset | None = None,
    health: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Attack a model on a data set and measure what it did.

    Args:
        model: maps images [N, 3, H, W] in [0, 1] to {task: prediction}; left exactly as it was found.
        dataset: its samples are taken in order, unless `shuffle` says otherwise.
        attacks: eps in pixel steps of 1/255.
        tasks: the data set's, unless said.
        limit: only the first so many samples.
        shuffle: take samples in an order drawn with this seed, those of `calibration` as well; see `core.data.order`.
        batch_size: samples per pass, found by itself unless said; the numbers depend on it by rounding alone.
        rules: metric rules, see `core.evaluation.metrics.metric_values`.
        precision: what attacks compute in; metrics are taken in float32 from the model as given.
        prepared: attack a faster copy of the model that gives the same predictions, see `core.models.prepare`.
        calibration: samples that `auto_mta` may search on, none of them evaluated; without it those of the data set
            after `limit`.
        health: also run the checks of `core.evaluation.probe`.
        seed: of the bootstrap.
        progress: called with (attacks done, attacks in all), the clean pass counted.

    Raises:
        InvalidError: no samples, nothing left to calibrate on, or attacks, labels and predictions that do not fit
            the tasks.
    """
    chosen = tuple(tasks or dataset.tasks)
    asked = tuple(attacks)
    for attack in asked:
        attacked_tasks(attack, chosen)  # an attack that cannot be run is refused before any is
        check_targets(attack, chosen)
    taken = in_order(dataset, shuffle)
    samples = range(min(len(dataset), limit if limit is not None else len(dataset)))
    if not samples:
        raise InvalidError("there are no samples to evaluate", field="limit")
    size = min(batch_size or suitable_batch_size(model, dataset), len(samples))
    faster = (
        prepare_for(model, dataset, precision, samples=size) if prepared or precision != "float32" else None
    )
    slices = _calibration(
        asked, taken, None if calibration is None else in_order(calibration, shuffle), taken=len(samples)
    )
    resampler = Resampler(seed)
    results: list[AttackResult] = []
    for done, spec in enumerate((None, *asked), start=1):
        tally = Tally(spec, chosen, resampler)
        found = None
        if spec is not None and spec.algorithm == "auto_mta":
            assert slices is not None
            found, cost = search(
                model, slices, spec, tasks=chosen, evaluated=len(samples), batch_size=size, prepared=faster
            )
            tally.cost += cost
        for rows in _shards(samples, size):
            table, cost = evaluate_shard(
                model, taken, rows, spec, tasks=chosen, batch_size=size, prepared=faster, found=found
            )
            tally.add(table, cost)
        clean = results[0] if results else None
        results.append(tally.result(dataset=identity(taken), clean=clean, rules=rules))
        if progress is not None:
            progress(done, len(asked) + 1)
    flags = tuple(attack_flags(result, results[1:]) for result in results[1:])
    checks = None
    if health and asked:
        few = min(PROBE_SAMPLES, len(samples))
        checks = probe(model, taken, asked, tasks=chosen, prepared=faster, samples=few)
    return EvaluationResult(chosen, results[0], tuple(results[1:]), flags, checks)


def prepare_for(model: nn.Module, dataset: Dataset, precision: Precision, *, samples: int) -> Prepared:
    """The model made ready for being attacked on so many samples at once, and checked on the data set's first."""
    device = device_of(model)
    example = dataset.batch(range(min(samples, len(dataset)))).images.to(device)
    return prepare(model, example, precision=precision)


def _shards(samples: range, batch_size: int) -> Iterator[range]:
    step = max(1, SHARD // batch_size) * batch_size
    for begin in range(samples.start, samples.stop, step):
        yield range(begin, min(begin + step, samples.stop))


@dataclass(frozen=True, slots=True)
class Rest:
    """The samples of a data set from a position on, as a data set of their own."""

    whole: Dataset
    begin: int

    @property
    def name(self) -> str:
        """That of the whole."""
        return self.whole.name

    @property
    def version(self) -> str:
        """That of the whole."""
        return self.whole.version

    @property
    def split(self) -> str:
        """That of the whole."""
        return self.whole.split

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Those of the whole."""
        return self.whole.tasks

    def __len__(self) -> int:
        return len(self.whole) - self.begin

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at these positions of the rest."""
        return self.whole.batch([self.begin + index for index in indices])


def _calibration(
    attacks: Sequence[AttackSpec], dataset: Dataset, calibration: Dataset | None, *, taken: int
) -> Dataset | None:
    if all(attack.algorithm != "auto_mta" for attack in attacks):
        return None
    if calibration is not None and (both := identity(whole_of(calibration))) == identity(whole_of(dataset)):
        raise InvalidError(
            f"auto_mta must not search on the samples that it is evaluated on, and both are {both}",
            field="calibration",
        )
    slices: Dataset = Rest(dataset, taken) if calibration is None else calibration
    if len(slices) == 0:
        raise InvalidError(
            "auto_mta needs samples to search on that are not evaluated: set limit below the data set's length, or "
            "hand over calibration, another split most often",
            field="calibration",
        )
    return slices


def identity(dataset: Dataset) -> str:
    """What tells a data set, in its order, from every other."""
    return samples_identity(dataset.name, dataset.version, dataset.split, shuffle_of(dataset))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _bounds(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.2f} .. {interval.high:.2f}"
