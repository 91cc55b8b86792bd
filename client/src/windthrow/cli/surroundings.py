"""What a CI says of itself: where its summary goes, where its log is, and how it marks lines of a file."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Optional

from windthrow._documents import is_link
from windthrow.cli.output import clean
from windthrow.records import Json

Mark = Literal["error", "warning"]


def in_github() -> bool:
    """Whether this runs in GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def in_pull_request() -> bool:
    """Whether this is about a change that is only proposed, in GitHub or GitLab."""
    return any(os.environ.get(name) for name in ("GITHUB_HEAD_REF", "CI_MERGE_REQUEST_IID"))


def summary_file() -> Optional[Path]:
    """Where GitHub wants a step's summary."""
    said = os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(said) if said else None


def run_address() -> Optional[str]:
    """Where people see this run of a CI."""
    said = os.environ.get
    server, repository, run = (said(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    github = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else ""
    found = github or said("CI_JOB_URL", "")
    return found if is_link(found) else None


def annotation(kind: Mark, message: str, *, file: str, line: Optional[int], title: str) -> str:
    """A line that makes GitHub mark a line of a file."""
    properties = {"file": file, "line": line, "title": title}
    said = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value is not None)
    return f"::{kind} {said}::{_data(message)}"


def outcome_annotations(verdict: Json, checked: Json, file: str) -> Iterable[str]:
    """A mark at every rule that keeps a gate from passing, or that warns."""
    lines = rule_lines(checked)
    for outcome in verdict["outcomes"]:
        status, rule = outcome.get("status"), str(outcome.get("rule"))
        if status in ("pass", "waived"):
            continue
        kind: Mark = "warning" if status == "warn" else "error"
        title, message = f"windthrow: {rule}", f"{status}: {outcome.get('message')}"
        yield annotation(kind, message, file=file, line=lines.get(rule), title=title)


def rule_lines(checked: Json) -> dict[str, int]:
    """The line of every rule by its name."""
    lines, rules = checked.get("lines") or {}, (checked.get("file") or {}).get("rules") or []
    named = {str(rule.get("name")): lines.get(f"#/rules/{place}") for place, rule in enumerate(rules)}
    return {name: line for name, line in named.items() if isinstance(line, int)}


def _data(text: str) -> str:
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return clean(escaped)


def _property(value: object) -> str:
    return _data(str(value)).replace(":", "%3A").replace(",", "%2C")
