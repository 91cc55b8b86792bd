"""The examples in docs/gates.md are policies, and are decided as they say there."""

import json
import re
from datetime import date
from pathlib import Path
from typing import get_args
from uuid import UUID

import numpy as np

from core.gates import Measured, MeasuredResult, MeasuredTransfer, decide
from core.gates.verdict import Status
from core.intervals import Origin, Replicates, stored
from core.specs.policies import RULES, GatePolicy
from core.tasks import profile
from tests.core.gates.made import Json

TEXT = (Path(__file__).resolve().parents[3] / "docs/gates.md").read_text()
SAMPLES = 500
MODEL = {"apgd/gb_mta": 43.1, "apgd/single:depth": 63.0}
BASELINE = {"apgd/gb_mta": 41.8, "apgd/single:depth": 64.5}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def made_up(miou: float, arps: dict[str, float], *, swing: float) -> Measured:
    """An NYUv2 model of this mIoU whose every task has these ARPs, with intervals of 2 points to either side."""
    tasks = profile("nyuv2").tasks
    numbers = {task.name: {metric.name: 30.0 for metric in task.reported} for task in tasks}
    numbers["segmentation"]["miou"] = miou
    noise = np.random.default_rng(0).normal(size=(2, 1000))
    origin = Origin.of("nyuv2", np.arange(SAMPLES), seed=0, replicates=1000)
    drawn = {
        task: {name: stored(value + noise[0] / 4) for name, value in metrics.items()}
        for task, metrics in numbers.items()
    }

    def result(ordinal: int, attack: Json | None, arp: float | None) -> MeasuredResult:
        overall = None if arp is None else stored(arp + noise[0] + swing * noise[1])
        kept = Replicates(origin, drawn, {} if overall is None else dict.fromkeys(numbers, overall), overall)
        bounds = None if arp is None else [arp - 2, arp + 2]
        intervals = {
            "arp": bounds,
            "tasks": dict.fromkeys(numbers, bounds),
            "metrics": {
                task: {name: [value - 0.5, value + 0.5] for name, value in metrics.items()}
                for task, metrics in numbers.items()
            },
        }
        return MeasuredResult(
            ordinal=ordinal,
            attack=attack,
            metrics=numbers,
            samples=SAMPLES,
            arp=arp,
            task_arp=None if arp is None else dict.fromkeys(numbers, arp),
            intervals=intervals,
            read=lambda: kept,
        )

    attacks = [
        dict(zip(("algorithm", "objective"), name.split("/"), strict=True)) | {"eps": 8} for name in arps
    ]
    return Measured(
        job=UUID(int=1),
        model=UUID(int=2),
        dataset={"name": "nyuv2", "limit": SAMPLES},
        metric_version="1",
        metric_rules="standard",
        tasks=tasks,
        flags=[],
        probed=True,
        clean=result(-1, None, None),
        attacks=[
            result(ordinal, attack, arp)
            for ordinal, (attack, arp) in enumerate(zip(attacks, arps.values(), strict=True))
        ],
    )


def transferred(model: Measured) -> MeasuredTransfer:
    """A transferability job on the same samples."""
    return MeasuredTransfer(
        job=UUID(int=5),
        model=model.model,
        label="pgd/single:each/eps=8",
        dataset=model.dataset,
        samples=SAMPLES,
        transfer={"segmentation": 0.52, "depth": 0.41, "normals": 0.47},
        intervals={"segmentation": [0.47, 0.57], "depth": [0.3, 0.52], "normals": [0.43, 0.51]},
        undefined={},
        unstable=[],
        flags=[],
        metric_rules=model.metric_rules,
    )


def test_the_example_is_decided_as_it_says() -> None:
    written, *_ = blocks("json")
    policy = GatePolicy.model_validate(json.loads(written))
    model, baseline = made_up(41.5, MODEL, swing=0.4), made_up(42.0, BASELINE, swing=0)
    transfer = transferred(model)
    found = decide(policy, model, baseline, today=date(2026, 6, 20), transfer=transfer)
    said = [f"{outcome.status:<13} {outcome.rule}: {outcome.message}" for outcome in found.outcomes]
    said += [f"{'note':<13} {note.message}" for note in found.notes]
    said += [f"{found.status:<13} {found.message}"]
    (shown,) = blocks("text")
    assert shown.split() == " ".join(said).split()


def test_the_example_has_every_kind_of_rule() -> None:
    written, *_ = blocks("json")
    assert {rule["on"] for rule in json.loads(written)["rules"]} == set(RULES)


def test_every_outcome_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", TEXT.partition("## A verdict")[2], re.MULTILINE)
    assert set(explained) == set(get_args(Status))
