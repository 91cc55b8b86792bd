"""Gate files as text: read as YAML 1.2, with the line of everything, and refused with the place of what is wrong."""

import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.gates.policy_file import MAX_BYTES, GateFileError, Misplaced, read_gate_file
from core.gates.suites import suite_evaluation
from core.specs.gate_file import GateFile, gate_file_schema
from core.specs.policies import ArpRule, GatePolicy
from tests.core.gates.made import Json

DOCS = Path(__file__).resolve().parents[3] / "docs/gates.md"
TEXT = """\
version: 1
model:
  file: nets/a.pt
  manifest: {profile: nyuv2}
dataset: {name: nyuv2}
suite: quick
rules:
  - name: attacked
    on: arp
    at_most: 45

  - {name: "no", on: health}
waivers:
  - rule: attacked
    reason: no
    expires: 2026-06-30
"""


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


def problems(text: str) -> list[Misplaced]:
    with pytest.raises(GateFileError) as caught:
        read_gate_file(text)
    return list(caught.value.problems)


def refused(text: str) -> tuple[int, int, str, str]:
    """Line, column, pointer and sentence of the only thing that is wrong."""
    (problem,) = problems(text)
    return problem.place.line, problem.place.column, problem.pointer, problem.message


def test_on_and_no_are_text_and_dates_are_dates() -> None:
    file = read_gate_file(TEXT).file
    assert isinstance(file.rules[0], ArpRule)
    assert [rule.on for rule in file.rules] == ["arp", "health"]
    assert file.waivers[0].reason == "no"
    assert file.waivers[0].expires == date(2026, 6, 30)


@pytest.mark.parametrize("word", ["no", "off", "yes", "on", "y", "1_000", "0b1", "12:30:00", ".inf", ".nan"])
def test_what_only_yaml_1_1_takes_for_more_is_text(word: str) -> None:
    assert read_gate_file(changed("reason: no", f"reason: {word}")).file.waivers[0].reason == word


@pytest.mark.parametrize(
    ("said", "value"), [("0x10", 16), ("0o10", 8), ("010", 10), ("+4.5e1", 45), (".5", 0.5)]
)
def test_numbers_are_those_of_yaml_1_2(said: str, value: float) -> None:
    rule = read_gate_file(changed("at_most: 45", f"at_most: {said}")).file.rules[0]
    assert isinstance(rule, ArpRule)
    assert rule.at_most == value


def test_true_and_false_are_booleans() -> None:
    rule = read_gate_file(changed("at_most: 45", "at_most: 45\n    strict: false")).file.rules[0]
    assert isinstance(rule, ArpRule)
    assert rule.strict is False


def test_a_profile_written_out_tells_the_tasks() -> None:
    tasks = "[{name: left, kind: classification, channels: 10}, {name: right, kind: classification, channels: 10}]"
    file = read_gate_file(
        changed("profile: nyuv2", f"profile: {{name: pair, tasks: {tasks}}}, tasks: [right]")
    ).file
    assert file.model.tasks is not None
    assert [task.name for task in file.model.tasks] == ["right"]


def test_every_field_and_item_has_its_line() -> None:
    lines = read_gate_file(TEXT).lines
    assert {path: lines[path] for path in ("#/version", "#/model/manifest/profile", "#/rules")} == {
        "#/version": 1,
        "#/model/manifest/profile": 4,
        "#/rules": 7,
    }
    assert (lines["#/rules/0"], lines["#/rules/0/at_most"], lines["#/rules/1"]) == (8, 10, 12)
    assert lines["#/waivers/0/expires"] == 16


@pytest.mark.parametrize(
    "text", [TEXT.replace("\n", "\r\n"), TEXT.replace("\n", "\r"), "\ufeff" + TEXT, TEXT + "...\n"]
)
def test_line_ends_and_a_byte_order_mark_change_nothing(text: str) -> None:
    assert read_gate_file(text) == read_gate_file(TEXT)


def test_a_file_is_the_policy_that_it_holds() -> None:
    file = read_gate_file(TEXT).file
    assert type(file.policy) is GatePolicy
    assert GatePolicy.model_validate(file.policy.model_dump(mode="json")).digest() == file.policy.digest()


@pytest.mark.parametrize("suite", ["quick", "{attacks: [{algorithm: pgd, eps: 2}], samples: 9}"])
def test_a_file_with_its_defaults_spelled_out_is_the_same_file(suite: str) -> None:
    file = read_gate_file(changed("quick", suite)).file
    assert GateFile.model_validate(file.model_dump(mode="json")) == file


@pytest.mark.parametrize(
    ("old", "new", "place", "pointer", "said"),
    [
        ("at_most", "at_mots", (10, 5), "#/rules/0/at_mots", "did you mean 'at_most'?"),
        ("on: arp", "on: apr", (9, 5), "#/rules/0/on", "did you mean 'arp'?"),
        ("suite: quick", "siute: quick\nsuite: quick", (6, 1), "#/siute", "did you mean 'suite'?"),
        ("quick", "quik", (6, 1), "#/suite", "did you mean 'quick'?"),
        ("quick", "[quick]", (6, 1), "#/suite", "or has attacks"),
        ("quick", "{attacks: []}", (6, 9), "#/suite/attacks", "at least 1"),
        (
            "quick",
            "{attacks: [{algorithm: pgd, eps: 1, step: 3}]}",
            (6, 44),
            "#/suite/attacks/0/step",
            "'steps'",
        ),
        ("quick", "{attacks: [{algorithm: pgd, eps: 999}]}", (6, 36), "#/suite/attacks/0/eps", "255"),
        ("name: nyuv2}", "name: nyuv2, lmit: 3}", (5, 24), "#/dataset/lmit", "did you mean 'limit'?"),
        ("profile: n", "porfile: n", (4, 14), "#/model/manifest/porfile", "did you mean 'profile'?"),
        ("profile: nyuv2", "profile: nyuv3", (4, 14), "#/model/manifest/profile", "nyuv3"),
        ("nyuv2}\ndata", "nyuv2, tasks: [depht]}\ndata", (4, 30), "#/model/manifest/tasks", "depht"),
        ("nets/a.pt", "/etc/passwd", (3, 3), "#/model/file", "repository's root"),
        ("nets/a.pt", "nets/../../a", (3, 3), "#/model/file", "repository's root"),
        ("  file: nets/a.pt\n", "", (2, 1), "#/model/file", "required"),
        ("2026-06-30", "soon", (16, 5), "#/waivers/0/expires", "date"),
        ("quick", "quick\neps: [8, 8]", (7, 1), "#/eps", "once"),
        ("quick", "{attacks: [{algorithm: pgd, eps: 1}]}\neps: [4]", (7, 1), "#/eps", "leave this out"),
        ("version: 1", "version: 2", (1, 1), "#/version", "1"),
        ("rule: attacked", "rule: attacked\n    rule: b", (15, 5), "#/waivers/0/rule", "there twice"),
        ("quick", "quick\n<<: {}", (7, 1), "#/<<", "no field '<<'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    old: str, new: str, place: tuple[int, int], pointer: str, said: str
) -> None:
    line, column, where, message = refused(changed(old, new))
    assert ((line, column), where) == (place, pointer)
    assert said in message


def test_all_that_is_wrong_is_said() -> None:
    found = problems(changed("name: nyuv2}", "nmae: nyuv2}"))
    assert [(problem.pointer, problem.place.line) for problem in found] == [
        ("#/dataset/name", 5),
        ("#/dataset/nmae", 5),
    ]


def test_the_message_has_line_and_column() -> None:
    with pytest.raises(GateFileError, match=r"^line 9, column 5: there is no kind of rule") as caught:
        read_gate_file(changed("on: arp", "on: apr"))
    assert caught.value.field == "rules.0.on"


LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("", (1, 1), "empty"),
        ("# nothing\n", (1, 1), "empty"),
        (LAUGHS, (1, 4), "anchors"),
        ("a: *b", (1, 4), "anchors"),
        ("&a a: 1", (1, 1), "anchors"),
        ("[" * 60_000, (1, 33), "nested"),
        ("{a: " * 10_000, (1, 126), "nested"),
        ("- " * 20_000, (1, 65), "nested"),
        ("a: " + "9" * 50_000, (1, 4), "at most 30"),
        ("a: 1e999", (1, 4), "too large"),
        ("a: !!python/object/apply:os.system [ls]", (1, 4), "tag"),
        ("a: !!binary aGk=", (1, 4), "tag"),
        ("a: !!timestamp 2026-06-30", (1, 4), "tag"),
        ("a: !!int x", (1, 4), "tag"),
        ("a: !mine {b: 1}", (1, 4), "tag"),
        ("%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!name:os.system x", (3, 4), "tag"),
        ("a: 1\nb: \0", (2, 4), "U+0000"),
        ('a: "\\0"', (1, 4), "escape"),
        ('a: "\\ud800"', (1, 4), "escape"),
        ('a: "\\UFFFFFFFF"', (1, 7), "escape"),
        ("a: \ud800", (1, 4), "U+D800"),
        ("a:\n\tb: 1", (2, 1), "'\\t'"),
        ("a: 'x", (1, 6), "quoted"),
        ("a: [1, 2", (1, 9), "flow sequence"),
        ("? [a]\n: 1", (1, 3), "plain text"),
        ("a: 1\n---\nb: 2", (2, 1), "single document"),
        ("%YAML 3.0\n---\na: 1", (1, 1), "incompatible"),
        ("a: " + "x" * MAX_BYTES, (1, 1), "64 KiB"),
        ("a: " + "ü" * (MAX_BYTES // 2), (1, 1), "64 KiB"),
        ("just words", (1, 1), "is fields"),
        ("- version: 1", (1, 1), "is fields"),
    ],
)
def test_hostile_and_broken_text_is_refused_with_its_place(
    text: str, place: tuple[int, int], said: str
) -> None:
    line, column, _, message = refused(text)
    assert (line, column) == place
    assert said in message


@given(st.text(alphabet=st.sampled_from(list("a:-[]{}#&*!|>'\"%@` \n\t\r,?0\\ux~<=\0\ufeff")), max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(GateFileError):
        read_gate_file(text)


def test_the_documented_file_is_one() -> None:
    (written,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    file = read_gate_file(written).file
    assert file.model.tasks is not None
    evaluation = suite_evaluation(file, file.model.tasks)
    assert [rule.name for rule in file.rules] == ["attacked", "clean", "trust"]
    assert evaluation.health
    full = [attack.resolved() for attack in evaluation.attacks]
    assert isinstance(file.rules[0], ArpRule)
    assert any(file.rules[0].attacks.matches(attack) for attack in full)
    said: set[str] = set(re.findall(r"^(\w+):", written, re.MULTILINE))
    assert said == set(GateFile.model_fields)


def test_every_field_is_described() -> None:
    schema: Json = gate_file_schema()
    own = {name: schema["$defs"][name] for name in ("GatedModel", "ExplicitSuite", "Compared", "Escalation")}
    for name, part in [("GateFile", schema), *own.items()]:
        assert [field for field, value in part["properties"].items() if "description" not in value] == [], (
            name
        )
