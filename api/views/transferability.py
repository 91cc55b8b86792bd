"""What a transferability job found, as JSON and as rows of a table."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from api.views.common import FlagView, Interval, bounds
from core.specs.documents import TransferabilitySpec
from core.store.tables import Job
from core.tasks import METRIC_VERSION

Matrix = dict[str, dict[str, float | None]]
"""By attacked task and damaged task."""


class PairView(BaseModel):
    """Images made on one model, scored on another or the same."""

    source: int = Field(description="Position in `models` of the one that the images were made on.")
    target: int = Field(description="Position in `models` of the one that they were scored on.")
    matrix: Matrix = Field(description="By attacked task and damaged task: ARP in percent on the target.")
    intervals: dict[str, dict[str, Interval]] = Field(description="95 %, of the matrix.")
    transfer: dict[str, float | None] = Field(
        default={},
        description="By attacked task, its transferability to the others: paper Eq. 11, on the target.",
    )
    transfer_intervals: dict[str, Interval] = {}
    undefined: dict[str, str] = Field(
        default={}, description="By attacked task, why it has no transferability."
    )
    unstable: list[str] = Field(
        default=[],
        description="Attacked tasks whose transferability divides by an ARP that may as well be 0.",
    )
    retained: dict[str, float | None] = Field(
        default={},
        description="By attacked task, on another model: its ARP there over its ARP on the source; 1 is all of it.",
    )


class TransferabilityView(BaseModel):
    """Everything that a transferability job found."""

    job: UUID
    models: list[UUID]
    tasks: list[str]
    attack: dict[str, Any]
    label: str
    dataset: dict[str, Any]
    samples: int
    metric_version: str
    metric_rules: str
    reliable: bool = Field(description="No flag of severity error.")
    flags: list[FlagView]
    bootstrap: dict[str, Any] | None = Field(description="How the intervals were drawn.")
    pairs: list[PairView] = Field(description="For every model as source, every model as target.")

    @classmethod
    def of(cls, job: Job) -> "TransferabilityView":
        """Describe a finished transferability job."""
        summary = job.summary or {}
        alone = {
            pair["source"]: pair["matrix"] for pair in summary["pairs"] if pair["source"] == pair["target"]
        }
        return cls(
            job=job.id,
            models=summary["models"],
            tasks=summary["tasks"],
            attack=summary["attack"],
            label=TransferabilitySpec.model_validate(job.spec).attack_on("each").label,
            dataset=job.spec["dataset"],
            samples=summary["samples"],
            metric_version=METRIC_VERSION,
            metric_rules=job.spec["metric_rules"],
            reliable=summary["reliable"],
            flags=[FlagView(**flag) for flag in summary.get("flags", ())],
            bootstrap=summary.get("bootstrap"),
            pairs=[_pair(pair, alone[pair["source"]]) for pair in summary["pairs"]],
        )

    def table(self) -> Iterator[dict[str, object]]:
        """One row for every source, target, attacked task and damaged task."""
        for pair in self.pairs:
            for attacked, row in pair.matrix.items():
                for damaged, arp in row.items():
                    cell: dict[str, object] = {
                        "source": self.models[pair.source],
                        "target": self.models[pair.target],
                        "attacked": attacked,
                        "damaged": damaged,
                        "arp_percent": arp,
                    }
                    yield cell | bounds("arp_percent", pair.intervals[attacked][damaged])


def _pair(pair: Mapping[str, Any], alone: Matrix) -> PairView:
    if pair["source"] == pair["target"]:
        return PairView(**pair)
    matrix: Matrix = pair["matrix"]
    return PairView(**pair, retained={task: _share(matrix[task][task], alone[task][task]) for task in matrix})


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
