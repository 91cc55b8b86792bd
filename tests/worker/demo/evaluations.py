"""Evaluations as the demo gets them from the service, with numbers that a test can choose."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
from PIL import Image

from api.views.evaluation import ResultsView
from core.intervals import Interval
from worker.demo.findings import Difference, Evaluated, Findings, compare

STRENGTH = {
    "single:depth": 3.1,
    "single:edges": 1.2,
    "total": 4.7,
    "sign_total": 4.2,
    "gb_mta": 5.3,
    "auto_mta": 6.4,
    "sign_noise": 0.1,
}
"""ARP by one unit of eps, by objective or by the algorithm that takes none; FGSM reaches half of APGD."""
EPS = (2.0, 4.0, 8.0)
HALF = 1.5
"""Half the width of every ARP's interval."""

Json = dict[str, Any]

PROBE: Json = {
    "samples": 16,
    "attack": "apgd/total/eps=8",
    "reference": {"arp": 37.5},
    "more_steps": {"arp": 38.0},
    "noise": {"arp": 0.75},
    "full_range": {"arp": 150.0},
}
SEARCH: Json = {
    "samples": 8,
    "passes": 128.0,
    "trials": [{}, {}],
    "finalists": [
        {
            "attack": {
                "algorithm": "apgd",
                "objective": "power",
                "power": 0.0,
                "weights": {"depth": 2.0},
                "steps": 16,
            },
            "softness": 1.0,
        }
    ],
}


def evaluated(
    title: str = "all shared",
    *,
    strength: dict[str, float] = STRENGTH,
    sizes: Sequence[float] = EPS,
    noise: float = 0.5,
    flags: Sequence[Json] = (),
    changes: Mapping[str, Json] | None = None,
) -> Evaluated:
    """A finished evaluation of two tasks.

    Args:
        title: of the model.
        strength: as `STRENGTH`; attacks that it lacks were not asked for.
        sizes: the eps.
        noise: half the width of the interval of every difference.
        flags: on the whole evaluation.
        changes: by label, what is different in an attack's row.
    """
    rows = [
        _row(ordinal, arp=arp, attack={"algorithm": algorithm, "objective": objective, "eps": eps})
        for ordinal, (algorithm, objective, eps, arp) in enumerate(_attacks(strength, sizes))
    ]
    rows = [row | (changes or {}).get(row["label"], {}) for row in rows]
    results: Json = {
        "job": UUID(int=1),
        "model": UUID(int=2),
        "model_name": "scenes-all-shared",
        "dataset": {"name": "scenes", "split": "test", "limit": 96},
        "metric_version": "1",
        "metric_rules": "standard",
        "metrics": {
            "depth": {"within_1.25": {"direction": "higher", "unit": "%"}},
            "edges": {"abs_error": {"direction": "lower", "unit": ""}},
        },
        "reliable": all(flag["severity"] != "error" for flag in flags),
        "flags": list(flags),
        "bootstrap": {"level": 0.95, "replicates": 1000, "seed": 0, "samples": 96},
        "probe": PROBE,
        "searches": {str(row["ordinal"]): SEARCH for row in rows if row["attack"]["algorithm"] == "auto_mta"},
        "clean": _row(-1) | {"metrics": {"depth": {"within_1.25": 81.25}, "edges": {"abs_error": 0.125}}},
        "attacks": rows,
    }
    shown = ResultsView.model_validate(results).model_dump(mode="json")
    bare = Evaluated(title, shown, "───●─┬─●  depth\n     └─●  edges", 123456)

    def ask(one: int, other: int) -> Difference:
        points = rows[one]["arp"] - rows[other]["arp"]
        return Difference(points, Interval(points - noise, points + noise))

    pictures = {-1: [png(), png()]} | {row["ordinal"]: [png(shift=8)] * 2 for row in rows}
    return replace(bare, differences=compare(Findings(bare), ask), previews=pictures)


def flag(
    severity: str = "warning", *, code: str = "floored", samples: int | None = None, **evidence: Any
) -> Json:
    """A flag as the service shows it."""
    message = f"something is wrong: {code}"
    return {"code": code, "severity": severity, "message": message, "evidence": evidence, "samples": samples}


def png(*, shift: int = 0) -> bytes:
    image = np.full((4, 4, 3), 100, np.uint8)
    image[0, 0] += np.uint8(shift)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def _attacks(
    strength: dict[str, float], sizes: Sequence[float]
) -> list[tuple[str, str | None, float, float]]:
    """Algorithm, objective, eps and ARP, in the order in which the demo asks for them."""
    objectives = [name for name in strength if name not in ("auto_mta", "sign_noise")]
    ways: list[tuple[str, str | None, float]] = [
        (algorithm, objective, strength[objective] * share)
        for algorithm, share in (("fgsm", 0.5), ("apgd", 1.0))
        for objective in objectives
    ]
    if "sign_noise" in strength:
        ways.insert(0, ("sign_noise", None, strength["sign_noise"]))
    if "auto_mta" in strength:
        ways.append(("auto_mta", None, strength["auto_mta"]))
    return [(algorithm, objective, eps, slope * eps) for algorithm, objective, slope in ways for eps in sizes]


def _row(ordinal: int, *, arp: float | None = None, attack: Json | None = None) -> Json:
    tasks = {} if arp is None else {"depth": arp * 1.5, "edges": arp * 0.5}
    words = () if attack is None else (attack["algorithm"], attack["objective"], f"eps={attack['eps']:g}")
    return {
        "ordinal": ordinal,
        "label": "/".join(filter(None, words)),
        "attack": attack,
        "arp": arp,
        "arp_8bit": arp,
        "task_arp": tasks,
        "metrics": {"depth": {"within_1.25": 40.0}, "edges": {"abs_error": 0.2}},
        "intervals": {
            "arp": None if arp is None else [arp - HALF, arp + HALF],
            "tasks": {task: [value - 2 * HALF, value + 2 * HALF] for task, value in tasks.items()},
            "metrics": {"depth": {"within_1.25": [38.5, 41.75]}, "edges": {"abs_error": None}},
        },
        "reliable": True,
        "flags": [],
        "samples": 96,
        "cost": {},
    }
