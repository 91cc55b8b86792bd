"""`windthrow gate`: may this model ship?"""

import math
from pathlib import Path
from typing import Annotated, Optional

import typer

from windthrow.cli.session import JsonOption, said_retries


def gate(
    *,
    file: Annotated[Path, typer.Option("--file", help="The gate file.")] = Path("windthrow.yaml"),
    checkpoint: Annotated[
        Optional[Path], typer.Option(help="Gate this file instead of the gate file's model.file.")
    ] = None,
    repository: Annotated[
        Optional[str],
        typer.Option(help="Whose baselines, such as github.com/acme/depth; found out unless said."),
    ] = None,
    merge_base: Annotated[
        Optional[str], typer.Option(help="The commit whose baseline is compared with; found out unless said.")
    ] = None,
    branch: Annotated[Optional[str], typer.Option(help="The branch whose baseline is compared with.")] = None,
    tag: Annotated[Optional[str], typer.Option(help="The tag whose baseline is compared with.")] = None,
    deadline: Annotated[
        Optional[float], typer.Option(min=0.0, help="Minutes; the file's deadline_minutes unless said.")
    ] = None,
    out: Annotated[
        Optional[Path], typer.Option(help="Write all reports into this directory.", file_okay=False)
    ] = None,
    summary: Annotated[
        Optional[Path], typer.Option(help="Append Markdown to this file; $GITHUB_STEP_SUMMARY unless said.")
    ] = None,
    junit: Annotated[Optional[Path], typer.Option(help="Write a JUnit report.", dir_okay=False)] = None,
    sarif: Annotated[Optional[Path], typer.Option(help="Write SARIF.", dir_okay=False)] = None,
    report: Annotated[
        Optional[str],
        typer.Option(help="A link for the reports; the published page unless said, or else the CI's run."),
    ] = None,
    publish: Annotated[
        bool,
        typer.Option(help="Let the service keep the page for whoever has its link; not with --report."),
    ] = True,
    set_baseline: Annotated[
        bool,
        typer.Option("--set-baseline", help="Passed, become the baseline of this commit, branch and tag."),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only read the file.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only try the policy on evaluations that there are.")
    ] = False,
    last: Annotated[int, typer.Option(min=1, help="With --dry-run, so many of the newest.")] = 10,
    job: Annotated[Optional[list[str]], typer.Option(help="With --dry-run, this one; repeatable.")] = None,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Interrupted, leave the jobs running.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Push a model, attack it as windthrow.yaml says, and decide whether it may ship.

    Exit codes: 0 passed; 1 failed, or the model cannot be used; 2 the file, an option or the key is wrong;
    3 the service is at fault, or did not finish in time; 4 inconclusive, or there is no baseline.
    """
    from windthrow._documents import is_link
    from windthrow.cli import gate_trial
    from windthrow.cli.gate_options import Options
    from windthrow.cli.gate_places import Places, Said
    from windthrow.cli.gate_run import GateRun
    from windthrow.cli.outputs import Outputs
    from windthrow.cli.surroundings import in_pull_request, run_address, summary_file

    if check and dry_run:
        raise typer.BadParameter("--check and --dry-run exclude each other")
    if job and not dry_run:
        raise typer.BadParameter("--job goes with --dry-run")
    if report is not None and not is_link(report):
        raise typer.BadParameter("--report is an address that begins with http:// or https://")
    if deadline is not None and not math.isfinite(deadline):
        raise typer.BadParameter("--deadline is a number of minutes")
    places = Places(file, Said(repository, merge_base, branch, tag))
    if check:
        raise typer.Exit(gate_trial.check(file, places, as_json=as_json))
    if dry_run:
        raise typer.Exit(gate_trial.try_out(file, places, jobs=job or [], last=last, as_json=as_json))
    if set_baseline and in_pull_request():
        raise typer.BadParameter("--set-baseline is for what is merged; this is a pull request")
    if set_baseline and not (places.repository and places.here()):
        raise typer.BadParameter(
            "--set-baseline needs a git repository with a remote called origin; else say --repository"
        )
    said_retries()
    outputs = Outputs(out, summary or summary_file(), junit, sarif)
    outputs.prepare(file, checkpoint)
    options = Options(
        file=file,
        checkpoint=checkpoint,
        places=places,
        deadline=None if deadline is None else 60.0 * deadline,
        outputs=outputs,
        report=report or run_address(),
        publish=publish and report is None,
        set_baseline=set_baseline,
        keep_running=keep_running,
        as_json=as_json,
    )
    raise typer.Exit(GateRun(options).run())
