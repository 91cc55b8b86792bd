"""What a gate compares with: a model, which is evaluated as the gated one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windthrow.errors import JobFailed, RequestError, ServiceError
from windthrow.gates import Look, Plan, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windthrow._gate_jobs import Asked, GateJobs, OnStep
    from windthrow._operations import Operations
    from windthrow.records import Job, Json

UNPROCESSABLE = 422

UNNAMED = "a model without a name"

NOWHERE = (
    "rules compare with a baseline, and nothing says where one would be: there is no git repository with a remote "
    "called origin; --repository and --branch say it too"
)


def place_of(said: Mapping[str, str | None], model_name: str | None) -> Json:
    """Where to look for a gated model's baseline; empty where it is not said in what repository, or where in it.

    Args:
        said: `repository`, and `merge_base`, `branch` and `tag`, each perhaps None.
        model_name: of the gate file; never the checkpoint's, which is another with every build.
    """
    found = {name: value for name, value in said.items() if value}
    if "repository" not in found or found.keys().isdisjoint(("merge_base", "branch", "tag")):
        return {}
    return {"model_name": model_name, **found} if model_name else found


def others_said(found: Json) -> str:
    """Which models have a baseline where this one has none, as a sentence goes on; an older service does not say."""
    names = found.get("other_names")
    if not isinstance(names, list) or not names:
        return ""
    return f"; there are baselines there for: {', '.join(str(name) or UNNAMED for name in names)}"


class Compared:
    """The baseline of one gate; there is none before `find`."""

    def __init__(self, operations: Operations, jobs: GateJobs, tell: OnStep) -> None:
        self._operations = operations
        self._jobs = jobs
        self._tell = tell
        self._model: str | None = None
        self._place: Json | None = None

    async def find(self, plan: Plan, place: Json) -> None:
        """Look up the model to compare with, if there is one.

        Args:
            plan: of the gate.
            place: where its baseline may be, from `place_of`; empty where nothing says it.

        Raises:
            ServiceError: the answer makes no sense.
        """
        said = plan.file.get("baseline") or {}
        if said.get("model"):
            self._tell(Step("baseline", f"comparing with model {said['model']}, as the file says"))
            self._model, self._place = str(said["model"]), None
            return
        if not place:
            self._tell(Step("baseline", NOWHERE))
            self._model, self._place = None, None
            return
        found = await self._operations.resolve_baseline(**place)
        baseline = found.get("baseline")
        if baseline is None:
            where = ", ".join(f"{name} {value}" for name, value in place.items())
            self._tell(Step("baseline", f"there is no baseline at {where}{others_said(found)}"))
            self._model, self._place = None, place
            return
        if not isinstance(baseline, dict) or not isinstance(baseline.get("model"), str):
            raise ServiceError("the service does not say which model the baseline is of")
        by = str(found.get("resolved_by"))
        self._tell(Step("baseline", f"comparing with model {baseline['model']}, found by {by}"))
        self._model, self._place = baseline["model"], place

    async def ask(self, look: Look, what: str) -> Asked | None:
        """Have the baseline's model evaluated alike; None where there is none, or it cannot be, lacking a task perhaps.

        Then the verdict is asked for with what the baseline is, and says that there is nothing to compare with.
        """
        if self._model is None:
            return None
        try:
            return await self._jobs.look(look, model=self._model, what=f"{what}, the baseline's")
        except RequestError as error:
            message = f"the baseline's model {self._model} cannot be evaluated like this: {error}"
            if self._place is None or error.status != UNPROCESSABLE:
                raise RequestError(
                    message, code="invalid_baseline", status=error.status, request_id=error.request_id
                ) from error
            self._tell(Step("note", message))
            return None

    async def ended(self, against: Asked) -> Job | None:
        """The baseline's evaluation; None where its model cannot be evaluated: then there is no baseline.

        Raises:
            JobFailed: it failed for another reason, or somebody cancelled it.
        """
        try:
            return await self._jobs.ended(against)
        except JobFailed as failure:
            message = f"the baseline could not be evaluated: {failure}"
            if not failure.of_the_model:
                raise JobFailed(message, job=failure.job) from failure
            self._tell(Step("note", f"{message}; so there is none to compare with"))
            return None

    def reference(self, evaluation: Job | None) -> str | Json | None:
        """How a verdict is told what to compare with."""
        if self._place is None:
            return None if evaluation is None else evaluation.id
        return self._place if evaluation is None else {**self._place, "evaluation": evaluation.id}
