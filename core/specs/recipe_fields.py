"""The error for a field of a recipe that is out of its limits, and the checks that raise it. Standard library only."""

import math
from collections.abc import Mapping
from typing import Any

from core.errors import InvalidError
from core.specs.attack_fields import is_number
from core.specs.described import with_attributes

PYDANTIC: Mapping[str, Any] = {"extra": "forbid", "json_schema_extra": with_attributes}
"""How Pydantic reads and describes the parts of a recipe."""


class RecipeError(InvalidError):
    """A training that cannot be run as written."""

    code = "invalid_recipe"


def one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raise unless the value is known."""
    if value not in known:
        raise RecipeError(f"{name} must be one of {', '.join(known)}; got {value!r}", field=name)


def whole(name: str, value: object, *, least: int, most: int) -> None:
    """Raise unless it is a whole number within the limits."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise RecipeError(
            f"{name} must be a whole number between {least} and {most}; got {value!r}", field=name
        )


def within(name: str, value: Any, *, most: float, least: float = -math.inf, above: float = -math.inf) -> None:
    """Raise unless it is a number within the limits."""
    if not is_number(value) or not (least <= value <= most and value > above):
        low = f"above {above:g}" if above > -math.inf else f"at least {least:g}"
        raise RecipeError(f"{name} must be {low} and at most {most:g}; got {value!r}", field=name)


def refuse_unless(name: str, value: object, *, taken: bool, by: str) -> None:
    """Raise if the field is set where nothing takes it."""
    if value is not None and not taken:
        raise RecipeError(f"{by} takes no {name}; leave it out", field=name)
