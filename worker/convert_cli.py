"""`windthrow-server convert`: a checkpoint file made by other code, as safetensors and a manifest."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from core.checkpoint_files import Hints, run_limited
from core.errors import InvalidError
from core.specs.document import first_error
from core.specs.manifests import ManifestHints

console = Console(highlight=False, soft_wrap=True)


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The file.", exists=True, dir_okay=False)],
    out: Annotated[
        Path | None, typer.Argument(help="The safetensors file to write; beside the checkpoint unless said.")
    ] = None,
    manifest: Annotated[
        str, typer.Option(help="What the file does not tell, as JSON: backbone, layout, profile, tasks, …")
    ] = "{}",
) -> None:
    """Turn a checkpoint into safetensors and a manifest, as the service does with uploads; nothing in it is run."""
    try:
        said = ManifestHints.model_validate_json(manifest)
    except ValidationError as error:
        raise first_error(error) from error
    target = checkpoint.with_suffix(".safetensors") if out is None else out
    described = target.with_suffix(".json")
    for path in (target, described):
        if path.exists():
            raise InvalidError(f"{path} exists; name another file to write", field="out")
    hints = Hints.of(said.said(), field=said.state_dict)
    converted = run_limited(checkpoint.absolute(), target.absolute(), hints=hints)
    whole = said.completed(converted.identity.manifest)
    described.write_text(whole.model_dump_json(indent=2) + "\n")
    console.print(f"{target}: {converted.size:,} bytes, sha256 {converted.sha256}", markup=False)
    console.print(f"{described}: {whole.backbone}, {', '.join(whole.tasks or ())}", markup=False)
