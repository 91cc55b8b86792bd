"""`AttackSpec`: one attack, as a user writes it. Standard library only: the science needs no Pydantic."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from core.specs.algorithms import DEFAULT_DECAY, METHODS, PAPER_STEP, STRONG_STEP, Algorithm, Method, Norm
from core.specs.attack_fields import (
    DEFAULT_OBJECTIVE,
    MAX_DECAY,
    MAX_EPS,
    MAX_L2_EPS,
    MAX_POWER,
    MAX_RESTARTS,
    MAX_SEED,
    MAX_STEPS,
    MAX_TARGET,
    MAX_WEIGHT,
    NEXT_CLASS,
    AttackSpecError,
    between,
    in_range,
    is_number,
    one_of,
    whole,
    with_descriptions,
)
from core.specs.objective import (
    HOLD,
    JOINT_OBJECTIVES,
    SINGLE,
    STEALTH,
    TASK_WEIGHTS,
    WEIGHTED,
    ObjectiveName,
    parse_objective,
)
from core.tasks import IGNORE_VALUE, Task

Preset = Literal["strong", "paper"]

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
NORMS: tuple[Norm, ...] = get_args(Norm)
PRESETS: tuple[Preset, ...] = get_args(Preset)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackSpec:
    """Algorithm x objective x threat model.

    Over HTTP `eps` and `step_size` are in pixel steps of 1/255. `core.attacks` itself is unit-free: there
    they are in the units of the images handed to it (`scaled` converts).

    Attributes:
        algorithm: see `core.specs.algorithms.METHODS`.
        objective: see `FIELD_DOCS`; None is gb_mta, or nothing where the algorithm takes none.
        eps: radius of the ball.
        steps: gradient steps; None is the algorithm's default.
        step_size: in eps's units; None is the preset's rule.

    Raises:
        AttackSpecError: a field is out of range or contradicts another; `field` names it.
    """

    __pydantic_config__ = {"extra": "forbid", "json_schema_extra": with_descriptions}  # noqa: RUF012 - read by Pydantic, no field

    algorithm: Algorithm
    objective: str | None = None
    eps: float
    norm: Norm = "linf"
    steps: int | None = None
    step_size: float | None = None
    random_start: bool = False
    restarts: int = 1
    decay: float | None = None
    power: float | None = None
    weights: dict[str, float] | None = field(default=None, hash=False)
    targets: dict[str, int | float | str] | None = field(default=None, hash=False)
    eot: int = 1
    seed: int = 0
    preset: Preset = "strong"

    def __post_init__(self) -> None:
        """Check every field, and the fields against each other."""
        one_of("algorithm", self.algorithm, ALGORITHMS)
        one_of("norm", self.norm, NORMS)
        one_of("preset", self.preset, PRESETS)
        maximum = MAX_EPS if self.norm == "linf" else MAX_L2_EPS
        in_range("eps", self.eps, maximum)
        if self.step_size is not None:
            in_range("step_size", self.step_size, STRONG_STEP * maximum)
        if self.steps is not None:
            whole("steps", self.steps, 1, MAX_STEPS)
        whole("restarts", self.restarts, 1, MAX_RESTARTS)
        whole("eot", self.eot, 1, 1_000)
        whole("seed", self.seed, 0, MAX_SEED)
        self._check_objective()
        self._check_algorithm()

    def _check_objective(self) -> None:
        if self.objective is not None and not self.method.objective:
            raise AttackSpecError(f"{self.algorithm} takes no objective; leave it out", field="objective")
        name = self.aim
        if self.objective is not None and name is None:
            known = ", ".join((SINGLE + "<task>", STEALTH + "<task>+<task>", *JOINT_OBJECTIVES))
            raise AttackSpecError(
                f"objective must be one of {known}; got {self.objective!r}", field="objective"
            )
        family = None if name is None else name.family
        if name is not None and len(set(name.tasks)) != len(name.tasks):
            raise AttackSpecError(f"{self.objective} names a task twice", field="objective")
        if (self.power is not None) != (family == "power"):
            said = "needs" if family == "power" else "takes no"
            raise AttackSpecError(f"{self.objective or self.algorithm} {said} power", field="power")
        if self.power is not None:
            between("power", self.power, MAX_POWER)
        if self.weights is not None:
            self._check_weights(self.weights, name)
        if self.targets is not None:
            self._check_targets(self.targets, name)

    def _check_weights(self, weights: Mapping[str, float], aim: ObjectiveName | None) -> None:
        if aim is None or aim.family not in TASK_WEIGHTS:
            raise AttackSpecError(f"{self.objective or self.algorithm} takes no weights", field="weights")
        if not weights:
            raise AttackSpecError("weights names at least one task", field="weights")
        for task, weight in weights.items():
            between(f"weights.{task}", weight, MAX_WEIGHT)
            if task in aim.tasks:
                raise AttackSpecError(
                    f"{self.objective} raises {task}; weights say how hard others are held",
                    field=f"weights.{task}",
                )

    def _check_targets(self, targets: Mapping[str, float | str], aim: ObjectiveName | None) -> None:
        if aim is None or aim.family == "stealth":
            raise AttackSpecError(f"{self.objective or self.algorithm} takes no targets", field="targets")
        if not targets:
            raise AttackSpecError("targets names at least one task", field="targets")
        for task, value in targets.items():
            if value != NEXT_CLASS and not (is_number(value) and abs(value) <= MAX_TARGET):
                raise AttackSpecError(
                    f"a target is a class number, {NEXT_CLASS!r} or a value within {MAX_TARGET:g} of 0; "
                    f"got {value!r}",
                    field=f"targets.{task}",
                )
            if (aim.tasks and task not in aim.tasks) or (self.weights or {}).get(task) == 0:
                raise AttackSpecError(f"this attack leaves {task} alone", field=f"targets.{task}")

    def _check_algorithm(self) -> None:
        method, name = self.method, self.algorithm
        if self.norm not in method.norms:
            raise AttackSpecError(f"{name} is not defined for the norm {self.norm}", field="norm")
        self._check_steps()
        if self.random_start and not method.random_start:
            raise AttackSpecError(f"{name} takes no random start", field="random_start")
        if self.restarts > 1 and not method.restarts:
            raise AttackSpecError(f"{name} takes no restarts", field="restarts")
        if self.restarts > 1 and not (self.random_start or method.random):
            raise AttackSpecError(
                "restarts differ only by their random start; set random_start", field="restarts"
            )
        if self.decay is not None:
            if not method.decay:
                raise AttackSpecError(f"{name} takes no decay", field="decay")
            between("decay", self.decay, MAX_DECAY)
        if self.eot > 1 and not method.eot:
            raise AttackSpecError(f"{name} takes no eot: it does not average gradients", field="eot")
        if name == "auto_sage" and (self.aim is None or self.aim.family not in WEIGHTED - {"stealth"}):
            raise AttackSpecError(
                "auto_sage blends weighted gradients: total, gb_mta, power or single:<task>",
                field="objective",
            )

    def _check_steps(self) -> None:
        method, fgsm = self.method, self.algorithm == "fgsm"
        if method.steps is None and self.steps not in ((None, 1) if fgsm else (None,)):
            more = "is a single step; use pgd for more" if fgsm else "takes no steps"
            raise AttackSpecError(f"{self.algorithm} {more}", field="steps")
        if not method.step_size and self.step_size not in ((None, self.eps) if fgsm else (None,)):
            raise AttackSpecError(f"{self.algorithm} takes no step size; leave it out", field="step_size")

    @property
    def method(self) -> Method:
        """What its algorithm takes."""
        return METHODS[self.algorithm]

    @property
    def aim(self) -> ObjectiveName | None:
        """The objective taken apart; None for algorithms without one."""
        if not self.method.objective:
            return None
        return parse_objective(DEFAULT_OBJECTIVE if self.objective is None else self.objective)

    @property
    def task(self) -> str | None:
        """The task that SINGLE attacks; None for everything else."""
        aim = self.aim
        return aim.tasks[0] if aim is not None and aim.family == "single" else None

    @property
    def named_tasks(self) -> dict[str, str]:
        """Every task that the spec names, and the field which does."""
        named = dict.fromkeys(self.aim.tasks if self.aim is not None else (), "objective")
        named |= dict.fromkeys(self.weights or (), "weights")
        return named | dict.fromkeys(self.targets or (), "targets")

    @property
    def label(self) -> str:
        """A short name: "pgd/gb_mta/eps=8", and after that whatever is not the default, such as "/steps=10".

        Two attacks that run differently have different labels.
        """
        full = self.resolved()
        plain = AttackSpec(
            algorithm=self.algorithm,
            objective=self.objective,
            eps=self.eps,
            norm=self.norm,
            steps=self.steps,
            power=self.power,
        ).resolved()
        parts = [self.algorithm, *([full.objective] if full.objective else [])]
        parts.append(f"{'eps' if self.norm == 'linf' else self.norm}={_shown(self.eps)}")
        if self.power is not None:
            parts[1] += f"^{_shown(self.power)}"
        if full.steps != self.method.steps and self.method.steps is not None:
            parts.append(f"steps={full.steps}")
        if full.step_size is not None and full.step_size != plain.step_size:
            parts.append(f"step_size={_shown(full.step_size)}")
        if full.random_start:
            parts.append(f"random_start={full.seed}")
        elif full.seed:
            parts.append(f"seed={full.seed}")
        parts += [
            f"{name}={value}" for name, value in (("restarts", full.restarts), ("eot", full.eot)) if value > 1
        ]
        if full.decay is not None and full.decay != plain.decay:
            parts.append(f"decay={_shown(full.decay)}")
        parts += [
            _listed(name, values) for name, values in (("weights", full.weights), ("targets", full.targets))
        ]
        return "/".join(filter(None, parts))

    def resolved(self) -> "AttackSpec":
        """The same attack with nothing left to a default: two specs that run alike resolve alike."""
        method = self.method
        steps = self.steps or method.steps or (1 if method.gradients else None)
        usual = HOLD if self.aim is not None and self.aim.family == "stealth" else 1
        weights = {task: weight for task, weight in sorted((self.weights or {}).items()) if weight != usual}
        random = self.random_start or method.random
        return replace(
            self,
            objective=None if self.aim is None else self.aim.text,
            steps=steps,
            step_size=self._step_size(steps),
            decay=(DEFAULT_DECAY[self.algorithm] if self.decay is None else self.decay)
            if method.decay
            else None,
            weights=weights or None,
            targets=None if self.targets is None else dict(sorted(self.targets.items())),
            seed=self.seed if random else 0,
            preset="strong",
        )

    def _step_size(self, steps: int | None) -> float | None:
        method = self.method
        if not method.step_size:
            return self.eps if self.algorithm == "fgsm" else None
        assert steps is not None
        factor = PAPER_STEP if self.preset == "paper" else method.step_factor
        rule = (
            factor * self.eps
            if method.absolute_step and self.preset != "paper"
            else factor * self.eps / steps
        )
        return self.step_size or rule

    def scaled(self, unit: float) -> "AttackSpec":
        """The resolved attack with eps and step size times `unit`: 1/255 takes pixel steps to image units."""
        full = self.resolved()
        step_size = None if full.step_size is None else full.step_size * unit
        return replace(full, eps=full.eps * unit, step_size=step_size)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, those that are left to their default left out where they have none."""
        written = asdict(self)
        plain = {item.name: item.default for item in fields(self)}
        keep = {
            "algorithm",
            "objective",
            "eps",
            "norm",
            "steps",
            "step_size",
            "random_start",
            "seed",
            "preset",
        }
        return {name: value for name, value in written.items() if name in keep or value != plain[name]}


def check_target(task: Task, value: float | str) -> None:
    """Check what a task's prediction is to be drawn to.

    Raises:
        AttackSpecError: the task takes no such target.
    """
    field = f"targets.{task.name}"
    if task.kind == "normals":
        raise AttackSpecError("normals take no target: a direction is not a number", field=field)
    if task.kind in ("depth", "regression"):
        if value == NEXT_CLASS:
            raise AttackSpecError(f"{task.name} has no classes; its target is a value", field=field)
        if value == IGNORE_VALUE:
            raise AttackSpecError(f"{value:g} marks {task.name} labels that do not count", field=field)
    elif value != NEXT_CLASS and not (isinstance(value, int) and 0 <= value < task.channels):
        raise AttackSpecError(
            f"{task.name} has classes 0 to {task.channels - 1}, or {NEXT_CLASS!r}; got {value!r}", field=field
        )


def _listed(name: str, values: Mapping[str, float | str] | None) -> str:
    if not values:
        return ""
    shown = (f"{task}:{value if isinstance(value, str) else _shown(value)}" for task, value in values.items())
    return f"{name}={','.join(shown)}"


def _shown(value: float) -> str:
    """The number, rounded where nothing is lost by it."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
