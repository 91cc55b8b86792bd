"""The task that ends jobs: what their shards have found becomes their results."""

import json
import logging
from collections.abc import Callable
from functools import partial
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
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
from core.jobs.leases import LeaseState
from core.jobs.trained import complete_training
from core.store.blobs import BlobStore, BlobStoreUnavailableError
from core.store.tables import Job
from worker.app import FINALISE_SECONDS, FINALISE_TASK, app
from worker.contract import Assembled, ShardOutputRef, StopRequested
from worker.records import dataset_record, model_records
from worker.workplace import Workplace, describe, exits_unmasked, heartbeat, patiently, workplace

log = logging.getLogger(__name__)


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

    with heartbeat(place, beat, what=f"the end of job {begun.job_id}") as beating:
        try:
            with exits_unmasked():
                (assemble or _assemble)(place, begun, beating.check)
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
