"""The jobs of a gate: submitted, or attached to where the same was asked for before; waited for until a deadline."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windthrow.errors import JobFailed, WaitTimeout
from windthrow.gates import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from windthrow._operations import Operations
    from windthrow.gates import Look
    from windthrow.records import Event, Job, Json

    OnStep = Callable[[Step], None]


class Deadline:
    """The moment until which a gate waits."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._began = time.monotonic()

    @property
    def at(self) -> float:
        """On the monotonic clock."""
        return self._began + self.seconds

    def left(self, what: str = "") -> float:
        """Seconds that are left.

        Raises:
            WaitTimeout: none are.
        """
        seconds = self.at - time.monotonic()
        if seconds <= 0:
            raise self.passed(what)
        return seconds

    def passed(self, what: str = "") -> WaitTimeout:
        """What to raise once it has."""
        why = f" ({what})" if what else ""
        return WaitTimeout(
            f"the service did not finish in {self.seconds / 60:g} minutes{why}; the jobs go on: run again to attach"
        )


@dataclass(frozen=True)
class Asked:
    """A job that was asked for.

    Attributes:
        spec: of it, all but its `client_ref`.
        what: it is, for people.
        mine: whether it was created for this gate, and not attached to.
    """

    job: Job
    spec: Json
    digest: str
    model: str
    what: str
    mine: bool


class GateJobs:
    """The jobs of one gate."""

    def __init__(self, operations: Operations, deadline: Deadline, tell: OnStep) -> None:
        self._operations = operations
        self._deadline = deadline
        self._tell = tell

    async def ask(self, spec: Json, digest: str, *, model: str, what: str) -> Asked:
        """Have a job: a new one, or the one that is there for the same samples, attacks and model.

        Args:
            spec: of it.
            digest: of the spec without its model.
            model: the model's id.
            what: it is, for people.
        """
        self._deadline.left(f"{what} is not submitted")
        ref = f"gate {digest[:32]} {model}"
        self._tell(Step("submitting", f"submitting {what}"))
        job = await self._operations.submit({**spec, "client_ref": ref})
        mine = not job.attached and job.state == "queued"  # older services do not tell what was attached to
        how = "submitted" if mine else f"attached to the one that is there, {job.state}"
        self._tell(Step("job", f"{what}: job {job.id}, {how}", job=job, mine=mine))
        return Asked(job, spec, digest, model, what, mine)

    async def look(self, look: Look, *, model: str, what: str) -> Asked:
        """Have a model evaluated as a look says."""
        spec = {**look.evaluation, "kind": "evaluation", "model": model}
        return await self.ask(spec, look.digest, model=model, what=what)

    async def ended(self, asked: Asked) -> Job:
        """A job once it has succeeded.

        Raises:
            JobFailed: it failed, or somebody cancelled it.
            WaitTimeout: the deadline passed.
        """
        try:
            return await self._wait(asked)
        except JobFailed as failure:
            if asked.mine or failure.job is None or failure.job.state != "cancelled":
                raise
        self._tell(Step("note", f"{asked.what}: cancelled by whoever had asked for it; asking for it anew"))
        return await self._wait(await self.ask(asked.spec, asked.digest, model=asked.model, what=asked.what))

    async def _wait(self, asked: Asked) -> Job:
        if asked.job.state == "succeeded":
            return asked.job

        def heard(event: Event) -> None:
            self._tell(Step("event", f"{asked.what}: {event.type}", done=event.fraction))

        left = self._deadline.left(f"{asked.what} is {asked.job.state}")
        try:
            return await self._operations.wait(asked.job.id, timeout=left, on_event=heard)
        except WaitTimeout as error:
            raise self._deadline.passed(f"{asked.what}, job {asked.job.id}, is not done") from error
