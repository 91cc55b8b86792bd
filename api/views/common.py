"""What the results of all kinds of jobs have in common."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from fastapi import Response
from pydantic import BaseModel, Field

from core.jobs.reliability import Severity
from core.store.tables import Job
from core.tasks import Task

Interval = tuple[float, float] | None
"""Low and high of a 95 % interval; null where too few replicates have a value."""


class FlagView(BaseModel):
    """What a reader should know about the numbers."""

    code: str
    severity: Severity = Field(description="An error makes what it is on unreliable.")
    message: str
    evidence: dict[str, Any]
    samples: int | None = Field(default=None, description="How many samples it is about.")


class MetricInfo(BaseModel):
    """Which values of a metric are better, and its unit."""

    direction: Literal["higher", "lower"]
    unit: str


def metric_infos(tasks: Iterable[Task]) -> dict[str, dict[str, MetricInfo]]:
    """Directions and units by task and metric."""
    return {
        task.name: {
            metric.name: MetricInfo(direction=metric.direction, unit=metric.unit) for metric in task.reported
        }
        for task in tasks
    }


def csv_answer(job: Job, rows: Iterable[Mapping[str, object]]) -> Response:
    """Rows as a CSV file with the first one's keys as its head; there is at least one."""
    listed = list(rows)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(listed[0]))
    writer.writeheader()
    writer.writerows(listed)
    disposition = {"Content-Disposition": f'attachment; filename="windthrow-{job.id}.csv"'}
    return Response(buffer.getvalue(), media_type="text/csv", headers=disposition)


def bounds(name: str, interval: Interval) -> dict[str, float | None]:
    """The two columns of an interval."""
    low, high = interval or (None, None)
    return {f"{name}.low": low, f"{name}.high": high}
