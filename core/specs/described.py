"""JSON schemas of dataclasses that say what their docstrings say. Standard library only."""

import inspect
import re
from typing import Any

FIELD = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<text>.*)$")


def with_attributes(schema: dict[str, Any], documented: type) -> None:
    """Put a docstring's summary, and what its "Attributes" section says of each field, into its JSON schema.

    For Pydantic's `json_schema_extra`.
    """
    summary, _, sections = (inspect.getdoc(documented) or "").partition("\n\nAttributes:\n")
    schema["description"] = " ".join(summary.split())
    for names, text in _fields(sections.partition("\n\n")[0]):
        for name in names:
            if name in schema.get("properties", {}):
                schema["properties"][name]["description"] = text[:1].upper() + text[1:]


def _fields(section: str) -> list[tuple[list[str], str]]:
    """The entries of an "Attributes" section: the names that one is about, and what it says in one line."""
    entries: list[tuple[list[str], str]] = []
    for line in inspect.cleandoc(section).splitlines():
        found = FIELD.match(line)
        if found is not None:
            entries.append((found["names"].split(", "), found["text"]))
        elif entries:
            names, text = entries[-1]
            entries[-1] = names, f"{text} {line.strip()}"
    return entries
