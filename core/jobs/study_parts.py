"""A study taken apart into jobs. Pure: the same study always gives the same parts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never
from uuid import UUID

from core.jobs.submission import JobSpec, cut
from core.specs.studies import ANY_MODEL, Mode, StudySpec

PartKind = Literal["training", "evaluation", "transferability"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPart:
    """One job of a study.

    Attributes:
        name: tells it from the study's others.
        layout: position in the spec.
        mode: by name.
        needs: name of the training whose model it is about, or begins with; None for one from random weights.
    """

    name: str
    kind: PartKind
    layout: int
    mode: str
    needs: str | None


def part_name(layout: int, mode: str, kind: PartKind) -> str:
    """The name of a part, such as "layout 3/clean/training"."""
    return f"layout {layout}/{mode}/{kind}"


def parts(study: StudySpec) -> tuple[StudyPart, ...]:
    """Layout by layout and mode by mode: the training, then what is asked of its model. What is needed goes first."""
    layouts = range(len(study.layouts))
    return tuple(
        part for layout in layouts for mode in study.modes for part in _of_one_model(study, layout, mode)
    )


def _of_one_model(study: StudySpec, layout: int, mode: Mode) -> Iterator[StudyPart]:
    def part(kind: PartKind, needs: str | None) -> StudyPart:
        name = part_name(layout, mode.name, kind)
        return StudyPart(name=name, kind=kind, layout=layout, mode=mode.name, needs=needs)

    trained = part("training", None if mode.start is None else part_name(layout, mode.start, "training"))
    yield trained
    yield part("evaluation", trained.name)
    if mode.name in study.transferred:
        yield part("transferability", trained.name)


def job_spec(study: StudySpec, part: StudyPart, model: UUID | None) -> JobSpec:
    """What a part asks for, where what it needs gave this model.

    Nothing in it tells one study from another, except for the name of what is trained.
    """
    if part.kind == "training":
        return study.training(part.layout, part.mode, start=model)
    assert model is not None, f"{part.name} is about a model"
    match part.kind:
        case "evaluation":
            return study.evaluation_of(model)
        case "transferability":
            return study.transferability_of(model)
        case _:
            assert_never(part.kind)


def planned_work(study: StudySpec, *, shard_samples: int) -> float:
    """Expected cost of all parts, in passes over one sample; the data sets are pinned.

    It depends on the tasks, which all layouts have in common, and not on the layout.

    Raises:
        JobTooLargeError: a part would take too many shards.
    """
    tasks = [task.name for task in study.manifests[0].task_list]
    works = (
        shard.work
        for part in parts(study)
        if part.layout == 0
        for shard in cut(job_spec(study, part, ANY_MODEL), tasks, shard_samples=shard_samples)
    )
    return len(study.layouts) * sum(works)
