"""Runs action.yml as GitHub's runner does: its steps in order, in bash, with the files that steps write to.

Of expressions it knows inputs, outputs of steps and `always()`, which is all that the action needs; others are refused.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
INPUT = re.compile(r"inputs\.([a-z][a-z-]*)")
STEP_OUTPUT = re.compile(r"steps\.([a-z]+)\.outputs\.([a-z-]+)")
BASH = (
    *("env", "--default-signal=INT"),
    *("bash", "--noprofile", "--norc", "-e", "-o", "pipefail"),
)
"""What `shell: bash` stands for; SIGINT is not ignored, which whoever started the tests may have done."""
KEPT = ("HOME", "LANG", "PATH", "TMPDIR")
LIMIT_SECONDS = 240
TICK_SECONDS = 0.05
PATIENCE = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5))
"""What a cancelled step is sent, and for how many seconds it is waited for; then all its processes are killed."""

Json = dict[str, Any]


@dataclass
class ActionRun:
    """What came of an action.

    Attributes:
        exit_code: of the first step that failed, or 0.
        outputs: of the action.
        summary: what its steps wrote for people.
        log: what they printed.
    """

    exit_code: int = 0
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    log: str = ""


def load_action(path: Path = ROOT / "action.yml") -> Json:
    """The action's document."""
    document: Json = yaml.safe_load(path.read_text())
    return document


def run_action(
    inputs: Mapping[str, str],
    *,
    workspace: Path,
    temporary: Path,
    action_path: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> ActionRun:
    """Run the composite action at a path.

    Args:
        inputs: as in a workflow's `with`; required ones have to be there.
        workspace: a checkout of the repository that uses the action.
        temporary: for the files of the runner, an empty folder.
        action_path: a checkout of the action's repository.
        environment: of the runner, beside what it sets itself.
        cancel: asked while a step runs; once it is true, the run is cancelled, and only steps that always run still
            do.
    """
    action = load_action(action_path / "action.yml")
    run = _Run(action, _inputs(action, inputs), workspace, temporary, cancel)
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    run.environment = {
        **kept,
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION_PATH": str(action_path),
        "GITHUB_WORKSPACE": str(workspace),
        "RUNNER_TEMP": str(temporary),
        **(environment or {}),
    }
    return run.all_steps()


def _inputs(action: Json, given: Mapping[str, str]) -> dict[str, str]:
    declared = action["inputs"]
    assert set(given) <= set(declared), f"no inputs of the action: {set(given) - set(declared)}"
    missing = [name for name, said in declared.items() if said.get("required") and name not in given]
    assert not missing, f"required: {missing}"
    return {name: str(given.get(name, said.get("default", ""))) for name, said in declared.items()}


class _Run:
    def __init__(
        self,
        action: Json,
        inputs: Mapping[str, str],
        workspace: Path,
        temporary: Path,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self.environment: dict[str, str] = {}
        self._action = action
        self._inputs = inputs
        self._workspace = workspace
        self._temporary = temporary
        self._cancel = cancel
        self._cancelled = False
        self._outputs: dict[str, dict[str, str]] = {}
        self._result = ActionRun()

    def all_steps(self) -> ActionRun:
        """Run every step whose turn comes."""
        for number, step in enumerate(self._action["runs"]["steps"]):
            well = self._result.exit_code == 0 and not self._cancelled
            if well if "if" not in step else _condition(step["if"]):
                self._step(number, step)
        self._result.outputs = {
            name: self._filled(said["value"]) for name, said in self._action["outputs"].items()
        }
        return self._result

    def _step(self, number: int, step: Json) -> None:
        assert step["shell"] == "bash"
        files = {name: self._temporary / f"{number}.{name}" for name in ("output", "summary", "log")}
        for file in files.values():
            file.touch()
        script = self._temporary / f"{number}.sh"
        script.write_text(step["run"])
        environment = {
            **self.environment,
            **{name: self._filled(str(value)) for name, value in step.get("env", {}).items()},
            "GITHUB_OUTPUT": str(files["output"]),
            "GITHUB_STEP_SUMMARY": str(files["summary"]),
        }
        folder = self._workspace / self._filled(step.get("working-directory", "."))
        with (
            files["log"].open("wb") as log,
            subprocess.Popen(
                [*BASH, str(script)],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            code = self._wait(process)
        self._result.exit_code = self._result.exit_code or code
        self._result.log += files["log"].read_text()
        self._result.summary += files["summary"].read_text()
        if "id" in step:
            lines = files["output"].read_text().splitlines()
            self._outputs[step["id"]] = dict(_assignment(line) for line in lines)

    def _wait(self, process: "subprocess.Popen[bytes]") -> int:
        """Wait for a step; one that is cancelled hears what GitHub's runner sends, and to the shell alone."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self._cancel is not None and not self._cancelled and self._cancel():
                self._cancelled = True
                for number, seconds in PATIENCE:
                    process.send_signal(number)
                    with suppress(subprocess.TimeoutExpired):
                        return process.wait(seconds)
                break
            time.sleep(TICK_SECONDS)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def _filled(self, text: str) -> str:
        return EXPRESSION.sub(lambda found: self._value(found[1]), text)

    def _value(self, expression: str) -> str:
        if found := INPUT.fullmatch(expression):
            return self._inputs[found[1]]
        if found := STEP_OUTPUT.fullmatch(expression):
            return self._outputs.get(found[1], {}).get(found[2], "")
        raise NotImplementedError(f"the expression {expression!r}")


def _condition(text: str) -> bool:
    if text != "always()":
        raise NotImplementedError(f"the condition {text!r}")
    return True


def _assignment(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    assert equals, f"no output: {line!r}"
    return name, value
