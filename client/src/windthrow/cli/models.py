"""`windthrow models`."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from windthrow.cli.output import clean, print_json, print_pairs, print_table, say, transfer
from windthrow.cli.session import JsonOption, LimitOption, connected, read_document
from windthrow.errors import ModelRejected
from windthrow.records import Model

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Push, list and show models.")


@cli.command()
def push(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The checkpoint.")],
    *,
    manifest: Annotated[
        Optional[str],
        typer.Option(
            help="JSON of what the file does not tell, or a card that holds it; - is standard input."
        ),
    ] = None,
    name: Annotated[Optional[str], typer.Option(help="The model's name; the file's unless said.")] = None,
    dataset: Annotated[
        Optional[str], typer.Option(help="Where its clean metrics are tried; one that fits unless said.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.0, help="Seconds that a worker may take to read it.")
    ] = 600.0,
    as_json: JsonOption = False,
) -> None:
    """Upload a checkpoint, register it, and wait until a worker has read it.

    Nothing is sent of what the service has. An upload that broke off goes on where it did: push again.
    """
    known = None if manifest is None else _manifest(read_document(manifest))
    with connected() as client:
        with transfer(file.name) as progress:
            upload = client.upload(file, progress=progress)
        model = client.register(upload.id, name=name or file.name, manifest=known, dataset=dataset)
        say(f"model {model.id} is {model.state}")
        try:
            model = client.wait_for_model(model.id, timeout=timeout)
        except ModelRejected as rejection:
            if as_json:
                print_json(rejection.model.document)
            raise
    _show(model, as_json=as_json)


@cli.command("list")
def list_models(
    *,
    name: Annotated[Optional[str], typer.Option(help="Only models of exactly this name.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List models, newest first."""
    with connected() as client:
        found = client.models(name=name, limit=limit)
    if as_json:
        print_json([model.document for model in found])
        return
    rows = [
        (one.id, one.name or "–", one.state, _count(one.parameters), one.created_at[:19]) for one in found
    ]
    print_table(("model", "name", "state", "parameters", "created"), rows, numbers=("parameters",))


@cli.command()
def show(model: Annotated[str, typer.Argument(help="A model's id.")], *, as_json: JsonOption = False) -> None:
    """Show a model."""
    with connected() as client:
        _show(client.model(model), as_json=as_json)


def _show(model: Model, *, as_json: bool) -> None:
    if as_json:
        print_json(model.document)
        return
    manifest = model.manifest or {}
    print_pairs(
        {
            "model": model.id,
            "name": model.name,
            "state": model.state,
            "reason": (model.reason or {}).get("message"),
            "backbone": _named(manifest.get("backbone")),
            "profile": _named(manifest.get("profile")),
            "parameters": None if model.parameters is None else _count(model.parameters),
            "sha256": model.sha256,
            "created": model.created_at,
        }
    )
    for flag in ((model.facts or {}).get("proof") or {}).get("flags", ()):
        print(clean(f"{flag['severity']}: {flag['message']}"))


def _manifest(document: dict[str, Any]) -> dict[str, Any]:
    """A card, as the models that ship with the service have, holds a manifest among other things."""
    inner = document.get("manifest")
    return inner if isinstance(inner, dict) else document


def _named(value: object) -> object:
    return value.get("name") if isinstance(value, dict) else value


def _count(number: Optional[int]) -> str:
    return "–" if number is None else f"{number:,}"
