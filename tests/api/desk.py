"""What a test does where it stands in for the workers: registers models and ends jobs with what it likes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np

from core.intervals import Origin, Replicates, stored
from core.jobs.finalise import Assembled, ResultRow, begin_finalise, complete
from core.specs.manifests import ModelManifest
from core.store.blobs import FileBlobs
from core.store.database import Database
from core.store.tables import Job, Model
from tests.core.jobs.steps import work_off
from tests.service import DIGITS, Caller, Json

INTERVALS: Json = {
    "arp": [10.0, 30.0],
    "tasks": {"left": [5.0, 15.0], "right": None},
    "metrics": {"left": {"accuracy": [70.0, 80.0], "cross_entropy": None}},
}


class Desk:
    """An API's caller who does its workers' part too."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.database = Database(caller.stack.settings.database_url)
        self.blobs = FileBlobs(caller.stack.settings.blob_dir)

    def model(self, state: str = "ready", **changes: Any) -> str:
        """A registered model."""
        manifest = ModelManifest.model_validate({**DIGITS, **changes}).resolved()
        with self.database.session() as session:
            model = Model(sha256=uuid4().hex * 2, state=state)
            model.manifest, model.manifest_digest = manifest.model_dump(mode="json"), manifest.digest()
            session.add(model)
            session.flush()
            return str(model.id)

    def submit(self, spec: Json) -> Json:
        """Queue a job that must be acceptable."""
        answer = self.caller.post("/v1/jobs", spec)
        assert answer.status_code in (200, 202), answer.text
        job: Json = answer.json()
        return job

    def end(self, job: Json, rows: Sequence[ResultRow], summary: Json | None = None) -> Json:
        """Let a job succeed with these results; returns its links."""
        job_id = UUID(job["id"])
        with self.database.session() as session:
            row = session.get_one(Job, job_id)
        work_off(self.database, row)
        kept = {row.ordinal: self.blobs.put(row.replicates) for row in rows if row.replicates is not None}
        with self.database.session() as session:
            begun = begin_finalise(session, job_id, lease_seconds=60, max_attempts=3)
            assert begun is not None
            assert complete(session, begun, Assembled(rows, summary or {}), replicates=kept)
        links: Json = job["links"]
        return links

    def evaluated(
        self, *arps: float | None, summary: Json | None = None, rows: Sequence[Json] = (), **changes: Any
    ) -> Json:
        """A finished evaluation whose attacks have these ARPs; `rows` change the results, the clean pass's first."""
        attacks = [{"algorithm": "fgsm", "eps": 1 + number} for number in range(len(arps))]
        spec = self.caller.evaluation(self.model(), attacks=attacks, health=False, **changes)
        job = self.submit(spec)
        made = [result(number, arp, attacks) for number, arp in enumerate([None, *arps], start=-1)]
        for number, change in enumerate(rows):
            made[number] = replace(made[number], **change)
        self.end(job, made, summary)
        return job

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.caller.get(path, **arguments)


def result(ordinal: int, arp: float | None, attacks: Sequence[Json]) -> ResultRow:
    """A result whose numbers follow from its ARP, with replicates that scatter by 1 around them."""
    clean = ordinal == -1
    accuracy = 90.0 - (arp or 0.0)
    return ResultRow(
        ordinal=ordinal,
        attack=None if clean else attacks[ordinal],
        metrics={
            "left": {"accuracy": accuracy, "cross_entropy": None},
            "right": {"accuracy": 50.0, "cross_entropy": 1.0},
        },
        task_arp=None if clean else {"left": arp, "right": None},
        arp=arp,
        samples=32,
        cost={"forwards": 64, "backwards": 32, "seconds": 1.0},
        arp_8bit=None if arp is None else arp - 1,
        intervals=INTERVALS,
        replicates=replicates(arp, accuracy).to_bytes(),
    )


def replicates(arp: float | None, accuracy: float, *, seed: int = 0, dataset: str = "digits 1") -> Replicates:
    """Replicates that share their scatter with all others of the same number of samples."""
    noise = np.linspace(-1, 1, 201)
    origin = Origin.of(dataset, np.arange(32), seed=seed, replicates=len(noise))
    metrics = {
        "left": {"accuracy": stored(accuracy - noise), "cross_entropy": stored(np.full(201, np.nan))},
        "right": {"accuracy": stored(50 + noise), "cross_entropy": stored(1 + noise)},
    }
    if arp is None:
        return Replicates(origin, metrics)
    tasks = {"left": stored(arp + noise), "right": stored(np.full(201, np.nan))}
    return Replicates(origin, metrics, tasks, stored(arp + noise))
