"""Evaluations and policies made up for a test: a digits model whose numbers follow from their replicates."""

from collections.abc import Mapping, Sequence
from datetime import date
from statistics import NormalDist
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from core.gates import Measured, MeasuredResult, MeasuredTransfer, Outcome, Verdict, decide
from core.intervals import LEVEL, Origin, Replicates, interval, stored
from core.specs.policies import GatePolicy
from core.tasks import profile

Json = dict[str, Any]

TODAY = date(2026, 5, 1)
SAMPLES = 100
DRAWS = 201


def _noise() -> NDArray[np.float64]:
    """Quantiles of a normal law, whose 95 % interval on that many samples reaches 1 to either side."""
    law = np.array([NormalDist().inv_cdf((number + 0.5) / DRAWS) for number in range(DRAWS)])
    found = interval(stored(law), 0.0, samples=SAMPLES)
    assert found is not None
    return law / found.high


NOISE = _noise()


def replicates(arp: float | None, accuracy: float, *, dataset: str = "digits 1") -> Replicates:
    """Replicates whose 95 % intervals reach 1 to either side of the numbers, alike in all results on these samples."""
    origin = Origin.of(dataset, np.arange(SAMPLES), seed=0, replicates=len(NOISE))
    metrics = {"left": {"accuracy": stored(accuracy - NOISE)}, "right": {"accuracy": stored(50 + NOISE)}}
    if arp is None:
        return Replicates(origin, metrics)
    tasks = {"left": stored(2 * arp + NOISE), "right": stored(np.full(DRAWS, np.nan))}
    return Replicates(origin, metrics, tasks, stored(arp + NOISE))


def result(ordinal: int, attack: Json | None, arp: float | None, **changes: Any) -> MeasuredResult:
    """A result of this ARP, interval 1 to either side; the left task's is twice that, the right one has none."""
    accuracy = 80.0 - (arp or 0.0) / 2
    kept = replicates(arp, accuracy)
    fields: Json = {
        "metrics": {"left": {"accuracy": accuracy}, "right": {"accuracy": 50.0}},
        "samples": SAMPLES,
        "arp": arp,
        "task_arp": None if arp is None else {"left": 2 * arp, "right": None},
        "intervals": {
            "arp": None if arp is None else [arp - 1, arp + 1],
            "tasks": {"left": None if arp is None else [2 * arp - 1, 2 * arp + 1], "right": None},
            "metrics": {"left": {"accuracy": [accuracy - 1, accuracy + 1]}, "right": {"accuracy": [49, 51]}},
        },
        "read": lambda: kept,
    }
    return MeasuredResult(ordinal=ordinal, attack=attack, **fields | changes)


def evaluation(
    *arps: float | None,
    clean: Mapping[str, Any] | None = None,
    attacked: Mapping[str, Any] | None = None,
    attacks: Sequence[Json] | None = None,
    **changes: Any,
) -> Measured:
    """An evaluation whose attacks, FGSM of eps 1, 2 and so on unless said, have these ARPs.

    `clean` and `attacked` change the results, `changes` the evaluation.
    """
    chosen = attacks or [{"algorithm": "fgsm", "eps": 1 + number} for number in range(len(arps))]
    fields: Json = {
        "job": UUID(int=1),
        "model": UUID(int=2),
        "model_name": "made up",
        "dataset": {"name": "digits", "version": "1", "split": "test", "limit": SAMPLES},
        "metric_version": "1",
        "metric_rules": "standard",
        "tasks": profile("digits").tasks,
        "flags": [],
        "probed": True,
        "clean": result(-1, None, None, **clean or {}),
        "attacks": [
            result(number, attack, arp, **attacked or {})
            for number, (attack, arp) in enumerate(zip(chosen, arps, strict=True))
        ],
    }
    return Measured(**fields | changes)


def transferred(*, label: str = "pgd/single:each/eps=8", **changes: Any) -> MeasuredTransfer:
    """A transferability job on the same model: 0.4 from the left task and 0.6 from the right, 0.1 to either side."""
    fields: Json = {
        "job": UUID(int=5),
        "model": UUID(int=2),
        "label": label,
        "dataset": {"name": "digits", "version": "1", "split": "test", "limit": SAMPLES},
        "samples": SAMPLES,
        "transfer": {"left": 0.4, "right": 0.6},
        "intervals": {"left": [0.3, 0.5], "right": [0.5, 0.7]},
        "undefined": {},
        "unstable": [],
        "flags": [],
        "metric_rules": "standard",
    }
    return MeasuredTransfer(**fields | changes)


def flag(code: str, severity: str = "error") -> Json:
    return {"code": code, "severity": severity, "message": "do not trust", "evidence": {}, "samples": None}


def policy(*rules: Json, waivers: Sequence[Json] = ()) -> GatePolicy:
    """A policy of these rules, called "rule 0" and so on."""
    named = [{"name": f"rule {number}", **rule} for number, rule in enumerate(rules)]
    return GatePolicy.model_validate({"version": 1, "rules": named, "waivers": list(waivers)})


def verdict(
    rule: Json,
    measured: Measured,
    baseline: Measured | None = None,
    waivers: Sequence[Json] = (),
    *,
    level: float = LEVEL,
    transfer: MeasuredTransfer | None = None,
) -> Verdict:
    """What comes of a policy of one rule."""
    asked = policy(rule, waivers=waivers)
    return decide(asked, measured, baseline, today=TODAY, level=level, transfer=transfer)


def outcome(
    rule: Json, measured: Measured, baseline: Measured | None = None, *, level: float = LEVEL
) -> Outcome:
    """What comes of one rule with one outcome."""
    (found,) = verdict(rule, measured, baseline, level=level).outcomes
    return found
