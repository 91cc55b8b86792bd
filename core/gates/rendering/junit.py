"""A verdict as JUnit XML, which most CIs show as a test report.

The report is green if and only if the gate has passed: a test case fails or errs exactly where its outcome counts
against the model, and where none does and the gate goes on to another look, one called "look" errs. What is unmet and
does not count (a waiver, a rule of level `warn`) is skipped, with the reason: as passed, it would look kept.
"""

from xml.etree import ElementTree as ET

from core.gates.rendering.context import Context
from core.gates.rendering.plain import plain
from core.gates.rendering.saying import counts, left_open, limit, observed, properties
from core.gates.verdict import Outcome, Verdict


def junit(verdict: Verdict, context: Context | None = None) -> str:
    """One suite with one test case an outcome, in the policy's order, and one for a look that settles nothing.

    Valid by Jenkins' `junit-10.xsd`.
    """
    cases = [_case(outcome) for outcome in verdict.outcomes]
    if left_open(verdict):
        cases.append(_look(verdict))
    suite = ET.Element(
        "testsuite",
        name="windthrow",
        tests=str(len(cases)),
        failures=_having(cases, "failure"),
        errors=_having(cases, "error"),
        skipped=_having(cases, "skipped"),
        time="0",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(verdict, context or Context()).items():
        ET.SubElement(properties, "property", name=name, value=plain(value))
    suite.extend(cases)
    ET.indent(suite)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suite, encoding="unicode")}\n'


def _properties(verdict: Verdict, context: Context) -> dict[str, str]:
    more = {"policy_file": context.policy_file, "report": context.report}
    notes = {f"note.{number}": note.message for number, note in enumerate(verdict.notes)}
    return properties(verdict) | {name: value for name, value in more.items() if value is not None} | notes


def _case(outcome: Outcome) -> ET.Element:
    rule = plain(outcome.rule)
    name = rule if outcome.attack is None else f"{rule}: {plain(outcome.attack)}"
    case = ET.Element("testcase", name=name, classname=f"windthrow.{plain(outcome.on)}", time="0")
    if outcome.status == "pass":
        ET.SubElement(case, "system-out").text = _message(outcome)
    else:
        kind, message = _kind(outcome), _message(outcome)
        ET.SubElement(case, kind, type=outcome.status, message=message).text = _details(outcome)
    return case


def _look(verdict: Verdict) -> ET.Element:
    case = ET.Element("testcase", name="look", classname="windthrow.look", time="0")
    ET.SubElement(case, "error", type=verdict.status, message=plain(verdict.message))
    return case


def _kind(outcome: Outcome) -> str:
    if not counts(outcome):
        return "skipped"
    return "failure" if outcome.status == "fail" else "error"


def _message(outcome: Outcome) -> str:
    message = plain(outcome.message)
    if outcome.waiver is not None:
        return f"waived until {outcome.waiver.expires}: {plain(outcome.waiver.reason)}; {message}"
    return message if outcome.status == "pass" or counts(outcome) else f"level warn: {message}"


def _details(outcome: Outcome) -> str:
    said = {
        "observed": observed(outcome),
        "limit": limit(outcome.limit),
        "samples": "" if outcome.samples is None else str(outcome.samples),
        "flags": ", ".join(outcome.flags),
    }
    return "\n".join(f"{name}: {plain(value)}" for name, value in said.items() if value)


def _having(cases: list[ET.Element], kind: str) -> str:
    return str(sum(case.find(kind) is not None for case in cases))
