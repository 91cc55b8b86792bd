"""`make demo`: the paper's comparison on the shipped models, submitted over HTTP to a service started for it."""

import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from core.jobs.planning import CLEAN
from core.specs.attack import JOINT_OBJECTIVES, SINGLE
from core.tasks import profile
from worker.demo.client import Json, Service
from worker.demo.models import DEMO_MODELS, DemoModel
from worker.demo.report import Evaluated, write_report

PREVIEWS = 2
LABEL_WIDTH = 24
NUMBER_WIDTH = 6
"""Three models at three sizes fit into 80 columns."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much is attacked.

    Attributes:
        samples: of the test split, by data set.
        eps: in pixel steps of 1/255.
        steps: of PGD.
    """

    algorithms: tuple[str, ...]
    eps: tuple[float, ...]
    steps: int
    samples: dict[str, int]

    def spec(self, demo: DemoModel, model_id: str) -> Json:
        """The job that makes the comparison on one model."""
        names = [task.name for task in profile(demo.manifest.profile).tasks]
        objectives = [*(SINGLE + name for name in names), *JOINT_OBJECTIVES]
        attacks = [
            {"algorithm": algorithm, "objective": objective, "eps": eps}
            | ({"steps": self.steps} if algorithm == "pgd" else {})
            for algorithm in self.algorithms
            for objective in objectives
            for eps in self.eps
        ]
        dataset = {"name": demo.dataset, "split": "test", "limit": self.samples[demo.dataset]}
        return {
            "kind": "evaluation",
            "model": model_id,
            "dataset": dataset,
            "attacks": attacks,
            "previews": PREVIEWS,
        }


FULL = Comparison(("fgsm", "pgd"), (2, 4, 8), steps=20, samples={"scenes": 48, "digits": 96})
QUICK = Comparison(("fgsm", "pgd"), (2, 4, 8), steps=5, samples={"scenes": 24, "digits": 48})


def run_demo(service: Service, comparison: Comparison, report: Path, console: Console) -> None:
    """Push the shipped models, attack them, print the ARP table and write the report.

    Raises:
        ServiceError: the service refused something, or a job failed.
    """
    started = time.perf_counter()
    jobs = _follow_all(service, _submit_all(service, comparison, console), console)
    results = {queued.demo.name: service.results(queued.job) for queued in jobs}
    seconds = time.perf_counter() - started
    _print_tables(results, console)
    evaluated = [_evaluated(service, queued, results[queued.demo.name]) for queued in jobs]
    write_report(report, evaluated, facts=_facts(comparison, seconds))
    console.print(f"\nReport: [bold]{report.resolve()}[/bold]  ({seconds:.0f} s of attacks)")


@dataclass(frozen=True, slots=True)
class Queued:
    """A demo model in the service, and its job."""

    demo: DemoModel
    model: Json
    job: Json


def _submit_all(service: Service, comparison: Comparison, console: Console) -> list[Queued]:
    models = [
        (demo, service.push(demo.name, demo.weights, demo.manifest.model_dump(mode="json")))
        for demo in DEMO_MODELS
    ]
    jobs = []
    for demo, model in models:
        job = service.submit(comparison.spec(demo, model["id"]))
        count = len(job["spec"]["attacks"])
        samples = job["spec"]["dataset"]["limit"]
        console.print(
            f"  {demo.name}: {model['parameters']:,} parameters, {count} attacks on {samples} images queued"
        )
        jobs.append(Queued(demo, model, job))
    return jobs


def _follow_all(service: Service, jobs: Sequence[Queued], console: Console) -> list[Queued]:
    """One bar over all jobs, in expected passes through the models."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    finished: list[Queued] = []
    with Progress(*columns, TextColumn("eta"), TimeRemainingColumn(), console=console) as bar:
        line = bar.add_task("attacking", total=sum(map(_cost, jobs)))
        before = 0.0
        for queued in jobs:

            def seen(now: Json, queued: Queued = queued, before: float = before) -> None:
                done = before + now["progress"]["fraction"] * _cost(queued)
                bar.update(line, completed=done, description=f"attacking {queued.demo.title}")

            finished.append(replace(queued, job=service.follow(queued.job, seen)))
            before += _cost(queued)
        bar.update(line, completed=before, description="attacked all")
    return finished


def _cost(queued: Queued) -> float:
    """Expected passes, weighed by the size of the model they run."""
    return float(queued.job["progress"]["passes_total"] * queued.model["parameters"])


def _print_tables(results: dict[str, Json], console: Console) -> None:
    for dataset in dict.fromkeys(demo.dataset for demo in DEMO_MODELS):
        demos = [demo for demo in DEMO_MODELS if demo.dataset == dataset]
        samples = results[demos[0].name]["clean"]["samples"]
        console.print(f"\n[bold]ARP %, {dataset}, {samples} images[/bold]")
        for line in _table({demo.title: results[demo.name] for demo in demos}):
            console.print(line, no_wrap=True, overflow="crop", crop=False)
    console.print(
        "\nARP: the mean relative change of every metric for the worse; higher is a stronger attack."
    )


def _table(models: dict[str, Json]) -> Iterator[str]:
    """Attacks down, models and eps across; the strongest of each column bold."""
    sizes = list(dict.fromkeys(entry["attack"]["eps"] for entry in next(iter(models.values()))["attacks"]))
    columns = [_column(result, eps) for result in models.values() for eps in sizes]
    strongest = [
        max((value for value in column.values() if value is not None), default=None) for column in columns
    ]
    indent, group = " " * LABEL_WIDTH, NUMBER_WIDTH * len(sizes)
    yield indent + "".join(title.rjust(group) for title in models)
    yield indent + "".join(f"eps {eps:g}".rjust(NUMBER_WIDTH) for _ in models for eps in sizes)
    for name in columns[0]:
        cells = (_cell(column[name], best) for column, best in zip(columns, strongest, strict=True))
        yield name.ljust(LABEL_WIDTH) + "".join(cells)


def _column(result: Json, eps: float) -> dict[str, float | None]:
    chosen = [entry for entry in result["attacks"] if entry["attack"]["eps"] == eps]
    return {
        f"{entry['attack']['algorithm']} {entry['attack']['objective']}": entry["arp"] for entry in chosen
    }


def _cell(value: float | None, strongest: float | None) -> str:
    text = ("–" if value is None else f"{value:.1f}").rjust(NUMBER_WIDTH)
    return f"[bold]{text}[/bold]" if value is not None and value == strongest else text


def _evaluated(service: Service, queued: Queued, results: Json) -> Evaluated:
    tasks = [task.name for task in queued.demo.manifest.task_list]
    count = min(PREVIEWS, queued.job["spec"]["dataset"]["limit"])
    return Evaluated(
        title=queued.demo.title,
        results=results,
        previews={
            ordinal: [service.picture(queued.job, ordinal, sample) for sample in range(count)]
            for ordinal in _pictured(results)
        },
        layout_drawing=queued.demo.manifest.tree.drawing(tasks),
        parameters=queued.model["parameters"],
    )


def _pictured(results: Json) -> list[int]:
    """The attacks that the report shows pictures of: the strongest algorithm at the largest eps, and GB-MTA at each."""
    largest = max(entry["attack"]["eps"] for entry in results["attacks"])
    algorithm = results["attacks"][-1]["attack"]["algorithm"]
    return [CLEAN] + [
        entry["ordinal"]
        for entry in results["attacks"]
        if entry["attack"]["algorithm"] == algorithm
        and (entry["attack"]["eps"] == largest or entry["attack"]["objective"] == "gb_mta")
    ]


def _facts(comparison: Comparison, seconds: float) -> dict[str, str]:
    samples: dict[str, Any] = comparison.samples
    return {
        "images": ", ".join(f"{count} of {name}/test" for name, count in samples.items()),
        "PGD": f"{comparison.steps} steps of 2.5 eps/{comparison.steps}, no random start",
        "service": f"windthrow-server {version('windthrow-server')}",
        "torch": version("torch"),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "attack time": f"{seconds:.0f} s",
    }
