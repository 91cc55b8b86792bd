"""What other people's CIs run: the GitHub action, the GitLab template, and the repository that shows both."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from windthrow import Client, JobFailed

from core.datasets import DATASETS
from core.gates.plan import plan_gate
from core.gates.policy_file import PolicyFile, read_gate_file
from core.gates.suites import check_rules, suite_evaluation
from core.specs.manifests import ModelManifest
from tests.action_runner import EXPRESSION, INPUT, ActionRun, load_action, run_action
from worker.supervisor import Stack

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "consumer-repo"
WORKFLOW = EXAMPLE / ".github" / "workflows" / "gate.yml"
GITLAB = EXAMPLE / ".gitlab-ci.yml"
TEMPLATE = ROOT / "templates" / "gate.yml"
GUIDE = ROOT / "docs" / "ci.md"
PUBLISHED = "raw.githubusercontent.com/windthrow-dev/windthrow/v0/"
PYTHON = re.compile(r"""(?:/python|\bpython3|\$PYTHON)"? (?P<option>\S+)""")
"""A command that runs Python, and its first argument."""
INTERPOLATION = re.compile(r"\$\[\[\s*inputs\.([a-z-]+)\s*\]\]")
NOWHERE = {"url": "http://127.0.0.1:9", "key": "wt_none"}
"""Nothing listens on port 9."""
MODELS = ("sturdy", "fragile", "masked")
LARGEST = 500_000
SHADOWS = ("json", "logging", "pip", "sitecustomize", "typer", "venv", "windthrow")
"""What the gate's steps import; in the repository under test these are something else."""
LONGEST_LINE = 140
SMALL = """\
version: 1
model:
  file: models/sturdy.safetensors
  manifest: {backbone: sapling, layout: all-shared, profile: digits}
dataset: {name: digits, limit: 16}
suite:
  attacks: [{algorithm: pgd, objective: gb_mta, eps: 8, steps: STEPS}]
rules: [{name: attacked, on: arp, at_most: 30, strict: false}]
"""

Json = dict[str, Any]


def documents(path: Path) -> list[Json]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))


def strings(value: Any) -> Iterator[str]:
    """All text in a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (str(key), *strings(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    else:
        yield str(value)


def action_scripts() -> dict[str, str]:
    return {step["name"]: step["run"] for step in load_action()["runs"]["steps"]}


def template_job() -> Json:
    (job,) = documents(TEMPLATE)[1].values()
    assert isinstance(job, dict)
    return job


def gitlab_script() -> str:
    return "\n".join(template_job()["script"])


SCRIPTS = [pytest.param("bash", text, id=name) for name, text in action_scripts().items()]
SCRIPTS.append(pytest.param("sh", gitlab_script(), id="GitLab"))


def check_schema(name: str, path: Path) -> None:
    """Hold a file against the schema that its CI publishes, a copy of which check-jsonschema brings."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_action_is_one_by_github_s_schema() -> None:
    check_schema("github-actions", ROOT / "action.yml")


def test_the_example_s_workflow_is_one_by_github_s_schema() -> None:
    check_schema("github-workflows", WORKFLOW)


def test_the_example_s_pipeline_is_one_by_gitlab_s_schema() -> None:
    check_schema("gitlab-ci", GITLAB)


def test_the_template_is_a_pipeline_once_its_inputs_are_filled_in(tmp_path: Path) -> None:
    header, _ = documents(TEMPLATE)
    defaults = {name: said["default"] for name, said in header["spec"]["inputs"].items()}
    _, _, body = TEMPLATE.read_text().partition("\n---\n")
    filled = tmp_path / "filled.yml"
    filled.write_text(INTERPOLATION.sub(lambda found: defaults[found[1]] or '""', body))
    check_schema("gitlab-ci", filled)
    head = tmp_path / "header.yml"
    head.write_text(yaml.safe_dump(header))
    check_schema("gitlab-ci", head)


@pytest.mark.parametrize(("shell", "script"), SCRIPTS)
def test_scripts_are_clean(shell: str, script: str, tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_text(script)
    subprocess.run(["/bin/bash", "-n", str(file)], check=True)
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    assert shellcheck is not None, "the extra `dev` brings it"
    command = [shellcheck, "--shell", shell, str(file)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_no_script_has_what_users_say_written_into_it() -> None:
    for script in action_scripts().values():
        assert not EXPRESSION.search(script)
    assert not INTERPOLATION.search(gitlab_script())


@pytest.mark.parametrize(("shell", "script"), SCRIPTS)
def test_every_python_leaves_the_repository_s_modules_alone(shell: str, script: str) -> None:
    assert {found["option"] for found in PYTHON.finditer(script)} <= {"-I"}
    assert not re.search(r"bin/(?:pip|windthrow)\b", script), f"{shell} has to go through python -I"


def test_the_action_declares_the_inputs_that_it_uses_and_no_others() -> None:
    action = load_action()
    used = set(INPUT.findall(str(action["runs"]) + str(action["outputs"])))
    assert used == set(action["inputs"])
    assert all(said["description"] for said in action["inputs"].values())


def test_the_action_s_environment_is_what_its_scripts_read() -> None:
    for step in load_action()["runs"]["steps"]:
        read_by_the_client = {name for name in step["env"] if name.startswith("WINDTHROW_")}
        for name in set(step["env"]) - read_by_the_client:
            assert re.search(rf"\$\{{?{name}\b", step["run"]), (step["name"], name)


def test_the_template_declares_the_inputs_that_it_uses_and_no_others() -> None:
    header, body = documents(TEMPLATE)
    used = {name for text in strings(body) for name in INTERPOLATION.findall(text)}
    assert used == set(header["spec"]["inputs"])


def test_the_template_and_the_action_take_the_same_options() -> None:
    names = set(documents(TEMPLATE)[0]["spec"]["inputs"]) - {"job", "stage", "image"}
    elsewhere = {"url", "key", "working-directory", "set-baseline", "python"}
    assert names == set(load_action()["inputs"]) - elsewhere


def test_the_template_keeps_what_the_gate_writes() -> None:
    artifacts = template_job()["artifacts"]
    assert artifacts["when"] == "always"
    assert artifacts["reports"]["junit"] == "$[[ inputs.out ]]/junit.xml"
    assert artifacts["paths"] == ["$[[ inputs.out ]]/"]


def test_the_example_uses_the_action_and_the_template_as_they_are() -> None:
    steps = documents(WORKFLOW)[0]["jobs"]["gate"]["steps"]
    (gate,) = [step for step in steps if step["uses"].startswith("windthrow-dev/windthrow@")]
    assert set(gate["with"]) <= set(load_action()["inputs"])
    out = load_action()["inputs"]["out"]["default"]
    (sarif,) = [
        step["with"] for step in steps if step["uses"].startswith("github/codeql-action/upload-sarif@")
    ]
    assert sarif["sarif_file"] == f"{out}/windthrow.sarif"
    (include,) = documents(GITLAB)[0]["include"]
    _, _, path = include["remote"].partition(PUBLISHED)
    assert ROOT / path == TEMPLATE
    assert set(include["inputs"]) <= set(documents(TEMPLATE)[0]["spec"]["inputs"])


def test_the_example_s_key_is_a_secret_and_its_history_is_whole() -> None:
    text = WORKFLOW.read_text()
    assert "key: ${{ secrets.WINDTHROW_KEY }}" in text
    assert "fetch-depth: 0" in text
    assert "pull_request_target" not in text
    workflow = documents(WORKFLOW)[0]
    assert workflow["permissions"] == {"actions": "read", "contents": "read", "security-events": "write"}
    assert template_job()["variables"]["GIT_DEPTH"] == "0"


def test_the_guide_s_workflow_is_one_and_agrees_with_the_example_s(tmp_path: Path) -> None:
    block, *_ = re.findall(r"^```yaml\n(.+?)^```$", GUIDE.read_text(), flags=re.DOTALL | re.MULTILINE)
    file = tmp_path / "guide.yml"
    file.write_text(block)
    check_schema("github-workflows", file)
    (guide,), (example,) = documents(file), documents(WORKFLOW)
    for key in ("concurrency", "permissions"):
        assert guide[key] == example[key]


def test_the_example_waits_longer_than_its_gate(gate_file: PolicyFile) -> None:
    job = documents(WORKFLOW)[0]["jobs"]["gate"]
    assert job["timeout-minutes"] > gate_file.file.deadline_minutes


@pytest.fixture
def gate_file() -> PolicyFile:
    return read_gate_file((EXAMPLE / "windthrow.yaml").read_text())


def test_the_example_s_gate_file_says_what_to_attack(gate_file: PolicyFile) -> None:
    file = gate_file.file
    assert file.suite == "standard"
    tasks = file.model.tasks
    assert tasks is not None
    evaluation = suite_evaluation(file, tasks)
    assert (evaluation.dataset.limit, evaluation.health, len(evaluation.attacks)) == (256, True, 6)
    assert not check_rules(file, evaluation, tasks)
    looks = plan_gate(file, tasks, DATASETS[file.dataset.name]).looks
    assert [look.samples for look in looks] == [64, 256]


def test_what_is_commented_out_of_the_example_s_gate_file_is_right() -> None:
    text = (EXAMPLE / "windthrow.yaml").read_text()
    waived = re.sub(
        r"^# ((?:waivers|escalate|  - rule|    reason|    expires):.*)$", r"\1", text, flags=re.MULTILINE
    )
    file = read_gate_file(waived).file
    assert [waiver.rule for waiver in file.waivers] == ["clean right"]
    assert file.escalate is not None


def test_the_example_s_models_are_there_and_small(gate_file: PolicyFile) -> None:
    assert (EXAMPLE / gate_file.file.model.file).is_file()
    ModelManifest.model_validate(gate_file.file.model.manifest.said())
    for name in MODELS:
        assert 0 < (EXAMPLE / "models" / f"{name}.safetensors").stat().st_size < LARGEST


def test_lines_are_short() -> None:
    for path in (ROOT / "action.yml", TEMPLATE, WORKFLOW, GITLAB, EXAMPLE / "windthrow.yaml"):
        text = path.read_text()
        assert text.endswith("\n")
        assert max(map(len, text.splitlines())) <= LONGEST_LINE
        assert not [line for line in text.splitlines() if line != line.rstrip()]


class Runner:
    """A runner that has the example checked out, and a package index that is out of reach."""

    def __init__(self, folder: Path) -> None:
        self.workspace = shutil.copytree(EXAMPLE, folder / "workspace")
        self._folder = folder
        self._action = folder / "action"
        ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
        shutil.copytree(ROOT / "client", self._action / "client", ignore=ignored)
        shutil.copyfile(ROOT / "action.yml", self._action / "action.yml")
        self._runs = 0

    def run(
        self, inputs: Mapping[str, str], *, retries: int = 0, cancel_after: str | None = None
    ) -> ActionRun:
        """Run the action; a run is cancelled once a step has printed `cancel_after`."""
        self._runs += 1
        temporary = self._folder / f"temporary-{self._runs}"
        temporary.mkdir()
        _give_packages(temporary / "windthrow-client")
        said = None if cancel_after is None else cancel_after.encode()
        return run_action(
            {"python": sys.executable, **inputs},
            workspace=self.workspace,
            temporary=temporary,
            action_path=self._action,
            cancel=None
            if said is None
            else lambda: any(said in log.read_bytes() for log in temporary.glob("*.log")),
            environment={
                **OFFLINE,
                "PYTHONPATH": ".",  # as repositories say whose tests want it
                "WINDTHROW_RETRIES": str(retries),
            },
        )


OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
"""For pip: what the client needs, and is built with, is there already."""


def _give_packages(environment: Path) -> None:
    """Let a virtual environment, which is yet to be made, find the packages that are here."""
    packages = next(path for path in map(Path, sys.path) if (path / "httpx").is_dir())
    major, minor, *_ = sys.version_info
    site = environment / "lib" / f"python{major}.{minor}" / "site-packages"
    site.mkdir(parents=True)
    (site / "here.pth").write_text(f"{packages}\n")


def shadow(repository: Path, marker: Path) -> None:
    """Give a repository modules that leave a marker when they are run, and end the gate well."""
    for name in SHADOWS:
        text = f"print({name!r}, file=open({str(marker)!r}, 'a'))\nraise SystemExit(0)\n"
        (repository / f"{name}.py").write_text(text)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner(tmp_path_factory.mktemp("runner"))


def test_a_service_that_cannot_be_reached_fails_the_action_and_is_said(runner: Runner) -> None:
    run = runner.run(NOWHERE)
    assert run.exit_code == 3, run.log
    assert "no verdict" in run.summary
    assert run.outputs == {"status": "none", "exit-code": "", "verdict": "", "job": "", "report": ""}
    assert (runner.workspace / "windthrow-gate" / "junit.xml").exists()


def test_modules_of_the_repository_under_test_are_not_run_by_the_action(tmp_path: Path) -> None:
    runner, marker = Runner(tmp_path), tmp_path / "marker"
    shadow(runner.workspace, marker)
    run = runner.run(NOWHERE)
    assert not marker.exists(), marker.read_text()
    assert run.exit_code == 3, run.log
    assert "no verdict" in run.summary
    subprocess.run([sys.executable, "-m", "venv", "there"], cwd=runner.workspace, check=True)
    assert marker.read_text().split() == ["venv"], "without -I it would have been"


def test_modules_of_the_repository_under_test_are_not_run_by_the_template(tmp_path: Path) -> None:
    repository, marker, temporary = (tmp_path / name for name in ("repository", "marker", "temporary"))
    shutil.copytree(EXAMPLE, repository)
    temporary.mkdir()
    shadow(repository, marker)
    ended = run_gitlab(repository, TMPDIR=str(temporary), PYTHONPATH=".", GATE_CLIENT="./there-is-none")
    assert not marker.exists(), marker.read_text()
    assert ended.returncode == 1
    assert list(temporary.glob("*/bin/pip")), ended.stdout
    assert "there-is-none" in ended.stdout


def run_gitlab(repository: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the template's script, as a runner does that has no index of packages."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GATE_CHECKPOINT": "",
        "GATE_DEADLINE": "",
        "GATE_FILE": "windthrow.yaml",
        "GATE_OUT": "windthrow-gate",
        "WINDTHROW_KEY": NOWHERE["key"],
        "WINDTHROW_URL": NOWHERE["url"],
        **OFFLINE,
        **variables,
    }
    return subprocess.run(
        ["/bin/sh", "-e", "-c", gitlab_script()],
        cwd=repository,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["out", "key", "url"])
def test_the_action_refuses_what_is_empty(runner: Runner, name: str) -> None:
    (runner.workspace / "verdict.json").write_text('{"status": "passed", "exit_code": 0}')
    run = runner.run({**NOWHERE, name: ""})
    (runner.workspace / "verdict.json").unlink()
    assert (run.exit_code, run.outputs["status"]) == (2, "none"), run.log
    assert f"::{name} is empty" in run.log
    assert ("from a fork" in run.log) == (name == "key")


@pytest.mark.parametrize("name", ["GATE_OUT", "WINDTHROW_KEY", "WINDTHROW_URL"])
def test_the_template_refuses_what_is_empty(tmp_path: Path, name: str) -> None:
    ended = run_gitlab(tmp_path, **{name: ""})
    assert ended.returncode == 2
    assert f"{name.replace('GATE_OUT', 'out')} is empty" in ended.stdout


def test_a_cancelled_run_stops_the_client_and_not_only_its_shell(runner: Runner) -> None:
    run = runner.run(NOWHERE, retries=1000, cancel_after="trying again")
    assert run.exit_code == 130, run.log
    assert "SIGINT" in run.summary
    assert run.outputs["status"] == "none"


def test_what_an_earlier_run_left_is_no_verdict(runner: Runner) -> None:
    out = runner.workspace / "windthrow-gate"
    out.mkdir(exist_ok=True)
    (out / "verdict.json").write_text('{"status": "passed", "exit_code": 0}')
    run = runner.run({**NOWHERE, "client": "./there-is-none"})
    assert run.exit_code != 0
    assert run.outputs["status"] == "none"


def test_a_misspelled_switch_is_refused(runner: Runner) -> None:
    run = runner.run({**NOWHERE, "set-baseline": "yes"})
    assert (run.exit_code, run.outputs["status"]) == (2, "none")
    assert "set-baseline is true or false" in run.log


@pytest.fixture
def service(runner: Runner, service_stack: Stack) -> Mapping[str, str]:
    (runner.workspace / "small.yaml").write_text(SMALL.replace("STEPS", "10"))
    return {"url": service_stack.url, "key": service_stack.key, "file": "small.yaml"}


def test_a_sturdy_model_passes_the_action_and_a_fragile_one_does_not(
    runner: Runner, service: Mapping[str, str]
) -> None:
    run = runner.run({**service, "out": "reports/gate"})
    assert run.exit_code == 0, run.log
    verdict = runner.workspace / "reports" / "gate" / "verdict.json"
    written = json.loads(verdict.read_text())
    named = {name: written[name] for name in ("job", "report")}
    assert run.outputs == {"status": "passed", "exit-code": "0", "verdict": str(verdict), **named}
    page = httpx.get(run.outputs["report"], timeout=30)
    assert (page.status_code, "Gate passed" in page.text) == (200, True)
    assert run.outputs["report"] in run.summary
    assert run.outputs["report"] in run.log
    run = runner.run({**service, "checkpoint": "models/fragile.safetensors"})
    assert (run.exit_code, run.outputs["status"], run.outputs["exit-code"]) == (1, "failed", "1"), run.log
    assert "::error file=small.yaml,line=8" in run.log


def test_a_cancelled_run_leaves_no_job_running(
    runner: Runner, service: Mapping[str, str], service_stack: Stack
) -> None:
    (runner.workspace / "small.yaml").write_text(SMALL.replace("STEPS", "1000"))
    run = runner.run(service, cancel_after="submitted")
    assert (run.exit_code, run.outputs["status"]) == (130, "none"), run.log
    found = re.search(r"job (\S+) is (?:being cancelled|cancelled)", run.log)
    assert found is not None, run.log
    with Client(service_stack.url, service_stack.key) as client, pytest.raises(JobFailed, match="cancelled"):
        client.wait(found[1], timeout=60)
