"""What each attack algorithm is and which fields of a spec it takes. Standard library only."""

from dataclasses import dataclass
from typing import Literal

Algorithm = Literal[
    "fgsm", "pgd", "mim", "apgd", "auto_sage", "square", "uniform_noise", "sign_noise", "auto_mta"
]
Norm = Literal["linf", "l2"]

DEFAULT_STEPS = 20
STRONG_STEP = 2.5
"""PGD's step is `STRONG_STEP * eps / steps`: enough to cross the ball and come back."""
APGD_STEP = 2.0
"""APGD begins with steps of `APGD_STEP * eps` and halves them by itself (Croce & Hein 2020)."""
PAPER_STEP = 1.0
"""The published code steps by `eps / steps`, APGD's first step included."""

DEFAULT_DECAY: dict[Algorithm, float] = {"mim": 1.0, "auto_sage": 0.0}
"""Momentum: MIM's as in Dong et al. 2018, Auto-SAGE's gamma as in the published code."""

BOTH: tuple[Norm, ...] = ("linf", "l2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What an algorithm is and takes.

    Attributes:
        about: half a sentence for a reader.
        steps: how many it takes unless said; None where it takes one, or none.
        norms: those it is defined for.
        objective: whether it raises an objective.
        gradients: whether it takes gradients.
        eot: whether they can be averages over several passes.
        step_size: whether its step can be chosen; `step_factor` times eps, over steps unless `absolute_step`.
        random_start: whether it can start away from the image.
        random: whether it draws random numbers even without that.
        restarts: whether it can be run several times, the best kept.
        decay: whether it has momentum.
    """

    about: str
    steps: int | None = None
    norms: tuple[Norm, ...] = BOTH
    objective: bool = True
    gradients: bool = True
    eot: bool = True
    step_size: bool = True
    step_factor: float = STRONG_STEP
    absolute_step: bool = False
    random_start: bool = True
    random: bool = False
    restarts: bool = True
    decay: bool = False


_NOISE = {
    "objective": False,
    "gradients": False,
    "eot": False,
    "step_size": False,
    "random_start": False,
    "random": True,
    "restarts": False,
}

METHODS: dict[Algorithm, Method] = {
    "fgsm": Method(
        about="one step of eps along the gradient's sign (Goodfellow et al. 2014)",
        step_size=False,
        random_start=False,
        restarts=False,
    ),
    "pgd": Method(about="projected gradient ascent (Madry et al. 2018)", steps=DEFAULT_STEPS),
    "mim": Method(about="PGD with momentum (Dong et al. 2018)", steps=DEFAULT_STEPS, decay=True),
    "apgd": Method(
        about="PGD that halves its step and returns to its best point by itself (Croce & Hein 2020)",
        steps=DEFAULT_STEPS,
        step_factor=APGD_STEP,
        absolute_step=True,
    ),
    "auto_sage": Method(
        about="PGD on gradients blended with coefficients learned by task and pixel (Rathbun et al. 2022)",
        steps=DEFAULT_STEPS,
        norms=("linf",),
        decay=True,
    ),
    "square": Method(
        about="random search with squares, without gradients (Andriushchenko et al. 2020)",
        steps=200,
        gradients=False,
        eot=False,
        step_size=False,
        random_start=False,
        random=True,
    ),
    "uniform_noise": Method(about="a uniformly random point of the ball", **_NOISE),  # type: ignore[arg-type]
    "sign_noise": Method(about="a random corner of the ball", **_NOISE),  # type: ignore[arg-type]
    "auto_mta": Method(
        about="search over weights, power, algorithm and step on a slice apart, then the best few, for the highest ARP",
        steps=100,
        objective=False,
        eot=False,
        step_size=False,
        random_start=False,
        random=True,
        restarts=False,
    ),
}
