"""The language of objectives: which direction several tasks' losses give together. Standard library only."""

import re
from dataclasses import dataclass
from typing import Literal

Family = Literal["single", "total", "sign_total", "gb_mta", "power", "pcgrad", "mgda", "stealth"]

SINGLE = "single:"
STEALTH = "stealth:"
JOINT_OBJECTIVES = ("total", "sign_total", "gb_mta", "power", "pcgrad", "mgda")

WEIGHTED: frozenset[Family] = frozenset({"single", "total", "gb_mta", "power", "stealth"})
"""Those whose direction is a weighted sum of gradients: one backward pass a step, whatever the number of tasks."""

TASK_WEIGHTS: frozenset[Family] = frozenset({"total", "gb_mta", "power", "stealth"})
"""Those that take `weights`."""

HOLD = 4.0
"""How hard stealth holds a task unless its weights say otherwise."""

PATTERN = (
    r"^(single:[A-Za-z0-9_]+|stealth:[A-Za-z0-9_]+(\+[A-Za-z0-9_]+)*|" + "|".join(JOINT_OBJECTIVES) + ")$"
)


@dataclass(frozen=True, slots=True)
class ObjectiveName:
    """An objective, taken apart.

    Attributes:
        family: "single:depth" is of the family "single".
        tasks: those that it names: the one that SINGLE attacks, the ones that stealth raises.
    """

    family: Family
    tasks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Its name again, the tasks in alphabetical order: stealth raises them alike."""
        return f"{self.family}:{'+'.join(sorted(self.tasks))}" if self.tasks else self.family


def parse_objective(text: str) -> ObjectiveName | None:
    """Take an objective's name apart; None if it is none."""
    if not re.fullmatch(PATTERN, text):
        return None
    family, _, tasks = text.partition(":")
    return ObjectiveName(family, tuple(tasks.split("+")) if tasks else ())  # type: ignore[arg-type]  # PATTERN says so
