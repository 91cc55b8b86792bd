"""The probe: a model and the strongest attack of a job put through the checks that tell whether to trust the numbers.

It runs on a few samples, and costs about as much as evaluating one attack on a few dozen.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from core.attacks.ascent import tied
from core.attacks.objectives import LOSS_FLOOR, task_gradients
from core.data.batch import Batch, Dataset
from core.evaluation.bootstrap import Resampler
from core.evaluation.health import MANY, Flag, Severity, aims_at_all_tasks, difference
from core.evaluation.shard import Cost, evaluate_shard
from core.evaluation.tally import AttackResult, Tally
from core.losses import BatchLosses
from core.models.prepare import Prepared
from core.modules import device_of, frozen
from core.specs.attack import AttackSpec
from core.specs.attack_fields import DEFAULT_OBJECTIVE, MAX_STEPS
from core.tasks import Task

PROBE_SAMPLES = 16
FULL_RANGE = 255.0
SQUARE_QUERIES = 100
FULL_RANGE_STEPS = 20

COLLAPSED = 50.0
"""ARP in percent that an attack without any bound must reach on every task."""

RANDOM = 1e-5
"""Relative difference of two passes over the same images above which a model is called random."""

ALONE = 0.8
"""Share of pixels whose sign one task decides alone from which on TOTAL is an attack on that task."""

NEAR_FLOOR = 10 * LOSS_FLOOR

MOST_SAMPLES = 0.5
"""Share of samples next to the floor from which on it is a fault of the result."""

CONVERGED = 0.05
"""Share of ARP that twice the steps may add before an attack counts as cut short."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What the probe found.

    Attributes:
        flags: what is doubtful.
        facts: everything that was measured, by check.
        cost: what it took.
    """

    flags: tuple[Flag, ...]
    facts: dict[str, Any]
    cost: Cost


def probe(
    model: nn.Module,
    dataset: Dataset,
    attacks: Sequence[AttackSpec],
    *,
    tasks: Sequence[Task],
    prepared: Prepared | None = None,
    samples: int = PROBE_SAMPLES,
    check: Callable[[], None] | None = None,
) -> Probe:
    """Run the checks.

    Args:
        model: as in `evaluate_shard`.
        dataset: its first samples are used.
        attacks: of the job; the checks are of the one with most steps at the largest eps, see `reference_attack`.
        tasks: attacked and measured.
        prepared: as in `evaluate_shard`.
        samples: how many.
        check: as in `evaluate_shard`.
    """
    count = min(samples, len(dataset))
    run = _Runner(model, dataset, count, tuple(tasks), prepared, check)
    device = device_of(model)
    batch = dataset.batch(range(count)).to(device)
    reference = reference_attack(attacks)
    facts: dict[str, Any] = {"samples": count, "attack": reference.label}
    flags: list[Flag] = []
    started = time.perf_counter()
    with frozen(model):
        for name, found in (
            ("repeatability", _repeatability(model, batch, tasks)),
            ("outputs", _outputs(model, batch, tasks)),
            ("gradients", gradient_facts(model, batch, tasks)),
        ):
            facts[name], raised = found
            flags += raised
    run.cost += Cost(4 * count, len(tasks) * count, time.perf_counter() - started)
    facts["preparation"] = _preparation(prepared)
    for name, (fact, flag) in _attack_checks(run, reference):
        facts[name] = fact
        flags += [flag] if flag else []
    return Probe(tuple(flags), plain(facts), run.cost)


def plain(value: Any) -> Any:
    """The value with None for every number that JSON has not: NaN and infinities."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def reference_attack(attacks: Sequence[AttackSpec]) -> AttackSpec:
    """The attack whose numbers are doubted: on all tasks, by gradients, most steps, largest eps; else GB-MTA's APGD.

    Among equals GB-MTA, which no single task rules.
    """
    joint = [attack for attack in attacks if attack.method.objective and aims_at_all_tasks(attack)]
    if joint:
        return max(joint, key=_weight_of_doubt)
    eps, norm = max((attack.eps, attack.norm) for attack in attacks) if attacks else (8.0, "linf")
    return AttackSpec(algorithm="apgd", eps=eps, norm=norm)


def _weight_of_doubt(attack: AttackSpec) -> tuple[int, float, bool]:
    full = attack.resolved()
    return full.steps or 0, full.eps, full.objective == DEFAULT_OBJECTIVE


Found = tuple[dict[str, Any], list[Flag]]


def _repeatability(model: nn.Module, batch: Batch, tasks: Sequence[Task]) -> Found:
    """Two passes over the same images."""
    with torch.no_grad():
        first, second = model(batch.images), model(batch.images)
    apart = max(float(relative_difference(first[task.name], second[task.name])) for task in tasks)
    message = (
        "two passes over the same images differ: the model is random; set eot, and expect wider intervals"
    )
    evidence = {"difference": plain(apart)}
    flags = [Flag("stochastic_forward", "error", message, evidence)] if apart > RANDOM else []
    return {"difference": apart}, flags


def relative_difference(one: Tensor, other: Tensor) -> Tensor:
    """Largest difference over the largest value; NaN is equal to NaN, and infinitely far from all else."""
    same = (one == other) | (one.isnan() & other.isnan())
    apart = torch.where(same, 0.0, (one - other).abs()).nan_to_num(nan=torch.inf).amax()
    scale = torch.where(other.isfinite(), other, 0.0).abs().amax()
    return apart / scale.clamp_min(torch.finfo(other.dtype).tiny)


def _outputs(model: nn.Module, batch: Batch, tasks: Sequence[Task]) -> Found:
    """Class scores that are probabilities already; the loss would normalise them a second time."""
    with torch.no_grad():
        predictions = model(batch.images)
    normalised = [
        task.name
        for task in tasks
        if task.kind in ("segmentation", "classification") and _are_probabilities(predictions[task.name])
    ]
    message = "class scores are probabilities already, and the loss normalises them again: hand over logits"
    flags = [Flag("normalised_twice", "error", message, {"tasks": normalised})] if normalised else []
    return {"probabilities": normalised}, flags


def _are_probabilities(scores: Tensor) -> bool:
    if scores.shape[1] == 1 or float(scores.amin()) < 0 or float(scores.amax()) > 1:
        return False
    sums = scores.sum(1)
    return bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-4))


def gradient_facts(model: nn.Module, batch: Batch, tasks: Sequence[Task]) -> Found:
    """How the tasks' gradients at the clean images lie to each other, and whether losses are near the floor."""
    leaf = batch.images.detach().requires_grad_()
    with torch.enable_grad():
        parts = tied(BatchLosses(tasks, batch)(model(leaf)), leaf)
        gradients = torch.stack(task_gradients(parts, leaf)).flatten(2)
    losses = torch.stack(parts).detach()
    names = [task.name for task in tasks]
    lengths = gradients.norm(dim=2)
    unit = gradients / lengths.clamp_min(torch.finfo(gradients.dtype).tiny)[..., None]
    cosines = torch.einsum("snd,tnd->nst", unit, unit).nanmean(0)
    sizes = gradients.abs()
    alone = (sizes > sizes.sum(0) - sizes).double().mean((1, 2))
    decided = dict(zip(names, alone.tolist(), strict=True))
    near = ((losses < NEAR_FLOOR) & (lengths > 0)).double().mean(1)
    facts = {
        "mean_length": dict(zip(names, lengths.mean(1).tolist(), strict=True)),
        "cosine": {
            one: dict(zip(names, row, strict=True)) for one, row in zip(names, cosines.tolist(), strict=True)
        },
        "sign_decided_alone": decided,
        "near_floor": dict(zip(names, near.tolist(), strict=True)),
    }
    return facts, [*_dominance(decided), *_near_floor(facts["near_floor"])]


def _dominance(decided: dict[str, float]) -> Iterator[Flag]:
    strongest = max(decided, key=lambda name: decided[name])
    if len(decided) > 1 and decided[strongest] > ALONE:
        message = (
            f"{strongest} alone decides nearly every sign of the summed gradient: TOTAL attacks no other task"
        )
        yield Flag("one_task_decides", "info", message, {"share": decided[strongest], "task": strongest})


def _near_floor(shares: dict[str, float]) -> Iterator[Flag]:
    low = {name: share for name, share in shares.items() if share > MANY}
    if low:
        message = "clean losses are next to 0: dividing by them lets a task rule GB-MTA before it is harmed"
        severity: Severity = "warning" if max(low.values()) > MOST_SAMPLES else "info"
        yield Flag("losses_near_floor", severity, message, {"share": low})


def _preparation(prepared: Prepared | None) -> dict[str, Any]:
    if prepared is None:
        return {}
    return {
        "precision": prepared.precision,
        "folded": prepared.folded,
        "difference": prepared.difference,
        "notes": list(prepared.notes),
    }


@dataclass
class _Runner:
    """Attacks the probe's samples; results share one resampler, so that they are paired."""

    model: nn.Module
    dataset: Dataset
    samples: int
    tasks: tuple[Task, ...]
    prepared: Prepared | None
    check: Callable[[], None] | None

    def __post_init__(self) -> None:
        self.cost = Cost(0, 0, 0.0)
        self.resampler = Resampler()
        self.clean = self._run(None, None, self.prepared)

    def attacked(self, attack: AttackSpec, *, as_given: bool = False) -> AttackResult:
        """The result of an attack on the prepared model, or on the model as given."""
        return self._run(attack, self.clean, None if as_given else self.prepared)

    def _run(
        self, attack: AttackSpec | None, clean: AttackResult | None, prepared: Prepared | None
    ) -> AttackResult:
        table, cost = evaluate_shard(
            self.model,
            self.dataset,
            range(self.samples),
            attack,
            tasks=self.tasks,
            batch_size=self.samples,
            prepared=prepared,
            rounded=False,
            check=self.check,
        )
        self.cost += cost
        tally = Tally(attack, self.tasks, self.resampler)
        tally.add(table, cost)
        return tally.result(dataset="probe", clean=clean, rules="standard")


Checked = tuple[str, tuple[dict[str, Any], Flag | None]]


def _attack_checks(run: _Runner, reference: AttackSpec) -> Iterator[Checked]:
    result = run.attacked(reference)
    yield "reference", (_arps(result), None)
    yield "more_steps", _more_steps(run, reference, result)
    for name, rival in _rivals(reference):
        yield name, _beaten_by(run.attacked(rival), result, name)
    if reference.norm == "linf":
        yield "full_range", _full_range(run, reference)
    if run.prepared is not None and run.prepared.precision != "float32":
        yield "precision", _against_float32(run, reference, result)


def _rivals(reference: AttackSpec) -> Iterator[tuple[str, AttackSpec]]:
    yield "noise", AttackSpec(algorithm="sign_noise", eps=reference.eps, norm=reference.norm)
    if reference.norm == "linf":
        yield "square", AttackSpec(algorithm="square", eps=reference.eps, steps=SQUARE_QUERIES)


def _arps(result: AttackResult) -> dict[str, Any]:
    assert result.arp is not None
    return {"attack": result.label, "arp": result.arp.overall, "tasks": result.arp.tasks}


def _more_steps(
    run: _Runner, reference: AttackSpec, result: AttackResult
) -> tuple[dict[str, Any], Flag | None]:
    """Twice the steps."""
    longer = with_more_steps(reference)
    if longer is None:
        return {"skipped": f"{reference.label} cannot take more steps"}, None
    found = run.attacked(longer)
    gained = difference(found, result)
    facts = _arps(found) | {"difference": None if gained is None else [gained.low, gained.high]}
    assert result.arp is not None
    if gained is None or gained.low <= CONVERGED * abs(result.arp.overall or 0.0):
        return facts, None
    message = (
        f"twice the steps raise ARP by more than {CONVERGED:.0%} of it: the attack was cut short; raise steps"
    )
    return facts, Flag("more_steps_help", "warning", message, facts)


def with_more_steps(attack: AttackSpec) -> AttackSpec | None:
    """The attack with twice the steps, or as many as there may be; None where it has those, or takes but one."""
    full = attack.resolved()
    if full.method.steps is None or full.steps is None or full.steps == MAX_STEPS:
        return None
    return replace(attack, steps=min(2 * full.steps, MAX_STEPS))


def _beaten_by(rival: AttackResult, result: AttackResult, name: str) -> tuple[dict[str, Any], Flag | None]:
    ahead = difference(rival, result)
    facts = _arps(rival) | {"difference": None if ahead is None else [ahead.low, ahead.high]}
    if ahead is None or ahead.low <= 0:
        return facts, None
    message = f"{name}, which uses no gradients, beats the gradient attack: gradients are masked"
    return facts, Flag("beaten_without_gradients", "error", message, facts)


def _full_range(run: _Runner, reference: AttackSpec) -> tuple[dict[str, Any], Flag | None]:
    """Without a bound, every task must collapse."""
    result = run.attacked(
        replace(
            reference,
            algorithm="pgd",
            decay=None,
            eps=FULL_RANGE,
            steps=FULL_RANGE_STEPS,
            step_size=FULL_RANGE / 4,
            random_start=False,
            restarts=1,
        )
    )
    facts = _arps(result)
    assert result.arp is not None
    left = {
        task: value for task, value in result.arp.tasks.items() if value is not None and value < COLLAPSED
    }
    if not left:
        return facts, None
    overall = result.arp.overall
    severity: Severity = "error" if overall is None or overall < COLLAPSED else "warning"
    message = f"with eps = 255, which allows anything, {', '.join(left)} does not collapse: the attack does not work"
    return facts, Flag("full_range_survived", severity, message, {"tasks": left, "arp": overall})


def _against_float32(
    run: _Runner, reference: AttackSpec, result: AttackResult
) -> tuple[dict[str, Any], Flag | None]:
    exact = run.attacked(reference, as_given=True)
    lost = difference(exact, result)
    facts = _arps(exact) | {"difference": None if lost is None else [lost.low, lost.high]}
    if lost is None or lost.low <= 0:
        return facts, None
    message = "in float32 the attack is stronger: the lower precision costs it"
    return facts, Flag("precision_costs", "warning", message, facts)
