"""`AttackSpec`: one attack, as a user writes it. Standard library only: the science needs no Pydantic."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from core.errors import InvalidError

Algorithm = Literal["fgsm", "pgd"]
Norm = Literal["linf"]
Preset = Literal["strong", "paper"]

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
NORMS: tuple[Norm, ...] = get_args(Norm)
PRESETS: tuple[Preset, ...] = get_args(Preset)

SINGLE = "single:"
JOINT_OBJECTIVES = ("total", "sign_total", "gb_mta")

DEFAULT_STEPS = 20
STRONG_STEP = 2.5
"""PGD's step is `STRONG_STEP * eps / steps`: enough to cross the ball and come back."""

MAX_STEPS = 10_000
MAX_EPS = 255.0

FIELD_DOCS: dict[str, dict[str, Any]] = {
    "algorithm": {
        "description": "fgsm: one step of eps along the sign of the gradient. pgd: projected gradient ascent."
    },
    "objective": {
        "description": (
            "What the ascent raises: single:<task> one task's loss; total the sum of losses; sign_total the "
            "sum of the signs of the tasks' gradients; gb_mta the sum of gradients each divided by its loss "
            "(GB-MTA, paper Eq. 9)."
        ),
        "pattern": r"^(single:[A-Za-z0-9_]+|total|sign_total|gb_mta)$",
        "examples": ["gb_mta", "total", "single:depth"],
    },
    "eps": {
        "description": "Radius of the ball, in pixel steps of 1/255.",
        "exclusiveMinimum": 0,
        "maximum": MAX_EPS,
    },
    "norm": {"description": "Norm of the ball."},
    "steps": {
        "description": f"Gradient steps: {DEFAULT_STEPS} unless said; fgsm has 1.",
        "minimum": 1,
        "maximum": MAX_STEPS,
    },
    "step_size": {
        "description": "Step in eps's units; without it 2.5 eps/steps, or eps/steps under the paper preset."
    },
    "random_start": {
        "description": "Start at a uniformly random point of the ball rather than at the image."
    },
    "seed": {"description": "Keys the random start, together with each sample's index.", "minimum": 0},
    "preset": {
        "description": "paper: the step rule of the published code (eps/steps). strong: 2.5 eps/steps."
    },
}


class AttackSpecError(InvalidError):
    """An attack that cannot be run as written."""

    code = "invalid_attack"


def _schema(schema: dict[str, Any]) -> None:
    for name, extra in FIELD_DOCS.items():
        schema["properties"][name].update(extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackSpec:
    """Algorithm x objective x threat model.

    Over HTTP `eps` and `step_size` are in pixel steps of 1/255. `core.attacks` itself is unit-free: there
    they are in the units of the images handed to it (`scaled` converts).

    Attributes:
        algorithm: "fgsm" (Goodfellow et al. 2014) or "pgd" (Madry et al. 2018).
        objective: "single:<task>", "total", "sign_total" or "gb_mta" (paper Eq. 3, 4 and 9).
        eps: radius of the ball.
        steps: gradient steps; None is the algorithm's default.
        step_size: in eps's units; None is the preset's rule.

    Raises:
        AttackSpecError: a field is out of range or contradicts another; `field` names it.
    """

    __pydantic_config__ = {"extra": "forbid", "json_schema_extra": _schema}  # noqa: RUF012 - read by Pydantic, no field

    algorithm: Algorithm
    objective: str
    eps: float
    norm: Norm = "linf"
    steps: int | None = None
    step_size: float | None = None
    random_start: bool = False
    seed: int = 0
    preset: Preset = "strong"

    def __post_init__(self) -> None:
        """Check every field, and the fields against each other."""
        _one_of("algorithm", self.algorithm, ALGORITHMS)
        _one_of("norm", self.norm, NORMS)
        _one_of("preset", self.preset, PRESETS)
        self._check_objective()
        _in_range("eps", self.eps, MAX_EPS)
        if self.step_size is not None:
            _in_range("step_size", self.step_size, 2 * MAX_EPS)
        if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
            raise AttackSpecError(f"steps must be between 1 and {MAX_STEPS}; got {self.steps}", field="steps")
        if not 0 <= self.seed < 2**63:
            raise AttackSpecError(f"seed must be between 0 and 2^63 - 1; got {self.seed}", field="seed")
        if self.algorithm == "fgsm":
            self._check_fgsm()

    def _check_objective(self) -> None:
        task = self.objective.removeprefix(SINGLE)
        if self.objective in JOINT_OBJECTIVES or (task != self.objective and task.replace("_", "").isalnum()):
            return
        known = ", ".join((SINGLE + "<task>", *JOINT_OBJECTIVES))
        raise AttackSpecError(f"objective must be one of {known}; got {self.objective!r}", field="objective")

    def _check_fgsm(self) -> None:
        if self.steps not in (None, 1):
            raise AttackSpecError("fgsm is a single step; use pgd for more", field="steps")
        if self.step_size not in (None, self.eps):
            raise AttackSpecError("fgsm steps by eps; leave step_size out", field="step_size")
        if self.random_start:
            raise AttackSpecError("fgsm starts at the image; use pgd with random_start", field="random_start")

    @property
    def task(self) -> str | None:
        """The task that SINGLE attacks; None for the joint objectives."""
        return self.objective.removeprefix(SINGLE) if self.objective.startswith(SINGLE) else None

    @property
    def label(self) -> str:
        """A short name: "pgd/gb_mta/eps=8", and after that whatever is not the default, such as "/steps=10".

        Two attacks that run differently have different labels.
        """
        plain = AttackSpec(
            algorithm=self.algorithm, objective=self.objective, eps=self.eps, steps=self.steps
        ).resolved()
        full = self.resolved()
        name = f"{self.algorithm}/{self.objective}/eps={self.eps:g}"
        if self.algorithm != "fgsm" and full.steps != DEFAULT_STEPS:
            name += f"/steps={full.steps}"
        if full.step_size != plain.step_size:
            name += f"/step_size={full.step_size:g}"
        return name + (f"/random_start={full.seed}" if full.random_start else "")

    def resolved(self) -> "AttackSpec":
        """The same attack with nothing left to a default: two specs that run alike resolve alike."""
        if self.algorithm == "fgsm":
            return replace(self, steps=1, step_size=self.eps, preset="strong", seed=0)
        steps = self.steps or DEFAULT_STEPS
        factor = 1.0 if self.preset == "paper" else STRONG_STEP
        step_size = self.step_size or factor * self.eps / steps
        seed = self.seed if self.random_start else 0
        return replace(self, steps=steps, step_size=step_size, preset="strong", seed=seed)

    def scaled(self, unit: float) -> "AttackSpec":
        """The resolved attack with eps and step size times `unit`: 1/255 takes pixel steps to image units."""
        full = self.resolved()
        assert full.step_size is not None
        return replace(full, eps=full.eps * unit, step_size=full.step_size * unit)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def _one_of(field: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise AttackSpecError(f"{field} must be one of {', '.join(known)}; got {value!r}", field=field)


def _in_range(field: str, value: float, maximum: float) -> None:
    if not math.isfinite(value) or not 0 < value <= maximum:
        raise AttackSpecError(f"{field} must be above 0 and at most {maximum:g}; got {value!r}", field=field)
