"""A slice of a data set and an attack in, per-sample statistics out, for library users and workers alike."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core.attacks import AttackOutcome, run_attack
from core.attacks.damage import CleanScale
from core.data.batch import Batch, Dataset
from core.evaluation.finalists import Found, run_finalists
from core.evaluation.statistics import Statistics, take_statistics
from core.losses import PredictionError
from core.models.prepare import Prepared, precision_context
from core.modules import device_of, frozen
from core.specs.attack import AttackSpec
from core.specs.attack_fields import AttackSpecError
from core.tasks import Task

PIXEL_STEP = 1 / 255
"""One pixel step, the unit of eps in specs, in the units of images in [0, 1]."""

CPU_IS_FULL = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
"""What torch says on Linux, and elsewhere."""

GRID_TOLERANCE = 1e-4
"""Pixel steps by which a pixel may miss its place through float32's rounding."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a shard took.

    Attributes:
        forwards, backwards: passes, each of one sample, so that they add up whatever the batch size.
        seconds: wall clock, attack and metrics.
    """

    forwards: int
    backwards: int
    seconds: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.forwards + other.forwards, self.backwards + other.backwards, self.seconds + other.seconds
        )


def evaluate_shard(
    model: nn.Module,
    dataset: Dataset,
    samples: range,
    attack: AttackSpec | None,
    *,
    tasks: Sequence[Task],
    batch_size: int,
    prepared: Prepared | None = None,
    found: Found | None = None,
    damage: CleanScale | None = None,
    rounded: bool = True,
    previews: int = 0,
    check: Callable[[], None] | None = None,
) -> tuple[Statistics, Cost]:
    """Attack a slice of a data set, or with `attack` None measure it clean.

    Every batch has exactly `batch_size` samples (the last one is filled up with copies that are dropped
    again), so that on CPU a sample's result is the same, bit for bit, whatever slice it came in. A batch that
    does not fit into memory is halved, which changes results by rounding.

    Args:
        model: maps images [N, 3, H, W] in [0, 1] to {task: prediction}; left exactly as it was found.
        dataset: gives the samples and their labels.
        samples: positions in the data set, or in the order that it is taken in, one after another.
        attack: eps in pixel steps of 1/255.
        tasks: the tasks that are attacked and measured.
        batch_size: samples per pass.
        prepared: the model as it is attacked; statistics are always of the model as given. None attacks that too.
        found: what `auto_mta` searched for; that algorithm needs it, no other does.
        damage: raise damage in the place of losses, as `auto_mta` does.
        rounded: also take the statistics of the attacked images rounded to 8 bits.
        previews: keep pictures of the samples at the first so many positions, as far as the slice holds them.
        check: called before every batch; whatever it raises ends the work.

    Raises:
        InvalidError: the model's outputs or the data set's labels do not fit the tasks.
    """
    plan = Plan(
        source=model,
        scored=(model,),
        attack=attack,
        tasks=tuple(tasks),
        prepared=prepared,
        found=found,
        damage=damage,
        rounded=rounded,
        previews=previews,
    )
    tables, cost = evaluate_plan(plan, dataset, samples, batch_size=batch_size, check=check)
    return tables[0], cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do to each batch; see `evaluate_shard`.

    Attributes:
        source: the model that is attacked.
        scored: the models that the images are measured on, the source among them or not.
    """

    source: nn.Module
    scored: tuple[nn.Module, ...]
    attack: AttackSpec | None
    tasks: tuple[Task, ...]
    prepared: Prepared | None = None
    found: Found | None = None
    damage: CleanScale | None = None
    rounded: bool = True
    previews: int = 0


def evaluate_plan(
    plan: Plan, dataset: Dataset, samples: range, *, batch_size: int, check: Callable[[], None] | None = None
) -> tuple[tuple[Statistics, ...], Cost]:
    """`evaluate_shard` with the images of one model scored on several: a table for each, in their order."""
    started = time.perf_counter()
    device = device_of(plan.source)
    parts: list[tuple[Statistics, ...]] = []
    forwards = backwards = 0
    for rows in _batches(samples, batch_size):
        if check is not None:
            check()
        batch = dataset.batch(_filled(rows, batch_size)).to(device)
        shown = max(0, min(plan.previews - rows.start, len(rows)))
        tables, passes = _as_large_as_fits(plan, batch, keep=len(rows), shown=shown)
        parts.append(tables)
        forwards += passes[0] * len(rows)
        backwards += passes[1] * len(rows)
    joined = tuple(Statistics.concatenate(tables) for tables in zip(*parts, strict=True))
    return joined, Cost(forwards, backwards, time.perf_counter() - started)


def _batches(samples: range, batch_size: int) -> Iterator[range]:
    for begin in range(samples.start, samples.stop, batch_size):
        yield range(begin, min(begin + batch_size, samples.stop))


def _filled(rows: range, batch_size: int) -> list[int]:
    return [*rows, *[rows[-1]] * (batch_size - len(rows))]


Evaluated = tuple[tuple[Statistics, ...], tuple[int, int]]


def _as_large_as_fits(plan: Plan, batch: Batch, *, keep: int, shown: int) -> Evaluated:
    """Measure a batch's first `keep` samples, and keep pictures of its first `shown` ones."""
    try:
        return _evaluate_batch(plan, batch, keep=keep, shown=shown)
    except RuntimeError as error:
        if len(batch) == 1 or not is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = (len(batch) + 1) // 2
    first, passes = _as_large_as_fits(
        plan, batch.select(slice(half)), keep=min(keep, half), shown=min(shown, half)
    )
    if keep <= half:
        return first, passes
    second, _ = _as_large_as_fits(
        plan, batch.select(slice(half, None)), keep=keep - half, shown=max(0, shown - half)
    )
    return tuple(map(_joined, first, second)), passes


def _joined(first: Statistics, second: Statistics) -> Statistics:
    return Statistics.concatenate([first, second])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch had no memory left, on a GPU or (where it raises a plain RuntimeError) on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in CPU_IS_FULL)


def _evaluate_batch(plan: Plan, batch: Batch, *, keep: int, shown: int) -> Evaluated:
    clean = batch.select(slice(keep))
    if plan.attack is None:
        passes = (len(plan.scored), 0)
        tables = [_table(model, plan, clean, batch.images, {}) for model in plan.scored]
        return _with_pictures(tables, batch.images[:shown]), passes
    outcome = _attack(plan, plan.attack, batch)
    on_grid = to_8_bits(outcome.images, batch.images, plan.attack) if plan.rounded else None
    flags = {
        name: getattr(outcome, name)[:keep] for name in ("floored", "non_finite", "zero_gradient", "rising")
    }
    tables = []
    for model in plan.scored:
        table = _table(model, plan, clean, outcome.images, flags)
        if on_grid is not None:
            table = replace(table, rounded=_table(model, plan, clean, on_grid, {}).tasks)
        tables.append(table)
    scoring = len(plan.scored) * (2 if plan.rounded else 1)
    return _with_pictures(tables, outcome.images[:shown]), (outcome.forwards + scoring, outcome.backwards)


def _attack(plan: Plan, attack: AttackSpec, batch: Batch) -> AttackOutcome:
    model = plan.source if plan.prepared is None else plan.prepared.module
    with precision_context("float32" if plan.prepared is None else plan.prepared.precision):
        if attack.algorithm != "auto_mta":
            return run_attack(model, batch, plan.tasks, attack.scaled(PIXEL_STEP), damage=plan.damage)
        if plan.found is None:
            raise AttackSpecError("auto_mta needs what its search found", field="algorithm")
        return run_finalists(model, batch, plan.tasks, plan.found, unit=PIXEL_STEP)


def to_8_bits(images: Tensor, clean: Tensor, attack: AttackSpec) -> Tensor:
    """The images as an 8-bit file would hold them: on the grid of 1/255, and inside the ball if it is L-infinity's.

    Where clean images are off the grid, and no point of it is in the ball, the nearest to the clean image is taken.
    """
    rounded = (images * 255).round_()
    if attack.norm == "linf":
        centre, reach = clean * 255, attack.eps + GRID_TOLERANCE
        nearest = centre.round()
        lowest = torch.minimum((centre - reach).ceil_(), nearest)
        highest = torch.maximum((centre + reach).floor_(), nearest)
        rounded = torch.clamp(rounded, lowest, highest)
    return rounded.clamp_(0, 255).div_(255)


def _table(
    model: nn.Module, plan: Plan, clean: Batch, images: Tensor, flags: Mapping[str, Tensor]
) -> Statistics:
    """Statistics of the rows that are kept; the model sees the whole batch, so that its kernels stay the same."""
    with frozen(model), torch.no_grad(), precision_context("float32"):
        predictions = model(images)
    kept = {task.name: _rows(predictions, task, len(clean)) for task in plan.tasks}
    return take_statistics(plan.tasks, kept, clean, flags)


def _rows(predictions: object, task: Task, keep: int) -> Tensor:
    if not isinstance(predictions, Mapping) or not isinstance(predictions.get(task.name), Tensor):
        raise PredictionError(f"the model does not predict {task.name}", field=task.name)
    rows: Tensor = predictions[task.name][:keep]
    return rows


def _with_pictures(tables: Sequence[Statistics], images: Tensor) -> tuple[Statistics, ...]:
    """The tables with pictures of the images, if there are any."""
    if len(images) == 0:
        return tuple(tables)
    pictures = (images * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return tuple(replace(table, previews=pictures) for table in tables)
