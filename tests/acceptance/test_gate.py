"""A repository whose CI gates its model: the client alone, git, a real service, a good model and two bad ones."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import func, select

from core.data.paths import cache_root
from core.settings import Settings
from core.store.database import Database
from core.store.tables import Job, ShardResult
from tests.alone import client_alone
from tests.worker.bench import until
from worker.supervisor import Stack

CONSUMER = Path(__file__).parents[2] / "examples" / "consumer-repo"
SLOW = """\
version: 1
model:
  file: models/sturdy.safetensors
  manifest: {backbone: sapling, layout: all-shared, profile: digits}
dataset: {name: digits, limit: 64}
suite:
  attacks: [{algorithm: pgd, objective: gb_mta, eps: 8, steps: 400}]
rules: [{name: finite, on: arp, at_most: 1000}]
"""
OF_SEVERAL = """\
version: 1
model:
  file: models/{name}.safetensors
  name: {name}
  manifest: {{backbone: sapling, layout: all-shared, profile: digits}}
dataset: {{name: digits, limit: 64}}
suite:
  attacks: [{{algorithm: fgsm, objective: gb_mta, eps: 8}}]
baseline: {{branch: main}}
rules: [{{name: no step back, on: arp, no_worse_than_baseline_by: 2, strict: false}}]
"""
GIT = shutil.which("git") or "git"
REGATED_SECONDS = 5.0
HELP_SECONDS = 0.3

Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return client_alone(tmp_path_factory.mktemp("alone"))


class Service:
    """The whole service, which can be killed and started again where it was."""

    def __init__(self, database_url: str, data_dir: Path) -> None:
        self._settings = Settings(
            database_url=database_url,
            cache_dir=cache_root(None),
            lease_seconds=3,
            heartbeat_seconds=0.3,
            reap_seconds=0.2,
        )
        self._data_dir = data_dir
        self._port = 0
        self._database = Database(database_url)
        self.stack = self._started()

    def _started(self) -> Stack:
        stack = Stack(data_dir=self._data_dir, workers=1, port=self._port, settings=self._settings)
        stack.__enter__()
        self._port = int(stack.url.rpartition(":")[2])
        return stack

    def kill(self) -> None:
        """Kill every process at once."""
        for pid in self.stack.pids.values():
            os.kill(pid, signal.SIGKILL)
        self.stack.stop()

    def start_again(self) -> None:
        """Start it as it was."""
        self.stack = self._started()

    def count(self, table: type[Job] | type[ShardResult]) -> int:
        """Rows of a table."""
        with self._database.session() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def attacks(self) -> bool:
        """Whether an evaluation is running."""
        with self._database.session() as session:
            return "evaluation" in session.scalars(select(Job.kind).where(Job.state == "running")).all()

    def close(self) -> None:
        """Stop it for good."""
        self.stack.stop()
        self._database.dispose()


@pytest.fixture(scope="module")
def service(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(module_database_url, tmp_path_factory.mktemp("service"))
    try:
        yield running
    finally:
        running.close()


class Consumer:
    """A clone of the example repository, and its CI."""

    def __init__(self, root: Path, commands: Path, service: Service) -> None:
        self.root = shutil.copytree(CONSUMER, root)
        self._commands = commands
        self._service = service
        self.git("init", "--quiet", "--initial-branch", "main")
        self.git("remote", "add", "origin", "git@git.example.org:acme/digits.git")
        self.commit("a model")

    @property
    def environment(self) -> dict[str, str]:
        """Of a CI without anything of this one's."""
        kept = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LANG")
        }
        stack = self._service.stack
        return kept | {
            "PATH": f"{self._commands}:{kept['PATH']}",
            "WINDTHROW_URL": stack.url,
            "WINDTHROW_KEY": stack.key,
            "WINDTHROW_RETRIES": "2",
            "XDG_CONFIG_HOME": str(self.root / ".config"),
        }

    def git(self, *command: str) -> str:
        """Run git as nobody in particular."""
        identity = ["-c", "user.name=ci", "-c", "user.email=ci@example.org", "-c", "commit.gpgsign=false"]
        ran = subprocess.run(
            [GIT, *identity, *command], cwd=self.root, check=True, capture_output=True, text=True
        )
        return ran.stdout.strip()

    def commit(self, message: str) -> None:
        """Commit whatever has changed."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def ship(self, name: str) -> None:
        """Put another model in the place of the one that is gated."""
        models = self.root / "models"
        shutil.copyfile(CONSUMER / "models" / f"{name}.safetensors", models / "sturdy.safetensors")
        self.commit(f"ship {name}")

    def run(self, *arguments: str) -> Ended:
        """Run the command line."""
        with self.started(*arguments) as process:
            output, said = process.communicate(timeout=300)
        assert "Traceback" not in said
        return subprocess.CompletedProcess(arguments, process.returncode, output, said)

    @contextmanager
    def started(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Start the command line."""
        command = [str(self._commands / "windthrow"), *arguments]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=self.root, env=self.environment, stdout=pipe, stderr=pipe, text=True
        ) as process:
            yield process

    def gate(self, *arguments: str) -> tuple[Ended, dict[str, Any]]:
        """Run the gate; how it ended, and the verdict that it left."""
        ended = self.run("gate", "--out", "gate", *arguments)
        verdict: dict[str, Any] = json.loads((self.root / "gate" / "verdict.json").read_text())
        return ended, verdict

    def junit(self) -> "ET.Element[str]":
        """The test report that the last gate left."""
        return ET.parse(self.root / "gate" / "junit.xml").getroot()  # noqa: S314 - our own output


@pytest.fixture
def consumer(tmp_path: Path, commands: Path, service: Service) -> Consumer:
    return Consumer(tmp_path / "digits", commands, service)


def test_the_client_is_alone_and_starts_at_once(commands: Path) -> None:
    for foreign in ("torch", "numpy", "sqlalchemy", "core"):
        found = subprocess.run(
            [commands / "python", "-Ic", f"import {foreign}"], capture_output=True, check=False
        )
        assert found.returncode != 0, foreign
    times = []
    for _ in range(5):
        began = _processor_seconds()
        subprocess.run([commands / "windthrow", "--help"], check=True, capture_output=True)
        times.append(_processor_seconds() - began)
    assert min(times) < HELP_SECONDS


def _processor_seconds() -> float:
    """What finished children have computed for: unlike the clock it does not count whom they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_sturdy_model_ships_and_bad_ones_are_blocked(consumer: Consumer, service: Service) -> None:
    passed, verdict = consumer.gate("--set-baseline")
    assert passed.returncode == 0, passed.stderr
    assert (verdict["status"], verdict["next"]) == ("passed", None)
    written = {file.name for file in (consumer.root / "gate").iterdir()}
    assert {
        "verdict.json",
        "summary.md",
        "junit.xml",
        "windthrow.sarif",
        "badge.svg",
        "badge.json",
        "report.html",
    } <= written
    main = consumer.git("rev-parse", "HEAD")
    shown = json.loads(consumer.run("baseline", "show", "--json").stdout)
    assert main in json.dumps(shown)

    jobs, shards, began = service.count(Job), service.count(ShardResult), time.monotonic()
    again, verdict = consumer.gate()
    assert (again.returncode, verdict["status"]) == (0, "passed")
    assert time.monotonic() - began < REGATED_SECONDS
    assert (service.count(Job), service.count(ShardResult)) == (jobs, shards)

    consumer.git("checkout", "--quiet", "-b", "worse")
    consumer.ship("fragile")
    blocked, verdict = consumer.gate()
    assert (blocked.returncode, verdict["status"]) == (1, "failed")
    assert "model" in blocked.stdout + blocked.stderr
    assert consumer.junit().findall(".//failure")
    (run,) = json.loads((consumer.root / "gate" / "windthrow.sarif").read_text())["runs"]
    levels = [found["level"] for found in run["results"]]
    assert "error" in levels
    place = run["results"][levels.index("error")]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "windthrow.yaml"
    text = (consumer.root / "windthrow.yaml").read_text().splitlines()
    assert "- " in text[place["region"]["startLine"] - 1]

    consumer.ship("masked")
    blocked, verdict = consumer.gate()
    assert (blocked.returncode, verdict["status"]) == (1, "failed")
    assert any(outcome["flags"] for outcome in verdict["outcomes"])


def test_a_change_is_compared_with_where_it_came_from(consumer: Consumer) -> None:
    text = (consumer.root / "windthrow.yaml").read_text()
    rule = "\n  - {name: no step back, on: arp, attacks: {objective: gb_mta}, no_worse_than_baseline_by: 2}\n"
    head, rules, rest = text.partition("\nrules:\n")
    (consumer.root / "windthrow.yaml").write_text(head + rules.rstrip("\n") + rule + rest)
    consumer.git("remote", "set-url", "origin", "https://user:secret@git.example.org/acme/other.git")
    consumer.commit("compare")
    first, verdict = consumer.gate("--json")
    assert (first.returncode, verdict["status"]) == (4, "no_baseline")
    job = verdict["job"]
    assert consumer.run("baseline", "set", job, "--branch", "main").returncode == 0
    consumer.git("checkout", "--quiet", "-b", "change")
    same, verdict = consumer.gate()
    assert (same.returncode, verdict["baseline"]["resolved_by"]) == (0, "branch")
    consumer.ship("fragile")
    worse, verdict = consumer.gate()
    assert worse.returncode == 1
    statuses = {outcome["rule"]: outcome["status"] for outcome in verdict["outcomes"]}
    assert statuses["no step back"] == "fail"


def test_two_models_of_one_repository_are_gated_each_against_its_own_baseline(consumer: Consumer) -> None:
    names = ("fragile", "sturdy")
    for name in names:
        (consumer.root / f"{name}.yaml").write_text(OF_SEVERAL.format(name=name))
    consumer.git("remote", "set-url", "origin", "git@git.example.org:acme/several.git")
    consumer.commit("two models")
    for name in names:
        first, verdict = consumer.gate("--file", f"{name}.yaml")
        assert (first.returncode, verdict["status"]) == (4, "no_baseline"), first.stderr
        (outcome,) = verdict["outcomes"]
        assert outcome["message"].endswith("for: fragile") == (name == "sturdy")
        ended = consumer.run("baseline", "set", "--file", f"{name}.yaml", "--branch", "main")
        assert ended.stdout.startswith(f"git.example.org/acme/several, model {name}, branch main: ")
    for name in names:
        again, verdict = consumer.gate("--file", f"{name}.yaml", "--set-baseline")
        assert (again.returncode, verdict["status"]) == (0, "passed"), again.stderr
        assert verdict["baseline"]["model"] == verdict["model"]
    consumer.git("checkout", "--quiet", "-b", "change")
    consumer.commit("nothing of the models")
    gated = set()
    for name in names:
        change, verdict = consumer.gate("--file", f"{name}.yaml")
        assert (change.returncode, verdict["baseline"]["resolved_by"]) == (0, "merge_base"), change.stderr
        assert verdict["baseline"]["model"] == verdict["model"]
        gated.add(verdict["model"])
    assert len(gated) == len(names)
    swapped = ("--checkpoint", "models/fragile.safetensors")
    worse, verdict = consumer.gate("--file", "sturdy.yaml", *swapped)
    assert (worse.returncode, verdict["status"]) == (1, "failed"), worse.stderr
    (consumer.root / "third.yaml").write_text(OF_SEVERAL.format(name="third"))
    third, verdict = consumer.gate("--file", "third.yaml", *swapped)
    assert (third.returncode, verdict["status"]) == (4, "no_baseline")
    assert "there are baselines there for: fragile, sturdy" in third.stderr
    assert "there are baselines there for: fragile, sturdy" in verdict["outcomes"][0]["message"]
    shown = json.loads(consumer.run("baseline", "show", "--file", "sturdy.yaml", "--json").stdout)
    assert {one["model_name"] for one in shown["baselines"]} == set(names)
    assert shown["baseline"]["model_name"] == "sturdy"


def test_a_service_that_dies_is_no_verdict_and_a_later_run_finishes(
    consumer: Consumer, service: Service
) -> None:
    (consumer.root / "slow.yaml").write_text(SLOW)
    with consumer.started("gate", "--file", "slow.yaml", "--out", "gate") as process:
        until(service.attacks)
        service.kill()
        _, said = process.communicate(timeout=120)
    assert process.returncode == 3, said
    assert "service" in said
    assert not (consumer.root / "gate" / "verdict.json").exists()
    assert consumer.junit().findall(".//error")
    service.start_again()
    jobs = service.count(Job)
    ended, verdict = consumer.gate("--file", "slow.yaml")
    assert (ended.returncode, verdict["status"]) == (0, "passed"), ended.stderr
    assert service.count(Job) == jobs
