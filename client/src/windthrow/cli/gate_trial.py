"""A gate file tried out: only read, or held against evaluations that there are. Nothing is run, and nothing fails."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Union

from windthrow._gate_compared import place_of
from windthrow.cli.endings import ending
from windthrow.cli.gate_options import read_gate_file
from windthrow.cli.gate_places import Places
from windthrow.cli.gate_trouble import tell
from windthrow.cli.output import NONE, print_json, print_table, say
from windthrow.cli.session import connected
from windthrow.cli.verdicts import counts
from windthrow.errors import JobFailed, RequestError, ServiceError, WindthrowError
from windthrow.gates import Plan, check_verdict
from windthrow.records import Job, Json

if TYPE_CHECKING:
    from windthrow import Client

Tried = tuple[Job, Union[Json, WindthrowError]]


def check(file: Path, places: Places, *, as_json: bool) -> int:
    """Read a gate file; returns the exit code."""

    def run() -> None:
        with connected() as client:
            found = client.check_gate_file(read_gate_file(file))
        if as_json:
            print_json(found)
            return
        plan = _plan(found)
        rules = len(plan.file.get("rules") or ())
        print(f"{places.policy_file}: {rules} rule{'s' * (rules != 1)}, no mistakes")
        if plan.looks is None:
            print("what it attacks is known with the model: name model.manifest.profile, or gate one")
        else:
            print(f"up to {len(plan.looks)} look{'s' * (len(plan.looks) != 1)} at a model")

    return _ended(run, places, as_json=as_json)


def try_out(file: Path, places: Places, *, jobs: Sequence[str], last: int, as_json: bool) -> int:
    """Hold a policy against past evaluations; returns the exit code."""

    def run() -> None:
        text = read_gate_file(file)
        with connected() as client:
            plan = _plan(client.check_gate_file(text))
            found = [client.job(one) for one in jobs] or _past(client, plan, last)
            place = place_of(places.baseline(plan.file), plan.file["model"].get("name"))
            compared = place if plan.compares and place else None
            tried = [(job, _held(client, job, text, compared)) for job in found]
        if as_json:
            print_json([_document(job, held) for job, held in tried])
        else:
            _show(tried)

    return _ended(run, places, as_json=as_json)


def _plan(checked: Json) -> Plan:
    try:
        return Plan.read(checked)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ServiceError("what the service says of the file makes no sense") from error


def _past(client: "Client", plan: Plan, last: int) -> list[Job]:
    """Past evaluations of models of the file's name; of any, where there is none of that name."""
    said = plan.file["model"]
    name = said.get("name") or Path(said["file"]).name
    models = client.models(name=name, limit=last)
    found = [
        job
        for model in models
        for job in client.jobs(kind="evaluation", state="succeeded", model=model.id, limit=last)
    ]
    if not found:
        say(f"there is no evaluation of a model called {name}; these are of others")
        found = client.jobs(kind="evaluation", state="succeeded", limit=last)
    return sorted(found, key=lambda job: job.created_at, reverse=True)[:last]


def _held(client: "Client", job: Job, text: str, place: Union[Json, None]) -> Union[Json, WindthrowError]:
    try:
        verdict = client.verdict(job.id, gate_file=text, baseline=place, trial=True)
        return check_verdict(verdict, job.id, job.models[0])
    except (RequestError, JobFailed) as error:
        return error


def _document(job: Job, held: Union[Json, WindthrowError]) -> Json:
    verdict, error = (held, None) if isinstance(held, dict) else (None, str(held))
    return {"job": job.id, "created_at": job.created_at, "verdict": verdict, "error": error}


def _show(tried: Sequence[Tried]) -> None:
    if not tried:
        say("there is no evaluation yet; gate a model, or submit one")
        return
    head = ("evaluation", "created", "model", "would have", "outcomes", "message")
    print_table(head, [_row(job, held) for job, held in tried])


def _row(job: Job, held: Union[Json, WindthrowError]) -> tuple[str, ...]:
    created = job.created_at[:19]
    if not isinstance(held, dict):
        return job.id, created, ", ".join(job.models), NONE, NONE, str(held)
    model = str(held.get("model_name") or held.get("model"))
    return job.id, created, model, held["status"], counts(held), held["message"]


def _ended(run: Callable[[], None], places: Places, *, as_json: bool) -> int:
    """Run it to its exit code: a sentence, and whose fault it is."""
    try:
        run()
    except WindthrowError as error:
        end = ending(error)
        tell(end, places.policy_file, as_json=as_json)
        return end.code
    return 0
