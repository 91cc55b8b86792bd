"""The search of `auto_mta`: which objective, weights and algorithm raise ARP most, on a slice that is not evaluated.

The family it searches is ascent on the sum of weights[i] * psi_p(Q_i), where Q_i is a task's loss or its damage
(`core.attacks.damage`): p = 1 on losses is GB-MTA, p = 0 on damage is ARP itself, made smooth. The search takes at
most `SEARCH_SHARE` of the budget; the rest goes to the best of what it tried. A budget whose share does not pay for
one trial goes to GB-MTA whole.

Where all tasks are classifications nothing is searched: a slice of right and wrong answers cannot tell attacks apart
that several hundred samples can, and a sample that is fooled by either of two attacks is fooled by both of them run.
There GB-MTA and TOTAL share the budget, and the damage of ARP where it is large.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from core.arp import average_relative_performance
from core.attacks.damage import CleanScale
from core.data.batch import Dataset
from core.evaluation.finalists import Candidate, Found, Totals, Trial
from core.evaluation.metrics import all_metrics
from core.evaluation.shard import Cost, evaluate_shard
from core.evaluation.statistics import Statistics
from core.models.prepare import Prepared
from core.specs.algorithms import STRONG_STEP
from core.specs.attack import AttackSpec
from core.tasks import Task

FORWARD = 0.5
"""Of a pass, which is a forward and a backward one."""

SEARCH_SHARE = 0.2
TRIALS = 10
"""How many candidates a search tries at least, where the budget allows it."""
MIN_SAMPLES, MAX_SAMPLES = 8, 64
MIN_STEPS, MAX_STEPS = 5, 40
STEPS_A_FINALIST = 100
"""With fewer steps left for each, fewer finalists are run: one long run beats several short ones."""
MAX_FINALISTS = 3
STEPS_A_CLASSIFIER = 15
"""The same where every task is a classification: there a second attack is worth more than further steps."""

MARGIN = 0.01
"""How much more ARP, relatively, a candidate must reach than a likelier one that was tried before it."""

CLASS_PRIOR = 0.01
"""Share of all pixels that is spread over the classes, so that none that is rare on the slice counts without limit."""


def search(
    model: nn.Module,
    dataset: Dataset,
    attack: AttackSpec,
    *,
    tasks: Sequence[Task],
    evaluated: int,
    batch_size: int,
    prepared: Prepared | None = None,
    check: Callable[[], None] | None = None,
) -> tuple[Found, Cost]:
    """Search on the first samples of a data set, of which none is evaluated.

    Args:
        model: as in `evaluate_shard`.
        dataset: its first samples are the calibration slice.
        attack: of the algorithm `auto_mta`; `steps` times `evaluated` is the budget, in passes over one sample.
        tasks: attacked and measured.
        evaluated: how many samples will be attacked with what is found.
        batch_size: samples per pass.
        prepared: as in `evaluate_shard`.
        check: as in `evaluate_shard`.
    """
    steps = attack.resolved().steps
    assert steps is not None
    classifying = all(task.kind == "classification" for task in tasks)
    if classifying and steps < 2 * STEPS_A_CLASSIFIER:
        return unsearched(attack, steps), Cost(0, 0, 0.0)
    budget = steps * evaluated
    allowance = min(SEARCH_SHARE * budget, budget - evaluated)  # every sample keeps a step
    plan = SlicePlan.of(allowance, steps=steps, available=len(dataset))
    if not plan.affords_a_trial:
        return unsearched(attack, steps), Cost(0, 0, 0.0)
    bench = _Bench(
        lambda spec, scale: evaluate_shard(
            model,
            dataset,
            range(plan.samples),
            spec,
            tasks=tasks,
            batch_size=min(batch_size, plan.samples),
            damage=scale,
            prepared=prepared,
            rounded=False,
            check=check,
        ),
        tasks=tasks,
        plan=plan,
    )
    if classifying:
        ranked, worthwhile = _different(attack), STEPS_A_CLASSIFIER
    else:
        _climb(bench, attack, tasks, plan.steps)
        ranked, worthwhile = bench.ranked, STEPS_A_FINALIST
    left = (budget - bench.spent) / evaluated
    count = min(MAX_FINALISTS, max(1, int(left / worthwhile)), len(ranked))
    finalists = tuple(with_steps(candidate, steps_each(left, count)) for candidate in ranked[:count])
    found = Found(
        finalists, bench.scale, bench.clean, bench.best, tuple(bench.trials), plan.samples, bench.spent
    )
    return found, bench.cost


def unsearched(attack: AttackSpec, steps: int) -> Found:
    """GB-MTA: what needs to know nothing of the data set."""
    plain = AttackSpec(algorithm="apgd", objective="gb_mta", eps=attack.eps, norm=attack.norm, steps=steps)
    return Found((Candidate(plain, softness=None),), CleanScale({}), {}, {}, (), samples=0, passes=0.0)


def steps_each(passes: float, finalists: int) -> int:
    """How many steps each finalist may take of the passes that are left for a sample.

    The look at its last point, which APGD takes wherever it is run, is free for one of them. Those at the others' and
    the forward passes that choose among them together come to a pass for each.
    """
    choosing = finalists if finalists > 1 else 0
    return max(1, int((passes - choosing) / finalists))


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """How large a slice and how many steps a trial: enough for `TRIALS` trials, if the allowance lasts.

    Attributes:
        allowance: passes that the search may take.
    """

    samples: int
    steps: int
    allowance: float

    @property
    def trial(self) -> float:
        """Passes that a trial takes: APGD's look at its last point and the measurement come to one for each sample."""
        return float(self.samples * (self.steps + 1))

    @property
    def affords_a_trial(self) -> bool:
        """Whether the clean pass and one trial fit into the allowance."""
        return FORWARD * self.samples + self.trial <= self.allowance

    @classmethod
    def of(cls, allowance: float, *, steps: int, available: int) -> "SlicePlan":
        """The plan for an allowance, an attack's steps and a calibration split's samples."""
        wanted = round(allowance / (TRIALS * min(steps, 2 * MIN_STEPS)))
        samples = min(max(MIN_SAMPLES, wanted), MAX_SAMPLES, available)
        trial_steps = min(max(MIN_STEPS, round(allowance / (TRIALS * samples))), MAX_STEPS, steps)
        return cls(samples, trial_steps, allowance)


@dataclass
class _Bench:
    """Where candidates are tried, and what that has cost and shown."""

    measure: Callable[[AttackSpec | None, CleanScale | None], tuple[Statistics, Cost]]
    tasks: Sequence[Task]
    plan: SlicePlan
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        table, self.cost = self.measure(None, None)
        self.clean = self._totals(table)
        self.best: Totals = self.clean
        metrics = all_metrics(self.tasks, self.clean)
        shares = {
            task.name: class_shares(self.clean[task.name])
            for task in self.tasks
            if task.kind == "segmentation"
        }
        self.scale = CleanScale(metrics, shares)

    @property
    def spent(self) -> float:
        """Passes so far, a forward and a backward pass of one sample counting one."""
        return FORWARD * (self.cost.forwards + self.cost.backwards)

    @property
    def leader(self) -> Trial:
        """The best so far; later trials must beat it by `MARGIN`: the slice is small, and the likeliest come first."""
        best = self.trials[0]
        for trial in self.trials[1:]:
            if trial.arp is None:
                continue
            if best.arp is None or trial.arp > best.arp + MARGIN * abs(best.arp):
                best = trial
        return best

    @property
    def ranked(self) -> list[Candidate]:
        """The leader, and after it the others, the strongest first."""
        leader = self.leader
        others = sorted((trial for trial in self.trials if trial is not leader), key=_weakness)
        return [trial.candidate for trial in (leader, *others)]

    def can_afford_another(self) -> bool:
        """Whether a trial more fits into the allowance."""
        return self.spent + self.plan.trial <= self.plan.allowance

    def run(self, candidate: Candidate) -> None:
        """Try a candidate."""
        scale = None if candidate.softness is None else replace(self.scale, softness=candidate.softness)
        table, cost = self.measure(candidate.attack, scale)
        self.cost += cost
        totals = self._totals(table)
        directions = {task.name: task.directions for task in self.tasks}
        arp = average_relative_performance(
            self.scale.metrics, all_metrics(self.tasks, totals), directions
        ).overall
        trial = Trial(candidate, arp)
        self.trials.append(trial)
        if self.leader is trial:
            self.best = totals

    def _totals(self, table: Statistics) -> dict[str, dict[str, NDArray[np.float64]]]:
        return {task.name: table.totals(task.name) for task in self.tasks}


def _weakness(trial: Trial) -> float:
    """For sorting, the strongest first."""
    return np.inf if trial.arp is None else -trial.arp


def _climb(bench: _Bench, attack: AttackSpec, tasks: Sequence[Task], steps: int) -> None:
    """Try the beginnings, then changes of the best so far, until nothing is new or the allowance is used up."""
    seen: set[tuple[object, ...]] = set()
    for candidate in _proposals(bench, attack, tasks, steps):
        key = (candidate.attack.label, candidate.softness)
        if key in seen:
            continue
        if not bench.can_afford_another():
            return
        seen.add(key)
        bench.run(candidate)


def _proposals(bench: _Bench, attack: AttackSpec, tasks: Sequence[Task], steps: int) -> Iterator[Candidate]:
    """The likeliest first: with a small budget only the beginning is tried."""
    base = _total(attack, steps)
    yield Candidate(base, softness=1.0)
    yield Candidate(base, softness=2.0)
    yield Candidate(replace(base, power=0.5), softness=1.0)
    yield Candidate(replace(base, power=1.0), softness=None)
    yield Candidate(base, softness=None)
    for factor in (2.0, 0.5):
        for task in tasks:
            yield _weighted(bench.leader.candidate, task.name, factor)
    for power in (0.5, 1.0, 0.0):
        yield replace(bench.leader.candidate, attack=replace(bench.leader.candidate.attack, power=power))
    yield replace(bench.leader.candidate, attack=replace(bench.leader.candidate.attack, step_size=attack.eps))
    pgd = replace(bench.leader.candidate.attack, algorithm="pgd", step_size=_pgd_step(attack.eps, steps))
    yield replace(bench.leader.candidate, attack=pgd)
    for factor in (2.0, 0.5):
        for task in tasks:
            yield _weighted(bench.leader.candidate, task.name, factor)


def _total(attack: AttackSpec, steps: int) -> AttackSpec:
    """TOTAL, the first member of the family."""
    return AttackSpec(
        algorithm="apgd",
        objective="power",
        power=0.0,
        eps=attack.eps,
        norm=attack.norm,
        steps=steps,
        seed=attack.seed,
    )


def _different(attack: AttackSpec) -> list[Candidate]:
    """Attacks that fool different samples."""
    base = _total(attack, MIN_STEPS)
    return [
        Candidate(replace(base, power=1.0), softness=None),
        Candidate(base, softness=None),
        Candidate(base, softness=1.0),
    ]


def _weighted(candidate: Candidate, task: str, factor: float) -> Candidate:
    weights = dict(candidate.attack.weights or {})
    weights[task] = weights.get(task, 1.0) * factor
    return replace(candidate, attack=replace(candidate.attack, weights=weights))


def with_steps(candidate: Candidate, steps: int) -> Candidate:
    """The same attack with another number of steps; PGD's step shrinks with it."""
    attack = candidate.attack
    size = _pgd_step(attack.eps, steps) if attack.algorithm == "pgd" else attack.step_size
    return replace(candidate, attack=replace(attack, steps=steps, step_size=size))


def _pgd_step(eps: float, steps: int) -> float:
    """Twice PGD's usual step, and at most across the ball."""
    return min(2 * STRONG_STEP * eps / steps, 2 * eps)


def class_shares(totals: dict[str, NDArray[np.float64]]) -> list[float]:
    """Each class's share of the pixels that are it or are called it, and a small prior for each, present or not."""
    union = totals["labelled"] + totals["predicted"] - totals["intersection"]
    pixels = max(float(totals["labelled"].sum()), 1.0)
    smoothed = union + CLASS_PRIOR * pixels / len(union)
    return [float(value) for value in smoothed / pixels]
