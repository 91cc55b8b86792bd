"""A verdict as SARIF 2.1.0, which code scanning shows beside the policy's lines."""

import hashlib
import re
from typing import Any
from urllib.parse import quote

from core import __version__
from core.gates.rendering.context import Context
from core.gates.rendering.plain import plain
from core.gates.rendering.saying import counts, left_open, limit, properties
from core.gates.verdict import Outcome, Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

Json = dict[str, Any]

LOOK: Json = {
    "id": "look",
    "shortDescription": {"text": "look"},
    "fullDescription": {"text": "the gate goes on to another look"},
    "help": {"text": "take the next look that the verdict names: it may say otherwise"},
    "defaultConfiguration": {"level": "error"},
}
"""The rule of a verdict that has not passed though every outcome may."""


def sarif(verdict: Verdict, context: Context | None = None) -> Json:
    """One run with the policy's rules, and a result for every outcome but `pass`.

    It has an `error` if and only if the gate has not passed: what counts against the model, or, where nothing does and
    the gate goes on to another look, a rule called "look". What a rule of level `warn` says is a `warning`, and what is
    waived a `note` that is suppressed. Fingerprints are of rule and attack, so a result is the same one from model to
    model.
    """
    places: dict[str, int] = {}
    rules: list[Json] = []
    for outcome in verdict.outcomes:
        if outcome.rule not in places:
            places[outcome.rule] = len(rules)
            rules.append(_rule(outcome))
    place = context or Context()
    unmet = [outcome for outcome in verdict.outcomes if outcome.status != "pass"]
    results = [_result(outcome, places[outcome.rule], place) for outcome in unmet]
    if left_open(verdict):
        results.append(_open_look(verdict, len(rules), place))
        rules.append(LOOK)
    run: Json = {
        "tool": {"driver": {"name": "windthrow", "version": __version__, "rules": rules}},
        "automationDetails": {"id": f"windthrow/{verdict.job}"},
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": _properties(verdict, place),
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(outcome: Outcome) -> Json:
    asked = limit(outcome.limit)
    said = _message(f"{outcome.on} {asked}" if asked else outcome.on)
    return {
        "id": plain(outcome.rule),
        "shortDescription": _message(outcome.rule),
        "fullDescription": said,
        "help": said,
        "defaultConfiguration": {"level": "error" if outcome.level == "error" else "warning"},
    }


def _result(outcome: Outcome, index: int, context: Context) -> Json:
    found: Json = {
        "ruleId": plain(outcome.rule),
        "ruleIndex": index,
        "level": _level(outcome),
        "message": _message(f"{outcome.rule}: {outcome.message}"),
        "partialFingerprints": {"outcome/v1": _fingerprint(outcome.rule, outcome.attack or "")},
        "properties": {"status": outcome.status, "finding": outcome.finding, "attack": outcome.attack},
        **_placed(context, context.policy_lines.get(outcome.rule, 1)),
    }
    if outcome.waiver is not None:
        reason = f"{plain(outcome.waiver.reason)} (until {outcome.waiver.expires})"
        found["suppressions"] = [{"kind": "external", "status": "accepted", "justification": reason}]
    return found


def _open_look(verdict: Verdict, index: int, context: Context) -> Json:
    return {
        "ruleId": LOOK["id"],
        "ruleIndex": index,
        "level": "error",
        "message": _message(verdict.message),
        "partialFingerprints": {"outcome/v1": _fingerprint("", "look")},  # no rule is called ""
        "properties": {"status": verdict.status},
        **_placed(context, 1),
    }


def _placed(context: Context, line: int) -> Json:
    """Where the policy stands, and where there is more to read, as far as that is known."""
    found: Json = {}
    if context.policy_file is not None:
        found["locations"] = [_location(context.policy_file, line)]
    if context.report is not None:
        found["hostedViewerUri"] = context.report
    return found


def _level(outcome: Outcome) -> str:
    if outcome.status == "waived":
        return "note"
    return "error" if counts(outcome) else "warning"


def _location(file: str, line: int) -> Json:
    """The rule's line, or the first of the file: code scanning shows nothing without one."""
    artifact = {"uri": quote(file), "uriBaseId": "%SRCROOT%"}
    return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": line}}}


def _message(text: str) -> Json:
    """A user's text as a message: no placeholders (§3.11.5), no links (§3.11.6)."""
    doubled = re.sub(r"([{}])", r"\1\1", plain(text))
    return {"text": re.sub(r"\[(?=[^\]]*\]\()", r"\\[", doubled)}


def _fingerprint(rule: str, of: str) -> str:
    return hashlib.sha256(f"{rule}\n{of}".encode()).hexdigest()


def _properties(verdict: Verdict, context: Context) -> Json:
    said: Json = {**properties(verdict), "notes": [plain(note.message) for note in verdict.notes]}
    return said if context.report is None else said | {"report": context.report}
