"""Every attack on fifteen scenes layouts at four eps with the same budget: writes docs/results/attacks.md and .csv.

The models are `bench/zoo.py`'s, trained first where they are missing. Budgets are equal in passes: a forward and a
backward pass over one sample count one, a forward pass alone a half. Methods that take every task's gradient by itself
get fewer steps, AUTO-MTA pays for its search out of the same budget. What is measured is kept in the cache, cell by
cell, so that the command can be interrupted. Run as `python -m bench.attacks`; `--help` says what can be made smaller.
"""

import argparse
import csv
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.attacks_report import Cell, Row, write_csv, write_page
from bench.zoo import LAYOUTS, TASKS, layout, model
from core.attacks import AttackSpec
from core.data import open_dataset
from core.data.paths import cache_root
from core.evaluation import evaluate
from core.specs.objective import SINGLE, WEIGHTED

ROOT = Path(__file__).parents[1]
PAPER = (*(SINGLE + task.name for task in TASKS), "total", "sign_total", "gb_mta")


@dataclass(frozen=True, slots=True)
class Design:
    """What is compared.

    Attributes:
        samples: of the test split, the same for every model and attack.
        budget: passes for each sample.
        eps: in pixel steps of 1/255.
    """

    samples: int
    budget: int
    eps: tuple[float, ...]
    layouts: tuple[int, ...]

    def attacks(self, eps: float) -> list[AttackSpec]:
        """Every attack, with as many steps as its budget allows."""
        cases: list[tuple[str, str | None]] = [
            ("uniform_noise", None),
            ("sign_noise", None),
            *(("fgsm", objective) for objective in PAPER),
            *(("pgd", objective) for objective in PAPER),
            *(("mim", objective) for objective in ("total", "gb_mta")),
            *(("apgd", objective) for objective in (*PAPER, "pcgrad", "mgda")),
            *(("auto_sage", objective) for objective in ("total", "gb_mta")),
            ("square", "gb_mta"),
            ("auto_mta", None),
        ]
        return [self._afforded(algorithm, objective, eps) for algorithm, objective in cases]

    def _afforded(self, algorithm: str, objective: str | None, eps: float) -> AttackSpec:
        spec = AttackSpec(algorithm=algorithm, objective=objective, eps=eps)  # type: ignore[arg-type]
        if spec.method.steps is None:
            return spec
        return replace(spec, steps=max(1, int(self.budget / passes_a_step(spec, len(TASKS)))))

    def key(self) -> str:
        """A name for what was measured under this design."""
        facts = [self.samples, self.budget, [task.name for task in TASKS]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def passes_a_step(spec: AttackSpec, tasks: int) -> float:
    """What a step costs, a forward and a backward pass counting one."""
    if not spec.method.gradients:
        return 0.5
    if spec.algorithm == "auto_mta":
        return 1
    if spec.algorithm == "auto_sage":
        return (2 + tasks + 1) / 2
    assert spec.aim is not None
    return 1 if spec.aim.family in WEIGHTED else (1 + tasks) / 2


def measure(design: Design, index: int, eps: float, path: Path) -> float:
    """Attack one model at one eps and keep what came out; the seconds that it took."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    result = evaluate(
        model(index),
        open_dataset("scenes", "test"),
        design.attacks(eps),
        tasks=TASKS,
        limit=design.samples,
        calibration=open_dataset("scenes", "validation"),
        health=False,
    )
    rows = []
    for found, flags in zip(result.attacks, result.flags, strict=True):
        assert found.attack is not None
        assert found.arp is not None
        assert found.replicates.overall is not None
        interval = found.interval
        rows.append(
            {
                "algorithm": found.attack.algorithm,
                "objective": found.attack.objective or (found.attack.resolved().objective or ""),
                "arp": found.arp.overall,
                "interval": None if interval is None else [interval.low, interval.high],
                "arp_8bit": None if found.arp_8bit is None else found.arp_8bit.overall,
                "tasks": found.arp.tasks,
                "replicates": [round(float(value), 4) for value in found.replicates.overall],
                "task_replicates": {
                    task: [round(float(value), 4) for value in values]
                    for task, values in found.replicates.tasks.items()
                }
                if found.attack.task is not None
                else {},
                "passes": (found.cost.forwards + found.cost.backwards) / 2 / found.samples,
                "flags": [[flag.code, flag.severity] for flag in flags],
            }
        )
    seconds = time.perf_counter() - started
    written: dict[str, Any] = {"layout": index, "eps": eps, "seconds": seconds, "rows": rows}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(written))
    part.rename(path)
    return seconds


def read(path: Path) -> Cell:
    """What `measure` kept."""
    raw = json.loads(path.read_text())
    rows = tuple(
        Row(
            algorithm=row["algorithm"],
            objective=row["objective"],
            arp=row["arp"],
            interval=None if row["interval"] is None else tuple(row["interval"]),
            arp_8bit=row["arp_8bit"],
            tasks=row["tasks"],
            replicates=np.array(row["replicates"]),
            task_replicates={task: np.array(values) for task, values in row["task_replicates"].items()},
            passes=row["passes"],
            flags=tuple((code, severity) for code, severity in row["flags"]),
        )
        for row in raw["rows"]
    )
    return Cell(raw["layout"], raw["eps"], raw["seconds"], rows)


def missing(design: Design, folder: Path) -> Iterator[tuple[int, float, Path]]:
    """The cells that were not measured yet, dearest models first."""
    for eps, index in product(design.eps, design.layouts):
        path = folder / f"{index}-{eps:g}.json"
        if not path.exists():
            yield index, eps, path


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--budget", type=int, default=32, help="passes for each sample")
    parser.add_argument("--eps", type=float, nargs="*", default=(2.0, 4.0, 8.0, 16.0))
    parser.add_argument("--layouts", type=int, nargs="*", default=LAYOUTS)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args(arguments)
    design = Design(options.samples, options.budget, tuple(options.eps), tuple(options.layouts))
    folder = cache_root() / "attacks" / design.key()
    folder.mkdir(parents=True, exist_ok=True)
    for index in design.layouts:
        model(index)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        work = {pool.submit(measure, design, *cell): cell for cell in missing(design, folder)}
        for done, future in enumerate(as_completed(work), start=1):
            index, eps, _ = work[future]
            print(f"{done} of {len(work)}: layout {index}, eps {eps:g}, {future.result():.0f} s", flush=True)
    cells = [read(folder / f"{index}-{eps:g}.json") for index in design.layouts for eps in design.eps]
    facts = {
        "samples": design.samples,
        "budget": design.budget,
        "torch": torch.__version__,
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
    }
    layouts = {index: layout(index) for index in design.layouts}
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "attacks.csv").open("w", newline="") as file:
        write_csv(csv.writer(file, lineterminator="\n"), cells)
    (options.out / "attacks.md").write_text(write_page(cells, layouts, facts))


if __name__ == "__main__":
    main()
