"""A JSON document taken apart field by field; whatever is wrong is an `InvalidError` with the field's path."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from core.data.folders.errors import FolderError

Choice = TypeVar("Choice", bound=str)

MAX_TEXT = 1000


def parse(data: bytes, *, name: str) -> Any:
    """The JSON value in a file: UTF-8, no NaN or infinity, no key twice in an object.

    Raises:
        FolderError: it is no such JSON.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{name} is not JSON: {error}", field=name) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


@dataclass(frozen=True, slots=True)
class Node:
    """A JSON value and where it stands in its document."""

    value: Any
    path: str

    def refuse(self, message: str) -> NoReturn:
        """Say what is wrong here."""
        raise FolderError(f"{self.path or 'the document'} {message}", field=self.path)

    def members(self, *, required: Sequence[str] = (), optional: Sequence[str] = ()) -> "Members":
        """The members of an object that has all the required keys and no unknown ones."""
        found = self.object()
        for name in found.value:
            if name not in required and name not in optional:
                found.at(name).refuse(f"is not known; there are {', '.join((*required, *optional))}")
        for name in required:
            if name not in found.value:
                found.at(name).refuse("is missing")
        return found

    def object(self) -> "Members":
        """The members of an object, whatever they are called."""
        if not isinstance(self.value, dict):
            self.refuse("must be an object")
        return Members(self.value, self.path)

    def items(self) -> Iterator["Node"]:
        """The entries of a list."""
        if not isinstance(self.value, list):
            self.refuse("must be a list")
        return (Node(entry, f"{self.path}[{place}]") for place, entry in enumerate(self.value))

    def text(self) -> str:
        """A string of 1 to 1000 printable letters."""
        if not isinstance(self.value, str) or not 0 < len(self.value) <= MAX_TEXT:
            self.refuse(f"must be a string of 1 to {MAX_TEXT} letters")
        if not self.value.isprintable():
            self.refuse("holds a letter that cannot be printed")
        return str(self.value)

    def choice(self, among: Sequence[Choice]) -> Choice:
        """One of these strings."""
        found = next((known for known in among if self.value == known), None)
        if found is None:
            self.refuse(f"must be one of {', '.join(among)}")
        return found

    def whole(self, *, low: int, high: int) -> int:
        """A whole number within these bounds."""
        if type(self.value) is not int or not low <= self.value <= high:
            self.refuse(f"must be a whole number from {low} to {high}")
        return int(self.value)

    def number(self) -> float:
        """A finite number."""
        if type(self.value) not in (int, float):
            self.refuse("must be a number")
        try:
            number = float(self.value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.refuse("must be a finite number")
        return number


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a JSON object."""

    value: dict[str, Any]
    path: str

    def __contains__(self, name: str) -> bool:
        return name in self.value

    def at(self, name: str) -> Node:
        """The member of that name; null where there is none."""
        return Node(self.value.get(name), f"{self.path}.{name}" if self.path else name)

    def each(self) -> Iterator[tuple[str, Node]]:
        """Every member with its name."""
        return ((name, self.at(name)) for name in self.value)
