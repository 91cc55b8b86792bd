"""Transferability by how much the tasks share: paper Figure 4 and Table 12."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.layouts import Layout
from worker.study.cells import Cell
from worker.study.quantity import Json, estimate

Floats = NDArray[np.float64]

FEWEST = 3
"""Layouts that a rank correlation needs; any two points lie on a line."""

MOST_ORDERED = 8
"""Layouts of which every order is tried."""


def transferability(cells: Sequence[Cell], layouts: Sequence[Layout], modes: Sequence[str]) -> list[Json]:
    """By mode that was measured: every layout's transferability by attacked task, and how it goes with sharing.

    Args:
        cells: in the order of their layouts.
        layouts: of the whole study.
        modes: in the spec's order.
    """
    found = []
    for mode in modes:
        rows = [
            _row(cell, cell.transferability, layouts[cell.layout])
            for cell in cells
            if cell.mode == mode and cell.transferability is not None
        ]
        if rows:
            found.append({"mode": mode, "layouts": rows, "trend": _trend(rows)})
    return found


def _row(cell: Cell, summary: Mapping[str, Any], layout: Layout) -> Json:
    position = summary["models"].index(str(cell.model))
    alone = next(pair for pair in summary["pairs"] if pair["source"] == pair["target"] == position)
    tasks = {
        task: estimate(value, alone["transfer_intervals"].get(task))
        | {"undefined": alone["undefined"].get(task), "unstable": task in alone["unstable"]}
        for task, value in alone["transfer"].items()
    }
    return {
        "layout": cell.layout,
        "sharing_level": layout.sharing_level,
        "tasks": tasks,
        "mean": _mean([entry["value"] for entry in tasks.values()]),
        "reliable": summary["reliable"],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Over the attacked tasks, if all of them have a value: a mean of others would not compare."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined and len(defined) == len(values) else None


def _trend(rows: Sequence[Json]) -> Json:
    """Spearman's rank correlation of transferability with the sharing level, over the layouts."""
    tasks = list(rows[0]["tasks"])
    return {
        "mean": _correlation([(row["sharing_level"], row["mean"]) for row in rows]),
        "tasks": {
            task: _correlation([(row["sharing_level"], row["tasks"][task]["value"]) for row in rows])
            for task in tasks
        },
    }


def _correlation(pairs: Sequence[tuple[int, float | None]]) -> Json:
    """Of those that have a value; None of fewer than three, or where one side is the same throughout."""
    defined = [(level, value) for level, value in pairs if value is not None]
    levels, values = (_ranks(side) for side in (zip(*defined, strict=True) if defined else ((), ())))
    if len(defined) < FEWEST or np.ptp(levels) == 0 or np.ptp(values) == 0:
        return {"spearman": None, "p": None, "layouts": len(defined)}
    spearman = float(np.corrcoef(levels, values)[0, 1])
    return {"spearman": spearman, "p": _chance(levels, values), "layouts": len(defined)}


def _chance(levels: Floats, values: Floats) -> float | None:
    """The share of the orders of the layouts that have as high a correlation; None where there are too many orders."""
    if len(levels) > MOST_ORDERED:
        return None
    products = np.array(list(permutations(values))) @ levels
    return float(np.mean(products >= values @ levels - 1e-9))


def _ranks(values: Sequence[float]) -> Floats:
    """Equal values share the mean of their ranks."""
    array = np.asarray(values, dtype=np.float64)
    return np.array([((array < value).sum() + (array <= value).sum() - 1) / 2 for value in array])
