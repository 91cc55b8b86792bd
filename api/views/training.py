"""What a training came to, as JSON and as rows of a table."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field, PrivateAttr

from core.store.tables import Job

POINTS = 500
"""Of a curve, at most; the CSV has them all."""


class TrainingView(BaseModel):
    """Everything that a training found."""

    job: UUID
    model: UUID = Field(description="The model that came out, ready to be used.")
    parent: UUID | None = Field(description="The model that it began with; null for random weights.")
    iterations: int
    last: dict[str, float | None] = Field(
        description="Means over the last tenth of the iterations: losses by task on clean and on attacked batches, "
        "steps to fool by task, steps of the attack."
    )
    inner_steps_saved: float | None = Field(
        description="Share of the attack's steps that samples which were fooled did not take; null without an attack."
    )
    evaluation: UUID | None = Field(description="The job that evaluates the model, if that was asked for.")
    baseline_evaluation: UUID | None = Field(
        description="The same on the baseline; `links.comparison` has what training cost and bought once both are done."
    )
    evaluation_error: dict[str, Any] | None = Field(description="Why there is none, though it was asked for.")
    links: dict[str, str]
    curves: dict[str, list[float | None]] = Field(
        description=f"By name, one number an iteration, or every so many iterations where there are more than {POINTS}."
    )
    curve_iterations: list[int] = Field(description="The iterations that the curves have numbers of, from 1.")
    _whole: dict[str, list[float | None]] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(cls, job: Job, curves: Mapping[str, list[float | None]]) -> "TrainingView":
        """Describe a finished training."""
        summary = job.summary or {}
        every = -(-summary["iterations"] // POINTS)
        view = cls(
            job=job.id,
            model=summary["model"],
            parent=summary["parent"],
            iterations=summary["iterations"],
            last=summary["last"],
            inner_steps_saved=summary.get("inner_steps_saved"),
            evaluation=summary.get("evaluation"),
            baseline_evaluation=summary.get("baseline_evaluation"),
            evaluation_error=summary.get("evaluation_error"),
            links=_links(summary),
            curves={name: values[every - 1 :: every] for name, values in curves.items()},
            curve_iterations=list(range(every, summary["iterations"] + 1, every)),
        )
        view._whole = dict(curves)
        return view

    def table(self) -> Iterator[dict[str, object]]:
        """One row an iteration: every curve."""
        for iteration, values in enumerate(zip(*self._whole.values(), strict=True), start=1):
            yield {"iteration": iteration, **dict(zip(self._whole, values, strict=True))}


def _links(summary: Mapping[str, Any]) -> dict[str, str]:
    links = {"model": f"/v1/models/{summary['model']}"}
    mine, baseline = summary.get("evaluation"), summary.get("baseline_evaluation")
    if mine is not None:
        links["evaluation"] = f"/v1/jobs/{mine}"
    if mine is not None and baseline is not None:
        links["comparison"] = f"/v1/jobs/{mine}/comparison?other_job={baseline}"
    return links
