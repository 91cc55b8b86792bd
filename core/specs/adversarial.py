"""`Adversarial`: the attack a model is trained against, and when a sample has had enough. Standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from core.specs.algorithms import Algorithm
from core.specs.attack import AttackSpec
from core.specs.attack_fields import MAX_EPS, MAX_L2_EPS
from core.specs.recipe_fields import PYDANTIC, RecipeError, one_of, refuse_unless, whole, within
from core.tasks import METRICS, Direction, Task

Evidence = Literal["rise", "metric", "label"]
Aggregate = Literal["all", "any", "count", "mean"]
Mix = Literal["both", "adversarial", "joint"]

INNER: tuple[Algorithm, ...] = ("fgsm", "pgd", "mim")
"""What training attacks with. The others look back at points that a stopped sample never had, or take no gradient."""

RISE = 0.5
"""A task is fooled, unless said otherwise, when its loss is half as high again: at eps = 8 about halfway to K = 20."""

LOSS_FLOOR = 0.01
"""A rise is measured against a clean loss of at least this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FooledWhen:
    """When one task is fooled on one sample.

    Attributes:
        by: "rise", its loss has risen by `threshold` times its clean loss; "metric", a metric of this sample alone
            is `threshold` or worse; "label", the predicted class is not the true one (classification alone).
        threshold: 0.5 unless said for a rise; needed for a metric, in the metric's unit.
        floor: the least clean loss that a rise is measured against; 0.01 unless said.
        metric: out of the metrics of the task's kind.

    Raises:
        RecipeError: a field is out of range or not one of this rule's.
    """

    __pydantic_config__ = PYDANTIC

    by: Evidence = "rise"
    threshold: float | None = None
    floor: float | None = None
    metric: str | None = None

    def __post_init__(self) -> None:
        """Check every field, and the fields against each other."""
        one_of("by", self.by, get_args(Evidence))
        refuse_unless("floor", self.floor, taken=self.by == "rise", by=self.by)
        refuse_unless("metric", self.metric, taken=self.by == "metric", by=self.by)
        refuse_unless("threshold", self.threshold, taken=self.by != "label", by=self.by)
        if self.by == "rise":
            within("threshold", self.rise, above=0, most=1e6)
            within("floor", self.least, above=0, most=1e6)
        if self.by == "metric":
            if self.metric is None:
                raise RecipeError("the rule needs the name of a metric", field="metric")
            within("threshold", self.threshold, least=-1e6, most=1e6)

    @property
    def rise(self) -> float:
        """The threshold of a rise, spelled out."""
        return RISE if self.threshold is None else self.threshold

    @property
    def least(self) -> float:
        """The floor, spelled out."""
        return LOSS_FLOOR if self.floor is None else self.floor

    def worse(self, task: Task) -> Direction:
        """Which direction of the rule's metric is better.

        Raises:
            RecipeError: the task has no such metric, or no label to be changed.
        """
        if self.by == "label" and task.kind != "classification":
            raise RecipeError(
                f"{task.name} is {task.kind}; only a classification's label changes", field="by"
            )
        known = {metric.name: metric.direction for metric in METRICS[task.kind]}
        if self.by == "metric" and self.metric not in known:
            raise RecipeError(
                f"{task.kind} has no metric {self.metric!r}; it has {', '.join(known)}", field="metric"
            )
        return known.get(self.metric or "", "lower")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fooled:
    """When a sample is fooled.

    Attributes:
        rule: of every task that `tasks` does not name. None is a rise by half, and for classification a changed label.
        tasks: by task, a rule of its own.
        aggregate: "all" its tasks are fooled, "any" is, "count" so many are, or "mean": their losses' rises, each over
            its threshold, are 1 or more in the mean.
        count: for the aggregate "count".

    Raises:
        RecipeError: a field is out of range or contradicts another.
    """

    __pydantic_config__ = PYDANTIC

    rule: FooledWhen | None = None
    tasks: dict[str, FooledWhen] = field(default_factory=dict, hash=False)
    aggregate: Aggregate = "all"
    count: int | None = None

    def __post_init__(self) -> None:
        """Check every field, and the fields against each other."""
        one_of("aggregate", self.aggregate, get_args(Aggregate))
        refuse_unless("count", self.count, taken=self.aggregate == "count", by=self.aggregate)
        if self.aggregate == "count":
            whole("count", self.count, least=1, most=1_000)

    def rule_of(self, task: Task) -> FooledWhen:
        """The rule that a task is judged by."""
        usual = FooledWhen(by="label") if task.kind == "classification" else FooledWhen()
        return self.tasks.get(task.name, self.rule or usual)

    def check(self, tasks: Sequence[Task]) -> None:
        """Check the rules against the tasks that are judged.

        Raises:
            RecipeError: a rule does not fit its task, or names a task that is not judged.
        """
        names = [task.name for task in tasks]
        if unknown := sorted(set(self.tasks) - set(names)):
            raise RecipeError(
                f"the attack raises no task {unknown[0]!r}; it raises {', '.join(names)}",
                field=f"tasks.{unknown[0]}",
            )
        if self.count is not None and self.count > len(tasks):
            raise RecipeError(f"the attack raises {len(tasks)} tasks", field="count")
        for task in tasks:
            rule = self.rule_of(task)
            place = f"tasks.{task.name}" if task.name in self.tasks else "rule"
            try:
                rule.worse(task)
            except RecipeError as error:
                raise RecipeError(str(error), field=f"{place}.{error.field}") from None
            if self.aggregate == "mean" and rule.by != "rise":
                raise RecipeError(f"a mean is of rises; {task.name} is judged by {rule.by}", field=place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial:
    """Friendly adversarial training (Zhang et al. 2020) of several tasks; K is the number of the attack's steps.

    Attributes:
        attack: fgsm, pgd or mim with any objective; eps in pixel steps of 1/255. Its random numbers are keyed by
            the recipe's seed.
        tau: steps that a sample still takes once it is fooled. None is K: no sample stops early, which is
            ordinary adversarial training.
        fooled: when a sample is fooled.
        goal_aware: tasks that are fooled leave the objective until the whole sample is.
        omega: standard deviation of the normal noise that follows each step, in eps's unit.
        mix: "both", one optimiser step on the clean batch and one on the attacked (the authors' code);
            "adversarial", on the attacked alone (paper Algorithm 4); "joint", one step on the mean of both losses.

    Raises:
        RecipeError: a field is out of range, or the attack is none that training can run; `field` names it.
    """

    __pydantic_config__ = PYDANTIC

    attack: AttackSpec
    tau: int | None = None
    fooled: Fooled = Fooled()
    goal_aware: bool = False
    omega: float = 0.0
    mix: Mix = "both"

    def __post_init__(self) -> None:
        """Check every field, and the fields against each other."""
        attack = self.attack
        if attack.algorithm not in INNER:
            raise RecipeError(
                f"training attacks with {', '.join(INNER)}; {attack.algorithm} cannot be stopped sample by sample",
                field="attack.algorithm",
            )
        for name, usual in (("restarts", 1), ("eot", 1), ("targets", None), ("seed", 0)):
            if getattr(attack, name) != usual:
                raise RecipeError(
                    f"training takes no {name} of an attack; leave it out", field=f"attack.{name}"
                )
        if self.tau is not None:
            whole("tau", self.tau, least=0, most=self.steps)
        within("omega", self.omega, least=0, most=MAX_EPS if attack.norm == "linf" else MAX_L2_EPS)
        one_of("mix", self.mix, get_args(Mix))

    @property
    def steps(self) -> int:
        """K."""
        steps = self.attack.resolved().steps
        assert steps is not None
        return steps

    @property
    def patience(self) -> int:
        """Tau, spelled out."""
        return self.steps if self.tau is None else self.tau
