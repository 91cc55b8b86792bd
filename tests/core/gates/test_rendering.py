"""A verdict as files for a CI: every outcome is in them, and nothing that a user wrote breaks them."""

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import get_args
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.gates import Outcome, Verdict
from core.gates.rendering import (
    MEDIA_TYPES,
    Context,
    Format,
    badge,
    junit,
    markdown,
    rendered,
    sarif,
    shields,
    text,
)
from core.gates.rendering.markdown import MAX_BYTES
from core.gates.rendering.saying import WORST_FIRST, counts
from core.gates.verdict import (
    EXIT_CODES,
    Baseline,
    LimitSaid,
    LookSaid,
    NextLook,
    Note,
    Number,
    Overall,
    Status,
    WaiverSaid,
)
from tests.core.gates.made import TODAY, Json, evaluation, transferred
from tests.core.gates.made import verdict as decided

STATUSES: tuple[Status, ...] = get_args(Status)
HOSTILE = [
    "a | b",
    "<script>alert(1)</script>",
    "one\ntwo\r\nthree\u2028four",
    "nul\0 esc\x1b[31m",
    "]]> & &amp; -->",
    "👩‍🔬 測試",
    "\u202edessap",
    "`code` *bold* [link](http://example.org) {0} $x$",
    "\ufffe\uffff",
]
PLACED = Context(
    policy_file="gates/my policy.json",
    policy_lines={"rule fail": 7},
    report="https://ci.example/report?a=1&b=2",
)


def outcome(status: Status, *, name: str = "", attack: str | None = "fgsm/gb_mta/eps=1") -> Outcome:
    """An outcome of this status, of a rule called after it."""
    undecided = {"warn": "fail", "waived": "error"}
    return Outcome.model_validate(
        {
            "rule": name or f"rule {status}",
            "on": "arp",
            "level": "warn" if status == "warn" else "error",
            "status": status,
            "finding": undecided.get(status, status),
            "message": f"what came of it was {status}",
            "attack": attack,
            "ordinal": 0,
            "observed": Number(value=43.1, interval=(41.1, 45.1), unit="%"),
            "limit": LimitSaid(bound="at_most", value=45, unit="%", relative=False, strict=True),
            "samples": 100,
            "waiver": WaiverSaid(reason="known", expires=date(2026, 6, 1)) if status == "waived" else None,
        }
    )


def verdict(*outcomes: Outcome, status: Overall = "failed", notes: int = 0, name: str = "made up") -> Verdict:
    """A verdict that has these outcomes."""
    return Verdict(
        status=status,
        exit_code=EXIT_CODES[status],
        message="what came of the gate",
        job=UUID(int=1),
        model=UUID(int=2),
        model_name=name,
        baseline=Baseline(job=UUID(int=3), model=UUID(int=4), model_name="plain"),
        dataset={"name": "digits", "version": "1", "split": "test", "limit": 100},
        metric_version="1",
        metric_rules="standard",
        policy="ab" * 32,
        today=TODAY,
        counts={},
        outcomes=list(outcomes),
        notes=[
            Note(code="waiver_not_needed", rule="x", message=f"note {number} of <x>")
            for number in range(notes)
        ],
    )


def one_of_each() -> Verdict:
    return verdict(*map(outcome, reversed(WORST_FIRST)), notes=1)


def looked(found: Verdict, *, why: str = "rule 1 is open") -> Verdict:
    """The verdict on the second of three looks, with the third to come."""
    now = LookSaid(number=2, of=3, samples=256, effort=1, restarts=None)
    after = NextLook(number=3, samples=1024, effort=4, restarts=4, why=why)
    open_ = {"status": "inconclusive", "exit_code": EXIT_CODES["inconclusive"]}
    return found.model_copy(update={"level": 1 - 0.05 / 3, "look": now, "next": after, **open_})


def rows(document: str) -> list[list[str]]:
    """Cells of the table, line by line."""
    return [line.strip("| ").split(" | ") for line in document.splitlines() if line.startswith("|")]


def run_of(log: Json) -> Json:
    (run,) = log["runs"]
    found: Json = run
    return found


def suite_of(document: str) -> ET.Element:
    """The suite, of the structure that `junit-10.xsd` asks for."""
    suite = ET.fromstring(document)  # noqa: S314 - our own output
    assert suite.tag == "testsuite"
    assert {"name", "tests", "failures", "errors"} <= set(suite.attrib)
    assert set(suite.attrib) <= {"name", "tests", "failures", "errors", "skipped", "time"}
    assert {child.tag for child in suite} <= {"properties", "testcase"}
    for case in suite.iter("testcase"):
        assert set(case.attrib) == {"name", "classname", "time"}
        assert {child.tag for child in case} <= {"skipped", "error", "failure", "system-out"}
        assert all(set(child.attrib) <= {"type", "message"} for child in case)
    for each in suite.iter("property"):
        assert set(each.attrib) == {"name", "value"}
    for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert suite.get(attribute) == str(len(list(suite.iter(kind))))
    assert suite.get("tests") == str(len(suite.findall("testcase")))
    return suite


def green(found: Verdict) -> tuple[bool, bool]:
    """Whether the test report is, and whether code scanning has no error."""
    suite = suite_of(junit(found))
    levels = [result["level"] for result in run_of(sarif(found))["results"]]
    return (suite.get("failures"), suite.get("errors")) == ("0", "0"), "error" not in levels


def strings(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_every_status_has_a_rank() -> None:
    assert sorted(WORST_FIRST) == sorted(STATUSES)


@pytest.mark.parametrize("output", ["markdown", "junit", "text"])
def test_every_outcome_appears(output: Format) -> None:
    document = rendered(one_of_each(), output)
    for status in STATUSES:
        assert f"rule {status}" in document.replace("\\", "")
        assert f"what came of it was {status}" in document.replace("\\", "")
    assert "note 0 of" in document


def test_a_gate_that_decides_passes_only_without_what_counts() -> None:
    rules: list[Json] = [
        {"on": "arp", "at_most": 90},
        {"on": "arp", "at_most": 5},
        {"on": "arp", "at_most": 5, "level": "warn"},
        {"on": "arp", "at_most": 20.5},
        {"on": "robust_gain", "at_least": 1},
        {"on": "robust_gain", "at_least": 1, "level": "warn"},
        {"on": "task_arp", "task": "none", "at_most": 3},
    ]
    for rule in rules:
        found = decided(rule, evaluation(20.0))
        assert (found.status != "passed") == any(map(counts, found.outcomes))
        assert green(found) == (found.exit_code == 0,) * 2


@pytest.mark.parametrize("next_", [False, True], ids=["settled", "with a next look"])
@pytest.mark.parametrize("outcomes", [[], *([status] for status in STATUSES), list(STATUSES)])
@pytest.mark.parametrize("status", get_args(Overall))
def test_reports_are_green_if_and_only_if_the_gate_has_passed(
    status: Overall, outcomes: list[Status], next_: bool
) -> None:
    made = [outcome(each) for each in outcomes]
    if any(map(counts, made)) and status == "passed":
        status = "failed"
    found = looked(verdict(*made, status=status)) if next_ else verdict(*made, status=status)
    passed = found.exit_code == 0
    assert green(found) == (passed, passed)
    assert markdown(found).startswith("## Gate passed") == passed
    assert ('<header class="passed">' in rendered(found, "html")) == passed
    assert (shields(found)["color"] == "brightgreen") == passed


def test_a_look_that_settles_nothing_is_said_where_no_outcome_does() -> None:
    found = looked(verdict(outcome("pass", name="look"), outcome("warn"), status="passed"))
    (error,) = suite_of(junit(found)).iter("error")
    assert (error.get("type"), error.get("message")) == ("inconclusive", "what came of the gate")
    cases = [(case.get("classname"), case.get("name")) for case in suite_of(junit(found)).iter("testcase")]
    assert cases[-1] == ("windthrow.look", "look")
    run = run_of(sarif(found, PLACED))
    warned, look = run["results"]
    assert (look["ruleId"], look["level"], look["message"]["text"]) == (
        "look",
        "error",
        "what came of the gate",
    )
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["look", "rule warn", "look"]
    assert look["ruleIndex"] == 2
    assert look["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}
    assert look["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "gates/my%20policy.json"
    assert look["hostedViewerUri"] == warned["hostedViewerUri"] == PLACED.report
    assert "locations" not in run_of(sarif(found))["results"][1]


def test_a_look_is_no_error_of_its_own_where_an_outcome_counts() -> None:
    found = looked(verdict(outcome("inconclusive")))
    assert [error.get("type") for error in suite_of(junit(found)).iter("error")] == ["inconclusive"]
    assert suite_of(junit(found)).get("tests") == "1"
    assert len(run_of(sarif(found))["results"]) == 1


def test_markdown_says_the_verdict_first_and_then_the_worst() -> None:
    document = markdown(one_of_each(), PLACED)
    assert document.splitlines()[0] == "## Gate failed: made up (00000000-0000-0000-0000-000000000002)"
    head, rule, *found = rows(document)
    assert (len(head), set(rule)) == (6, {"---"})
    assert [row[0].strip("*") for row in found] == list(WORST_FIRST)
    first = ["**fail**", "rule fail", "43.1 % (41.1 to 45.1)", "≤ 45 %", "100", "what came of it was fail"]
    assert found[0] == first
    assert "(waived until 2026-06-01: known)" in document
    assert "- dataset: digits 1, split test, limit 100\n" in document
    assert "- baseline: plain (00000000-0000-0000-0000-000000000004), job " in document
    assert "<https://ci.example/report?a=1&b=2>" in document


def test_markdown_shows_the_difference_where_the_limit_is_on_it() -> None:
    rule: Json = {"on": "arp", "no_worse_than_baseline_by": 2}
    document = markdown(decided(rule, evaluation(21.0), evaluation(20.0)))
    assert rows(document)[2][2] == "21 % (20 to 22); 1 point worse than the baseline (1 to 1)"
    assert rows(document)[2][3] == "≤ 2 points worse"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_markdown_is_not_broken_by_what_users_write(hostile: str) -> None:
    lines = markdown(verdict(outcome("fail", name=hostile), name=hostile)).splitlines()
    assert lines[0].startswith("## Gate failed: ")
    assert "http://" not in "".join(lines)
    (row,) = rows("\n".join(lines))[2:]
    assert len(row) == 6
    assert not re.search(r"[<>\0\x1b\u202e]|(?<!\\)[`*\[\]]", row[1])


def test_markdown_of_very_many_outcomes_is_cut_with_a_note() -> None:
    outcomes = [outcome("pass", name=f"{number} " + "|<🙂" * 60) for number in range(5000)]
    document = markdown(verdict(*outcomes, outcome("fail"), notes=5000), PLACED)
    assert len(document.encode()) < MAX_BYTES < 2**20
    kept = len(rows(document)) - 2
    assert rows(document)[2][1] == "rule fail"
    assert f"\n{5001 - kept} more outcomes, none of them worse than those above, are left out.\n" in document
    assert re.search(r"\n\d+ more notes are left out\.\n$", document)


def test_markdown_of_5000_plain_outcomes_stays_below_the_cap() -> None:
    outcomes = [outcome(STATUSES[number % 7], name=f"rule {number}") for number in range(5000)]
    assert len(markdown(verdict(*outcomes)).encode()) < MAX_BYTES


def test_junit_fails_for_what_counts_and_skips_what_does_not() -> None:
    suite = suite_of(junit(one_of_each(), PLACED))
    kinds = {str(case.get("name")).split(":")[0]: case[0].tag for case in suite.iter("testcase")}
    assert kinds == {
        "rule pass": "system-out",
        "rule waived": "skipped",
        "rule warn": "skipped",
        "rule no_baseline": "error",
        "rule inconclusive": "error",
        "rule error": "error",
        "rule fail": "failure",
    }
    assert {error.get("type") for error in suite.iter("error")} == {"no_baseline", "inconclusive", "error"}
    properties = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert properties["policy"] == "ab" * 32
    assert properties["job"] == str(UUID(int=1))
    assert properties["dataset"] == "digits 1, split test, limit 100"
    assert properties["model"] == "made up (00000000-0000-0000-0000-000000000002)"
    assert {each.get("type"): each.get("message") for each in suite.iter("skipped")} == {
        "waived": "waived until 2026-06-01: known; what came of it was waived",
        "warn": "level warn: what came of it was warn",
    }
    details = "observed: 43.1 % (41.1 to 45.1)\nlimit: ≤ 45 %\nsamples: 100"
    assert [failure.text for failure in suite.iter("failure")] == [details]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_junit_is_well_formed_whatever_users_write(hostile: str) -> None:
    suite = suite_of(junit(verdict(outcome("fail", name=hostile), name=hostile)))
    name = str(next(suite.iter("testcase")).get("name"))
    assert name.endswith(": fgsm/gb_mta/eps=1")
    assert not re.search(r"[\n\0\x1b\u202e\ufffe]", name)


@given(st.text())
def test_any_name_at_all_leaves_every_output_readable(name: str) -> None:
    found = verdict(outcome("fail", name=f"x{name}"), name=name)
    suite_of(junit(found))
    assert len(text(found).splitlines()) == 2
    assert len(rows(markdown(found))[2]) == 6
    assert json.loads(rendered(found, "sarif")) == sarif(found)


def test_sarif_has_the_rules_and_what_is_unmet() -> None:
    log = sarif(one_of_each(), PLACED)
    run = run_of(log)
    assert (log["version"], run["tool"]["driver"]["name"]) == ("2.1.0", "windthrow")
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [f"rule {status}" for status in reversed(WORST_FIRST)]
    assert rules[0]["fullDescription"] == {"text": "arp ≤ 45 %"}
    assert {result["properties"]["status"]: result["level"] for result in run["results"]} == {
        "waived": "note",
        "warn": "warning",
        "no_baseline": "error",
        "inconclusive": "error",
        "error": "error",
        "fail": "error",
    }
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert ("suppressions" in result) == (result["level"] == "note")
        assert result["hostedViewerUri"] == PLACED.report
    (waived,) = run["results"][0]["suppressions"]
    assert waived == {"kind": "external", "status": "accepted", "justification": "known (until 2026-06-01)"}


def test_sarif_points_to_the_policys_lines() -> None:
    results = run_of(sarif(one_of_each(), PLACED))["results"]
    places = {result["ruleId"]: result["locations"][0]["physicalLocation"] for result in results}
    artifact = {"uri": "gates/my%20policy.json", "uriBaseId": "%SRCROOT%"}
    assert places["rule fail"] == {"artifactLocation": artifact, "region": {"startLine": 7}}
    assert places["rule error"]["region"] == {"startLine": 1}
    assert all("locations" not in result for result in run_of(sarif(one_of_each()))["results"])


def test_sarif_tracks_a_rule_under_an_attack_from_model_to_model() -> None:
    def prints(found: Verdict) -> list[str]:
        return [result["partialFingerprints"]["outcome/v1"] for result in run_of(sarif(found))["results"]]

    twice = outcome("fail"), outcome("fail", attack="fgsm/gb_mta/eps=2")
    first = prints(verdict(*twice))
    assert len(set(first)) == 2
    later = [each.model_copy(update={"message": "other numbers", "ordinal": 5}) for each in reversed(twice)]
    assert prints(verdict(*later, name="another")) == first[::-1]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_sarif_says_what_users_write_as_text(hostile: str) -> None:
    run = run_of(sarif(verdict(outcome("fail", name=hostile), name=hostile)))
    said = run["results"][0]["message"]["text"]
    assert not re.search(r"(?<!\\)\[[^\]]*\]\(|(?<!\{)\{(?!\{)", said)
    assert not any(re.search(r"[\n\0\x1b\u202e]", each) for each in strings(run))


@pytest.mark.parametrize("status", get_args(Overall))
def test_the_badge_reads_aloud(status: Overall) -> None:
    found = verdict(status=status)
    drawn = ET.fromstring(badge(found))  # noqa: S314 - our own output
    title = f"windthrow: {status.replace('_', ' ')}"
    assert (drawn.get("role"), drawn.get("aria-label")) == ("img", title)
    assert drawn.findtext("{http://www.w3.org/2000/svg}title") == title
    parts = [int(rect.get("width", "0")) for rect in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert parts[0] == parts[1] + parts[2] == int(drawn.get("width", "0"))
    assert set(shields(found)) == {"schemaVersion", "label", "message", "color"}
    assert (shields(found)["schemaVersion"], shields(found)["label"]) == (1, "windthrow")


def test_a_badge_of_a_gate_that_passed_is_green() -> None:
    assert shields(verdict(status="passed")) == {
        "schemaVersion": 1,
        "label": "windthrow",
        "message": "passed",
        "color": "brightgreen",
    }


def test_text_is_aligned_a_line_an_outcome_and_the_verdict_last() -> None:
    found = verdict(outcome("inconclusive", name="測試"), outcome("pass", name="long name"), notes=1)
    assert text(found).splitlines() == [
        "inconclusive  測試       what came of it was inconclusive",
        "pass          long name  what came of it was pass",
        "note          note 0 of <x>",
        "failed        what came of the gate",
    ]


@pytest.mark.parametrize("output", ["markdown", "text", "html"])
def test_the_look_and_the_next_one_are_said(output: Format) -> None:
    now, after = (
        "2 of 3, 256 samples, intervals at 98.3 %",
        "3 of 3, 1024 samples, 4 times the steps, 4 random starts or more: rule 1 is open",
    )
    document = rendered(looked(one_of_each()), output).replace("\u00a0", " ")
    assert now in document
    assert after in document
    assert "next look" not in rendered(one_of_each(), output)


def test_a_look_may_start_at_random_and_be_the_last() -> None:
    found = looked(one_of_each())
    assert found.look is not None
    last = found.look.model_copy(update={"restarts": 5, "effort": 2})
    lines = text(found.model_copy(update={"look": last, "next": None})).splitlines()
    said = "2 of 3, 256 samples, 2 times the steps, 5 random starts or more, intervals at 98.3 %"
    assert lines[-2] == f"look          {said}"


def test_reports_say_at_which_level_intervals_are() -> None:
    found = looked(one_of_each())
    assert rows(markdown(found))[0][2] == "observed (98.3 %)"
    assert run_of(sarif(found))["properties"]["intervals"] == "98.3 %"
    assert run_of(sarif(found))["properties"]["look"].startswith("2 of 3")
    properties = {each.get("name"): each.get("value") for each in suite_of(junit(found)).iter("property")}
    assert properties["intervals"] == "98.3 %"
    after = "3 of 3, 1024 samples, 4 times the steps, 4 random starts or more: rule 1 is open"
    assert properties["next_look"] == after


def test_transferability_is_said_with_its_own_level_and_job() -> None:
    rule: Json = {"on": "transferability", "task": "left", "at_most": 0.55}
    found = decided(rule, evaluation(20.0), level=0.99, transfer=transferred())
    assert rows(markdown(found))[0][2] == "observed (99 %)"
    assert rows(markdown(found))[2][2] == "0.4 (95 %: 0.3 to 0.5)"
    job = str(UUID(int=5))
    assert f"- transferability: job {job}\n" in markdown(found)
    assert run_of(sarif(found))["properties"]["transferability"] == job
    properties = {each.get("name"): each.get("value") for each in suite_of(junit(found)).iter("property")}
    assert properties["transferability"] == job


def test_text_obeys_no_terminal_codes() -> None:
    document = text(verdict(*(outcome("fail", name=name) for name in HOSTILE)))
    assert len(document.splitlines()) == len(HOSTILE) + 1
    assert not re.search(r"[\0\x1b\u202e]", document)


@pytest.mark.parametrize("output", get_args(Format))
def test_the_same_verdict_gives_the_same_file(output: Format) -> None:
    assert rendered(one_of_each(), output, PLACED) == rendered(one_of_each(), output, PLACED)
    assert output in MEDIA_TYPES


def test_json_is_the_verdict_itself() -> None:
    found = one_of_each()
    assert json.loads(rendered(found, "json")) == found.to_json()


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "~/gate.json", "a/../../b", "..", "C:/gate.json", "file:///x", "a\\b", "a\nb", ""]
)
def test_a_policy_stands_in_the_repository(file: str) -> None:
    with pytest.raises(ValueError, match="policy_file"):
        Context(policy_file=file)


@pytest.mark.parametrize(
    "report", ["javascript:alert(1)", "https://x/<b>", "https://x/ y", "/report", "https://x/\n"]
)
def test_a_report_is_an_address(report: str) -> None:
    with pytest.raises(ValueError, match="report"):
        Context(report=report)
