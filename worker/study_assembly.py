"""From the evaluations of a study's models to what the study found: its summary, all JSON values."""

from collections.abc import Sequence
from typing import Any

from core.intervals import LEVEL
from core.jobs.reliability import reliable
from core.specs.attack import AttackSpec
from core.specs.studies import StudySpec
from core.tasks import METRICS, Metric, Task
from worker.study.cells import Cell, Grid, cell_json, measured
from worker.study.comparisons import accuracy, curves, matrix, objective_of, pareto, rankings
from worker.study.quantity import Json
from worker.study.transfer import transferability

__all__ = ["Cell", "assemble_study"]

QUANTITIES: Json = {
    "arp": {"unit": "%", "direction": "lower", "says": "How far an attack harms the model (paper Eq. 10)."},
    "robust_gain": {
        "unit": "points of ARP",
        "direction": "higher",
        "says": "ARP of the first mode's model of the same layout, less this one's, under the same attack.",
    },
    "ara": {
        "unit": "%",
        "direction": "higher",
        "says": "Clean accuracy against another model's (paper Eq. 6); negative is worse.",
    },
    "less_other": {
        "unit": "points of ARP",
        "direction": None,
        "says": "ARP of GB-MTA less that of the best other objective; above 0, GB-MTA is the stronger.",
    },
    "transferability": {
        "unit": "",
        "direction": "lower",
        "says": "Mean ARP of the other tasks over that of the attacked one (paper Eq. 11).",
    },
}
"""Unit of each number, and which direction is good for the model."""


def assemble_study(spec: StudySpec, cells: Sequence[Cell]) -> dict[str, Any]:
    """Everything that the cells show, by themselves and together; `api.views.study` says what is what.

    Args:
        spec: what was asked for.
        cells: in any order; what is not there is left out, and numbers over layouts say of how many they are.

    Raises:
        UnpairedError: some were measured on other samples than the rest, or resampled differently.
    """
    manifests = spec.manifests
    modes = [mode.name for mode in spec.modes]
    order = {name: position for position, name in enumerate(modes)}
    ordered = sorted(cells, key=lambda cell: (cell.layout, order[cell.mode]))
    grid, attacks = Grid(measured(ordered), baseline=modes[0]), spec.evaluation.attacks
    metrics = _metrics(grid, manifests[0].task_list)
    directions = {
        task: {metric.name: metric.direction for metric in known} for task, known in metrics.items()
    }
    transfers = transferability(ordered, [manifest.tree for manifest in manifests], modes)
    return {
        "quantities": QUANTITIES,
        "metrics": [_unit(task, metric) for task, known in metrics.items() for metric in known],
        "layouts": _layouts(spec, ordered),
        "modes": [_mode(spec, name) for name in modes],
        "attacks": [_attack(position, attack) for position, attack in enumerate(attacks)],
        "cells": [cell_json(cell, grid, directions) for cell in grid],
        "matrix": matrix(grid, modes, len(attacks)),
        "curves": curves(modes, attacks),
        "accuracy": accuracy(grid, modes, directions),
        "rankings": rankings(grid, modes, attacks),
        "pareto": pareto(grid, attacks, directions),
        "transferability": _transferability(spec, transfers),
        "bootstrap": _bootstrap(grid),
        "reliable": reliable(*(cell.all_flags for cell in grid))
        and all(row["reliable"] for mode in transfers for row in mode["layouts"]),
    }


def _metrics(grid: Grid, tasks: Sequence[Task]) -> dict[str, list[Metric]]:
    """Those that were measured, by task: the evaluated data set says which."""
    first = next(iter(grid), None)
    found = {} if first is None else first.metrics
    return {
        task.name: [metric for metric in METRICS[task.kind] if metric.name in found[task.name]]
        for task in tasks
        if task.name in found
    }


def _unit(task: str, metric: Metric) -> Json:
    """An entry of a list, which the database leaves in its order."""
    return {"task": task, "metric": metric.name, "direction": metric.direction, "unit": metric.unit}


def _layouts(spec: StudySpec, cells: Sequence[Cell]) -> list[Json]:
    parameters = {cell.layout: cell.parameters for cell in cells}
    return [
        {
            "position": position,
            "layout": manifest.layout,
            "levels": len(manifest.layout),
            "sharing_level": manifest.tree.sharing_level,
            "pair_sharing": manifest.tree.pair_sharing,
            "parameters": parameters.get(position),
        }
        for position, manifest in enumerate(spec.manifests)
    ]


def _mode(spec: StudySpec, name: str) -> Json:
    mode = next(mode for mode in spec.modes if mode.name == name)
    adversarial = mode.recipe.adversarial
    return {
        "name": name,
        "baseline": mode is spec.modes[0],
        "start": mode.start,
        "attack": None if adversarial is None else adversarial.attack.label,
    }


def _attack(position: int, attack: AttackSpec) -> Json:
    return {
        "position": position,
        "label": attack.label,
        "algorithm": attack.algorithm,
        "objective": objective_of(attack),
        "norm": attack.norm,
        "eps": attack.eps,
        "attack": attack.to_json(),
    }


def _transferability(spec: StudySpec, found: Sequence[Json]) -> Json | None:
    asked = spec.transferability
    if asked is None:
        return None
    return {"attack": asked.attack.to_json(), "label": asked.attack.label, "modes": list(found)}


def _bootstrap(grid: Grid) -> Json | None:
    """How intervals were drawn; None where no replicates are kept."""
    drawn = next((cell.clean.origin for cell in grid if cell.clean is not None), None)
    if drawn is None:
        return None
    return {"level": LEVEL, "replicates": drawn.replicates, "seed": drawn.seed, "samples": drawn.samples}
