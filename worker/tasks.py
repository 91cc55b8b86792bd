"""The two tasks. A message names a shard or a job; everything else is in the database."""

import importlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import cast
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import OperationalError

from core.errors import WindthrowError
from core.jobs.finalise import abandon_finalise, begin_finalise, complete, complete_model_check
from core.jobs.leases import Claim, claim, fail, find_result, finish, release
from core.jobs.progress import fail_job
from core.settings import Settings
from core.store.blobs import BlobStore
from core.store.database import Database
from core.store.tables import Job, Model, Shard, ShardResult
from worker.app import FINALISE_TASK, SHARD_TASK, app
from worker.contract import Execution, ModelRecord, ShardJob, ShardOutput, StopRequested
from worker.heartbeat import Heartbeat

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
        blobs=BlobStore(settings.blob_dir),
        execution=cast(Execution, importlib.import_module(settings.execution_module)),
        name=f"{socket.gethostname()}:{os.getpid()}",
    )


@app.task(name=SHARD_TASK)  # type: ignore[untyped-decorator]
def run_shard(shard_id: str) -> None:
    """Claim a shard, compute it under a heartbeat, and end it. Duplicate messages find nothing to claim."""
    place = workplace()
    lease_seconds = place.settings.lease_seconds
    with place.database.session() as session:
        claimed = claim(session, UUID(shard_id), worker=place.name, lease_seconds=lease_seconds)
        model = None if claimed is None else session.get_one(Model, claimed.model_id)
    if claimed is None or model is None:
        log.info("shard %s is not to be had", shard_id)
        return
    shard = ShardJob(claimed.job_id, claimed.kind, claimed.spec, claimed.payload, _record(model))
    interval = place.settings.heartbeat_seconds
    with Heartbeat(place.database, claimed, interval=interval, lease_seconds=lease_seconds) as heartbeat:
        _work(place, claimed, shard, heartbeat.check)


def _work(place: Workplace, claimed: Claim, shard: ShardJob, check: Callable[[], None]) -> None:
    try:
        _compute(place, claimed, shard, check)
    except StopRequested as stop:
        log.info("shard %s stops: %s", claimed.shard_id, stop)
        _release(place, claimed)
    except WindthrowError as error:
        _fail(place, claimed, code=error.code, message=str(error), retry=False)
    except SoftTimeLimitExceeded:
        message = f"a shard took longer than {place.settings.shard_soft_limit} s"
        _fail(place, claimed, code="shard_timeout", message=message, retry=True)
    except Exception as error:
        log.exception("shard %s failed", claimed.shard_id)
        _fail(place, claimed, code="internal_error", message=describe(error), retry=True)
    except BaseException:
        log.info("shard %s is given back", claimed.shard_id)
        _release(place, claimed)
        raise


def _compute(place: Workplace, claimed: Claim, shard: ShardJob, check: Callable[[], None]) -> None:
    key = place.execution.result_key(shard)
    with place.database.session() as session:
        known = find_result(session, key)
    if known is not None and place.blobs.exists(known.blob):
        _finish(place, claimed, key, known.blob, ShardOutput(b"", known.samples, known.cost), reused=True)
        return
    output = place.execution.run_shard(shard, blobs=place.blobs, check=check)
    _finish(place, claimed, key, place.blobs.put(output.blob), output, reused=False)


def _finish(
    place: Workplace, claimed: Claim, key: str, blob: str, output: ShardOutput, *, reused: bool
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
            )

    if not patiently(write, seconds=place.settings.lease_seconds):
        log.warning("shard %s was finished under a lost lease; its result is dropped", claimed.shard_id)


def _fail(place: Workplace, claimed: Claim, *, code: str, message: str, retry: bool) -> None:
    with place.database.session() as session:
        cap = place.settings.max_attempts
        fail(session, claimed, code=code, message=message, retry=retry, max_attempts=cap)


def _release(place: Workplace, claimed: Claim) -> None:
    with place.database.session() as session:
        release(session, claimed)


@app.task(name=FINALISE_TASK)  # type: ignore[untyped-decorator]
def finalise(job_id: str) -> None:
    """Turn what a job's shards found into its results."""
    place, job = workplace(), UUID(job_id)
    with place.database.session() as session:
        found = begin_finalise(session, job, max_attempts=place.settings.max_attempts)
    if found is None:
        log.info("job %s is not to be finalised", job_id)
        return
    try:
        _assemble(place, job, found)
    except WindthrowError as error:
        _fail_job(place, job, code=error.code, message=str(error))
    except Exception as error:
        log.exception("job %s could not be finalised", job_id)
        _fail_job(place, job, code="internal_error", message=describe(error))
    except BaseException:
        with place.database.session() as session:
            abandon_finalise(session, job)
        raise


def _assemble(place: Workplace, job_id: UUID, found: list[tuple[Shard, ShardResult]]) -> None:
    with place.database.session() as session:
        job = session.get_one(Job, job_id)
        model = session.get_one(Model, job.model_id)
    outputs = [(shard.payload, place.blobs.read(result.blob), result.cost) for shard, result in found]
    if job.kind == "model_check":
        report = json.loads(outputs[0][1])
        parameters, facts = report["parameters"], report["facts"]

        def write() -> bool:
            with place.database.session() as session:
                return complete_model_check(session, job_id, parameters=parameters, facts=facts)
    else:
        rows = place.execution.assemble(job.spec, _record(model), outputs)

        def write() -> bool:
            with place.database.session() as session:
                return complete(session, job_id, rows)

    patiently(write, seconds=place.settings.lease_seconds)


def _fail_job(place: Workplace, job_id: UUID, *, code: str, message: str) -> None:
    with place.database.session() as session:
        fail_job(session, job_id, code=code, message=message)


def _record(model: Model) -> ModelRecord:
    return ModelRecord(model.id, model.sha256, model.manifest)


def describe(error: BaseException) -> str:
    """An unexpected error in one line; its traceback stays in the log."""
    return f"{type(error).__name__}: {error}"


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
