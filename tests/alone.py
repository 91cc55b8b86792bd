"""A virtual environment in which nothing is but the client and what it needs, made without a network."""

import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

CLIENT = Path(__file__).parents[1] / "client"
ENVIRONMENT = {"extra": ""}


def client_alone(folder: Path) -> Path:
    """Make the environment in a folder; returns where its commands are.

    The client is installed by pip from a wheel that is built here. What it depends on is copied from this environment:
    a package index may be out of reach, and what is copied is what pip would find there.
    """
    venv.create(folder / "venv", with_pip=True, symlinks=True)
    commands = folder / "venv" / "bin"
    source = shutil.copytree(CLIENT, folder / "client", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    _pip(sys.executable, "wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("windthrow-*.whl")
    _pip(str(commands / "python"), "install", str(wheel))
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    for needed in _needed("windthrow", Distribution.at(next(site.glob("windthrow-*.dist-info")))):
        _copy(needed, site)
    return commands


def _pip(python: str, *command: str) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([python, "-m", "pip", command[0], *options, *command[1:]], check=True, timeout=120)


def _needed(name: str, found: Distribution, seen: set[str] | None = None) -> Iterator[Distribution]:
    """What a distribution depends on, directly or not."""
    seen = {name} if seen is None else seen
    for line in found.requires or ():
        requirement = Requirement(line)
        wanted = requirement.marker is None or requirement.marker.evaluate(ENVIRONMENT)
        if wanted and requirement.name.lower() not in seen:
            seen.add(requirement.name.lower())
            needed = distribution(requirement.name)
            yield needed
            yield from _needed(requirement.name, needed, seen)


def _copy(found: Distribution, site: Path) -> None:
    for file in found.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)
