"""`windthrow init`: a gate file to begin with."""

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from windthrow.cli.output import say

SUITES = ("quick", "standard", "thorough")
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
RESERVED = frozenset({"true", "false", "null"})


def init(
    *,
    checkpoint: Annotated[
        Optional[Path], typer.Option(help="The model's file, inside the repository.")
    ] = None,
    profile: Annotated[Optional[str], typer.Option(help="The model's tasks, such as nyuv2.")] = None,
    backbone: Annotated[Optional[str], typer.Option(help="Its network, such as deeplab_resnet34.")] = None,
    layout: Annotated[Optional[str], typer.Option(help="What its tasks share: a name, or JSON.")] = None,
    dataset: Annotated[Optional[str], typer.Option(help="What it is evaluated on.")] = None,
    suite: Annotated[str, typer.Option(help="quick, standard or thorough.")] = "standard",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print it instead.")] = False,
) -> None:
    """Write a windthrow.yaml that explains itself."""
    if suite not in SUITES:
        raise typer.BadParameter(f"--suite is one of {', '.join(SUITES)}")
    file = "models/model.safetensors" if checkpoint is None else _inside(checkpoint)
    text = gate_file(
        file, profile=profile, backbone=backbone, layout=layout, dataset=dataset or profile, suite=suite
    )
    if stdout:
        sys.stdout.write(text)
        return
    target = Path("windthrow.yaml")
    try:
        with target.open("w" if force else "x", encoding="utf-8", newline="\n") as opened:
            opened.write(text)
    except FileExistsError:
        raise typer.BadParameter(f"{target} is there already; --force writes over it") from None
    except OSError as error:
        raise typer.BadParameter(f"{target} cannot be written: {error.strerror}") from error
    say(f"wrote {target}; next: edit its rules, then windthrow gate --check")


def gate_file(
    file: str,
    *,
    profile: Optional[str],
    backbone: Optional[str],
    layout: Optional[str],
    dataset: Optional[str],
    suite: str,
) -> str:
    """A gate file's text; of what is None an example stands as a comment."""
    from string import Template

    from windthrow.cli.gate_template import CLEAN, TEMPLATE

    task, metric, floor = CLEAN.get(profile or "", CLEAN["nyuv2"])
    return Template(TEMPLATE).substitute(
        file=_yaml(file),
        name=_yaml(file.rpartition("/")[2].partition(".")[0] or "model"),
        manifest_mark="" if profile or backbone or layout else "#",
        profile=_yaml(profile or "nyuv2"),
        profile_mark="" if profile else "#",
        backbone=_yaml(backbone or "deeplab_resnet34"),
        backbone_mark="" if backbone else "#",
        layout=_layout(layout or "all-shared"),
        layout_mark="" if layout else "#",
        dataset=_yaml(dataset or "nyuv2"),
        suite=suite,
        task=task,
        metric=metric,
        floor=floor,
        health_mark="#" if suite == "quick" else "",
    )


def _inside(path: Path) -> str:
    """A path from the repository's root.

    Raises:
        typer.BadParameter: it is not in it.
    """
    from windthrow.repository import Repository

    here = Path.cwd()
    root = Path(Repository(here).root or here)
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        raise typer.BadParameter(f"{path} is not inside {root}") from None


def _layout(text: str) -> str:
    """A layout as YAML: JSON is YAML already, anything else is a name."""
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return _yaml(text)


def _yaml(text: str) -> str:
    """A text as YAML in a line."""
    plain = PLAIN.fullmatch(text) is not None and text.lower() not in RESERVED
    return text if plain else json.dumps(text)
