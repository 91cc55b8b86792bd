"""`Recipe`: how a model is trained, as a user writes it. Standard library only: the science needs no Pydantic."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from core.errors import under
from core.specs.adversarial import Adversarial, Aggregate, Evidence, Fooled, FooledWhen, Mix
from core.specs.algorithms import Algorithm
from core.specs.attack import AttackSpec
from core.specs.attack_fields import MAX_SEED, MAX_WEIGHT
from core.specs.precision import Precision
from core.specs.recipe_fields import PYDANTIC, RecipeError, one_of, refuse_unless, whole, within

__all__ = [
    "Adversarial",
    "Aggregate",
    "Augmentation",
    "Evidence",
    "Fooled",
    "FooledWhen",
    "Mix",
    "Optimiser",
    "Recipe",
    "RecipeError",
    "Schedule",
    "paper_recipe",
]

OptimiserName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["constant", "step", "cosine", "one_cycle"]

MAX_ITERATIONS = 10_000_000
MAX_BATCH = 65_536
PAPER_ITERATIONS = 20_000
PAPER_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimiser:
    """What turns gradients into steps.

    Attributes:
        learning_rate: the greatest that the schedule reaches.
        weight_decay: for adamw decoupled, else part of the gradient.
        betas: of adam and adamw; (0.9, 0.999) unless said.
        momentum: of sgd; 0.9 unless said.
        nesterov: whether sgd looks ahead.

    Raises:
        RecipeError: a field is out of range or not one of this optimiser's.
    """

    __pydantic_config__ = PYDANTIC

    name: OptimiserName = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    betas: tuple[float, float] | None = None
    momentum: float | None = None
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Check every field, and the fields against each other."""
        one_of("name", self.name, get_args(OptimiserName))
        within("learning_rate", self.learning_rate, above=0, most=1e3)
        within("weight_decay", self.weight_decay, least=0, most=1e3)
        refuse_unless("betas", self.betas, taken=self.name != "sgd", by=self.name)
        refuse_unless("momentum", self.momentum, taken=self.name == "sgd", by=self.name)
        for place, beta in enumerate(self.betas or ()):
            within(f"betas.{place}", beta, least=0, most=1 - 1e-9)
        within("momentum", self.momentum or 0.0, least=0, most=1 - 1e-9)
        if self.nesterov and (self.name != "sgd" or self.momentum == 0):
            raise RecipeError("only sgd with momentum looks ahead", field="nesterov")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The learning rate over the iterations, each a share of the optimiser's.

    Attributes:
        name: "constant"; "step", times `factor` after every so many iterations; "cosine", down to `factor` at
            the end; "one_cycle", up from 1/25 over the share `rise` of the iterations and down to nearly 0.
        every: for "step", in iterations.
        factor: 0.5 unless said for "step", 0 for "cosine".
        rise: for "one_cycle", 0.2 unless said.

    Raises:
        RecipeError: a field is out of range or not one of this schedule's.
    """

    __pydantic_config__ = PYDANTIC

    name: ScheduleName = "constant"
    every: int | None = None
    factor: float | None = None
    rise: float | None = None

    def __post_init__(self) -> None:
        """Check every field, and the fields against each other."""
        one_of("name", self.name, get_args(ScheduleName))
        refuse_unless("every", self.every, taken=self.name == "step", by=self.name)
        refuse_unless("factor", self.factor, taken=self.name in ("step", "cosine"), by=self.name)
        refuse_unless("rise", self.rise, taken=self.name == "one_cycle", by=self.name)
        if self.name == "step":
            whole("every", self.every, least=1, most=MAX_ITERATIONS)
        if self.factor is not None:
            within("factor", self.factor, least=0, most=1)
        if self.rise is not None:
            within("rise", self.rise, above=0, most=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is done to a training sample before anything else sees it, anew in every iteration.

    Attributes:
        flip: mirror half of the samples left to right, labels too, and normals turn round. Not for tasks that
            tell left from right, as those of `digits` do.
        shift: move by up to so many pixels each way; what comes in at the edge repeats it and has no labels.

    Raises:
        RecipeError: a field is out of range.
    """

    __pydantic_config__ = PYDANTIC

    flip: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        whole("shift", self.shift, least=0, most=4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides the weights beside the model and the data.

    Attributes:
        iterations, epochs: how long, one of them; an iteration takes a batch, an epoch as many batches as the
            samples fill.
        batch_size: samples of an iteration, over all processes.
        accumulation: parts that a batch is computed in, one after the other, to save memory; batch-norm
            statistics are then each part's own.
        task_weights: by task name, weight of its loss; 1 unless said.
        precision: of both training and attack; "bfloat16" casts wherever autocast does.
        ema: decay of an exponential moving average of the weights, which then is what training hands out.
        seed: of the order of samples, augmentation, dropout and the attack's random numbers. The weights'
            initialisation is `build_model`'s, before.
        adversarial: what to attack the samples with; None trains on clean images.

    Raises:
        RecipeError: a field is out of range or contradicts another; `field` names it.
    """

    __pydantic_config__ = PYDANTIC

    iterations: int | None = None
    epochs: int | None = None
    batch_size: int = 32
    accumulation: int = 1
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    task_weights: dict[str, float] = field(default_factory=dict, hash=False)
    augmentation: Augmentation = Augmentation()
    precision: Precision = "float32"
    ema: float | None = None
    seed: int = 0
    adversarial: Adversarial | None = None

    def __post_init__(self) -> None:
        """Check every field, and the fields against each other."""
        if (self.iterations is None) == (self.epochs is None):
            raise RecipeError("say how long: either iterations or epochs", field="iterations")
        for name in ("iterations", "epochs"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), least=1, most=MAX_ITERATIONS)
        whole("batch_size", self.batch_size, least=1, most=MAX_BATCH)
        whole("accumulation", self.accumulation, least=1, most=self.batch_size)
        for task, weight in self.task_weights.items():
            within(f"task_weights.{task}", weight, least=0, most=MAX_WEIGHT)
        one_of("precision", self.precision, get_args(Precision))
        if self.ema is not None:
            within("ema", self.ema, above=0, most=1 - 1e-9)
        whole("seed", self.seed, least=0, most=MAX_SEED)

    def total(self, samples: int) -> int:
        """Iterations in all, on so many samples.

        Raises:
            RecipeError: they do not fill one batch.
        """
        batches = samples // self.batch_size
        if batches == 0:
            raise RecipeError(
                f"{samples} samples do not fill a batch of {self.batch_size}", field="batch_size"
            )
        return self.iterations if self.iterations is not None else (self.epochs or 0) * batches

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        written: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return written


def paper_recipe(objective: str = "gb_mta", *, algorithm: Algorithm = "pgd", eps: float = 8.0) -> Recipe:
    """Adversarial training as the authors' code does it: FAT with K = tau = 20, on the clean and the attacked batch.

    Args:
        objective: what the attack raises; the paper's Table 3 has single:<task>, total and gb_mta.
        algorithm: "pgd", or "fgsm" as in Tables 14 and 15.
        eps: in pixel steps of 1/255.
    """
    with under("adversarial.attack"):
        attack = AttackSpec(
            algorithm=algorithm,
            objective=objective,
            eps=eps,
            steps=1 if algorithm == "fgsm" else PAPER_STEPS,
            preset="paper",
        )
    return Recipe(
        iterations=PAPER_ITERATIONS,
        batch_size=64,
        optimiser=Optimiser(name="adam", learning_rate=1e-3, weight_decay=1e-4, betas=(0.5, 0.999)),
        schedule=Schedule(name="step", every=4_000, factor=0.5),
        adversarial=Adversarial(attack=attack, mix="both"),
    )
