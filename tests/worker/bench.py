"""What a test does with a running stack: submit, watch, and tell the counting module how to behave."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select

from core.jobs.submission import submit_job
from core.settings import Settings
from core.specs.documents import EvaluationSpec, TransferabilitySpec
from core.specs.manifests import ModelManifest
from core.store.database import Database
from core.store.tables import Job, Model, Outbox, Shard

EXECUTION = "tests.worker.counting_execution"
ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], Any], *, seconds: float = 30, why: Callable[[], str] = str) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain {why()}"
        time.sleep(0.02)


class Bench:
    """What a test does with a stack: submit, watch, and tell the counting module how to behave."""

    def __init__(self, settings: Settings, manifest: ModelManifest) -> None:
        self.settings = settings
        self.database = Database(settings.database_url)
        self.manifest = manifest
        self.model_id = self.add_model()

    def add_model(self) -> UUID:
        """A model that is ready."""
        with self.database.session() as session:
            model = Model(name="counted", sha256=uuid4().hex * 2, state="ready")
            model.manifest, model.manifest_digest = (
                self.manifest.model_dump(mode="json"),
                self.manifest.digest(),
            )
            session.add(model)
            session.flush()
            return model.id

    def behave(self, how: str) -> None:
        draft = self.settings.data_dir / f"behaviour.{uuid4().hex}"
        draft.write_text(how)
        draft.replace(self.settings.data_dir / "behaviour")

    def submit(self, *, eps: float | None = None, limit: int = 64, algorithm: str = "fgsm") -> UUID:
        """An evaluation in slices of 32 samples: the clean pass, and an attack that nobody has made before."""
        attack = {"algorithm": algorithm, "eps": eps or 1 + uuid4().int % 10**6 / 10**5}
        spec = EvaluationSpec.model_validate(
            {
                "kind": "evaluation",
                "model": str(self.model_id),
                "dataset": {"name": "digits", "limit": limit},
                "attacks": [attack],
                "batch_size": 16,
                "health": False,
            }
        )
        with self.database.session() as session:
            return submit_job(session, spec, key_id=None, shard_samples=32).job.id

    def submit_transferability(self, *models: UUID) -> UUID:
        """A transferability job over 64 samples in slices of 32."""
        spec = TransferabilitySpec.model_validate(
            {
                "kind": "transferability",
                "models": [str(model) for model in models],
                "dataset": {"name": "digits", "limit": 64},
                "attack": {"algorithm": "fgsm", "eps": 8},
            }
        )
        with self.database.session() as session:
            return submit_job(session, spec, key_id=None, shard_samples=32).job.id

    def job(self, job_id: UUID) -> Job:
        with self.database.session() as session:
            return session.get_one(Job, job_id)

    def shards(self, job_id: UUID) -> list[Shard]:
        with self.database.session() as session:
            return list(session.scalars(select(Shard).where(Shard.job_id == job_id).order_by(Shard.ordinal)))

    def wait(self, job_id: UUID, state: str, *, seconds: float = 30) -> Job:
        def described() -> str:
            logs = sorted((self.settings.data_dir / "logs").glob("*.log"))
            tails = "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in logs)
            return f"for {state}; it is {self.job(job_id).state}\n{tails}"

        until(lambda: self.job(job_id).state == state, seconds=seconds, why=described)
        return self.job(job_id)

    def unsent(self) -> int:
        """Bells that the relay has not rung yet."""
        with self.database.session() as session:
            statement = select(func.count()).select_from(Outbox).where(Outbox.sent_at.is_(None))
            return session.scalar(statement) or 0

    def runs(self) -> Counter[str]:
        path = self.settings.data_dir / "runs"
        return Counter(path.read_text().split()) if path.exists() else Counter()
