"""The files of a gate that got no verdict: they say so, and why. None of them looks like a gate that passed."""

import json
from xml.etree import ElementTree as ET

from windthrow._version import __version__
from windthrow.cli.endings import Ending
from windthrow.cli.output import clean
from windthrow.records import Json

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
WARNED = "on_service_error: warn lets this pass; nothing is known about the model."


def summary(ending: Ending, file: str, *, warned: bool) -> str:
    """Markdown; what others may have written stands in code, where nothing is obeyed."""
    lines = ["## windthrow: no verdict", "", f"{'⚠️' if warned else '❌'} {ending.title}.", ""]
    lines += [f"    {line}" for line in _said(ending, file)]
    lines += ["", _sentence(ending.advice)]
    if warned:
        lines += ["", f"`on_service_error: warn` {WARNED.partition('warn ')[2]}"]
    return "\n".join(lines) + "\n"


def junit(ending: Ending, file: str) -> str:
    """A suite of one test case, which errs."""
    suite = ET.Element(
        "testsuite", name="windthrow", tests="1", failures="0", errors="1", skipped="0", time="0"
    )
    case = ET.SubElement(suite, "testcase", name="verdict", classname="windthrow.gate", time="0")
    error = ET.SubElement(case, "error", type="no_verdict", message=clean(ending.text))
    error.text = "\n".join([ending.title, *_said(ending, file), ending.advice])
    ET.indent(suite)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suite, encoding="unicode")}\n'


def sarif(ending: Ending, file: str, *, warned: bool) -> str:
    """A run that failed, with a notification and no results."""
    lines = sorted({place.line for place in ending.places if place.line}) or [1]
    location = {"physicalLocation": {"artifactLocation": {"uri": file}, "region": {"startLine": lines[0]}}}
    notification: Json = {
        "level": "warning" if warned else "error",
        "descriptor": {"id": "no-verdict"},
        "message": {"text": clean(ending.text)},
        "locations": [location],
    }
    invocation = {
        "executionSuccessful": False,
        "exitCode": ending.code,
        "toolExecutionNotifications": [notification],
    }
    tool = {"driver": {"name": "windthrow", "version": __version__, "rules": []}}
    run = {"tool": tool, "invocations": [invocation], "results": []}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _said(ending: Ending, file: str) -> list[str]:
    messages = [clean(line) for line in ending.message.splitlines()]
    return messages + [f"{file}: {clean(place.message)}" for place in ending.places]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
