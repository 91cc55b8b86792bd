"""What is installed into other people's CI: a wheel with three dependencies that knows nothing of the server."""

import ast
import shutil
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "client"
SOURCES = sorted((CLIENT / "src").rglob("*.py"))
DEPENDENCIES = {"httpx", "rich", "typer"}


def _can_build() -> bool:
    try:
        return int(version("setuptools").split(".")[0]) >= 77
    except PackageNotFoundError:
        return False


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 9))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.split(".")[0] for name in found}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_parses_as_python_3_9_and_imports_its_dependencies_alone(path: Path) -> None:
    foreign = _imported(path) - set(sys.stdlib_module_names) - {"windthrow"}
    assert foreign <= DEPENDENCIES


@pytest.mark.skipif(not _can_build(), reason="setuptools 77, which builds it, is not installed")
def test_the_wheel_has_three_dependencies(tmp_path: Path) -> None:
    source = shutil.copytree(
        CLIENT, tmp_path / "client", ignore=shutil.ignore_patterns("build", "*.egg-info")
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("windthrow-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (info,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = BytesParser().parsebytes(archive.read(info))
        (points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "windthrow = windthrow.cli.app:main" in archive.read(points).decode()
    requirements = metadata.get_all("Requires-Dist") or []
    assert {name.split(">")[0] for name in requirements} == DEPENDENCIES
    assert metadata["Requires-Python"] == ">=3.9"
    packaged = {Path(name) for name in names}
    assert Path("windthrow/py.typed") in packaged
    assert {path.relative_to(CLIENT / "src") for path in SOURCES} <= packaged
