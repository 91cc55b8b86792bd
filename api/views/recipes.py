"""What a training's recipe may be."""

from typing import Any

from pydantic import BaseModel, Field, TypeAdapter

from core.specs.training import Recipe
from core.specs.trainings import PRESETS, RecipeDocument


class RecipesView(BaseModel):
    """The JSON schema of a recipe, and every preset spelled out."""

    presets: dict[str, dict[str, Any]] = Field(
        description="By name; fields that are said take the place of theirs."
    )
    schema_: dict[str, Any] = Field(serialization_alias="schema")

    @classmethod
    def everything(cls) -> "RecipesView":
        """Describe all there is."""
        recipes: TypeAdapter[Recipe] = TypeAdapter(RecipeDocument)
        presets = {name: recipes.validate_python({"preset": name}).to_json() for name in PRESETS}
        return cls(presets=presets, schema_=recipes.json_schema())
