"""Gate policies as users send them: what a model must keep to ship. What comes of one, `core.gates` decides.

Whatever a rule is about and is not there (an attack, a task, a number, its interval, the baseline) leaves it unmet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BeforeValidator, Field, StrictBool, field_validator, model_validator

from core.errors import InvalidError
from core.specs.algorithms import Norm
from core.specs.attack import ALGORITHMS, AttackSpec
from core.specs.document import Document, Line
from core.specs.objective import JOINT_OBJECTIVES, PATTERN, SINGLE, STEALTH, parse_objective
from core.specs.suggestions import unknown
from core.tasks import METRICS

MAX_RULES = 200

METRIC_NAMES = tuple(dict.fromkeys(metric.name for metrics in METRICS.values() for metric in metrics))

Level = Literal["error", "warn"]
Bound = Literal["at_most", "at_least"]

_LEVEL = (
    "error: unmet, it fails the gate. warn: unmet, it is said and no more; this holds for a rule that cannot be "
    "decided too."
)
_STRICT = (
    "The whole interval must keep the limit; where only a part of it does, the rule is inconclusive. false: the "
    "estimate alone decides."
)
_AT_MOST = "The number may be this high and no higher, in its own unit. A rule has exactly one limit."
_AT_LEAST = "The number may be this low and no lower, in its own unit. A rule has exactly one limit."
_POINTS = (
    "By how many points of ARP an attack may harm the model more than the baseline, on the same samples."
)
_PERCENT = "By how many percent of the baseline's value the model may be worse than it, on the same samples."


class PolicyError(InvalidError):
    """A policy that cannot be decided as written."""

    code = "invalid_policy"


@dataclass(frozen=True, slots=True)
class Limit:
    """What a rule asks of its number.

    Attributes:
        bound: which side of the value is allowed; the value itself is.
        relative: whether the number is by how much the model is worse than the baseline.
    """

    bound: Bound
    value: float
    relative: bool = False

    def kept_by(self, number: float) -> bool:
        """Whether a number is within the limit."""
        return number <= self.value if self.bound == "at_most" else number >= self.value


class _Named(Document):
    """A document whose unknown fields are answered with the one that may have been meant."""

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            for name in value:
                if name not in cls.model_fields:
                    message = unknown("field", str(name), cls.model_fields)
                    raise PolicyError(message, field=str(name))
        return value


class AttackMatch(_Named):
    """Which attacks of the evaluation a rule is about: those that have all that is said here."""

    algorithm: str | None = Field(
        default=None, description="Such as apgd.", json_schema_extra={"enum": [*ALGORITHMS, None]}
    )
    objective: str | None = Field(
        default=None,
        description="Such as gb_mta or single:depth; noise and auto_mta have none.",
        json_schema_extra={"pattern": PATTERN},
    )
    eps: float | None = Field(
        default=None, gt=0, description="Radius of the ball, in pixel steps of 1/255 as in the attack."
    )
    norm: Norm | None = Field(default=None, description="Norm of the ball: linf or l2.")
    min_steps: int | None = Field(
        default=None,
        ge=1,
        description="Gradient steps, at least; noise takes none, and for square it is queries.",
    )

    @field_validator("algorithm")
    @classmethod
    def _algorithm(cls, value: str | None) -> str | None:
        if value is not None and value not in ALGORITHMS:
            raise PolicyError(unknown("algorithm", value, ALGORITHMS))
        return value

    @field_validator("objective")
    @classmethod
    def _objective(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parsed = parse_objective(value)
        if parsed is None:
            raise PolicyError(unknown("objective", value, (*JOINT_OBJECTIVES, SINGLE + "…", STEALTH + "…")))
        return parsed.text

    def matches(self, attack: AttackSpec) -> bool:
        """Whether an attack, with nothing left to a default, has all that is said."""
        least = self.min_steps
        if least is not None and (attack.steps is None or attack.steps < least):
            return False
        wanted = self.model_dump(exclude_none=True, exclude={"min_steps"})
        return all(getattr(attack, name) == value for name, value in wanted.items())

    @property
    def text(self) -> str:
        """What is said, in words."""
        wanted = self.model_dump(exclude_none=True, exclude={"min_steps"})
        said = [f"{name} {value:g}" if name == "eps" else f"{name} {value}" for name, value in wanted.items()]
        if self.min_steps is not None:
            said.append(f"at least {self.min_steps} step{'s' if self.min_steps > 1 else ''}")
        return ", ".join(said)


class _Rule(_Named):
    name: Line = Field(
        description="Tells it from the policy's other rules; waivers and reports call it by this."
    )
    level: Level = Field(default="error", description=_LEVEL)


class _LimitedRule(_Rule):
    """A rule that holds a number against a limit, of which it names exactly one."""

    limits: ClassVar[tuple[str, ...]] = ("at_most", "at_least", "no_worse_than_baseline_by")

    strict: StrictBool = Field(default=True, description=_STRICT)

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        said = [name for name in self.limits if getattr(self, name) is not None]
        if len(said) != 1:
            got = " and ".join(said) if said else "none"
            raise PolicyError(f"a rule has one limit out of {', '.join(self.limits)}; this has {got}")
        return self

    @property
    def limit(self) -> Limit:
        """What is asked of the number."""
        most, least, worse = (
            getattr(self, name, None) for name in ("at_most", "at_least", "no_worse_than_baseline_by")
        )
        if most is not None:
            return Limit("at_most", most)
        if least is not None:
            return Limit("at_least", least)
        assert worse is not None
        return Limit("at_most", worse, relative=True)


class _AttackedRule(_LimitedRule):
    attacks: AttackMatch = Field(
        default=AttackMatch(),
        description="Which attacks it is about, each decided by itself; all of the evaluation's unless said.",
    )


class ArpRule(_AttackedRule):
    """How much attacks harm the model: ARP, the mean over tasks, in percent (paper Eq. 10)."""

    on: Literal["arp"] = Field(description="ARP over all tasks.")
    at_most: float | None = Field(default=None, description=_AT_MOST)
    at_least: float | None = Field(default=None, description=_AT_LEAST)
    no_worse_than_baseline_by: float | None = Field(default=None, ge=0, description=_POINTS)


class TaskArpRule(_AttackedRule):
    """How much attacks harm one task: its ARP, in percent."""

    on: Literal["task_arp"] = Field(description="One task's ARP.")
    task: Line = Field(description="The task's name.")
    at_most: float | None = Field(default=None, description=_AT_MOST)
    at_least: float | None = Field(default=None, description=_AT_LEAST)
    no_worse_than_baseline_by: float | None = Field(default=None, ge=0, description=_POINTS)


class MetricRule(_LimitedRule):
    """How good the model is on clean images: one metric of one task, in the metric's unit."""

    on: Literal["metric"] = Field(description="A metric of the clean pass.")
    task: Line = Field(description="The task's name.")
    metric: str = Field(description="The metric's name.", json_schema_extra={"enum": list(METRIC_NAMES)})
    at_most: float | None = Field(default=None, description=_AT_MOST)
    at_least: float | None = Field(default=None, description=_AT_LEAST)
    no_worse_than_baseline_by: float | None = Field(default=None, ge=0, description=_PERCENT)

    @field_validator("metric")
    @classmethod
    def _metric(cls, value: str) -> str:
        if value not in METRIC_NAMES:
            raise PolicyError(unknown("metric", value, METRIC_NAMES))
        return value


class AraRule(_LimitedRule):
    """The clean price against the baseline: ARA, in percent (paper Eq. 6); a model that is worse has less than 0."""

    limits = ("at_least", "no_worse_than_baseline_by")

    on: Literal["ara"] = Field(description="ARA against the baseline.")
    task: Line | None = Field(default=None, description="One task's ARA; the mean over tasks unless said.")
    at_least: float | None = Field(default=None, description="ARA may be this low and no lower, in percent.")
    no_worse_than_baseline_by: float | None = Field(
        default=None,
        ge=0,
        description="By how many percent the model may be worse: 3 is the same as at_least -3.",
    )

    @property
    def limit(self) -> Limit:
        """What is asked of ARA, which is a comparison already."""
        worse = self.no_worse_than_baseline_by
        return super().limit if worse is None else Limit("at_least", 0 - worse)


class RobustGainRule(_AttackedRule):
    """How much sturdier than the baseline: the baseline's ARP less the model's under the same attack, in points."""

    limits = ("at_least",)

    on: Literal["robust_gain"] = Field(description="The baseline's ARP less the model's.")
    task: Line | None = Field(
        default=None, description="By one task's ARP; by ARP over all tasks unless said."
    )
    at_least: float | None = Field(default=None, description="Points of ARP that must be gained.")


class TransferabilityRule(_LimitedRule):
    """How much of the harm of an attack on one task reaches the others: a ratio without a unit (paper Eq. 11)."""

    limits = ("at_most", "at_least")

    on: Literal["transferability"] = Field(description="Transferability, by a job that measured it.")
    task: Line | None = Field(
        default=None, description="The attacked task; every task, each decided by itself, unless said."
    )
    at_most: float | None = Field(default=None, description=_AT_MOST)
    at_least: float | None = Field(default=None, description=_AT_LEAST)


class HealthRule(_Rule):
    """Nothing makes the numbers unreliable: the health checks ran, and no flag of severity error is anywhere."""

    on: Literal["health"] = Field(description="The flags of the whole evaluation.")


AnyRule = ArpRule | TaskArpRule | MetricRule | AraRule | RobustGainRule | TransferabilityRule | HealthRule

RULES: dict[str, type[_Rule]] = {
    get_args(kind.model_fields["on"].annotation)[0]: kind for kind in get_args(AnyRule)
}


def _read(value: Any) -> Any:
    """The rule that `on` says, so that errors name places in the document and not the classes of a union."""
    if not isinstance(value, Mapping):
        return value
    said = value.get("on")
    if not isinstance(said, str):
        raise PolicyError(f"on says what the rule is about: {', '.join(RULES)}", field="on")
    if said not in RULES:
        raise PolicyError(unknown("kind of rule", said, RULES), field="on")
    return RULES[said].model_validate(value)


Rule = Annotated[AnyRule, Field(discriminator="on"), BeforeValidator(_read)]


class Waiver(_Named):
    """Leave to break a rule for a while."""

    rule: Line = Field(description="Name of the rule that may be unmet.")
    reason: Line = Field(description="Why; reports repeat it.")
    expires: date = Field(description="The last day on which it counts, in UTC.")


class GatePolicy(_Named):
    """What a model must keep to ship. Whatever is missing leaves a rule unmet."""

    version: Literal[1] = Field(description="Of this language.")
    rules: list[Rule] = Field(
        min_length=1, max_length=MAX_RULES, description="All are decided, each by itself."
    )
    waivers: list[Waiver] = Field(
        default=[], max_length=MAX_RULES, description="Rules that may be unmet for a while, one waiver each."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _once("rules", "name", [rule.name for rule in self.rules])
        _once("waivers", "rule", [waiver.rule for waiver in self.waivers])
        return self


def _once(where: str, field: str, names: Sequence[str]) -> None:
    for position, name in enumerate(names):
        if name in names[:position]:
            raise PolicyError(f"{name!r} is there twice", field=f"{where}.{position}.{field}")
