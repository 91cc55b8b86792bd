"""What every JSON document from outside has in common."""

import hashlib
import json

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import InvalidError


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
    """The first thing that is wrong with a document, as one of our errors."""
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, InvalidError):
        return inner
    place = ".".join(map(str, first["loc"]))
    return InvalidError(f"{place}: {first['msg']}" if place else first["msg"], field=place)
