"""Two attacks, or two models under an attack, compared sample by sample."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.auth import Reader
from api.problems import ProblemError
from api.routes.results import finished_job
from api.state import State, Transaction
from api.views.differences import DifferencesView, Side
from core.intervals import Replicates
from core.specs.documents import MAX_ATTACKS
from core.store.blobs import BlobStore
from core.store.tables import Result

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])

Ordinal = Annotated[int, Query(ge=0, le=MAX_ATTACKS, description="Position of the attack in its job's spec.")]


@router.get("/differences")
def differences(
    job_id: UUID,
    state: State,
    session: Transaction,
    _: Reader,
    attack: Ordinal,
    other: Ordinal,
    other_job: Annotated[
        UUID | None, Query(description="The other attack's job; this one unless said.")
    ] = None,
) -> DifferencesView:
    """An attack's numbers less another's, with 95 % intervals.

    Both must be on the same samples, so their sampling noise is shared and cancels: the intervals are narrower than
    those of the two results suggest.
    """
    return DifferencesView.of(
        _side(session, state.blobs, job_id, attack), _side(session, state.blobs, other_job or job_id, other)
    )


def _side(session: Session, blobs: BlobStore, job_id: UUID, ordinal: int) -> Side:
    job = finished_job(session, job_id, kinds=("evaluation",))
    row = session.scalar(select(Result).where(Result.job_id == job.id, Result.ordinal == ordinal))
    if row is None:
        detail = f"job {job.id} has no attack {ordinal}; its last is {len(job.spec['attacks']) - 1}"
        raise ProblemError(HTTPStatus.NOT_FOUND, "attack_not_found", detail)
    if row.replicates is None:
        detail = f"no bootstrap replicates of attack {ordinal} of job {job.id} were kept; evaluate it again"
        raise ProblemError(HTTPStatus.NOT_FOUND, "no_replicates", detail)
    return Side(job, row, Replicates.from_bytes(blobs.read(row.replicates)))
