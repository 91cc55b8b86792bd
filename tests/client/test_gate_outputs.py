"""What a gate leaves for others to read: reports, marks for GitHub, a table."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from windthrow import FieldProblem
from windthrow._documents import is_link
from windthrow._gate_text import deadline_minutes, only_warns
from windthrow.cli import unjudged
from windthrow.cli.endings import Ending
from windthrow.cli.output import clean
from windthrow.cli.outputs import Outputs
from windthrow.cli.surroundings import annotation, run_address

from tests.client.gating import GATE_FILE, PASSED, UNPUBLISHED, checked, until_verdict
from tests.client.misbehaving import Misbehaving, answer
from tests.client.processes import Windthrow, on_a_terminal

SHOUTING = "<b>`x`</b> \x1b]0;\x07 # %\n::stop-commands::x\n]]>"
HOSTILE = Ending(3, "SERVICE", SHOUTING, "run again", (FieldProblem("#/a", "c", SHOUTING, 7, 2),))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "windthrow.yaml").write_text(GATE_FILE)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def test_single_reports_and_the_summary_of_github_are_written(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    (here / "step.md").write_text("before\n")
    files = [
        answer(200, b"<junit/>", kind="application/xml"),
        answer(200, b"{}", kind="application/sarif+json"),
        answer(200, b"passed", kind="text/markdown; charset=utf-8"),
    ]
    to_misbehaving.will(*until_verdict(), answer(200, PASSED), UNPUBLISHED, *files)
    ended = windthrow(
        "gate",
        "--junit",
        "a.xml",
        "--sarif",
        "b.sarif",
        GITHUB_STEP_SUMMARY=str(here / "step.md"),
        GITHUB_SERVER_URL="https://git.example.org",
        GITHUB_REPOSITORY="acme/depth",
        GITHUB_RUN_ID="7",
    )
    assert ended.returncode == 0, ended.stderr
    assert (here / "step.md").read_text() == "before\npassed\n"
    assert ((here / "a.xml").read_text(), (here / "b.sarif").read_text()) == ("<junit/>", "{}")
    asked = [line.rpartition("=")[2] for line in to_misbehaving.lines[-3:]]
    assert asked == ["junit", "sarif", "markdown"]
    body = json.loads(to_misbehaving.seen[-1].body)
    assert body["report"] == "https://git.example.org/acme/depth/actions/runs/7"
    assert f"report: {body['report']}" in ended.stdout


def test_a_passed_gate_becomes_the_baseline_of_its_branch_commit_and_tag(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, PASSED), UNPUBLISHED, *[answer(200, {})] * 2)
    ci = {"CI_SERVER_HOST": "gitlab.com", "CI_PROJECT_PATH": "acme/depth", "CI_COMMIT_SHA": "a" * 40}
    ended = windthrow("gate", "--set-baseline", **ci, CI_COMMIT_BRANCH="main")
    assert ended.returncode == 0, ended.stderr
    said = [json.loads(one.body) for one in to_misbehaving.seen if one.method == "PUT"]
    assert [(one["kind"], one["ref"]) for one in said] == [("commit", "a" * 40), ("branch", "main")]
    assert {(one["repository"], one["model_name"]) for one in said} == {("gitlab.com/acme/depth", "mine")}
    assert here.exists()


def test_a_baseline_that_cannot_be_set_does_not_go_unnoticed(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, PASSED), UNPUBLISHED, answer(500, {}))
    ci = {"CI_SERVER_HOST": "gitlab.com", "CI_PROJECT_PATH": "acme/depth", "CI_COMMIT_SHA": "a" * 40}
    ended = windthrow("gate", "--set-baseline", **ci)
    assert ended.returncode == 3
    assert "the verdict is passed: the SERVICE is at fault" in ended.stderr
    assert "passed" in ended.stdout
    assert here.exists()


def test_a_file_is_only_read(windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path) -> None:
    to_misbehaving.will(answer(200, checked(looks=2)), answer(200, {**checked(), "looks": None}))
    ended = windthrow("gate", "--check")
    assert (ended.returncode, ended.stdout.splitlines()) == (
        0,
        ["windthrow.yaml: 1 rule, no mistakes", "up to 2 looks at a model"],
    )
    assert "known with the model" in windthrow("gate", "--check").stdout
    assert sorted(path.name for path in here.glob("*.xml")) == []


@pytest.mark.usefixtures("here")
def test_a_terminal_gets_a_drawn_table_and_the_verdict_last(to_misbehaving: Misbehaving) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, PASSED))
    shown, code = on_a_terminal("gate")
    assert code == 0, shown
    assert "───" in shown
    assert "passed: the model keeps the policy" in shown.splitlines()[-1]


def test_without_a_verdict_no_file_obeys_what_the_service_said() -> None:
    markdown = unjudged.summary(HOSTILE, "windthrow.yaml", warned=True)
    inside = [line for line in markdown.splitlines() if "<b>" in line or "::stop" in line]
    assert inside
    assert all(line.startswith("    ") for line in inside)
    assert not {"\x1b", "\x07"} & set(markdown)
    case = ET.fromstring(unjudged.junit(HOSTILE, "windthrow.yaml"))  # noqa: S314 - our own output
    assert case.find("testcase/error") is not None
    (run,) = json.loads(unjudged.sarif(HOSTILE, "windthrow.yaml", warned=False))["runs"]
    assert run["results"] == []
    assert run["invocations"][0]["executionSuccessful"] is False


@given(st.text(), st.text(), st.text())
def test_a_mark_is_one_line_that_begins_as_it_should(message: str, file: str, title: str) -> None:
    line = annotation("error", message, file=file, line=3, title=title)
    assert len(line.splitlines()) == 1
    head, _, rest = line.removeprefix("::error ").partition("::")
    assert head.count(",") == 2
    assert "%" not in rest.replace("%25", "").replace("%0A", "").replace("%0D", "")


def test_stale_files_go_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "badge.svg").write_text("passing")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / ".windthrow-gate").touch()
    Outputs(tmp_path, tmp_path / "summary-of-all.md", None, None).prepare(tmp_path / "windthrow.yaml")
    names = [".windthrow-gate", "mine.txt", "summary-of-all.md"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a ##[error] b", "a ## [error] b"),
        ("  ::stop-commands::x", "|   ::stop-commands::x"),
        ("\x1b::x", "\N{REPLACEMENT CHARACTER}::x"),
        ("a ::error::", "a ::error::"),
    ],
)
def test_what_others_wrote_is_no_command(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "http://", "https://a b", "https://a\n", "http://" + "a" * 2000]
)
def test_reports_point_to_nothing_odd(link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_link(link)
    monkeypatch.setenv("CI_JOB_URL", link)
    assert run_address() is None


@pytest.mark.parametrize(
    ("text", "minutes", "warns"),
    [
        ("deadline_minutes: 45\non_service_error: warn\n", 45, True),
        ("deadline_minutes:  45  # why\r\non_service_error: 'warn' # why\r\n", 45, True),
        ('# on_service_error: fail\non_service_error: "warn"', None, True),
        ("deadline_minutes: 45.5\non_service_error: 'warn\"", None, False),
        ("deadline_minutes: 0\n", None, False),
        ("deadline_minutes: 9999\n", None, False),
        ("deadline_minutes: 5\ndeadline_minutes: 6\n", None, False),
        ("on_service_error: warn\nx: on_service_error\n", None, False),
        ("", None, False),
    ],
)
def test_what_the_client_reads_by_itself(text: str, minutes: int | None, warns: bool) -> None:
    assert (deadline_minutes(text), only_warns(text)) == (minutes, warns)
