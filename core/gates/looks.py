"""The looks of a gate: the evaluations that it may take, planned before anything is measured, and which comes next.

Why their intervals are wider, `docs/decisions/0015-looks.md` says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.gates.measured import Measured
from core.gates.verdict import LookSaid, NextLook, Outcome, Verdict
from core.intervals import LEVEL
from core.specs.attack import AttackSpec
from core.specs.attack_fields import MAX_RESTARTS, MAX_STEPS
from core.specs.documents import MAX_ATTACKS, Attacked
from core.specs.gate_file import GateFile

FIRST_SAMPLES = 64
"""Of the earliest look: an interval on fewer says little."""

MAX_SIZES = 4
GROWTH = 4

MORE_STEPS_HELP = "more_steps_help"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One evaluation that a gate may take.

    Attributes:
        number: from 1.
        early: before the samples that the file asks for.
        effort: how many times the steps.
        restarts: at least so many; None for as many as the file says.
        evaluation: without kind and model, its data set pinned.
    """

    number: int
    early: bool
    effort: int
    restarts: int | None
    evaluation: Attacked

    @property
    def samples(self) -> int:
        """How many it is on."""
        return self.evaluation.dataset.samples

    def said(self, of: int) -> LookSaid:
        """The look in a verdict, as one of so many."""
        return LookSaid(
            number=self.number, of=of, samples=self.samples, effort=self.effort, restarts=self.restarts
        )


def level_of(looks: Sequence[Look]) -> float:
    """At which level intervals are drawn so that, with 95 %, none of all looks leaves out the true value."""
    return 1 - (1 - LEVEL) / len(looks)


def plan_looks(gate_file: GateFile, evaluation: Attacked, *, available: int) -> tuple[Look, ...]:
    """The looks that a gate file allows, in order.

    Args:
        gate_file: says whether to look early, and how far to go on.
        evaluation: that the file asks for, its data set pinned.
        available: samples of the split.
    """
    asked, more = evaluation.dataset.samples, gate_file.escalate
    most = max(asked, min(available, (more and more.samples) or asked))
    sizes = _sizes(asked, most, early=gate_file.stop_early and not _searches(evaluation.attacks))
    plan: list[tuple[int, list[AttackSpec], int, int | None]]
    plan = [(samples, evaluation.attacks, 1, None) for samples in sizes]
    effort = (more and more.effort) or 1
    for restarts in (None, effort) if effort > 1 else ():
        before = plan[-1][1]
        attacks = _with(before, strengthened(evaluation.attacks, effort=effort, restarts=restarts))
        if len(before) < len(attacks) <= MAX_ATTACKS:
            plan.append((most, attacks, effort, restarts))
    return tuple(
        Look(
            number=number,
            early=samples < asked,
            effort=times,
            restarts=restarts,
            evaluation=_changed(evaluation, samples, attacks),
        )
        for number, (samples, attacks, times, restarts) in enumerate(plan, start=1)
    )


def strengthened(attacks: Sequence[AttackSpec], *, effort: int, restarts: int | None) -> list[AttackSpec]:
    """The same attacks with `effort` times the steps, and from several random starts where they can.

    Those that come out alike are there once.
    """
    harder: dict[AttackSpec, AttackSpec] = {}
    for attack in attacks:
        stronger = _more_steps(attack, effort)
        if restarts is not None:
            stronger = _more_starts(stronger, restarts)
        harder.setdefault(stronger.resolved(), stronger)
    return list(harder.values())


def _with(attacks: Sequence[AttackSpec], more: Sequence[AttackSpec]) -> list[AttackSpec]:
    """The attacks, then those of the others that they are not: a look at stronger ones keeps what there was."""
    found = {attack.resolved(): attack for attack in more}
    return list(({attack.resolved(): attack for attack in attacks} | found).values())


def _searches(attacks: Sequence[AttackSpec]) -> bool:
    """Whether an attack is searched for with a budget that grows with the samples: fewer would be another attack."""
    return any(attack.algorithm == "auto_mta" for attack in attacks)


def next_look(verdict: Verdict, measured: Measured, look: Look, looks: Sequence[Look]) -> NextLook | None:
    """Which look to take after one; None if nothing that it could find would change the verdict, or there is none.

    Args:
        verdict: on this look.
        measured: this look's evaluation.
        look: this one.
        looks: all of them.
    """
    counting = [
        outcome for outcome in verdict.outcomes if outcome.level == "error" and outcome.status != "waived"
    ]
    larger = [one for one in looks if one.samples > look.samples and one.effort == look.effort]
    stronger = [one for one in looks if one.number > look.number and one.effort > 1]
    last = not look.early or _doubted(measured)
    for outcome in counting:
        curable = larger and _too_few(outcome)
        if _failed(outcome) and not curable and (last or _for_good(outcome)):
            return None
    if larger and (why := _why_more_samples(counting, early=look.early)):
        return _following(larger[0], why)
    if stronger and (why := _why_stronger(counting, measured)):
        return _following(stronger[0], why)
    return None


def _changed(evaluation: Attacked, samples: int, attacks: Sequence[AttackSpec]) -> Attacked:
    dataset = evaluation.dataset.model_copy(update={"limit": samples})
    return evaluation.model_copy(update={"dataset": dataset, "attacks": list(attacks)})


def _sizes(asked: int, most: int, *, early: bool) -> Iterator[int]:
    """Numbers of samples: some before those that are asked for, those, and some up to the most."""
    growth = GROWTH
    while len(found := list(_ladder(asked, most, growth, early=early))) > MAX_SIZES:
        growth *= 2
    return iter(found)


def _ladder(asked: int, most: int, growth: int, *, early: bool) -> Iterator[int]:
    samples = FIRST_SAMPLES
    while early and 2 * samples <= asked:
        yield samples
        samples *= growth
    yield asked
    samples = max(FIRST_SAMPLES, growth * asked)
    while 2 * samples <= most:
        yield samples
        samples *= growth
    if most > asked:
        yield most


def _more_steps(attack: AttackSpec, effort: int) -> AttackSpec:
    steps = attack.resolved().steps
    if attack.method.steps is None or steps is None:
        return attack
    return replace(attack, steps=min(MAX_STEPS, effort * steps))


def _more_starts(attack: AttackSpec, restarts: int) -> AttackSpec:
    method = attack.method
    if not method.restarts or not (method.random_start or method.random):
        return attack
    starts = min(MAX_RESTARTS, max(attack.restarts, restarts))
    return replace(attack, random_start=method.random_start, restarts=starts)


def _failed(outcome: Outcome) -> bool:
    return outcome.status in ("fail", "error")


def _doubted(measured: Measured) -> bool:
    """Whether the health checks found an error: they take the same few samples at every look of the same steps."""
    return any(flag["severity"] == "error" for flag in measured.flags)


def _for_good(outcome: Outcome) -> bool:
    """Whether no later look can take it back: the whole interval breaks the limit, or it is taken at no look."""
    broken = outcome.status == "fail" and outcome.limit is not None and outcome.limit.strict
    return broken or not _looked_at(outcome)


def _looked_at(outcome: Outcome) -> bool:
    """Whether looks change it; transferability is measured once."""
    return outcome.on != "transferability"


def _too_few(outcome: Outcome) -> bool:
    """Whether all that is missing is an interval, which more samples may give."""
    if outcome.status != "error" or outcome.flags or outcome.limit is None or not outcome.limit.strict:
        return False
    number = outcome.worse_by if outcome.limit.relative else outcome.observed
    return number is not None and number.value is not None and number.interval is None


def _why_more_samples(counting: Sequence[Outcome], *, early: bool) -> str:
    """What more samples could change; "" for nothing."""
    looked_at = [outcome for outcome in counting if _looked_at(outcome)]
    if open_ := [one.rule for one in looked_at if one.status == "inconclusive" or _too_few(one)]:
        return f"more samples may settle {_listed(open_)}"
    if early and (broken := [outcome.rule for outcome in looked_at if outcome.status == "error"]):
        return f"before all samples are seen, {_listed(broken)} cannot be told for sure"
    lenient = [outcome.rule for outcome in looked_at if _by_estimate(outcome)]
    if early and lenient:
        return f"{_listed(lenient)} goes by the estimate, which is not there before all samples are seen"
    return ""


def _by_estimate(outcome: Outcome) -> bool:
    lenient = outcome.limit is not None and not outcome.limit.strict
    return outcome.status == "fail" or (lenient and outcome.status == "pass")


def _why_stronger(counting: Sequence[Outcome], measured: Measured) -> str:
    """What stronger attacks could change; "" for nothing."""
    breakable = [outcome for outcome in counting if _can_break(outcome)]
    if open_ := [outcome.rule for outcome in breakable if outcome.status == "inconclusive"]:
        return f"all samples leave {_listed(open_)} open, and stronger attacks may break it"
    kept = [outcome.rule for outcome in breakable if outcome.status == "pass"]
    if kept and any(flag["code"] == MORE_STEPS_HELP for flag in measured.flags):
        return f"the health checks say that more steps harm the model more, which may break {_listed(kept)}"
    return ""


def _can_break(outcome: Outcome) -> bool:
    """Whether stronger attacks bring the rule nearer to being broken."""
    limit = outcome.limit
    on_attack = outcome.on in ("arp", "task_arp")
    return on_attack and limit is not None and limit.bound == "at_most" and not limit.relative


def _following(look: Look, why: str) -> NextLook:
    return NextLook(
        number=look.number, samples=look.samples, effort=look.effort, restarts=look.restarts, why=why
    )


def _listed(rules: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(rules))
