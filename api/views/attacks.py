"""What an attack may be."""

from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from core.specs.algorithms import METHODS, Method
from core.specs.attack import NORMS, PRESETS, AttackSpec
from core.specs.attack_fields import DEFAULT_OBJECTIVE
from core.specs.objective import (
    JOINT_OBJECTIVES,
    PATTERN,
    SINGLE,
    STEALTH,
    TASK_WEIGHTS,
    WEIGHTED,
    parse_objective,
)

FORMS = (SINGLE + "<task>", *JOINT_OBJECTIVES, STEALTH + "<task>+<task>")
"""Of objectives."""


class AlgorithmView(BaseModel):
    """An algorithm, and which fields of a spec it takes."""

    name: str
    about: str
    steps: int | None = Field(description="How many unless said; null where it takes one, or none.")
    norms: list[str]
    objective: bool = Field(description="Takes an objective.")
    gradients: bool = Field(description="Takes gradients; the others only look at losses, or at nothing.")
    step_size: bool
    random_start: bool
    random: bool = Field(description="Draws random numbers even without a random start.")
    restarts: bool
    decay: bool

    @classmethod
    def of(cls, name: str, method: Method) -> "AlgorithmView":
        """Describe an algorithm."""
        return cls(
            name=name,
            about=method.about,
            steps=method.steps,
            norms=list(method.norms),
            objective=method.objective,
            gradients=method.gradients,
            step_size=method.step_size,
            random_start=method.random_start,
            random=method.random,
            restarts=method.restarts,
            decay=method.decay,
        )


class ObjectiveView(BaseModel):
    """A form of objective."""

    form: str = Field(description="With <task> in place of a task's name.")
    weights: bool = Field(description="Takes `weights` by task.")
    passes: Literal["one", "one a task"] = Field(description="Backward passes a step.")

    @classmethod
    def of(cls, form: str) -> "ObjectiveView":
        """Describe a form."""
        name = parse_objective(form.replace("<task>", "task"))
        assert name is not None
        passes: Literal["one", "one a task"] = "one" if name.family in WEIGHTED else "one a task"
        return cls(form=form, weights=name.family in TASK_WEIGHTS, passes=passes)


class AttacksView(BaseModel):
    """What an attack may be, and the JSON schema of its spec."""

    algorithms: list[AlgorithmView]
    objectives: list[ObjectiveView]
    objective_pattern: str = Field(description="Regular expression that every objective matches.")
    default_objective: str
    norms: list[str]
    presets: list[str]
    schema_: dict[str, Any] = Field(serialization_alias="schema")

    @classmethod
    def everything(cls) -> "AttacksView":
        """Describe all there is."""
        return cls(
            algorithms=[AlgorithmView.of(name, method) for name, method in METHODS.items()],
            objectives=[ObjectiveView.of(form) for form in FORMS],
            objective_pattern=PATTERN,
            default_objective=DEFAULT_OBJECTIVE,
            norms=list(NORMS),
            presets=list(PRESETS),
            schema_=TypeAdapter(AttackSpec).json_schema(),
        )
