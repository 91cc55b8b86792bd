"""Training in two processes through the real Celery worker: as one process does, and none of them left behind."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import torch
from sqlalchemy import select

from core.data import open_dataset
from core.data.paths import cache_root
from core.jobs.cancel import cancel
from core.jobs.submission import submit_job
from core.models import build_model
from core.settings import Settings
from core.specs.manifests import ModelManifest
from core.specs.trainings import TrainingSpec
from core.store.blobs import FileBlobs
from core.store.tables import Event, KeptState, ShardResult
from core.training import Trainer, load_state
from tests.worker.bench import Bench, until
from worker.contract import DatasetRecord, StopRequested, TurnOver
from worker.keeping import StorageFullError
from worker.supervisor import Stack
from worker.training_parallel import run_processes
from worker.training_post import Post, ProcessError
from worker.training_run import Training

ITERATIONS = 60
SAME = 3
"""Iterations over which rounding leaves two curves one."""

MANIFEST = ModelManifest(backbone="sapling", layout="all-shared", profile="digits")
ADVERSARIAL = {
    "attack": {"algorithm": "pgd", "norm": "l2", "objective": "gb_mta", "eps": 100, "steps": 3},
    "mix": "joint",
}
"""In the L2 norm: the sign that an L-infinity step takes makes differences of rounding as large as the step."""


class Trainings(Bench):
    """A bench for trainings."""

    def train(self, **changes: Any) -> UUID:
        spec = training(**changes)
        with self.database.session() as session:
            return submit_job(session, spec, key_id=None).job.id

    def kept(self) -> dict[UUID | None, int]:
        with self.database.session() as session:
            return {state.job_id: state.position for state in session.scalars(select(KeptState))}

    def until_kept(self, job_id: UUID, position: int) -> None:
        until(
            lambda: self.kept().get(job_id, 0) > position, seconds=60, why=lambda: str(self.job(job_id).error)
        )

    def report(self, job_id: UUID) -> dict[str, Any]:
        (shard,) = self.shards(job_id)
        with self.database.session() as session:
            blob = session.get_one(ShardResult, shard.result_key).blob
        found: dict[str, Any] = json.loads(FileBlobs(self.settings.blob_dir).read(blob))
        return found

    def told(self, job_id: UUID) -> list[dict[str, Any]]:
        chosen = (
            select(Event).where(Event.job_id == job_id, Event.type == "training.progress").order_by(Event.id)
        )
        with self.database.session() as session:
            return [event.data for event in session.scalars(chosen)]

    def processes(self) -> list[int]:
        """What runs anywhere of this stack's trainings, by rank."""
        scratch = str(self.settings.data_dir / "scratch").encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes().split(b"\0")
                if b"worker.training_parallel" in command and command[3].startswith(scratch):
                    found[int(command[5])] = int(folder.name)
        return [found[rank] for rank in sorted(found)]


def training(**changes: Any) -> TrainingSpec:
    recipe = {
        "iterations": ITERATIONS,
        "batch_size": 16,
        "optimiser": {"name": "sgd", "learning_rate": 1e-3, "momentum": 0},
        "ema": 0.9,
        "adversarial": ADVERSARIAL,
    }
    manifest = MANIFEST.model_dump(mode="json")
    document = {"kind": "training", "manifest": manifest, "dataset": {"name": "digits"}}
    return TrainingSpec.model_validate({**document, "recipe": {**recipe, **changes}})


@pytest.fixture(scope="module")
def stack(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker that trains in two processes and keeps a state every moment."""
    settings = Settings(
        database_url=module_database_url,
        cache_dir=cache_root(None),
        training_processes=2,
        keep_seconds=0,
        lease_seconds=4,
        heartbeat_seconds=0.2,
        reap_seconds=0.2,
        soft_shutdown_seconds=0,
        max_attempts=2,
    )
    directory = tmp_path_factory.mktemp("crews")
    with Stack(data_dir=directory, components=("valkey", "relay", "worker"), settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def bench(stack: Stack) -> Iterator[Trainings]:
    made = Trainings(stack.settings, MANIFEST)
    yield made
    made.database.dispose()


def pool_process(stack: Stack) -> int:
    """The worker's one pool process."""
    parent = stack.pids["worker"]
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (found,) = (int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


@pytest.fixture(scope="module")
def troubled(bench: Trainings, stack: Stack) -> UUID:
    """A training that lost its pool process, a process of its own, and its worker."""
    job_id = bench.train()
    bench.until_kept(job_id, 0)
    assert len(bench.processes()) == 2
    os.kill(pool_process(stack), signal.SIGKILL)
    until(lambda: not bench.processes(), seconds=10)
    bench.until_kept(job_id, bench.kept()[job_id])
    os.kill(bench.processes()[1], signal.SIGKILL)
    until(lambda: not bench.processes(), seconds=10)
    bench.until_kept(job_id, bench.kept()[job_id])
    os.kill(stack.pids["worker"], signal.SIGTERM)
    until(lambda: not bench.processes(), seconds=10)
    bench.wait(job_id, "succeeded", seconds=90)
    return job_id


def alone(spec: TrainingSpec) -> Trainer:
    """What one process makes of the same."""
    torch.manual_seed(spec.recipe.seed)
    model = build_model("sapling", MANIFEST.tree, MANIFEST.task_list)
    trainer = Trainer(model, MANIFEST.task_list, open_dataset("digits", "train"), spec.recipe)
    trainer.run(until=SAME)
    return trainer


def test_two_processes_that_are_killed_time_and_again_have_the_curves_of_one(
    bench: Trainings, troubled: UUID
) -> None:
    report, one = bench.report(troubled), alone(training())
    assert report["iterations"] == ITERATIONS
    assert set(report["curves"]) == set(one.curves.columns)
    for name, curve in report["curves"].items():
        assert len(curve) == ITERATIONS
        assert curve[:SAME] == pytest.approx(one.curves[name].tolist(), rel=1e-3), name
    assert bench.kept() == {}
    assert bench.processes() == []


def test_it_is_told_how_a_training_goes(bench: Trainings, troubled: UUID) -> None:
    told = bench.told(troubled)
    assert told[-1]["iteration"] == told[-1]["iterations"] == ITERATIONS
    assert told[0]["means"].keys() >= {"clean.left", "adversarial.right", "inner_steps"}


def test_a_cancelled_training_keeps_its_last_state_and_leaves_no_process(bench: Trainings) -> None:
    job_id = bench.train(seed=1)
    bench.until_kept(job_id, 0)
    seen = bench.kept()[job_id]
    with bench.database.session() as session:
        cancel(session, job_id)
    bench.wait(job_id, "cancelled")
    until(lambda: not bench.processes())
    assert seen <= bench.kept()[job_id] < ITERATIONS


def test_a_training_that_diverges_says_so_and_keeps_the_state_before(bench: Trainings) -> None:
    sgd = {"name": "sgd", "learning_rate": 900}
    job_id = bench.train(optimiser=sgd, adversarial=None, ema=None)
    job = bench.wait(job_id, "failed", seconds=60)
    assert job.error is not None
    assert job.error["code"] == "diverged"
    assert "lower the learning rate" in job.error["message"]
    assert f"in iteration {bench.kept()[job_id] + 1};" in job.error["message"]
    assert bench.processes() == []


def test_a_batch_that_is_too_small_for_all_processes_fails_the_job(bench: Trainings) -> None:
    job = bench.wait(bench.train(batch_size=1), "failed")
    assert job.error is not None
    assert "leaves some of the 2 processes nothing to do" in job.error["message"]


class Kept:
    """Keeps the newest state in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.positions: list[int] = []
        self.told: list[Mapping[str, Any]] = []

    def keep(self, state: Path, *, position: int, share: float) -> None:
        assert share == position / ITERATIONS
        state.replace(self.path)
        self.positions.append(position)

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        assert kind == "training.progress"
        self.told.append(data)


def test_when_the_turn_is_over_the_state_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DATA_DIR": tmp_path, "CACHE_DIR": cache_root(None), "TURN_SECONDS": 1e-3}.items():
        monkeypatch.setenv(f"WINDTHROW_{name}", str(value))
    made, kept = whole(training()), Kept(tmp_path / "kept")
    torch.manual_seed(0)
    trainer = made.trainer(made.new_model())
    with pytest.raises(TurnOver):
        run_processes(made, trainer, 2, kept, lambda: None)
    again = made.trainer(made.new_model())
    again.load_state_dict(load_state(kept.path))
    assert again.iteration == kept.positions[-1] == 1
    trainer.run(until=1)
    for name in trainer.curves.columns:
        assert again.curves[name] == pytest.approx(trainer.curves[name], rel=1e-3), name
    assert list((tmp_path / "scratch").iterdir()) == []


def whole(spec: TrainingSpec) -> Training:
    """A training outside of a job, on all of the data set."""
    dataset = open_dataset("digits", "train")
    limited = spec.dataset.model_copy(update={"limit": len(dataset)})
    record = DatasetRecord(
        name=dataset.name,
        version=dataset.version,
        tasks=tuple(MANIFEST.task_list),
        splits={"train": len(dataset)},
    )
    pinned = spec.model_copy(update={"dataset": limited})
    return Training(spec=pinned, manifest=MANIFEST.resolved(), dataset=record, job_id=UUID(int=0))


def test_an_error_of_ours_keeps_its_code_and_words(tmp_path: Path) -> None:
    post = Post(tmp_path)
    with pytest.raises(StorageFullError), post.telling_why():
        raise StorageFullError("there is no room")
    with pytest.raises(ProcessError, match="there is no room") as caught:
        post.raise_ending()
    assert caught.value.code == "storage_full"


def test_the_first_process_to_fail_says_why(tmp_path: Path) -> None:
    post = Post(tmp_path)
    for message in ("this is why", "the other one is gone"):
        with pytest.raises(OSError, match=message), post.telling_why():
            raise OSError(message)
    with pytest.raises(RuntimeError, match="OSError: this is why"):
        post.raise_ending()


def test_a_process_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.check()
    post.ask_to_stop()
    with pytest.raises(StopRequested):
        post.check()
    post.raise_ending()
