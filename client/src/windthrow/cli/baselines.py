"""`windthrow baseline`: what a repository's gates compare with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from windthrow.cli.output import NONE, print_json, print_table, say
from windthrow.cli.session import JsonOption, connected

if TYPE_CHECKING:
    from windthrow import Client
    from windthrow.records import Json
    from windthrow.repository import Facts

cli = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Set and show what a repository's gates compare with."
)

GATE_FILE = Path("windthrow.yaml")
NOTHING: "Json" = {"baseline": None, "resolved_by": None, "other_names": []}
COLUMNS = {
    "name": "model_name",
    "kind": "kind",
    "ref": "ref",
    "evaluation": "job",
    "model": "model",
    "set": "set_at",
    "note": "note",
}
"""Of a table of baselines, and the fields that they show."""

RepositoryOption = Annotated[
    Optional[str], typer.Option(help="Such as github.com/acme/depth; found out unless said.")
]


@cli.command("set")
def set_(
    job: Annotated[
        Optional[str],
        typer.Argument(help="An evaluation; the newest that a gate took of this model unless said."),
    ] = None,
    *,
    branch: Annotated[Optional[str], typer.Option(help="Set it for this branch.")] = None,
    tag: Annotated[Optional[str], typer.Option(help="Set it for this tag.")] = None,
    commit: Annotated[Optional[str], typer.Option(help="Set it for this commit, its whole id.")] = None,
    repository: RepositoryOption = None,
    model_name: Annotated[
        Optional[str],
        typer.Option(help="What the repository calls the model; the gate file's model.name unless said."),
    ] = None,
    file: Annotated[
        Path, typer.Option("--file", help="The gate file that says which model it is.")
    ] = GATE_FILE,
    note: Annotated[Optional[str], typer.Option(help="Why, for people.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take an evaluation with error flags; --note must say why.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let gates of a repository's model compare with an evaluation.

    Without --branch, --tag and --commit it is set for the branch and commit that are checked out, and the tag if there
    is one.
    """
    facts = _facts()
    name = _named(repository, facts)
    said = (("commit", commit), ("branch", branch), ("tag", tag))
    here = (("commit", facts.commit), ("branch", facts.branch), ("tag", facts.tag))
    places = [(kind, ref) for kind, ref in said if ref] or [(kind, ref) for kind, ref in here if ref]
    if not places:
        raise typer.BadParameter("say where: --branch, --tag or --commit")
    if force and not note:
        raise typer.BadParameter("--force needs a --note that says why")
    with connected() as client:
        inside = {} if job and model_name is not None else _read(client, file)
        found = job or _newest(client, file, inside)
        called = _called(model_name, inside)
        set_ones = [
            client.set_baseline(
                found, repository=name, kind=kind, ref=ref, model_name=called, note=note, force=force
            )
            for kind, ref in places
        ]
    if as_json:
        print_json(set_ones)
        return
    for kind, ref in places:
        print(f"{name}, {f'model {called}, ' * bool(called)}{kind} {ref}: {found}")


@cli.command()
def show(
    *,
    branch: Annotated[
        Optional[str], typer.Option(help="What a gate would compare with for this branch.")
    ] = None,
    tag: Annotated[Optional[str], typer.Option(help="Or for this tag.")] = None,
    repository: RepositoryOption = None,
    model_name: Annotated[
        Optional[str],
        typer.Option(
            help="Only those of the model that the repository calls so. Unless said, all are listed, and a gate would "
            "look for the gate file's model.name."
        ),
    ] = None,
    file: Annotated[
        Path, typer.Option("--file", help="The gate file that says what to compare with.")
    ] = GATE_FILE,
    as_json: JsonOption = False,
) -> None:
    """Show the baselines that hold, and the one that a gate here would compare with."""
    from windthrow._gate_compared import UNNAMED, others_said, place_of
    from windthrow.cli.gate_places import Places, Said

    places = Places(file, Said(repository, None, branch, tag))
    name = places.repository
    if name is None:
        raise typer.BadParameter("which repository? --repository names it")
    with connected() as client:
        inside = _read(client, file)
        called = _called(model_name, inside)
        place = place_of(places.baseline(inside), called)
        holding = client.baselines(name, model_name=model_name, limit=200)
        here = client.resolve_baseline(**place) if place else NOTHING
    model = (inside.get("baseline") or {}).get("model")
    if as_json:
        print_json({"baselines": holding, "place": place, "model": model, **here})
        return
    if holding:
        rows = [tuple(str(one.get(field) or NONE) for field in COLUMNS.values()) for one in holding]
        print_table(tuple(COLUMNS), rows)
        print()
    else:
        of = name if model_name is None else f"{model_name or UNNAMED} of {name}"
        say(f"{of} has no baselines; windthrow baseline set, or windthrow gate --set-baseline, sets one")
    baseline = here["baseline"]
    gate = "a gate here" if model_name is None else f"a gate of {model_name or UNNAMED} here"
    if model:
        print(f"{gate} compares with model {model}, as {file} says")
    elif baseline is None:
        print(f"{gate} finds no baseline{others_said(here)}")
    else:
        print(f"{gate} compares with {baseline['job']}, found by {here['resolved_by']}")


def _read(client: "Client", file: Path) -> "Json":
    """What a gate file says; nothing where it is not there and nobody named it."""
    if file.is_file():
        return dict(client.check_gate_file(file.read_text("utf-8"))["file"])
    if file != GATE_FILE:
        raise typer.BadParameter(f"there is no {file}")
    return {}


def _called(said: Optional[str], inside: "Json") -> str:
    """What the repository calls its model; "" where nothing says it."""
    return (inside.get("model") or {}).get("name") or "" if said is None else said


def _facts() -> "Facts":
    from windthrow.repository import Repository

    return Repository(Path.cwd()).facts()


def _named(repository: Optional[str], facts: "Facts") -> str:
    name = repository or facts.repository
    if name is None:
        raise typer.BadParameter("which repository? --repository names it")
    return name


def _newest(client: "Client", file: Path, inside: "Json") -> str:
    """The newest evaluation that a gate took of the very file that the gate file names.

    Raises:
        typer.BadParameter: there is none.
    """
    from windthrow._files import below, measure
    from windthrow.cli.gate_places import Places, Said

    if not inside:
        raise typer.BadParameter(f"which evaluation? name a job; there is no {file} that says of which model")
    checkpoint = below(inside["model"]["file"], Places(file, Said(None, None, None, None)).roots)
    sha256, _ = measure(checkpoint)
    jobs = [
        job
        for model in client.models(sha256=sha256, limit=200)
        if model.sha256 == sha256
        for job in client.jobs(kind="evaluation", state="succeeded", model=model.id, limit=50)
        if (job.client_ref or "").startswith("gate ")
    ]
    if not jobs:
        raise typer.BadParameter(
            f"no gate has evaluated {checkpoint} as it is; windthrow gate does, or name a job"
        )
    newest = max(jobs, key=lambda job: job.created_at)
    say(f"taking evaluation {newest.id} of {newest.created_at[:19]}, the newest of {checkpoint} as it is")
    return newest.id
