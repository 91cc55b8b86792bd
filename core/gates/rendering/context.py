"""What a verdict cannot know of the place that it is shown at."""

import re
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from core.errors import InvalidError
from core.specs.document import Document, Line
from core.specs.policies import MAX_RULES

Link = Annotated[
    str, StringConstraints(max_length=2000, pattern=r"^https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+$")
]
"""An absolute http address of characters that a URI may have."""


class ContextError(InvalidError):
    """A place that outputs cannot point to."""

    code = "invalid_context"


class Context(Document):
    """Where the policy stands, and where there is more to read."""

    policy_file: Line | None = Field(
        default=None,
        description="Path of the policy from the repository's root, with slashes; SARIF points to it.",
    )
    policy_lines: dict[Line, Annotated[int, Field(ge=1)]] = Field(
        default={}, max_length=MAX_RULES, description="Lines of the policy's rules in that file, by name."
    )
    report: Link | None = Field(default=None, description="Address of a report on the evaluation.")

    @field_validator("policy_file")
    @classmethod
    def _relative(cls, value: str | None) -> str | None:
        if value is not None and (re.match(r"/|~|[A-Za-z][\w+.-]*:|.*\\", value) or ".." in value.split("/")):
            raise ContextError("a path from the repository's root: relative, with slashes, without ..")
        return value
