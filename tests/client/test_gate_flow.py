"""`windthrow gate` against the whole service: from a file in a repository to reports and an exit code."""

import asyncio
import inspect
import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from windthrow import AsyncClient, Client, Step
from windthrow._gate_calls import GateCalls
from windthrow._gate_client import GateClient

from tests.client.processes import ROOT, Windthrow
from tests.service import random_checkpoint
from worker.supervisor import Stack

REPOSITORY = "git.example.org/acme/digits"
GATE_FILE = """\
version: 1
model:
  file: model.safetensors
  name: {name}
  manifest: {{backbone: sapling, layout: all-shared, profile: digits}}
dataset: {{name: digits}}
suite: {{attacks: [{{algorithm: fgsm, objective: gb_mta, eps: 8}}], samples: 32}}
rules:
  - {{name: attacked, on: arp, at_most: {most}}}
"""
COMPARES = "  - {name: no step back, on: arp, no_worse_than_baseline_by: 5, strict: false}\n"

pytestmark = pytest.mark.usefixtures("logged_in")


def git(*command: str) -> str:
    identity = ["-c", "user.name=ci", "-c", "user.email=ci@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *command],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a model, on its main branch."""
    place = tmp_path / "digits"
    place.mkdir()
    monkeypatch.chdir(place)
    git("init", "--quiet", "--initial-branch", "main")
    git("remote", "add", "origin", f"git@{REPOSITORY.replace('/', ':', 1)}.git")
    return place


def ship(here: Path, *, seed: int, name: str | None = None, most: float = 1000.0, more: str = "") -> None:
    """Commit a model and its gate file."""
    random_checkpoint(here, seed=seed).rename(here / "model.safetensors")
    (here / "windthrow.yaml").write_text(GATE_FILE.format(name=name or f"gated-{seed}", most=most) + more)
    git("add", "--all")
    git("commit", "--quiet", "--message", f"model {seed}")


def test_a_model_passes_leaves_reports_and_becomes_the_baseline(windthrow: Windthrow, here: Path) -> None:
    ship(here, seed=91)
    ended = windthrow("gate", "--out", "gate", "--summary", "summary.md", "--set-baseline", "--json")
    assert ended.returncode == 0, ended.stderr
    verdict = json.loads(ended.stdout)
    assert (verdict["status"], verdict["next"]) == ("passed", None)
    assert json.loads((here / "gate" / "verdict.json").read_text()) == verdict
    written = {path.name for path in (here / "gate").iterdir()}
    assert written == {
        ".windthrow-gate",
        "verdict.json",
        "summary.md",
        "junit.xml",
        "windthrow.sarif",
        "badge.svg",
        "badge.json",
        "report.html",
    }
    report = ET.parse(here / "gate" / "junit.xml").getroot()  # noqa: S314 - our own output
    assert (report.get("errors"), report.get("failures")) == ("0", "0")
    assert (here / "summary.md").read_bytes() == (here / "gate" / "summary.md").read_bytes()

    again = windthrow("gate")
    assert again.returncode == 0, again.stderr
    assert "attached to the one that is there, succeeded" in again.stderr
    assert again.stdout.splitlines()[-1].startswith("passed: ")

    shown = json.loads(windthrow("baseline", "show", "--repository", REPOSITORY, "--json").stdout)
    held = {(one["kind"], one["ref"], one["job"]) for one in shown["baselines"]}
    assert {
        ("branch", "main", verdict["job"]),
        ("commit", git("rev-parse", "HEAD"), verdict["job"]),
    } <= held


def test_a_model_fails_and_its_lines_are_marked(windthrow: Windthrow, here: Path) -> None:
    ship(here, seed=96, most=-1000.0)
    ended = windthrow("gate", "--out", "gate", GITHUB_ACTIONS="true")
    assert ended.returncode == 1, ended.stderr
    assert "::error file=windthrow.yaml,line=9,title=windthrow%3A attacked::fail: " in ended.stdout
    (run,) = json.loads((here / "gate" / "windthrow.sarif").read_text())["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "windthrow.yaml"
    assert place["region"]["startLine"] == 9


def test_a_change_is_compared_with_the_model_it_came_from(windthrow: Windthrow, here: Path) -> None:
    git("remote", "set-url", "origin", "https://user:secret@Git.Example.org/acme/compared.git")
    ship(here, seed=93, name="compared", more=COMPARES)
    first = windthrow("gate", "--json")
    assert first.returncode == 4, first.stderr
    verdict = json.loads(first.stdout)
    assert verdict["status"] == "no_baseline"
    tried = windthrow("gate", "--dry-run", "--last", "3", "--json")
    assert tried.returncode == 0, tried.stderr
    assert [one["verdict"]["status"] for one in json.loads(tried.stdout)] == ["no_baseline"]

    table = windthrow("gate", "--dry-run", "--job", verdict["job"]).stdout.splitlines()
    assert table[0].split()[:2] == ["evaluation", "created"]
    assert "no_baseline" in table[1]

    assert windthrow("baseline", "set", "--commit", git("rev-parse", "HEAD")).returncode == 0
    git("checkout", "--quiet", "-b", "change")
    ship(here, seed=94, name="compared", more=COMPARES + "baseline: {branch: main}\n")
    second = windthrow("gate", "--json")
    assert second.returncode in (0, 1), second.stderr
    compared = json.loads(second.stdout)["baseline"]
    assert (compared["job"], compared["resolved_by"]) == (verdict["job"], "merge_base")
    (here / "windthrow.yaml").write_text(
        (here / "windthrow.yaml").read_text().replace("samples: 32", "samples: 24")
    )
    third = windthrow("gate", "--json")
    assert third.returncode in (0, 1), third.stderr
    assert json.loads(third.stdout)["baseline"]["job"] != verdict["job"]
    named = f"baseline: {{model: {verdict['model']}}}"
    (here / "windthrow.yaml").write_text(
        (here / "windthrow.yaml").read_text().replace("baseline: {branch: main}", named)
    )
    by_model = json.loads(windthrow("gate", "--json").stdout)["baseline"]
    assert (by_model["model"], by_model["resolved_by"]) == (verdict["model"], "job")


def test_a_rule_on_transferability_is_measured_for(windthrow: Windthrow, here: Path) -> None:
    rules = "  - {name: contained, on: transferability, at_most: 1000}\n"
    trained = ROOT / "worker" / "demo" / "checkpoints" / "digits-all-shared.safetensors"
    ship(here, seed=95, more=rules + "transferability: {algorithm: fgsm, eps: 8}\n")
    ended = windthrow("gate", "--checkpoint", str(trained), "--json")
    assert ended.returncode == 0, ended.stdout
    assert "transferability: job " in ended.stderr
    rules_said = {outcome["rule"]: outcome["status"] for outcome in json.loads(ended.stdout)["outcomes"]}
    assert rules_said["contained"] == "pass"


def test_a_file_is_only_read_or_refused_at_its_lines(windthrow: Windthrow, here: Path) -> None:
    ship(here, seed=96)
    read = windthrow("gate", "--check")
    assert (read.returncode, read.stdout.splitlines()[0]) == (0, "windthrow.yaml: 1 rule, no mistakes")
    (here / "windthrow.yaml").write_text((here / "windthrow.yaml").read_text().replace("at_most", "at_mots"))
    for arguments in (("--check",), ("--out", "gate")):
        refused = windthrow("gate", *arguments)
        assert refused.returncode == 2
        assert "windthrow.yaml: line 9, column " in refused.stderr
        assert "at_most" in refused.stderr


def test_the_library_does_it_as_well_and_does_not_block(here: Path, service_stack: Stack) -> None:
    ship(here, seed=97)
    text = (here / "windthrow.yaml").read_text()
    steps: list[Step] = []
    with Client(service_stack.url, service_stack.key) as client:
        gated = client.gate(text, roots=[here], on_step=steps.append)
        assert gated.exit_code == 0
        assert client.verdict_file(gated.job.id, "text", **gated.asked).startswith(b"pass")
        assert client.baselines("git.example.org/acme/nowhere") == []
    assert [step.kind for step in steps if step.kind != "event"] == [
        "checked",
        "pushing",
        "model",
        "submitting",
        "job",
        "verdict",
    ]

    async def again() -> str:
        async with AsyncClient(service_stack.url, service_stack.key) as client:
            return (await client.gate(text, roots=[here])).job.id

    assert asyncio.run(again()) == gated.job.id


def test_both_clients_have_the_same_methods_about_gates() -> None:
    methods = {name: value for name, value in vars(GateCalls).items() if inspect.iscoroutinefunction(value)}
    assert methods
    for name, method in methods.items():
        mine = vars(GateClient)[name]
        assert inspect.signature(mine).parameters == inspect.signature(method).parameters, name
        assert mine.__doc__ == method.__doc__, name
