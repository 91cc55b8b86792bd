"""What every JSON document from outside has in common."""

import hashlib
import json
from copy import copy
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from core.errors import InvalidError

MAX_LINE = 200

LineOrNone = Annotated[str, StringConstraints(max_length=MAX_LINE, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A name or reference, up to 200 characters, without the control characters that PostgreSQL and terminals choke on."""

Line = Annotated[LineOrNone, StringConstraints(min_length=1)]
"""One that says something."""


class Document(BaseModel):
    """A JSON document from outside: unknown fields are refused, NaN and Infinity are no numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def canonical(self) -> str:
        """The document as canonical JSON: sorted keys, no spaces, defaults spelled out."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def first_error(error: ValidationError) -> InvalidError:
    """The first thing that is wrong with a document, as one of our errors, its field counted from the document."""
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    place = [str(part) for part in first["loc"]]
    if isinstance(inner, InvalidError):
        found = copy(inner)
        found.field = ".".join(filter(None, (*place, inner.field)))
        return found
    field = ".".join(place)
    return InvalidError(f"{field}: {first['msg']}" if field else first["msg"], field=field)
