"""`make demo`: the paper's comparison on the shipped models, submitted over HTTP to a service started for it."""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from operator import mul
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

from core.specs.objective import SINGLE
from worker.demo.client import Json, Service
from worker.demo.findings import (
    APGD,
    AUTO_MTA,
    CLEAN,
    FGSM,
    JOINT,
    NOISE,
    Difference,
    Evaluated,
    Findings,
    compare,
    interval_of,
)
from worker.demo.models import DEMO_MODELS, DemoModel
from worker.demo.report import write_report
from worker.demo.terminal import print_findings

PREVIEWS = 2


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much is attacked.

    Attributes:
        eps: in pixel steps of 1/255.
        steps: of APGD; AUTO-MTA has as many passes, its search included.
        samples: of the test split, by data set; one batch.
    """

    eps: tuple[float, ...]
    steps: int
    samples: dict[str, int]

    def spec(self, demo: DemoModel, model_id: str) -> Json:
        """The job that makes the comparison on one model."""
        samples = self.samples[demo.dataset]
        return {
            "kind": "evaluation",
            "model": model_id,
            "dataset": {"name": demo.dataset, "split": "test", "limit": samples},
            "attacks": self.attacks([task.name for task in demo.manifest.task_list]),
            "batch_size": samples,
            "previews": PREVIEWS,
        }

    def attacks(self, tasks: Sequence[str]) -> list[Json]:
        """The weakest first: noise, then every objective by FGSM and by APGD, then AUTO-MTA."""
        fixed: list[Json] = [
            {"algorithm": algorithm, "objective": objective, **steps}
            for algorithm, steps in ((FGSM, {}), (APGD, {"steps": self.steps}))
            for objective in (*(SINGLE + task for task in tasks), *JOINT)
        ]
        ways = [{"algorithm": NOISE}, *fixed, {"algorithm": AUTO_MTA, "steps": self.steps}]
        return [way | {"eps": eps} for way in ways for eps in self.eps]


FULL = Comparison((2, 4, 8), steps=20, samples={"scenes": 36, "digits": 72})
QUICK = Comparison((8,), steps=12, samples={"scenes": 24, "digits": 48})


def run_demo(service: Service, comparison: Comparison, report: Path, console: Console) -> None:
    """Push the shipped models, attack them, print the ARP table and write the report.

    Raises:
        ServiceError: the service refused something, or a job failed.
    """
    started = time.perf_counter()
    jobs = _follow_all(service, _submit_all(service, comparison, console), console)
    seconds = time.perf_counter() - started
    evaluated = [_evaluated(service, queued) for queued in jobs]
    print_findings([Findings(item) for item in evaluated], console)
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
    with Progress(*columns, TextColumn("eta"), TimeRemainingColumn(), console=console) as bar:
        total = sum(map(_cost, jobs))
        line = bar.add_task("attacking", total=total)

        def seen(now: Json) -> None:
            states = [now if queued.job["id"] == now["id"] else service.job(queued.job) for queued in jobs]
            done = [state["progress"]["fraction"] for state in states]
            bar.update(line, completed=sum(map(mul, done, map(_cost, jobs))))

        finished = [replace(queued, job=service.follow(queued.job, seen)) for queued in jobs]
        bar.update(line, completed=total, description="attacked all")
    return finished


def _cost(queued: Queued) -> float:
    """Expected passes, weighed by the size of the model they run."""
    return float(queued.job["progress"]["passes_total"] * queued.model["parameters"])


def _evaluated(service: Service, queued: Queued) -> Evaluated:
    """Results, the differences that are spoken of, and the pictures that are shown."""
    job, tasks = queued.job, [task.name for task in queued.demo.manifest.task_list]
    evaluated = Evaluated(
        title=queued.demo.title,
        results=service.results(job),
        layout_drawing=queued.demo.manifest.tree.drawing(tasks),
        parameters=queued.model["parameters"],
    )

    def ask(attack: int, other: int) -> Difference:
        found = service.difference(job, attack, other)
        assert found is not None  # both have an ARP
        return Difference(found["difference"], interval_of(found["interval"]))

    findings = Findings(evaluated)
    pictures = {
        ordinal: [service.picture(job, ordinal, sample) for sample in range(PREVIEWS)]
        for ordinal in (CLEAN, *(attack.ordinal for attack in findings.pictured()))
    }
    return replace(evaluated, differences=compare(findings, ask), previews=pictures)


def _facts(comparison: Comparison, seconds: float) -> dict[str, str]:
    samples: dict[str, Any] = comparison.samples
    return {
        "images": ", ".join(f"{count} of {name}/test" for name, count in samples.items()),
        "APGD": f"{comparison.steps} steps, the first of 2 eps, no random start",
        "AUTO-MTA": "as many passes through the model as APGD, its search on other images included",
        "service": f"windthrow-server {version('windthrow-server')}",
        "torch": version("torch"),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "attack time": f"{seconds:.0f} s",
    }
