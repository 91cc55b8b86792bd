"""What a gate costs its users: installing the client, starting it, the first gate of a model, and the same one again.

A virtual environment gets the client by pip from the checkout (its dependencies from the package index), a service is
started with one worker process a core, and the shipped models are gated as another repository's CI would: a first run,
which pushes and attacks, and five more of the same model, which attach. Run from the repository root:
`python -m bench.gate [--check]`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from worker.supervisor import Stack

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "worker" / "demo" / "checkpoints"

MOST_HELP_SECONDS = 0.3
MOST_FIRST_SECONDS = 120.0
MOST_AGAIN_SECONDS = 5.0
AGAIN = 5

GATE_FILE = """\
version: 1
model:
  file: {file}
  manifest: {manifest}
dataset: {{name: {dataset}}}
suite: {suite}
rules:
  - {{name: sturdy, on: arp, at_most: 1000}}
"""


def timed(command: list[str], **more: Any) -> tuple[float, "subprocess.CompletedProcess[str]"]:
    """How long a command takes, and how it ended."""
    began = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=False, **more)  # noqa: S603 - our own commands
    return time.perf_counter() - began, ended


def install(folder: Path) -> tuple[Path, float]:
    """Make an environment with the client; its commands, and the seconds that pip took."""
    venv.create(folder / "venv", with_pip=True)
    commands = folder / "venv" / "bin"
    pip = [str(commands / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    seconds, ended = timed([*pip, str(ROOT / "client")])
    if ended.returncode:
        sys.exit(f"pip failed: {ended.stderr}")
    return commands, seconds


class Gates:
    """Gates against one service."""

    def __init__(self, commands: Path, stack: Stack, folder: Path) -> None:
        self._command = str(commands / "windthrow")
        self._folder = folder
        self._environment = os.environ | {"WINDTHROW_URL": stack.url, "WINDTHROW_KEY": stack.key}

    def run(self, model: str, suite: str) -> float:
        """Gate a shipped model; seconds until there is a verdict, which must be a pass."""
        card = json.loads((MODELS / f"{model}.json").read_text())
        file = self._folder / "windthrow.yaml"
        said = {"manifest": json.dumps(card["manifest"]), "dataset": card["manifest"]["profile"]}
        file.write_text(GATE_FILE.format(file=f"{model}.safetensors", suite=suite, **said))
        command = [self._command, "gate", "--file", str(file), "--json"]
        command += ["--checkpoint", str(MODELS / f"{model}.safetensors")]
        seconds, ended = timed(command, env=self._environment, cwd=self._folder)
        if ended.returncode:
            sys.exit(f"the gate of {model} ended with {ended.returncode}: {ended.stderr}")
        return seconds


def main() -> None:
    """Measure, print, and with --check fail where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    checked = parser.parse_args().check
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands, installed = install(folder)
        starts = [timed([str(commands / "windthrow"), "--help"])[0] for _ in range(AGAIN)]
        print(f"pip install ./client             {installed:7.1f} s")
        print(f"windthrow --help                 {statistics.median(starts):7.3f} s (median of {AGAIN})")
        slowest = {"help": statistics.median(starts), "first": 0.0, "again": 0.0}
        with Stack(data_dir=folder / "service", workers=os.cpu_count() or 1) as stack:
            gates = Gates(commands, stack, folder)
            for model, suite in (
                ("scenes-all-shared", "quick"),
                ("digits-all-shared", "quick"),
                ("digits-all-shared", "standard"),
            ):
                first = gates.run(model, suite)
                again = statistics.median(gates.run(model, suite) for _ in range(AGAIN))
                label = f"{model}, {suite}"
                print(
                    f"{label:<32} {first:7.1f} s, the same again {again:.2f} s (median of {AGAIN})",
                    flush=True,
                )
                if suite == "quick":
                    slowest["first"] = max(slowest["first"], first)
                slowest["again"] = max(slowest["again"], again)
    limits = {"help": MOST_HELP_SECONDS, "first": MOST_FIRST_SECONDS, "again": MOST_AGAIN_SECONDS}
    missed = [name for name, limit in limits.items() if slowest[name] >= limit]
    print(f"targets missed: {', '.join(missed) or 'none'}")
    if checked and missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
