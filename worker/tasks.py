"""The two tasks. A message names a shard or a job; everything else is in the database."""

import importlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import NoReturn, cast
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.errors import WindthrowError
from core.jobs.finalise import (
    Finalisation,
    abandon_finalise,
    begin_finalise,
    complete,
    complete_model_check,
    fail_finalise,
    renew_finalise,
)
from core.jobs.leases import Claim, LeaseState, claim, fail, find_result, finish, release, renew
from core.jobs.states import Urgency
from core.jobs.trained import complete_training
from core.settings import Settings
from core.store import registered
from core.store.blobs import BlobStore, BlobStoreUnavailableError, open_blobs
from core.store.database import Database
from core.store.tables import Job
from core.tasks import Task
from worker.app import FINALISE_SECONDS, FINALISE_TASK, SHARD_TASK, app
from worker.contract import (
    Assembled,
    DatasetRecord,
    Execution,
    ModelRecord,
    ShardJob,
    ShardOutput,
    ShardOutputRef,
    StopRequested,
    TurnOver,
)
from worker.heartbeat import Heartbeat
from worker.keeping import Keeping
from worker.records import dataset_record, dataset_version, model_records

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a pool process keeps from task to task."""

    settings: Settings
    database: Database
    blobs: BlobStore
    execution: Execution
    name: str


@cache
def workplace() -> Workplace:
    """This pool process's connections, and the module that computes: importing it may import torch."""
    settings = Settings()
    return Workplace(
        settings=settings,
        database=Database(settings.database_url, pool_size=2),
        blobs=open_blobs(settings),
        execution=cast(Execution, importlib.import_module(settings.execution_module)),
        name=f"{socket.gethostname()}:{os.getpid()}",
    )


@app.task(name=SHARD_TASK)  # type: ignore[untyped-decorator]
def run_shard(shard_id: str) -> None:
    """Claim a shard, compute it under a heartbeat, and end it. Duplicate messages find nothing to claim.

    Asked to stop, at whatever line, it gives the shard back: what a claim that was never committed would give back
    is nothing.
    """
    place = workplace()
    claimed: Claim | None = None
    try:
        with exits_unmasked():
            with place.database.session() as session:
                claimed = claim(
                    session, UUID(shard_id), worker=place.name, lease_seconds=place.settings.lease_seconds
                )
                models = () if claimed is None else model_records(session, claimed.model_ids)
                dataset = None if claimed is None else dataset_record(session, claimed.spec)
            if claimed is None:
                log.info("shard %s is not to be had", shard_id)
                return
            _work(place, claimed, _shard_job(place, claimed, models, dataset))
    except (SystemExit, KeyboardInterrupt):
        if claimed is not None:
            log.info("shard %s is given back", shard_id)
            _release(place, claimed)
        raise


def _work(place: Workplace, claimed: Claim, shard: ShardJob) -> None:
    def beat(session: Session) -> LeaseState:
        return renew(session, claimed, place.settings.lease_seconds)

    with _heartbeat(place, beat, what=f"shard {claimed.shard_id}") as heartbeat:
        try:
            with exits_unmasked():
                _compute(place, claimed, shard, heartbeat.check)
        except StopRequested as stop:
            log.info("shard %s stops: %s", claimed.shard_id, stop)
            _release(place, claimed)
        except TurnOver:
            log.info("shard %s has had its turn", claimed.shard_id)
            _release(place, claimed, urgency=Urgency.ORDINARY)
        except WindthrowError as error:
            _fail(place, claimed, code=error.code, message=str(error), retry=False)
        except SoftTimeLimitExceeded:
            message = f"a shard took longer than {place.settings.shard_soft_limit} s"
            _fail(place, claimed, code="shard_timeout", message=message, retry=True)
        except Exception as error:
            log.exception("shard %s failed", claimed.shard_id)
            _fail(place, claimed, code="internal_error", message=describe(error), retry=True)


def _heartbeat(place: Workplace, renew: Callable[[Session], LeaseState], *, what: str) -> Heartbeat:
    settings = place.settings
    return Heartbeat(
        place.database,
        renew,
        what=what,
        interval=settings.heartbeat_seconds,
        lease_seconds=settings.lease_seconds,
    )


def _compute(place: Workplace, claimed: Claim, shard: ShardJob, check: Callable[[], None]) -> None:
    key = place.execution.result_key(shard)
    with place.database.session() as session:
        known = find_result(session, key)
    if known is not None and place.blobs.exists(known.blob):
        _finish(place, claimed, key, known.blob, ShardOutput(b"", known.samples, known.cost), reused=True)
        return
    keeping = Keeping(place.database, place.blobs, claimed, key)
    output = place.execution.run_shard(shard, blobs=place.blobs, keeping=keeping, check=check)
    lost_blob = None if known is None else known.blob
    _finish(place, claimed, key, place.blobs.put(output.blob), output, reused=False, lost_blob=lost_blob)
    keeping.forget()


def _finish(
    place: Workplace,
    claimed: Claim,
    key: str,
    blob: str,
    output: ShardOutput,
    *,
    reused: bool,
    lost_blob: str | None = None,
) -> None:
    def write() -> bool:
        with place.database.session() as session:
            return finish(
                session,
                claimed,
                result_key=key,
                blob=blob,
                samples=output.samples,
                cost=output.cost,
                code_version=place.execution.code_version(),
                reused=reused,
                lost_blob=lost_blob,
            )

    if not patiently(write, seconds=place.settings.lease_seconds):
        log.warning("shard %s was finished under a lost lease; its result is dropped", claimed.shard_id)


def _fail(place: Workplace, claimed: Claim, *, code: str, message: str, retry: bool) -> None:
    with place.database.session() as session:
        cap = place.settings.max_attempts
        fail(session, claimed, code=code, message=message, retry=retry, max_attempts=cap)


def _release(place: Workplace, claimed: Claim, *, urgency: Urgency = Urgency.RESUMED) -> None:
    with place.database.session() as session:
        release(session, claimed, urgency=urgency)


@app.task(name=FINALISE_TASK)  # type: ignore[untyped-decorator]
def finalise(job_id: str) -> None:
    """Turn what a job's shards found into its results under a heartbeat; asked to stop, leave that to another."""
    place = workplace()
    begun: Finalisation | None = None
    try:
        with exits_unmasked():
            with place.database.session() as session:
                begun = begin_finalise(
                    session,
                    UUID(job_id),
                    lease_seconds=place.settings.lease_seconds,
                    max_attempts=place.settings.max_attempts,
                )
            if begun is None:
                log.info("job %s is not to be finalised", job_id)
                return
            conclude(place, begun)
    except (SystemExit, KeyboardInterrupt):
        if begun is not None:
            log.info("job %s is left to another", job_id)
            abandon(place, begun)
        raise


Assemble = Callable[[Workplace, Finalisation, Callable[[], None]], None]
"""Puts together what a job has found and ends it; the last argument raises `StopRequested`, see `Heartbeat.check`."""


def conclude(place: Workplace, begun: Finalisation, assemble: Assemble | None = None) -> None:
    """Finalise a job that is this worker's to finalise; it stops as soon as that is so no more.

    Args:
        place: this worker's.
        begun: the job.
        assemble: how; what shards have found, unless said.
    """

    def beat(session: Session) -> LeaseState:
        return renew_finalise(session, begun, place.settings.lease_seconds)

    with _heartbeat(place, beat, what=f"the end of job {begun.job_id}") as heartbeat:
        try:
            with exits_unmasked():
                (assemble or _assemble)(place, begun, heartbeat.check)
        except StopRequested as stop:
            log.info("job %s is not finalised here: %s", begun.job_id, stop)
            abandon(place, begun)
        except BlobStoreUnavailableError as error:
            log.warning("job %s waits for the store of its results: %s", begun.job_id, error)
            abandon(place, begun)
        except WindthrowError as error:
            _fail_job(place, begun, code=error.code, message=str(error))
        except SoftTimeLimitExceeded:
            message = f"putting the results together took longer than {FINALISE_SECONDS} s"
            _fail_job(place, begun, code="finalise_timeout", message=message)
        except Exception as error:
            log.exception("job %s could not be finalised", begun.job_id)
            _fail_job(place, begun, code="internal_error", message=describe(error))


def _assemble(place: Workplace, begun: Finalisation, check: Callable[[], None]) -> None:
    def read(digest: str) -> bytes:
        check()
        return place.blobs.read(digest)

    with place.database.session() as session:
        job = session.get_one(Job, begun.job_id)
        models, dataset = model_records(session, job.model_ids), dataset_record(session, job.spec)
    outputs = [
        ShardOutputRef(shard.payload, result.cost, result.samples, partial(read, result.blob))
        for shard, result in begun.found
    ]
    if job.kind == "model_check":
        report = json.loads(outputs[0].read())

        def write() -> bool:
            with place.database.session() as session:
                return complete_model_check(session, begun, **report)
    elif job.kind == "training":
        trained = json.loads(outputs[0].read())

        def write() -> bool:
            with place.database.session() as session:
                return complete_training(
                    session,
                    begun,
                    trained,
                    code_version=place.execution.code_version(),
                    shard_samples=place.settings.shard_samples,
                )
    else:
        assert dataset is not None
        assembled = place.execution.assemble(job.spec, models, outputs, dataset=dataset)
        replicates = _keep_replicates(place.blobs, assembled)

        def write() -> bool:
            with place.database.session() as session:
                return complete(session, begun, assembled, replicates=replicates)

    if not patiently(write, seconds=place.settings.lease_seconds):
        log.warning("job %s was finalised under a lost lease; its results are dropped", begun.job_id)


def _fail_job(place: Workplace, begun: Finalisation, *, code: str, message: str) -> None:
    with place.database.session() as session:
        fail_finalise(session, begun, code=code, message=message)


def abandon(place: Workplace, begun: Finalisation) -> None:
    """Leave a job to another."""
    with place.database.session() as session:
        abandon_finalise(session, begun)


def _keep_replicates(blobs: BlobStore, assembled: Assembled) -> dict[int, str]:
    """Put the rows' replicates into the store; their digests by ordinal."""
    return {row.ordinal: blobs.put(row.replicates) for row in assembled.rows if row.replicates is not None}


def _shard_job(
    place: Workplace, claimed: Claim, models: tuple[ModelRecord, ...], dataset: DatasetRecord | None
) -> ShardJob:
    def fitting(tasks: Sequence[Task]) -> DatasetRecord | None:
        with place.database.session() as session:
            info = registered.fitting(session, tasks)
            return None if info is None else dataset_version(session, info.name, info.version)

    needed = claimed.input
    return ShardJob(
        job_id=claimed.job_id,
        kind=claimed.kind,
        spec=claimed.spec,
        payload=claimed.payload,
        models=models,
        dataset=dataset,
        fitting=fitting,
        input_key=None if needed is None else needed.key,
        read_input=_no_input if needed is None else partial(place.blobs.read, needed.blob),
    )


def _no_input() -> NoReturn:
    raise LookupError("this shard waits for no other, so there is nothing to read")


def describe(error: BaseException) -> str:
    """An unexpected error in one line; its traceback stays in the log."""
    return f"{type(error).__name__}: {error}"


@contextmanager
def exits_unmasked() -> Iterator[None]:
    """Raise SystemExit where a library's clean-up after it failed and the failure took its place.

    SIGTERM may come at any line. SQLAlchemy, interrupted while it pings a connection, cannot reset it and says so
    instead: a worker that is only asked to stop would fail its shard, or its job.
    """
    try:
        yield
    except Exception as error:
        behind: BaseException | None = error
        while behind is not None and not isinstance(behind, SystemExit):
            behind = behind.__cause__ or behind.__context__
        if behind is None:
            raise
        raise SystemExit(behind.code) from error


def patiently(write: Callable[[], bool], *, seconds: float) -> bool:
    """Write a result even if the database is away for a moment: minutes of work hang on it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return write()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            log.warning("the database is away; trying again", exc_info=True)
            time.sleep(RETRY_SECONDS)
