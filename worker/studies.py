"""The task of studies: see what can be done next, and put together what all parts have found once they are done."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import product
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.jobs.finalise import Finalisation, begin_finalise, complete_study
from core.jobs.studies import advance, children, part_name
from core.specs.studies import StudySpec, study_of
from core.store.tables import Job, Model, Result
from worker.app import STUDY_TASK, app
from worker.finalising import abandon, conclude
from worker.study_assembly import Cell, assemble_study
from worker.workplace import Workplace, exits_unmasked, patiently, workplace

log = logging.getLogger(__name__)


@app.task(name=STUDY_TASK)  # type: ignore[untyped-decorator]
def run_study(study_id: str) -> None:
    """Submit what can begin; when nothing is left to do but the end, do that. Asked to stop, leave it to another."""
    place = workplace()
    settings = place.settings
    begun: Finalisation | None = None
    try:
        with exits_unmasked():
            with place.database.session() as session:
                if advance(session, UUID(study_id), shard_samples=settings.shard_samples):
                    begun = begin_finalise(
                        session,
                        UUID(study_id),
                        lease_seconds=settings.lease_seconds,
                        max_attempts=settings.max_attempts,
                    )
            if begun is not None:
                conclude_study(place, begun)
    except (SystemExit, KeyboardInterrupt):
        if begun is not None:
            log.info("study %s is left to another", study_id)
            abandon(place, begun)
        raise


def conclude_study(place: Workplace, begun: Finalisation) -> None:
    """End a study that is this worker's to end; see `worker.finalising.conclude`."""
    conclude(place, begun, _assemble)


def _assemble(place: Workplace, begun: Finalisation, check: Callable[[], None]) -> None:
    def read(digest: str) -> bytes:
        check()
        return place.blobs.read(digest)

    with place.database.session() as session:
        spec = study_of(session.get_one(Job, begun.job_id).spec)
        cells = study_cells(session, begun.job_id, spec, read)
    summary = assemble_study(spec, cells)

    def write() -> bool:
        with place.database.session() as session:
            return complete_study(session, begun, summary)

    if not patiently(write, seconds=place.settings.lease_seconds):
        log.warning("study %s was ended under a lost lease; what it shows is dropped", begun.job_id)


def study_cells(
    session: Session, study_id: UUID, spec: StudySpec, read: Callable[[str], bytes]
) -> list[Cell]:
    """What the parts of a study have found, all of which have succeeded: layout by layout and mode by mode.

    Args:
        session: where to look.
        study_id: which study.
        spec: its spec.
        read: the blob of a digest.
    """
    jobs = children(session, study_id)
    results = _results(session, [job.id for job in jobs.values() if job.kind == "evaluation"])
    found = []
    for layout, mode in product(range(len(spec.layouts)), spec.modes):
        training = jobs[part_name(layout, mode.name, "training")]
        evaluation = jobs[part_name(layout, mode.name, "evaluation")]
        transferability = jobs.get(part_name(layout, mode.name, "transferability"))
        ran = [job for job in (training, evaluation, transferability) if job is not None]
        assert training.summary is not None
        assert evaluation.summary is not None
        model = session.get_one(Model, UUID(training.summary["model"]))
        cell = Cell(
            layout=layout,
            mode=mode.name,
            model=model.id,
            model_name=model.name,
            parameters=model.parameters or 0,
            jobs={job.kind: job.id for job in ran},
            training=training.summary,
            results=results[evaluation.id],
            read=read,
            transferability=None if transferability is None else transferability.summary,
            flags=evaluation.summary.get("flags", ()),
        )
        found.append(cell)
    return found


def _results(session: Session, evaluations: Sequence[UUID]) -> dict[UUID, list[Result]]:
    """The results of some evaluations, each one's clean pass first."""
    rows: dict[UUID, list[Result]] = defaultdict(list)
    statement = select(Result).where(Result.job_id.in_(evaluations)).order_by(Result.ordinal)
    for row in session.scalars(statement):
        rows[row.job_id].append(row)
    return rows
