"""What modes, attacks and layouts show beside each other: tables over layouts, the attacks' ranking, the Pareto front.

A number over layouts is the mean of theirs, as the paper's Figure 2 averages over models. Each says how many it is of.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from core.arp import Directions
from core.specs.attack import AttackSpec
from worker.study.cells import Grid, Measured
from worker.study.quantity import Json, Quantity, mean, shown

BALANCED = "gb_mta"


def matrix(grid: Grid, modes: Sequence[str], attacks: int) -> list[list[Json]]:
    """Paper Table 3: a row for each mode, in it each attack's ARP over the layouts, and the gain in robustness."""
    return [[_over_layouts(grid, mode, attack) for attack in range(attacks)] for mode in modes]


def _over_layouts(grid: Grid, mode: str, attack: int) -> Json:
    cells = grid.of_mode(mode)
    arps = _present(cell.arps.get(attack) for cell in cells)
    gains = _present(grid.gain(cell, attack) for cell in cells)
    return {
        "arp": shown(mean(arps)),
        "layouts": len(arps),
        "robust_gain": None if mode == grid.baseline else shown(mean(gains)),
        "gain_layouts": _signs(gains),
    }


def _signs(quantities: Sequence[Quantity]) -> Json:
    """On how many layouts a difference is there at all, and its interval above or below 0."""
    intervals = [quantity.interval for quantity in quantities]
    return {
        "of": len(quantities),
        "above_0": sum(found is not None and found.low > 0 for found in intervals),
        "below_0": sum(found is not None and found.high < 0 for found in intervals),
    }


def curves(modes: Sequence[str], attacks: Sequence[AttackSpec]) -> list[Json]:
    """Paper Figure 2: which attacks are one and the same at growing eps. Their ARP is in the matrix."""
    families: dict[str, list[int]] = {}
    for position, attack in enumerate(attacks):
        families.setdefault(_but_for_size(attack), []).append(position)
    return [
        {
            "mode": mode,
            "algorithm": attacks[positions[0]].algorithm,
            "objective": objective_of(attacks[positions[0]]),
            "norm": attacks[positions[0]].norm,
            "points": [
                {"eps": attacks[position].eps, "attack": position}
                for position in sorted(positions, key=lambda position: attacks[position].eps)
            ],
        }
        for mode in modes
        for positions in families.values()
    ]


def objective_of(attack: AttackSpec) -> str | None:
    """The attack's objective, spelled out; None for one without."""
    full = attack.resolved()
    return full.objective if full.power is None else f"{full.objective}^{full.power:g}"


def _but_for_size(attack: AttackSpec) -> str:
    """Everything about an attack but its eps, and a step size that follows from eps."""
    fields = asdict(attack.resolved()) | {"step_size": attack.step_size, "preset": attack.preset}
    del fields["eps"]
    return json.dumps(fields, sort_keys=True)


def accuracy(grid: Grid, modes: Sequence[str], directions: Directions) -> list[Json]:
    """Paper Table 13: clean metrics over the layouts, and ARA against the first mode, by mode."""
    return [_accuracy_of(grid, mode, directions) for mode in modes]


def _accuracy_of(grid: Grid, mode: str, directions: Directions) -> Json:
    cells = grid.of_mode(mode)
    pairs = [(cell, before) for cell in cells if (before := grid.baseline_of(cell)) is not None]
    aras = [cell.ara(before, directions) for cell, before in pairs]
    overall = _present(ara.overall for ara in aras)
    return {
        "mode": mode,
        "layouts": len(cells),
        "metrics": {
            task: {name: shown(mean(_present(cell.metric(task, name) for cell in cells))) for name in metrics}
            for task, metrics in directions.items()
        },
        "ara": None
        if mode == grid.baseline
        else {
            "overall": shown(mean(overall)),
            "tasks": {task: shown(mean(_present(ara.tasks[task] for ara in aras))) for task in directions},
            "layouts": _signs(overall),
        },
    }


def rankings(grid: Grid, modes: Sequence[str], attacks: Sequence[AttackSpec]) -> list[Json]:
    """The objectives of each algorithm and eps against each other, by mode: the strongest first."""
    groups: dict[tuple[str, str, float], list[int]] = {}
    for position, attack in enumerate(attacks):
        if attack.method.objective:
            groups.setdefault((attack.algorithm, attack.norm, attack.eps), []).append(position)
    return [
        found
        for mode in modes
        for group in groups.values()
        if len(group) > 1 and (found := _ranking(grid.of_mode(mode), mode, group, attacks)) is not None
    ]


def _ranking(
    cells: Sequence[Measured], mode: str, group: Sequence[int], attacks: Sequence[AttackSpec]
) -> Json | None:
    """Over the layouts on which all of the group have an ARP; None where that is none."""
    whole = [cell for cell in cells if all(position in cell.arps for position in group)]
    if not whole:
        return None
    means = {position: _certain(mean(cell.arps[position] for cell in whole)) for position in group}
    order = sorted(group, key=lambda position: means[position].value, reverse=True)
    first = [max(group, key=lambda position: cell.arps[position].value) for cell in whole]
    return {
        "mode": mode,
        "algorithm": attacks[group[0]].algorithm,
        "norm": attacks[group[0]].norm,
        "eps": attacks[group[0]].eps,
        "layouts": len(whole),
        "objectives": [
            {
                "objective": objective_of(attacks[position]),
                "attack": position,
                "arp": shown(means[position]),
                "first_on": first.count(position),
            }
            for position in order
        ],
        "gb_mta": _balanced(whole, order, means, attacks),
    }


def _balanced(
    cells: Sequence[Measured],
    order: Sequence[int],
    means: Mapping[int, Quantity],
    attacks: Sequence[AttackSpec],
) -> Json | None:
    """GB-MTA less the best of the others: in the mean, and on each layout less the best one there."""
    own = [position for position in order if objective_of(attacks[position]) == BALANCED]
    others = [position for position in order if objective_of(attacks[position]) != BALANCED]
    if not own or not others:
        return None
    apart = [_strongest(cell, own) - _strongest(cell, others) for cell in cells]
    return {
        "other": objective_of(attacks[others[0]]),
        "less_other": shown(means[own[0]] - means[others[0]]),
        "layouts": _signs(apart),
    }


def _strongest(cell: Measured, attacks: Sequence[int]) -> Quantity:
    return max((cell.arps[position] for position in attacks), key=lambda arp: arp.value)


def pareto(grid: Grid, attacks: Sequence[AttackSpec], directions: Directions) -> Json | None:
    """Clean accuracy against robustness of every cell, and which cells no other beats in both.

    Accuracy is ARA against one model, the first that there is, so that layouts can be compared, too. Robustness is
    the ARP of whichever attack of the largest eps is the strongest on that cell.
    """
    norm = "linf" if any(attack.norm == "linf" for attack in attacks) else attacks[0].norm
    eps = max(attack.eps for attack in attacks if attack.norm == norm)
    largest = [n for n, attack in enumerate(attacks) if (attack.norm, attack.eps) == (norm, eps)]
    reference = next(iter(grid.of_mode(grid.baseline)), None)
    if reference is None:
        return None
    points = []
    for cell in grid:
        reached = [position for position in largest if position in cell.arps]
        ara = cell.ara(reference, directions).overall
        if reached and ara is not None:
            strongest = max(reached, key=lambda position: cell.arps[position].value)
            points.append((cell, ara, strongest))
    scores = [(ara.value, cell.arps[strongest].value) for cell, ara, strongest in points]
    return {
        "reference": {"layout": reference.cell.layout, "mode": reference.cell.mode},
        "norm": norm,
        "eps": eps,
        "points": [
            {
                "layout": cell.cell.layout,
                "mode": cell.cell.mode,
                "ara": shown(ara),
                "attack": strongest,
                "arp": shown(cell.arps[strongest]),
                "front": not any(_beats(other, score) for other in scores),
            }
            for (cell, ara, strongest), score in zip(points, scores, strict=True)
        ],
    }


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether one (ARA, ARP) is as good in both and better in one."""
    return one != other and one[0] >= other[0] and one[1] <= other[1]


def _present(quantities: Iterable[Quantity | None]) -> list[Quantity]:
    return [quantity for quantity in quantities if quantity is not None]


def _certain(quantity: Quantity | None) -> Quantity:
    assert quantity is not None  # a mean of something
    return quantity
