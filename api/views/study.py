"""What a study found, as JSON and as rows of a table."""

from collections.abc import Iterator
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from api.views.common import Interval, MetricInfo, bounds
from core.jobs.reliability import Severity
from core.store.tables import Job
from core.tasks import METRIC_VERSION


class EstimateView(BaseModel):
    """A number; its unit is said under `quantities` or `metrics`."""

    value: float | None
    interval: Interval = Field(description="95 %, by bootstrap over the samples; of differences, paired.")


class QuantityView(BaseModel):
    """What a kind of number is."""

    unit: str
    direction: Literal["higher", "lower"] | None = Field(description="Which values are good for the model.")
    says: str


class StudyLayoutView(BaseModel):
    """One of the study's layouts."""

    position: int
    layout: list[list[list[int]]] = Field(description="Canonical levels, tasks by number.")
    levels: int
    sharing_level: int = Field(description="On how many levels all tasks are together: the paper's 5L to 0L.")
    pair_sharing: float = Field(description="Share of task pairs that are together, over the levels.")
    parameters: int | None = Field(description="Of its models, heads included; null before one was trained.")


class StudyModeView(BaseModel):
    """One of the study's ways of training."""

    name: str
    baseline: bool = Field(description="The first mode, which the others are compared with.")
    start: str | None = Field(description="The mode from whose weights it goes on.")
    attack: str | None = Field(description="Label of the attack that it trains against.")


class StudyAttackView(BaseModel):
    """One of the study's attacks."""

    position: int
    label: str
    algorithm: str
    objective: str | None
    norm: str
    eps: float
    attack: dict[str, Any]


class AraView(BaseModel):
    """Clean accuracy against the first mode's model of the same layout (paper Eq. 6); negative is worse."""

    overall: EstimateView
    tasks: dict[str, EstimateView]
    undefined: list[str] = Field(
        description="task.metric of what is left out, for want of a value to divide by."
    )


class CellAttackView(BaseModel):
    """One attack on one model."""

    attack: int = Field(description="Position in `attacks`.")
    arp: EstimateView
    tasks: dict[str, EstimateView] = Field(description="ARP by task.")
    robust_gain: EstimateView | None = Field(
        description="By how much less it harms this model than the first mode's of the same layout."
    )
    reliable: bool


class FlagCountView(BaseModel):
    """How often a flag was raised."""

    code: str
    severity: Severity
    count: int


class CellView(BaseModel):
    """The model of one layout and one mode."""

    layout: int = Field(description="Position in `layouts`.")
    mode: str
    model: UUID
    model_name: str | None
    parameters: int
    jobs: dict[str, UUID] = Field(description="By kind, the jobs that trained and measured it.")
    training: dict[str, Any] = Field(description="The training's summary.")
    samples: int
    metrics: dict[str, dict[str, EstimateView]] = Field(description="Of the clean pass, by task.")
    ara: AraView | None = Field(description="Null for the first mode.")
    attacks: list[CellAttackView]
    reliable: bool
    flags: list[FlagCountView]


class SignsView(BaseModel):
    """On how many layouts a difference was measured, and on how many its interval excludes 0."""

    of: int
    above_0: int
    below_0: int


class OverallView(BaseModel):
    """One attack on one mode, over the layouts."""

    arp: EstimateView = Field(description="The mean over the layouts: the paper's overall ARP.")
    layouts: int = Field(description="How many have it.")
    robust_gain: EstimateView | None
    gain_layouts: SignsView


class PointView(BaseModel):
    """A point of a curve."""

    eps: float
    attack: int = Field(description="Position in `attacks`, and column of the matrix.")


class CurveView(BaseModel):
    """Attacks on one mode that differ in eps alone (paper Figure 2)."""

    mode: str
    algorithm: str
    objective: str | None
    norm: str
    points: list[PointView]


class MeanAraView(BaseModel):
    """ARA over the layouts."""

    overall: EstimateView
    tasks: dict[str, EstimateView]
    layouts: SignsView


class AccuracyView(BaseModel):
    """Clean accuracy after training in one mode, over the layouts (paper Table 13)."""

    mode: str
    layouts: int
    metrics: dict[str, dict[str, EstimateView]]
    ara: MeanAraView | None = Field(description="Null for the first mode.")


class RankedView(BaseModel):
    """One objective among others."""

    objective: str | None
    attack: int
    arp: EstimateView
    first_on: int = Field(description="On how many layouts it is the strongest.")


class BalancedView(BaseModel):
    """GB-MTA against the best of the other objectives."""

    other: str | None = Field(description="The best in the mean.")
    less_other: EstimateView = Field(description="Mean ARP of GB-MTA less the other's.")
    layouts: SignsView = Field(description="On each layout, GB-MTA less the best other there.")


class RankingView(BaseModel):
    """The objectives of one algorithm and eps on one mode, the strongest first."""

    mode: str
    algorithm: str
    norm: str
    eps: float
    layouts: int = Field(description="Those on which all of them have an ARP.")
    objectives: list[RankedView]
    gb_mta: BalancedView | None


class ReferenceView(BaseModel):
    """The model that ARA is against."""

    layout: int
    mode: str


class ParetoPointView(BaseModel):
    """What one model is worth, clean and attacked."""

    layout: int
    mode: str
    ara: EstimateView
    attack: int = Field(description="The strongest on it, of the largest eps.")
    arp: EstimateView
    front: bool = Field(description="No other is as good in both and better in one.")


class ParetoView(BaseModel):
    """Clean accuracy against robustness."""

    reference: ReferenceView
    norm: str
    eps: float
    points: list[ParetoPointView]


class TransferTaskView(EstimateView):
    """Transferability of the attack on one task: paper Eq. 11."""

    undefined: str | None = Field(description="Why it has none.")
    unstable: bool = Field(description="It divides by an ARP that may as well be 0.")


class TransferLayoutView(BaseModel):
    """A row of the paper's Table 12."""

    layout: int
    sharing_level: int
    tasks: dict[str, TransferTaskView]
    mean: float | None = Field(description="Over the attacked tasks, where all have a value.")
    reliable: bool


class CorrelationView(BaseModel):
    """Spearman's rank correlation with the sharing level: 1, it grows with sharing throughout."""

    spearman: float | None = Field(description="Null of fewer than three layouts, or where nothing varies.")
    p: float | None = Field(
        description="Share of the orders of the layouts with as high a correlation; null of more than eight."
    )
    layouts: int


class TrendView(BaseModel):
    """How transferability goes with sharing."""

    mean: CorrelationView
    tasks: dict[str, CorrelationView]


class TransferModeView(BaseModel):
    """Transferability of one mode's models."""

    mode: str
    layouts: list[TransferLayoutView]
    trend: TrendView


class StudyTransferView(BaseModel):
    """Every task attacked by itself (paper Figure 4 and Table 12)."""

    attack: dict[str, Any]
    label: str
    modes: list[TransferModeView]


class StudyView(BaseModel):
    """Everything that a study found."""

    job: UUID
    name: str | None
    dataset: dict[str, Any] = Field(description="What was attacked and measured.")
    metric_version: str
    metric_rules: str
    quantities: dict[str, QuantityView]
    metrics: dict[str, dict[str, MetricInfo]] = Field(description="By task and metric.")
    layouts: list[StudyLayoutView]
    modes: list[StudyModeView]
    attacks: list[StudyAttackView]
    cells: list[CellView]
    matrix: list[list[OverallView]] = Field(
        description="Paper Table 3, over the layouts: a row for each of `modes`, a column for each of `attacks`."
    )
    curves: list[CurveView]
    accuracy: list[AccuracyView]
    rankings: list[RankingView]
    pareto: ParetoView | None
    transferability: StudyTransferView | None
    bootstrap: dict[str, Any] | None = Field(description="How the intervals were drawn.")
    reliable: bool = Field(description="No flag of severity error anywhere.")

    @classmethod
    def of(cls, job: Job) -> "StudyView":
        """Describe a finished study."""
        summary = dict(job.summary or {})
        metrics: dict[str, dict[str, MetricInfo]] = {}
        for entry in summary.pop("metrics"):
            info = MetricInfo(direction=entry["direction"], unit=entry["unit"])
            metrics.setdefault(entry["task"], {})[entry["metric"]] = info
        return cls(
            **summary,
            metrics=metrics,
            job=job.id,
            name=job.spec["name"],
            dataset=job.spec["evaluation"]["dataset"],
            metric_version=METRIC_VERSION,
            metric_rules=job.spec["evaluation"]["metric_rules"],
        )

    def table(self) -> Iterator[dict[str, object]]:
        """One row for every layout, mode and attack."""
        for cell in self.cells:
            layout = self.layouts[cell.layout]
            ara = _columns("ara_percent", None if cell.ara is None else cell.ara.overall)
            for found in cell.attacks:
                attack = self.attacks[found.attack]
                row: dict[str, object] = {
                    "layout": cell.layout,
                    "sharing_level": layout.sharing_level,
                    "parameters": cell.parameters,
                    "mode": cell.mode,
                    "model": cell.model,
                    "attack": attack.label,
                    "algorithm": attack.algorithm,
                    "objective": attack.objective,
                    "eps": attack.eps,
                    "samples": cell.samples,
                    "reliable": found.reliable,
                }
                row |= _columns("arp_percent", found.arp)
                for task in self.metrics:
                    row |= _columns(f"arp_percent.{task}", found.tasks.get(task))
                yield row | _columns("robust_gain_points", found.robust_gain) | ara


def _columns(name: str, estimate: EstimateView | None) -> dict[str, float | None]:
    if estimate is None:
        return {name: None} | bounds(name, None)
    return {name: estimate.value} | bounds(name, estimate.interval)
