from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from core.specs.described import with_attributes
from core.specs.recipe_fields import PYDANTIC
from core.specs.training import Recipe


@dataclass
class Tree:
    """A tree that stands
    in the wind.

    Attributes:
        height, width: in metres; of a spruce
            more than of a birch.
        age: years.

    Raises:
        ValueError: age: below 0.
    """

    __pydantic_config__ = PYDANTIC

    height: float
    width: float
    age: int = 3


def test_a_docstring_describes_the_class_and_each_field() -> None:
    schema = TypeAdapter(Tree).json_schema()
    assert schema["description"] == "A tree that stands in the wind."
    said = {name: field["description"] for name, field in schema["properties"].items()}
    assert said == {
        "height": "In metres; of a spruce more than of a birch.",
        "width": "In metres; of a spruce more than of a birch.",
        "age": "Years.",
    }


def test_what_is_not_documented_stays_as_it_is() -> None:
    schema: dict[str, Any] = {"properties": {"other": {"type": "number"}}}
    with_attributes(schema, Tree)
    assert schema["properties"] == {"other": {"type": "number"}}


def test_every_field_of_a_recipe_is_described() -> None:
    schema = TypeAdapter(Recipe).json_schema()
    parts = [
        schema,
        *(schema["$defs"][name] for name in ("Optimiser", "Schedule", "Augmentation", "Adversarial")),
    ]
    silent = [
        f"{part['title']}.{name}"
        for part in parts
        for name, field in part["properties"].items()
        if "description" not in field and "$ref" not in field and name != "name"
    ]
    assert silent == []
