"""What finished evaluations say: attacks by name and size, which of them lead, and by how much.

Nothing here is worded or laid out: that is for `worker.demo.terminal` and `worker.demo.report`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from core.intervals import Interval
from core.specs.objective import SINGLE

CLEAN = -1
AUTO_MTA, APGD, FGSM, NOISE = "auto_mta", "apgd", "fgsm", "sign_noise"
ALGORITHMS = (AUTO_MTA, APGD, FGSM, NOISE)
"""The demo's, the strongest first: the order in which a reader meets them."""
GB_MTA, TOTAL, SIGN_TOTAL = "gb_mta", "total", "sign_total"
JOINT = (TOTAL, SIGN_TOTAL, GB_MTA)

Way = tuple[str, str | None]
"""An algorithm, and the objective that it raises if it takes one."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One attack's ARP less another's on the same images.

    Attributes:
        points: of ARP.
        interval: 95 %, paired over the images; None where the service gives none.
    """

    points: float
    interval: Interval | None

    @property
    def is_told(self) -> bool:
        """Whether the interval leaves 0 out, as it is shown: to one decimal."""
        return self.interval is not None and (
            round(self.interval.low, 1) > 0 or round(self.interval.high, 1) < 0
        )


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A finished evaluation of one model.

    Attributes:
        title: of the model, for a reader.
        results: the service's `ResultsView` as JSON; one attack per algorithm, objective and eps.
        layout_drawing: a tree as text.
        parameters: of the whole model.
        differences: by the ordinals of two attacks, those that `compare` asks for.
        previews: PNGs of the first few images by ordinal, -1 the clean ones.
    """

    title: str
    results: dict[str, Any]
    layout_drawing: str
    parameters: int
    differences: Mapping[tuple[int, int], Difference] = field(default_factory=dict)
    previews: Mapping[int, list[bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flag:
    """What the service has to say about a number, or about all of them."""

    code: str
    severity: str
    message: str
    evidence: dict[str, Any]
    samples: int | None


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack's row of the results; ARP in percent."""

    ordinal: int
    way: Way
    eps: float
    arp: float | None
    arp_8bit: float | None
    interval: Interval | None
    task_arp: dict[str, float | None]
    task_intervals: dict[str, Interval | None]
    metrics: dict[str, dict[str, float | None]]
    metric_intervals: dict[str, dict[str, Interval | None]]
    flags: tuple[Flag, ...]

    @property
    def algorithm(self) -> str:
        """Such as apgd."""
        return self.way[0]

    @property
    def objective(self) -> str:
        """Such as single:depth; empty where the algorithm takes none."""
        return self.way[1] or ""

    @property
    def task(self) -> str | None:
        """The task that SINGLE attacks."""
        return self.objective.removeprefix(SINGLE) if self.objective.startswith(SINGLE) else None


class Findings:
    """An evaluation's attacks, and those of them that the demo speaks of."""

    def __init__(self, source: Evaluated) -> None:
        self.source = source
        self.title = source.title
        self.results = source.results
        self.attacks = [_attack(row) for row in source.results["attacks"]]
        self.flags = [_flag(flag) for flag in source.results["flags"]]
        self.sizes = sorted({attack.eps for attack in self.attacks})
        self.largest = self.sizes[-1]
        self.ways = sorted(dict.fromkeys(attack.way for attack in self.attacks), key=_rank)
        self.tasks: list[str] = list(source.results["metrics"])
        self._table = {(attack.way, attack.eps): attack for attack in self.attacks}

    def find(
        self, algorithm: str, objective: str | None = None, *, eps: float | None = None
    ) -> Attack | None:
        """An attack, at the largest eps unless said."""
        return self._table.get(((algorithm, objective), self.largest if eps is None else eps))

    def clean_metric(self, task: str, name: str) -> tuple[float | None, Interval | None]:
        """A metric of the model left alone, and its interval."""
        clean = self.results["clean"]
        return clean["metrics"][task][name], interval_of(clean["intervals"]["metrics"][task][name])

    def at_largest(self, *algorithms: str) -> list[Attack]:
        """These algorithms' attacks at the largest eps, in the order of `ways`."""
        found = (self.find(*way) for way in self.ways if way[0] in algorithms)
        return [attack for attack in found if attack is not None]

    def ranked(self, eps: float) -> list[Attack]:
        """The attacks of that size that do damage, the strongest first."""
        damaging = [(arp, a) for a in self.attacks if a.eps == eps and (arp := a.arp) is not None and arp > 0]
        return [attack for _, attack in sorted(damaging, key=lambda item: (-item[0], _rank(item[1].way)))]

    def strongest(self, eps: float) -> Attack | None:
        """The attack of highest ARP; None where none does damage."""
        return next(iter(self.ranked(eps)), None)

    def level(self, eps: float) -> list[Attack]:
        """Those that the strongest cannot be told from: the next ones, up to the first that can."""
        return _not_told(self.ranked(eps), self.difference)

    def difference(self, one: Attack, other: Attack) -> Difference:
        """One's ARP less the other's; one of the pairs that `compare` asks for."""
        return self.source.differences[one.ordinal, other.ordinal]

    def strongest_fixed(self) -> Attack | None:
        """The strongest at the largest eps that does not search for its objective."""
        fixed = (attack for attack in self.ranked(self.largest) if attack.algorithm != AUTO_MTA)
        return next(fixed, None)

    def best_single(self) -> Attack | None:
        """APGD's strongest attack on one task alone, at the largest eps."""
        ranked = self.ranked(self.largest)
        return next((attack for attack in ranked if attack.algorithm == APGD and attack.task), None)

    def spoken_of(self) -> list[tuple[Attack, Attack]]:
        """What the headlines compare at the largest eps.

        AUTO-MTA with the strongest fixed attack, and GB-MTA by APGD with the best SINGLE.
        """
        pairs = (
            (self.find(AUTO_MTA), self.strongest_fixed()),
            (self.find(APGD, GB_MTA), self.best_single()),
        )
        return [
            (one, other)
            for one, other in pairs
            if one is not None and one.arp is not None and other is not None
        ]

    def pictured(self) -> list[Attack]:
        """The attacks that are worth seeing: the best SINGLE, TOTAL and GB-MTA at the largest eps, AUTO-MTA at each."""
        fixed = (self.best_single(), self.find(APGD, TOTAL), self.find(APGD, GB_MTA))
        searched = (self.find(AUTO_MTA, eps=eps) for eps in self.sizes)
        return [attack for attack in (*fixed, *searched) if attack is not None]


def compare(findings: Findings, ask: Callable[[int, int], Difference]) -> dict[tuple[int, int], Difference]:
    """Every difference that is spoken of, by the ordinals of its attacks.

    Args:
        findings: of one model; their own differences are not looked at.
        ask: gives the difference of two attacks by their ordinals.
    """
    found: dict[tuple[int, int], Difference] = {}

    def asked(one: Attack, other: Attack) -> Difference:
        pair = one.ordinal, other.ordinal
        if pair not in found:
            found[pair] = ask(*pair)
        return found[pair]

    for one, other in findings.spoken_of():
        asked(one, other)
    for eps in findings.sizes:
        _not_told(findings.ranked(eps), asked)
    return found


def _not_told(ranked: Sequence[Attack], difference: Callable[[Attack, Attack], Difference]) -> list[Attack]:
    """Those after the first, up to one that the first can be told from."""
    return list(takewhile(lambda rival: not difference(ranked[0], rival).is_told, ranked[1:]))


def grouped(models: Iterable[Findings]) -> list[list[Findings]]:
    """Models that underwent the same attacks on the same data set."""
    groups: dict[object, list[Findings]] = {}
    for model in models:
        attacks = tuple((attack.way, attack.eps) for attack in model.attacks)
        groups.setdefault((model.results["dataset"]["name"], attacks), []).append(model)
    return list(groups.values())


def interval_of(bounds: Sequence[float] | None) -> Interval | None:
    """An interval out of the service's JSON."""
    return None if bounds is None else Interval(*bounds)


def _rank(way: Way) -> int:
    return ALGORITHMS.index(way[0])


def _attack(row: Mapping[str, Any]) -> Attack:
    attack, intervals = row["attack"], row["intervals"]
    return Attack(
        ordinal=row["ordinal"],
        way=(attack["algorithm"], attack["objective"]),
        eps=attack["eps"],
        arp=row["arp"],
        arp_8bit=row["arp_8bit"],
        interval=interval_of(intervals["arp"]),
        task_arp=row["task_arp"],
        task_intervals={task: interval_of(bounds) for task, bounds in intervals["tasks"].items()},
        metrics=row["metrics"],
        metric_intervals={
            task: {name: interval_of(bounds) for name, bounds in metrics.items()}
            for task, metrics in intervals["metrics"].items()
        },
        flags=tuple(_flag(flag) for flag in row["flags"]),
    )


def _flag(raw: Mapping[str, Any]) -> Flag:
    return Flag(raw["code"], raw["severity"], raw["message"], raw["evidence"], raw["samples"])
