"""From the text of a `windthrow.yaml` to a gate file and the lines of its parts.

YAML as its version 1.2 has it: only `true` and `false` are booleans, so a rule may have a field `on`; dates are text.
Nothing that grows when it is read: no aliases, anchors or tags, and limits on size and depth.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from pydantic import ValidationError

from core.errors import InvalidError
from core.specs.gate_file import GateFile, gate_file_schema
from core.specs.suggestions import SHOWN, unknown

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_DIGITS = 30
MAX_PROBLEMS = 50

PREFIX = "tag:yaml.org,2002:"
SCALARS = {
    PREFIX + "null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    PREFIX + "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    PREFIX + "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    PREFIX + "float": re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"),
}
"""What unquoted text is read as, the first that matches (YAML 1.2, section 10.3.2); infinities and NaN are text."""
TEXT, MAPPING, SEQUENCE = PREFIX + "str", PREFIX + "map", PREFIX + "seq"

NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""What an escape can bring in, and neither UTF-8 nor PostgreSQL can hold."""

EXTRA = ("extra_forbidden", "unexpected_keyword_argument")
"""Pydantic's names for a field that there is not, of models and of dataclasses."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the text; lines and columns count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Misplaced:
    """One thing that is wrong.

    Attributes:
        pointer: JSON pointer into the file as a URI fragment, such as "#/rules/0/on".
        message: a sentence without the place.
    """

    pointer: str
    place: Place
    code: str
    message: str

    @property
    def text(self) -> str:
        """The place and the sentence."""
        return f"line {self.place.line}, column {self.place.column}: {self.message}"


class GateFileError(InvalidError):
    """A gate file that cannot be used as written; `problems` say all that is wrong with it."""

    code = "invalid_gate_file"

    def __init__(self, problems: Sequence[Misplaced]) -> None:
        first = problems[0]
        super().__init__(
            first.text, field=first.pointer.removeprefix("#").removeprefix("/").replace("/", ".")
        )
        self.problems = problems


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A gate file that was read.

    Attributes:
        places: of every field's name and every item of a list, by JSON pointer.
    """

    file: GateFile
    places: Mapping[str, Place]

    @property
    def lines(self) -> dict[str, int]:
        """The line of every field and item, by JSON pointer."""
        return {path: place.line for path, place in self.places.items()}

    @property
    def rule_lines(self) -> dict[str, int]:
        """The line of every rule, by its name."""
        return {
            rule.name: self.places[pointer(("rules", position))].line
            for position, rule in enumerate(self.file.rules)
        }

    def error(self, *errors: InvalidError) -> GateFileError:
        """Errors that were found later, about fields of the file."""
        return GateFileError(
            [_misplaced(error.field.split("."), error.code, str(error), self.places) for error in errors]
        )


def read_gate_file(text: str) -> PolicyFile:
    """Read a `windthrow.yaml`.

    Raises:
        GateFileError: it is no YAML that is taken, or no gate file; with lines and columns.
    """
    places: dict[str, Place] = {}
    document = _value(_composed(text), (), places)
    try:
        return PolicyFile(GateFile.model_validate(document), places)
    except ValidationError as error:
        raise GateFileError(list(_problems(error, places))) from error


def pointer(path: Iterable[object]) -> str:
    """A JSON pointer as a URI fragment (RFC 6901)."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path if part != "")


class _Loader(yaml.SafeLoader):
    """Composes nodes, and no more: what they are read as is decided here and not by PyYAML, which has YAML 1.1."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.yaml_implicit_resolvers = {None: list(SCALARS.items())}
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node of a depth that is taken, that neither is an alias nor can have one."""
        peek: Callable[[], Any] = self.peek_event
        event = peek()
        if event.anchor is not None:
            raise _Refused("anchors and aliases (& and *) are not taken; write it out", event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(f"nested more than {MAX_DEPTH} deep", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Refused(yaml.MarkedYAMLError):
    """YAML, but none that is taken."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


def _composed(text: str) -> yaml.Node:
    if len(text) > MAX_BYTES or len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise _broken(f"the file is larger than {MAX_BYTES // 1024} KiB", Place(1, 1))
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(filter(None, (error.context, error.problem)))
        raise _broken(said or "this is no YAML", _place(mark)) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line = before.count("\n") + 1
        place = Place(line, len(before) - (before.rfind("\n") + 1) + 1)
        message = f"the character U+{ord(text[error.position]):04X} has no place in YAML"
        raise _broken(message, place) from error
    except (ValueError, OverflowError) as error:  # PyYAML does not look whether an escape names a character
        assert loader is not None
        raise _broken("an escape names no character", _place(loader.get_mark())) from error
    if node is None:
        raise _broken("the file is empty", Place(1, 1))
    if not isinstance(node, yaml.MappingNode):
        raise _broken("a gate file is fields, such as `version: 1`", _place(node.start_mark))
    return node


def _value(node: yaml.Node, path: tuple[object, ...], places: dict[str, Place]) -> Any:
    """What a node says, as JSON values; notes the places of its parts."""
    if isinstance(node, yaml.MappingNode) and node.tag == MAPPING:
        return _mapping(node, path, places)
    if isinstance(node, yaml.SequenceNode) and node.tag == SEQUENCE:
        items = []
        for position, item in enumerate(node.value):
            here = (*path, position)
            places[pointer(here)] = _place(item.start_mark)
            items.append(_value(item, here, places))
        return items
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, path)
    raise _broken(f"the tag {_short(node.tag)} is not taken", _place(node.start_mark), path)


def _mapping(node: yaml.MappingNode, path: tuple[object, ...], places: dict[str, Place]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        place = _place(key.start_mark)
        if not isinstance(key, yaml.ScalarNode):
            raise _broken("a field's name is plain text", place, path)
        _scalar(key, path)
        name = key.value
        if name in found:
            raise _broken(f"the field {_short(name)} is there twice", place, (*path, name))
        here = (*path, name)
        places[pointer(here)] = place
        found[name] = _value(value, here, places)
    return found


def _scalar(node: yaml.ScalarNode, path: tuple[object, ...]) -> str | int | float | bool | None:
    text: str = node.value
    place = _place(node.start_mark)
    if NO_TEXT.search(text):
        raise _broken("an escape names a character that no text may have", place, path)
    if node.tag == TEXT:
        return text
    pattern = SCALARS.get(node.tag)
    if pattern is None or not pattern.match(text):
        raise _broken(f"the tag {_short(node.tag)} is not taken", place, path)
    if node.tag == PREFIX + "null":
        return None
    if node.tag == PREFIX + "bool":
        return text.lower() == "true"
    if len(text) > MAX_DIGITS:
        raise _broken(f"a number has at most {MAX_DIGITS} characters", place, path)
    if node.tag == PREFIX + "int":
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    number = float(text)
    if not math.isfinite(number):
        raise _broken("the number is too large", place, path)
    return number


def _problems(error: ValidationError, places: Mapping[str, Place]) -> Iterator[Misplaced]:
    for entry in error.errors(include_url=False)[:MAX_PROBLEMS]:
        cause = entry.get("ctx", {}).get("error")
        path = [str(part) for part in entry["loc"]]
        code, message = entry["type"], entry["msg"]
        if isinstance(cause, InvalidError):
            path += cause.field.split(".") if cause.field else []
            code, message = cause.code, str(cause)
        elif code in EXTRA:
            message = unknown("field", path[-1], _fields(path[:-1]))
        yield _misplaced(path, code, message, places)


def _misplaced(path: Sequence[str], code: str, message: str, places: Mapping[str, Place]) -> Misplaced:
    """A problem at the place of the field, or of the innermost part around it that is there."""
    parts = [part for part in path if part]
    around = (pointer(parts[:end]) for end in range(len(parts), 0, -1))
    place = next((places[part] for part in around if part in places), Place(1, 1))
    return Misplaced(pointer(parts), place, code, message)


def _fields(path: Sequence[str]) -> list[str]:
    """The names of the fields that a part of a gate file has."""
    schema = _schema()
    defined, part = schema["$defs"], schema
    for name in (*path, None):
        choices = [
            defined[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in _choices(part)
        ]
        part = next((one for one in choices if "properties" in one or "items" in one), {})
        if name is not None:
            part = part.get("properties", {}).get(name) or part.get("items", {})
    return list(part.get("properties", ()))


@cache
def _schema() -> dict[str, Any]:
    return gate_file_schema()


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    return schema.get("anyOf") or schema.get("oneOf") or [schema]


def _broken(message: str, place: Place, path: Iterable[object] = ()) -> GateFileError:
    return GateFileError([Misplaced(pointer(path), place, GateFileError.code, message)])


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _short(name: str) -> str:
    return repr(name if len(name) <= SHOWN else name[:SHOWN] + "…")
