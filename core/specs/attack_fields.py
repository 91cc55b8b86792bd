"""The fields of an attack one by one: what each says to a reader, its limits, and the error for one out of them."""

from typing import Any, TypeGuard

from core.errors import InvalidError
from core.specs.algorithms import METHODS
from core.specs.objective import HOLD, PATTERN

DEFAULT_OBJECTIVE = "gb_mta"

MAX_STEPS = 10_000
MAX_RESTARTS = 1_000
MAX_EPS = 255.0
MAX_L2_EPS = 1e6
MAX_POWER = 4.0
MAX_WEIGHT = 1e6
MAX_TARGET = 1e6
MAX_DECAY = 10.0
MAX_SEED = 2**63 - 1
NEXT_CLASS = "next"

FIELD_DOCS: dict[str, dict[str, Any]] = {
    "algorithm": {
        "description": " ".join(f"{name}: {method.about}." for name, method in METHODS.items()),
    },
    "objective": {
        "description": (
            "What the ascent raises: single:<task> one task's loss; total the sum of losses; sign_total the "
            "sum of the signs of the tasks' gradients; gb_mta the sum of gradients each divided by its loss "
            "(GB-MTA, paper Eq. 9); power the sum of weights[i] * L^(1-p)/(1-p), which has total (p = 0) and "
            "gb_mta (p = 1, the logarithm) as members; pcgrad and mgda combine the tasks' gradients as their "
            "papers do; stealth:<task>+<task> raises these tasks and holds the others at their clean loss. "
            f"{DEFAULT_OBJECTIVE} unless said; noise and auto_mta take none."
        ),
        "pattern": PATTERN,
        "examples": ["gb_mta", "total", "single:depth", "stealth:depth"],
    },
    "eps": {
        "description": "Radius of the ball, in pixel steps of 1/255 (for l2 the Euclidean length in those units).",
        "exclusiveMinimum": 0,
    },
    "norm": {"description": "Norm of the ball."},
    "steps": {
        "description": "Gradient steps; for square, queries; for auto_mta the whole budget a sample, search included.",
        "minimum": 1,
        "maximum": MAX_STEPS,
    },
    "step_size": {
        "description": (
            "Step in eps's units. Without it 2.5 eps/steps; apgd begins with 2 eps and halves it by itself; under the "
            "paper preset eps/steps."
        )
    },
    "random_start": {"description": "Start at a random point of the ball rather than at the image."},
    "restarts": {
        "description": "Runs from different random starts, the best kept for each sample by the objective.",
        "minimum": 1,
        "maximum": MAX_RESTARTS,
    },
    "decay": {"description": "Of the momentum: 1 for mim, 0 for auto_sage unless said.", "minimum": 0},
    "power": {"description": "p of the objective `power`.", "minimum": 0, "maximum": MAX_POWER},
    "weights": {
        "description": "By task, its weight in total, gb_mta and power (1 unless said), or how hard stealth holds it "
        f"({HOLD:g} unless said; not for those that it raises)."
    },
    "targets": {
        "description": (
            "By task, what its prediction is drawn to: a class number or `next` (the class after the true one) for "
            "segmentation and classification, a value for depth and regression."
        )
    },
    "eot": {
        "description": "Gradients averaged a step (expectation over transformation), for models that are random.",
        "minimum": 1,
        "maximum": 1_000,
    },
    "seed": {"description": "Keys whatever is random, together with each sample's index.", "minimum": 0},
    "preset": {
        "description": "paper: steps of eps/steps, apgd's first included, as the published code has them. strong: ours."
    },
}


class AttackSpecError(InvalidError):
    """An attack that cannot be run as written."""

    code = "invalid_attack"


def with_descriptions(schema: dict[str, Any]) -> None:
    """Put the fields' descriptions and limits into a JSON Schema."""
    for name, extra in FIELD_DOCS.items():
        schema["properties"][name].update(extra)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def one_of(field: str, value: object, known: tuple[str, ...]) -> None:
    """Raise unless the value is known."""
    if value not in known:
        raise AttackSpecError(f"{field} must be one of {', '.join(known)}; got {value!r}", field=field)


def whole(field: str, value: int, least: int, most: int) -> None:
    """Raise unless it is a whole number within the limits."""
    if not is_number(value) or not isinstance(value, int) or not least <= value <= most:
        raise AttackSpecError(
            f"{field} must be a whole number between {least} and {most}; got {value!r}", field=field
        )


def between(field: str, value: float, most: float) -> None:
    """Raise unless it is a number from 0 to `most`."""
    if not is_number(value) or not 0 <= value <= most:
        raise AttackSpecError(f"{field} must be between 0 and {most:g}; got {value!r}", field=field)


def in_range(field: str, value: float, maximum: float) -> None:
    """Raise unless it is a number above 0 and at most the maximum."""
    if not is_number(value) or not 0 < value <= maximum:
        raise AttackSpecError(f"{field} must be above 0 and at most {maximum:g}; got {value!r}", field=field)
