"""A gate from its file to its verdict: push the model, take one look after another, and decide.

Nothing is kept here: a gate that was killed and is run again pushes nothing twice, and attaches to its jobs.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windthrow._calls import Calls, record
from windthrow._files import below
from windthrow._gate_calls import check_request
from windthrow._gate_compared import Compared, place_of
from windthrow._gate_jobs import Asked, Deadline, GateJobs
from windthrow._gate_text import DAY, deadline_minutes
from windthrow.errors import RequestError, ServiceError, WaitTimeout, WindthrowError
from windthrow.gates import Gated, Look, Plan, Step, check_verdict, following

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from windthrow._files import SendProgress
    from windthrow._gate_jobs import OnStep
    from windthrow._operations import Operations
    from windthrow.records import Job, Json, Model

    Place = Mapping[str, "str | None"]
    Within = Callable[[Calls], Operations]

GRACE_SECONDS = 15.0
"""Calls end this long after the deadline, so that what was done in time still gets its verdict."""
PUBLISH_SECONDS = 30.0
"""For no longer does a verdict wait for its report to be published."""
NO_SUCH_CALL = frozenset({404, 405})
TRIES = 2
"""How often a baseline is looked up, if it is another model's by the time of the verdict."""


@dataclass(frozen=True)
class Wanted:
    """What a gate is asked for; see `Operations.gate`."""

    text: str
    checkpoint: str | os.PathLike[str] | None
    roots: Sequence[str | os.PathLike[str]]
    place: Place | Callable[[Json], Place] | None
    deadline: float | None
    policy_file: str | None
    report: str | None
    publish: bool
    progress: SendProgress | None
    on_step: OnStep | None


async def gate(calls: Calls, within: Within, wanted: Wanted) -> Gated:
    """Run a gate; `within` makes operations of calls that know when to end."""
    said = deadline_minutes(wanted.text) or DAY
    deadline = Deadline(60.0 * said if wanted.deadline is None else wanted.deadline)
    running = _Gate(calls, within, wanted, deadline)
    return await running.run()


class _Gate:
    """One gate, and what it knows so far."""

    def __init__(self, calls: Calls, within: Within, wanted: Wanted, deadline: Deadline) -> None:
        self._wanted = wanted
        self._deadline = deadline
        self._within = within
        self._calls = calls.until(math.inf)
        self._operations = within(self._calls)
        self._jobs = GateJobs(self._operations, deadline, self._tell)
        self._compared = Compared(self._operations, self._jobs, self._tell)
        self._bound()

    async def run(self) -> Gated:
        """Take looks until nothing asks for another."""
        plan = await self._plan(None)
        self._deadline.seconds = (
            60.0 * plan.file["deadline_minutes"] if self._wanted.deadline is None else self._wanted.deadline
        )
        self._bound()
        model = await self._model(plan)
        plan = plan if plan.looks is not None else await self._plan(model.id)
        if plan.looks is None:
            raise ServiceError("the service does not say what to evaluate")
        if plan.compares:
            await self._compared.find(plan, await self._place(plan))
        transfer = await self._transferability(plan, model)
        looks, done = plan.looks, []
        look: Look | None = looks[0]
        while look is not None:
            gated = await self._look(plan, look, model=model, transfer=transfer)
            done.append(gated.job)
            look = following(gated.verdict, looks, look)
        return await self._published(replace(gated, jobs=tuple(done)))

    async def _published(self, gated: Gated) -> Gated:
        """The same with its report's address; as it is where that is not wanted, or cannot be had."""
        if not self._wanted.publish:
            return gated
        by = min(self._calls.deadline, time.monotonic() + PUBLISH_SECONDS)
        try:
            published = await self._within(self._calls.until(by)).publish_report(gated.job.id, **gated.asked)
        except WindthrowError as error:
            older = isinstance(error, RequestError) and error.status in NO_SUCH_CALL
            why = "the service is too old for that" if older else str(error)
            self._tell(Step("note", f"no report is published: {why}"))
            return gated
        address = published["url"]
        self._tell(Step("report", f"the report is published at {address}", document=published))
        return replace(gated, asked={**gated.asked, "report": address})

    def _bound(self) -> None:
        self._calls.deadline = self._deadline.at + GRACE_SECONDS

    def _tell(self, step: Step) -> None:
        if self._wanted.on_step is not None:
            self._wanted.on_step(step)

    async def _plan(self, model: str | None) -> Plan:
        answer = await self._calls.answer(check_request(self._wanted.text, model))
        plan = record(Plan.read, answer)
        count = (
            "" if plan.looks is None else f"; {len(plan.looks)} look{'s' * (len(plan.looks) != 1)} at most"
        )
        self._tell(Step("checked", f"the file is well{count}", document=plan.document))
        return plan

    async def _model(self, plan: Plan) -> Model:
        said = plan.file["model"]
        path = Path(self._wanted.checkpoint or below(said["file"], self._wanted.roots))
        manifest = {key: value for key, value in (said.get("manifest") or {}).items() if value is not None}
        name = said.get("name") or path.name
        self._tell(Step("pushing", f"pushing {path} as {name}"))
        upload = await self._operations.upload(path, progress=self._in_time)
        registered = await self._operations.register(upload.id, name=name, manifest=manifest or None)
        try:
            left = self._deadline.left(f"model {registered.id} is {registered.state}")
            model = await self._operations.wait_for_model(registered.id, timeout=left)
        except WaitTimeout as error:
            raise self._deadline.passed(f"no worker has read model {registered.id}") from error
        self._tell(Step("model", f"model {model.id} ({model.name or name}) is {model.state}"))
        return model

    def _in_time(self, sent: int, size: int) -> None:
        if self._wanted.progress is not None:
            self._wanted.progress(sent, size)
        if sent < size:
            self._deadline.left("the checkpoint is being sent")

    async def _place(self, plan: Plan) -> Json:
        said = self._wanted.place
        place = await self._calls.transport.run(partial(said, plan.file)) if callable(said) else said
        return place_of(place or {}, plan.file["model"].get("name"))

    async def _transferability(self, plan: Plan, model: Model) -> Asked | None:
        if plan.transferability is None:
            return None
        spec, digest = plan.transferability
        whole = {**spec, "kind": "transferability", "models": [model.id]}
        return await self._jobs.ask(whole, digest, model=model.id, what="transferability")

    async def _look(self, plan: Plan, look: Look, *, model: Model, transfer: Asked | None) -> Gated:
        what = f"look {look.number} of {len(plan.looks or ())}"
        asked = await self._jobs.look(look, model=model.id, what=what)
        for attempt in range(TRIES):
            against = await self._compared.ask(look, what)
            job = await self._jobs.ended(asked)
            other = None if against is None else await self._compared.ended(against)
            transferred = None if transfer is None else await self._jobs.ended(transfer)
            arguments = self._asked(other, transferred)
            try:
                verdict = await self._operations.verdict(job.id, **arguments)
            except RequestError as error:
                if error.code != "baseline_moved" or attempt + 1 == TRIES:
                    raise
                self._tell(Step("baseline", "the baseline is another model by now; looking again"))
                await self._compared.find(plan, await self._place(plan))
            else:
                break
        check_verdict(verdict, job.id, model.id)
        self._tell(Step("verdict", f"{what}: {verdict['status']}", document=verdict))
        return Gated(verdict, plan, model, (job,), other, transferred, arguments)

    def _asked(self, other: Job | None, transferred: Job | None) -> dict[str, Any]:
        """Arguments of the verdict."""
        return {
            "gate_file": self._wanted.text,
            "baseline": self._compared.reference(other),
            "transferability": None if transferred is None else transferred.id,
            "policy_file": self._wanted.policy_file,
            "report": self._wanted.report,
        }
