"""`windthrow submit`, `watch`, `cancel`, `results`, `compare` and `jobs`."""

import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from windthrow.cli import tables
from windthrow.cli.output import print_json, print_pairs, print_table, say, watching
from windthrow.cli.session import (
    CsvOption,
    JobArgument,
    JsonOption,
    LimitOption,
    TimeoutOption,
    connected,
    read_document,
)
from windthrow.errors import JobFailed
from windthrow.records import Job

if TYPE_CHECKING:
    from windthrow import Client

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List and show jobs.")


def submit(
    spec: Annotated[str, typer.Argument(help="The job's JSON document, a file or - for standard input.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it is over.")] = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a job and print its id.

    With a "client_ref" in the document, submitting it again is the same job.
    """
    document = read_document(spec)
    with connected() as client:
        job = client.submit(document)
        if job.attached:
            say(f"attached to job {job.id}, which is there and {job.state}")
        if wait:
            _watch(client, job.id, timeout=timeout, as_json=as_json)
        elif as_json:
            print_json(job.document)
        else:
            print(job.id)


def watch(job: JobArgument, *, timeout: TimeoutOption = None, as_json: JsonOption = False) -> None:
    """Show what happens to a job until it is over.

    The exit code is 1 if it does not succeed.
    """
    with connected() as client:
        _watch(client, job, timeout=timeout, as_json=as_json)


def _watch(client: "Client", job_id: str, *, timeout: Optional[float], as_json: bool) -> None:
    try:
        with watching(job_id) as show:
            job = client.wait(job_id, timeout=timeout, on_event=show)
    except KeyboardInterrupt:
        say(f"job {job_id} goes on: windthrow watch {job_id}, or windthrow cancel {job_id}")
        raise
    except JobFailed as failure:
        if as_json and failure.job is not None:
            print_json(failure.job.document)
        raise
    if as_json:
        print_json(job.document)
    else:
        print(job.id)
        say(f"succeeded: windthrow results {job.id}")


def cancel(job: JobArgument, *, as_json: JsonOption = False) -> None:
    """Ask a job to stop; one that is over stays as it is."""
    with connected() as client:
        found = client.cancel(job)
    _show(found, as_json=as_json)


def results(job: JobArgument, *, csv: CsvOption = False, as_json: JsonOption = False) -> None:
    """Print what a job found."""
    _one_form(csv=csv, as_json=as_json)
    with connected() as client:
        if csv:
            sys.stdout.write(client.results_csv(job))
            return
        found = client.results(job)
        if as_json:
            print_json(found)
        elif "attacks" in found and "clean" in found:
            tables.evaluation(found)
        elif "curves" in found and "iterations" in found:
            tables.training(found)
        else:
            tables.rows(client.results_csv(job))


def compare(
    job: JobArgument,
    other: Annotated[str, typer.Argument(help="The other model's evaluation, such as the baseline's.")],
    *,
    csv: CsvOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two models, each evaluated by a job on the same samples."""
    _one_form(csv=csv, as_json=as_json)
    with connected() as client:
        if csv:
            sys.stdout.write(client.comparison_csv(job, other))
            return
        found = client.comparison(job, other)
    if as_json:
        print_json(found)
    else:
        tables.comparison(found)


@cli.command("list")
def list_jobs(
    *,
    state: Annotated[Optional[str], typer.Option(help="Only jobs in this state.")] = None,
    kind: Annotated[Optional[str], typer.Option(help="Only jobs of this kind.")] = None,
    model: Annotated[Optional[str], typer.Option(help="Only jobs on this model.")] = None,
    study: Annotated[Optional[str], typer.Option(help="Only the parts of this study.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    with connected() as client:
        found = client.jobs(state=state, kind=kind, model=model, study=study, limit=limit)
    if as_json:
        print_json([job.document for job in found])
        return
    rows = [
        (one.id, one.kind, one.state, _percent(one), one.created_at[:19], one.client_ref or "–")
        for one in found
    ]
    print_table(("job", "kind", "state", "done", "created", "ref"), rows, numbers=("done",))


@cli.command()
def show(job: JobArgument, *, as_json: JsonOption = False) -> None:
    """Show a job."""
    with connected() as client:
        found = client.job(job)
    _show(found, as_json=as_json)


def _show(job: Job, *, as_json: bool) -> None:
    if as_json:
        print_json(job.document)
        return
    eta = job.progress.eta_seconds
    print_pairs(
        {
            "job": job.id,
            "kind": job.kind,
            "state": f"{job.state}, to be cancelled" if job.cancel_requested and not job.over else job.state,
            "done": _percent(job),
            "left": None if eta is None else f"{eta:.0f} s",
            "error": (job.error or {}).get("message"),
            "models": ", ".join(job.models) or None,
            "ref": job.client_ref,
            "created": job.created_at,
        }
    )


def _percent(job: Job) -> str:
    return f"{100 * job.progress.fraction:.0f} %"


def _one_form(*, csv: bool, as_json: bool) -> None:
    if csv and as_json:
        raise typer.BadParameter("--csv and --json exclude each other")
