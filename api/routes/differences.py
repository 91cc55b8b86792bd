"""Two attacks, two models under an attack, or two models altogether, compared sample by sample."""

from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.auth import Reader
from api.problems import ProblemError
from api.routes.results import finished_job
from api.state import State, Transaction
from api.views.common import csv_answer
from api.views.comparison import ComparisonView, Evaluated
from api.views.differences import DifferencesView, Side
from core.intervals import Replicates, UnpairedError
from core.specs.documents import MAX_ATTACKS
from core.specs.manifests import tasks_of
from core.store.blobs import BlobStore
from core.store.tables import Model, Result

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


@router.get("/comparison", response_model=ComparisonView)
def comparison(
    job_id: UUID,
    state: State,
    session: Transaction,
    _: Reader,
    other_job: Annotated[UUID, Query(description="The other model's evaluation, the baseline's for one.")],
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """One model against another: ARA on clean images (paper Eq. 6), and the gain in robustness attack by attack.

    Both evaluations must be on the same samples; attacks that only one of them ran are left out.
    """
    one, other = evaluated(session, state.blobs, job_id), evaluated(session, state.blobs, other_job)
    model, other_model = (session.get_one(Model, found.job.model_id) for found in (one, other))
    assert model.manifest is not None
    assert other_model.manifest is not None
    tasks = tasks_of(model.manifest)
    if {task.name for task in tasks} != {task.name for task in tasks_of(other_model.manifest)}:
        raise UnpairedError("the models have different tasks, so there is nothing to compare")
    view = ComparisonView.of(one, other, tasks)
    return csv_answer(one.job, view.table()) if form == "csv" else JSONResponse(view.model_dump(mode="json"))


def evaluated(session: Session, blobs: BlobStore, job_id: UUID) -> Evaluated:
    """A finished evaluation with its results.

    Raises:
        JobNotFoundError: there is none of that id.
        ProblemError: 404, it is of another kind; 409, it has not succeeded.
    """
    job = finished_job(session, job_id, kinds=("evaluation",))
    rows = session.scalars(select(Result).where(Result.job_id == job.id)).all()

    def read(row: Result) -> Replicates | None:
        return None if row.replicates is None else Replicates.from_bytes(blobs.read(row.replicates))

    return Evaluated(job, {row.ordinal: row for row in rows}, read)


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
