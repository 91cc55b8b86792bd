"""The gate over HTTP: a policy in, a verdict on a finished evaluation out."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy.orm import Session

from api.auth import Reader
from api.problems import FieldProblem, ProblemError
from api.routes.differences import evaluated
from api.state import State, Transaction
from api.views.baselines import BaselinePlace, BaselineReference, FoundBy, VerdictView
from api.views.verdict import measured
from core.errors import under
from core.gates import Measured, decide
from core.gates.rendering import MEDIA_TYPES, Context, Format, rendered
from core.jobs.baselines import find_baseline
from core.jobs.errors import JobNotFoundError
from core.specs.policies import GatePolicy
from core.store.blobs import BlobStore
from core.store.tables import Model

router = APIRouter(prefix="/v1", tags=["verdicts"])


FILES: dict[str, Any] = {media_type: {} for media_type in MEDIA_TYPES.values()}


class VerdictRequest(Context):
    """What to decide, and what outputs other than JSON may point to."""

    policy: GatePolicy
    baseline: BaselineReference | None = Field(
        default=None,
        description="The evaluation that the policy's baseline is, on the same samples; or where to look for it.",
    )


@router.post("/jobs/{job_id}/verdict", response_model=VerdictView, responses={200: {"content": FILES}})
def verdict(
    job_id: UUID,
    request: VerdictRequest,
    state: State,
    session: Transaction,
    _: Reader,
    form: Annotated[Format, Query(alias="format", description="What to answer with.")] = "json",
) -> VerdictView | Response:
    """Whether an evaluated model keeps a policy; nothing is run, and nothing is kept.

    `exit_code` is what a CI job should end with: 0 passed, 1 failed, 4 where more samples or a baseline are needed.
    The other formats are files for a CI to show; they say the same.
    """
    found = _measured(session, state.blobs, job_id)
    baseline, found_by = _compared_with(session, state.blobs, request.baseline)
    with under("policy"):
        decided = decide(request.policy, found, baseline, today=datetime.now(UTC).date())
    if form == "json":
        return VerdictView.of(decided, found_by)
    return Response(rendered(decided, form, request), media_type=MEDIA_TYPES[form])


@router.get("/policy-schema")
def policy_schema(_: Reader) -> dict[str, Any]:
    """The JSON Schema of a policy, for editors and for checks before a run."""
    return GatePolicy.model_json_schema()


def _measured(session: Session, blobs: BlobStore, job_id: UUID) -> Measured:
    found = evaluated(session, blobs, job_id)
    return measured(found, session.get_one(Model, found.job.model_id))


def _compared_with(
    session: Session, blobs: BlobStore, reference: UUID | BaselinePlace | None
) -> tuple[Measured | None, FoundBy]:
    """The baseline, if there is one, and how it was found."""
    if reference is None:
        return None, "job"
    if isinstance(reference, UUID):
        return _baseline(session, blobs, reference), "job"
    found = find_baseline(session, **dict(reference))
    return (None, "job") if found is None else (_baseline(session, blobs, found.baseline.job_id), found.by)


def _baseline(session: Session, blobs: BlobStore, job_id: UUID) -> Measured:
    """As `_measured`; what is wrong with the job is said of its place in the body."""
    try:
        return _measured(session, blobs, job_id)
    except JobNotFoundError as error:
        raise _at_baseline(HTTPStatus.NOT_FOUND, error.code, str(error)) from error
    except ProblemError as error:
        raise _at_baseline(error.status, error.code, str(error)) from error


def _at_baseline(status: HTTPStatus, code: str, detail: str) -> ProblemError:
    problem = FieldProblem(pointer="#/baseline", code=code, message=detail)
    return ProblemError(status, code, f"baseline: {detail}", errors=[problem])
