"""`windthrow baseline`: what a repository's gates compare with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from windthrow.cli.output import NONE, print_json, print_table, say
from windthrow.cli.session import JsonOption, connected

if TYPE_CHECKING:
    from windthrow import Client
    from windthrow.repository import Facts

cli = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Set and show what a repository's gates compare with."
)

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
    file: Annotated[Path, typer.Option("--file", help="Whose model, where no job is named.")] = Path(
        "windthrow.yaml"
    ),
    note: Annotated[Optional[str], typer.Option(help="Why, for people.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take an evaluation with error flags; --note must say why.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let a repository's gates compare with an evaluation.

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
        found = job or _newest(client, file)
        set_ones = [
            client.set_baseline(found, repository=name, kind=kind, ref=ref, note=note, force=force)
            for kind, ref in places
        ]
    if as_json:
        print_json(set_ones)
        return
    for kind, ref in places:
        print(f"{name}, {kind} {ref}: {found}")


@cli.command()
def show(
    *,
    branch: Annotated[
        Optional[str], typer.Option(help="What a gate would compare with for this branch.")
    ] = None,
    tag: Annotated[Optional[str], typer.Option(help="Or for this tag.")] = None,
    repository: RepositoryOption = None,
    file: Annotated[
        Path, typer.Option("--file", help="The gate file that says what to compare with.")
    ] = Path("windthrow.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Show the baselines that hold, and the one that a gate here would compare with."""
    from windthrow.cli.gate_places import Places, Said

    places = Places(file, Said(repository, None, branch, tag))
    name = places.repository
    if name is None:
        raise typer.BadParameter("which repository? --repository names it")
    with connected() as client:
        inside = client.check_gate_file(file.read_text("utf-8"))["file"] if file.is_file() else {}
        place = {key: value for key, value in places.baseline(inside).items() if value}
        holding = client.baselines(name, limit=200)
        here = client.resolve_baseline(**place) if len(place) > 1 else {"baseline": None, "resolved_by": None}
    model = (inside.get("baseline") or {}).get("model")
    if as_json:
        print_json({"baselines": holding, "place": place, "model": model, **here})
        return
    if holding:
        rows = [
            tuple(str(one.get(key) or NONE) for key in ("kind", "ref", "job", "model", "set_at", "note"))
            for one in holding
        ]
        print_table(("kind", "ref", "evaluation", "model", "set", "note"), rows)
        print()
    else:
        say(f"{name} has no baselines; windthrow baseline set, or windthrow gate --set-baseline, sets one")
    baseline = here["baseline"]
    if model:
        print(f"a gate here compares with model {model}, as {file} says")
    elif baseline is None:
        print("a gate here finds no baseline")
    else:
        print(f"a gate here compares with {baseline['job']}, found by {here['resolved_by']}")


def _facts() -> "Facts":
    from windthrow.repository import Repository

    return Repository(Path.cwd()).facts()


def _named(repository: Optional[str], facts: "Facts") -> str:
    name = repository or facts.repository
    if name is None:
        raise typer.BadParameter("which repository? --repository names it")
    return name


def _newest(client: "Client", file: Path) -> str:
    """The newest evaluation that a gate took of the very file that the gate file names.

    Raises:
        typer.BadParameter: there is none.
    """
    from windthrow._files import below, measure
    from windthrow.cli.gate_places import Places, Said

    if not file.is_file():
        raise typer.BadParameter(f"which evaluation? name a job; there is no {file} that says of which model")
    said = client.check_gate_file(file.read_text("utf-8"))["file"]["model"]
    checkpoint = below(said["file"], Places(file, Said(None, None, None, None)).roots)
    sha256, _ = measure(checkpoint)
    jobs = [
        job
        for model in client.models(name=said.get("name") or checkpoint.name, limit=200)
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
