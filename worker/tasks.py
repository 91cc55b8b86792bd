"""The task that works on shards. A message names one; everything else is in the database."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy.orm import Session

from core.errors import WindthrowError
from core.jobs.leases import Claim, LeaseState, claim, fail, find_result, finish, release, renew
from core.jobs.states import Urgency
from core.store import registered
from core.tasks import Task
from worker.app import SHARD_TASK, app
from worker.contract import DatasetRecord, ModelRecord, ShardJob, ShardOutput, StopRequested, TurnOver
from worker.keeping import Keeping
from worker.records import dataset_record, dataset_version, model_records
from worker.workplace import Workplace, describe, exits_unmasked, heartbeat, patiently, workplace

log = logging.getLogger(__name__)


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

    with heartbeat(place, beat, what=f"shard {claimed.shard_id}") as beating:
        try:
            with exits_unmasked():
                _compute(place, claimed, shard, beating.check)
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
