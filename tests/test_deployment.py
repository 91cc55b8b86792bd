"""Images and compose file cannot be run where the tests run; what they start and say can be checked."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from core.settings import Settings
from worker.cli import cli

ROOT = Path(__file__).parents[1]
OWN = ("migrate", "api", "relay", "worker")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def dockerfile() -> list[list[str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [
        shlex.split(line, comments=True) for line in text.splitlines() if line and not line.startswith("#")
    ]


@pytest.mark.parametrize("name", OWN)
def test_every_service_of_ours_sets_what_the_settings_read(compose: dict[str, Any], name: str) -> None:
    known = {"DATABASE_URL", "BROKER_URL"} | {f"WINDTHROW_{field.upper()}" for field in Settings.model_fields}
    environment = compose["services"][name]["environment"]
    assert {"DATABASE_URL", "BROKER_URL"} <= set(environment) <= known


def test_commands_are_those_of_the_command_line(compose: dict[str, Any]) -> None:
    known = set(typer.main.get_command(cli).commands)  # type: ignore[attr-defined]  # a group, says Typer
    used = {compose["services"][name]["command"][1] for name in OWN if "command" in compose["services"][name]}
    assert used == {"migrate", "relay", "worker"}
    assert used <= known


def test_services_wait_for_ones_that_exist_and_can_tell(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            assert name in services
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in services[name]


def test_volumes_are_declared(compose: dict[str, Any]) -> None:
    used = {volume.split(":")[0] for service in compose["services"].values() for volume in service["volumes"]}
    assert {name for name in used if not name.startswith(".")} == set(compose["volumes"])


def test_targets_are_stages_of_the_dockerfile(compose: dict[str, Any], dockerfile: list[list[str]]) -> None:
    stages = {words[-1] for words in dockerfile if words[0] == "FROM"}
    assert {compose["services"][name]["build"]["target"] for name in OWN} <= stages


def test_the_dockerfile_copies_what_exists_and_drops_root(dockerfile: list[list[str]]) -> None:
    sources = [source for words in dockerfile if words[0] == "COPY" for source in words[1:-1]]
    assert all((ROOT / source).exists() for source in sources)
    last = {
        stage: words
        for stage in ("api", "worker")
        for words in _stage(dockerfile, stage)
        if words[0] == "USER"
    }
    assert all(words[1] == "windthrow" for words in last.values())
    assert set(last) == {"api", "worker"}


def _stage(dockerfile: list[list[str]], name: str) -> list[list[str]]:
    starts = [number for number, words in enumerate(dockerfile) if words[0] == "FROM"]
    begin = next(number for number in starts if dockerfile[number][-1] == name)
    end = next((number for number in starts if number > begin), len(dockerfile))
    return dockerfile[begin:end]
