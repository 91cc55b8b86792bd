"""The gate over HTTP: a policy in, a verdict on a finished evaluation out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field, model_validator
from sqlalchemy.orm import Session

from api.auth import Reader
from api.problems import FieldProblem, ProblemError, pointer
from api.routes.differences import evaluated
from api.routes.results import finished_job
from api.state import State, Transaction
from api.views.baselines import BaselineReference, ComparedPlace, FoundBy, VerdictView
from api.views.verdict import measured, measured_transfer
from core.errors import InvalidError, under
from core.gates import Measured, Verdict
from core.gates.case import Case
from core.gates.measured import MeasuredTransfer
from core.gates.plan import plan_file
from core.gates.policy_file import PolicyFile, read_gate_file
from core.gates.rendering import MEDIA_TYPES, Context, Format, rendered
from core.jobs.baselines import find_baseline, other_names
from core.jobs.errors import JobNotFoundError
from core.jobs.submission import pin
from core.specs.documents import EvaluationSpec, TransferabilitySpec
from core.specs.policies import GatePolicy
from core.store.blobs import BlobStore
from core.store.tables import Job, Model

router = APIRouter(prefix="/v1", tags=["verdicts"])


FILES: dict[str, Any] = {media_type: {} for media_type in MEDIA_TYPES.values()}


class VerdictRequest(Context):
    """What to decide, and what outputs other than JSON may point to."""

    policy: GatePolicy | None = None
    gate_file: str | None = Field(
        default=None,
        description="In place of a policy, the text of a windthrow.yaml. Whether the evaluation is one of its looks, "
        "and which is next, is said then, and the lines of its rules are known.",
    )
    trial: bool = Field(
        default=False,
        description="With a gate_file: decide any evaluation, by itself and at 95 %, whether or not the file asks for "
        "it; to try a file on past evaluations, and not to gate.",
    )
    baseline: BaselineReference | None = Field(
        default=None,
        description="The evaluation that the policy's baseline is, on the same samples; or where to look for it.",
    )
    transferability: UUID | None = Field(
        default=None, description="The model's transferability job, for rules on that."
    )

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        if (self.policy is None) == (self.gate_file is None):
            raise InvalidError("give a policy, or a gate_file which has one", field="policy")
        return self


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
    said = judge(session, state.blobs, _measured(session, state.blobs, job_id), request)
    if form == "json":
        return VerdictView.of(said.verdict, said.found_by)
    return Response(rendered(said.verdict, form, said.context), media_type=MEDIA_TYPES[form])


@router.get("/policy-schema")
def policy_schema(_: Reader) -> dict[str, Any]:
    """The JSON Schema of a policy, for editors and for checks before a run."""
    return GatePolicy.model_json_schema()


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, how its baseline was found, and what files of it point to."""

    verdict: Verdict
    found_by: FoundBy
    context: Context


def judge(session: Session, blobs: BlobStore, found: Measured, request: VerdictRequest) -> Judged:
    """Decide on an evaluation as a request asks to."""
    read = None if request.gate_file is None else read_gate_file(request.gate_file)
    compared = _compared_with(session, blobs, request.baseline, read)
    case = Case(
        measured=found,
        baseline=compared.baseline,
        others=compared.others,
        transfer=_transferability(session, request.transferability, found.model),
        today=datetime.now(UTC).date(),
    )
    if read is None:
        assert request.policy is not None
        with under("policy"):
            decided = case.decide(request.policy)
    else:
        request = request.model_copy(update={"policy_lines": request.policy_lines or read.rule_lines})
        decided = case.decide(read.file.policy) if request.trial else _decided(session, read, case)
    return Judged(decided, compared.found_by, request)


def _decided(session: Session, read: PolicyFile, case: Case) -> Verdict:
    """The verdict on the look of the file that the evaluation is.

    Raises:
        GateFileError: the file does not fit the evaluated model, or its data set.
        ProblemError: 409, the evaluation is none of the file's looks, or the transferability job not what it asks for.
    """
    job = session.get_one(Job, case.measured.job)
    done = EvaluationSpec.model_validate(job.spec).asked
    _, info = pin(session, done, retired=True)
    plan = plan_file(read, case.measured.tasks, info)
    look = plan.look_of(done)
    if look is None:
        detail = (
            "the evaluation is none of the looks that the gate file asks for: other samples, attacks or settings; "
            "POST /v1/policies/check lists them, and trial decides any evaluation"
        )
        raise ProblemError(HTTPStatus.CONFLICT, "not_a_look", detail)
    if case.transfer is not None:
        transferred = TransferabilitySpec.model_validate(session.get_one(Job, case.transfer.job).spec)
        if not plan.is_transferability(transferred):
            detail = f"job {case.transfer.job} is not the transferability job that the gate file asks for"
            raise _at("transferability", HTTPStatus.CONFLICT, "not_the_files_job", detail)
    return case.decide_look(read.file, look, plan.looks)


def _transferability(session: Session, job_id: UUID | None, model: UUID) -> MeasuredTransfer | None:
    """What a transferability job found; what is wrong with the job is said of its place in the body."""
    if job_id is None:
        return None
    try:
        return measured_transfer(finished_job(session, job_id, kinds=("transferability",)), model)
    except JobNotFoundError as error:
        raise _at("transferability", HTTPStatus.NOT_FOUND, error.code, str(error)) from error
    except ProblemError as error:
        raise _at("transferability", error.status, error.code, str(error)) from error


def _measured(session: Session, blobs: BlobStore, job_id: UUID) -> Measured:
    found = evaluated(session, blobs, job_id)
    return measured(found, session.get_one(Model, found.job.model_id))


@dataclass(frozen=True, slots=True)
class _Compared:
    """The baseline, if there is one, and how it was found; else which other models have one there."""

    baseline: Measured | None = None
    found_by: FoundBy = "job"
    others: Sequence[str] = ()


def _compared_with(
    session: Session, blobs: BlobStore, reference: UUID | ComparedPlace | None, read: PolicyFile | None
) -> _Compared:
    """What a request says to compare with; `read` is its gate file, if it has one."""
    if reference is None:
        return _Compared()
    if isinstance(reference, UUID):
        return _Compared(_baseline(session, blobs, reference))
    name = _model_name(reference, read)
    found = find_baseline(session, reference.repository, model_name=name, **reference.places)
    if found is None:
        return _Compared(
            others=other_names(session, reference.repository, model_name=name, **reference.places)
        )
    measured = _baseline(session, blobs, reference.evaluation or found.baseline.job_id)
    if measured.model != found.baseline.model_id:
        detail = (
            f"the baseline is of model {found.baseline.model_id}, and job {measured.job} of {measured.model}"
        )
        raise _at("baseline", HTTPStatus.CONFLICT, "baseline_moved", detail, field="evaluation")
    return _Compared(measured, found.by)


def _model_name(place: ComparedPlace, read: PolicyFile | None) -> str:
    """What the repository calls the model: as its gate file says, which the place may repeat and not contradict."""
    if read is None:
        return place.model_name or ""
    inside = read.file.model.name or ""
    if place.model_name not in (None, inside):
        said = f"calls the model {inside!r} (model.name)" if inside else "has no model.name"
        detail = f"the gate file {said}, and this is {place.model_name!r}: baselines of another model"
        raise _at("baseline", HTTPStatus.UNPROCESSABLE_ENTITY, "other_model_name", detail, field="model_name")
    return inside


def _baseline(session: Session, blobs: BlobStore, job_id: UUID) -> Measured:
    return measured_at("baseline", session, blobs, job_id)


def measured_at(place: str, session: Session, blobs: BlobStore, job_id: UUID) -> Measured:
    """As `_measured`; what is wrong with the job is said of its place in the body."""
    try:
        return _measured(session, blobs, job_id)
    except JobNotFoundError as error:
        raise _at(place, HTTPStatus.NOT_FOUND, error.code, str(error)) from error
    except ProblemError as error:
        raise _at(place, error.status, error.code, str(error)) from error


def _at(place: str, status: HTTPStatus, code: str, detail: str, *, field: str = "") -> ProblemError:
    """An error about what the body says at a place."""
    problem = FieldProblem(pointer=pointer([place, field]), code=code, message=detail)
    return ProblemError(status, code, f"{place}: {detail}", errors=[problem])
