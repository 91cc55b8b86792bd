"""Baselines: what a repository's verdicts compare with, set by its CI when something is merged or released."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.auth import Reader, Submitter
from api.paging import Cursor, Limit, Page, newest
from api.problems import ProblemError
from api.state import Transaction
from api.views.baselines import BaselinePlace, BaselineRequest, BaselineView, ResolutionView
from core.jobs.baselines import find_baseline, list_baselines, other_names, retire_baseline, set_baseline
from core.specs.document import Line, LineOrNone
from core.store.tables import Baseline

router = APIRouter(prefix="/v1/baselines", tags=["baselines"])


@router.put("")
def put(request: BaselineRequest, session: Transaction, principal: Submitter) -> BaselineView:
    """Set the baseline at a commit, branch or tag; the one that stood there ends, and stays in the history."""
    row = set_baseline(
        session,
        request.repository,
        kind=request.kind,
        ref=request.ref,
        job_id=request.job,
        model_name=request.model_name,
        note=request.note,
        force=request.force,
        key_id=principal.key_id,
    )
    return BaselineView.of(row)


@router.get("")
def list_them(
    session: Transaction,
    _: Reader,
    repository: Annotated[Line | None, Query(description="Only this repository's.")] = None,
    model_name: Annotated[
        LineOrNone | None,
        Query(description="Only those of the model that its repository calls so; empty: without a name."),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    ended: Annotated[bool, Query(description="Also those that were replaced or retired.")] = False,
) -> Page[BaselineView]:
    """Baselines, newest first."""
    statement = list_baselines(repository, model_name=model_name, ended=ended)
    rows, following = newest(session, statement, Baseline.id, cursor=cursor, limit=limit)
    return Page(items=[BaselineView.of(row) for row in rows], next_cursor=following)


@router.get("/resolve")
def resolve(place: Annotated[BaselinePlace, Query()], session: Transaction, _: Reader) -> ResolutionView:
    """The baseline that a verdict would compare with: at the merge base, else at the branch, else at the tag."""
    name = place.model_name or ""
    found = find_baseline(session, place.repository, model_name=name, **place.places)
    others = [] if found else other_names(session, place.repository, model_name=name, **place.places)
    return ResolutionView.of(found, others)


@router.delete("/{baseline_id}", status_code=204)
def retire(baseline_id: UUID, session: Transaction, _: Submitter) -> None:
    """Retire a baseline: it holds no more, and stays in the history. One that has ended already is left as it is."""
    if not retire_baseline(session, baseline_id) and session.get(Baseline, baseline_id) is None:
        detail = f"there is no baseline {baseline_id}"
        raise ProblemError(HTTPStatus.NOT_FOUND, "baseline_not_found", detail)
