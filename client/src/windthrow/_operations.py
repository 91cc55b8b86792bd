"""Every operation, written once as a coroutine over a transport.

`AsyncClient` awaits them; `Client` runs them over a transport that blocks.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

from windthrow import _gating
from windthrow._calls import Calls, record
from windthrow._gate_calls import GateCalls
from windthrow._http import OK, Request
from windthrow._sending import send_file
from windthrow._waiting import job_path, until_over
from windthrow.errors import JobFailed, ModelRejected, WaitTimeout
from windthrow.records import Job, Json, Model, Upload

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from windthrow._files import SendProgress
    from windthrow._gate_jobs import OnStep
    from windthrow._waiting import OnEvent
    from windthrow.gates import Gated

CHECK_SECONDS = 600.0
MODELS = "/v1/models"
JOBS = "/v1/jobs"


class Operations(GateCalls):
    """What the holder of an API key can ask of a service."""

    def __init__(self, calls: Calls, url: str) -> None:
        self._calls = calls
        self.url = url

    async def close(self) -> None:
        """Close the connections."""
        await self._calls.transport.close()

    async def upload(self, path: str | os.PathLike[str], *, progress: SendProgress | None = None) -> Upload:
        """Have a file at the service: nothing is sent of what is there already, by whomever.

        An upload that broke off, in this process or an earlier one, goes on where it did.

        Args:
            path: the file.
            progress: hears how many of how many bytes are sent.
        """
        file = Path(path)
        return await send_file(self._calls, file, name=file.name, progress=progress)

    async def push(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        manifest: Mapping[str, Any] | None = None,
        dataset: str | None = None,
        timeout: float | None = CHECK_SECONDS,
        progress: SendProgress | None = None,
    ) -> Model:
        """Upload a checkpoint, register it, and wait until a worker has read it.

        Args:
            path: a safetensors file, or what `torch.save` makes of weights.
            name: the model's; the file's unless said.
            manifest: what the file does not tell: backbone, layout, profile, preprocessing.
            dataset: where its clean metrics are tried.
            timeout: seconds that a worker may take; None waits for ever.
            progress: hears how many of how many bytes are sent.

        Raises:
            ModelRejected: the worker could not use it.
            WaitTimeout: no worker read it in time.
        """
        upload = await self.upload(path, progress=progress)
        model = await self.register(
            upload.id, name=name or Path(path).name, manifest=manifest, dataset=dataset
        )
        return await self.wait_for_model(model.id, timeout=timeout)

    async def register(
        self,
        upload: str,
        *,
        name: str | None = None,
        manifest: Mapping[str, Any] | None = None,
        dataset: str | None = None,
    ) -> Model:
        """Register an uploaded checkpoint. The same one with the same manifest is the model that it already is."""
        optional = {"name": name, "manifest": manifest, "dataset": dataset}
        said = {key: value for key, value in optional.items() if value is not None}
        return await self._calls.record(Model.read, Request.sending(MODELS, {"upload": upload, **said}))

    async def wait_for_model(self, model_id: str, *, timeout: float | None = CHECK_SECONDS) -> Model:
        """A model once a worker has read it.

        Raises:
            ModelRejected: the worker could not use it.
            WaitTimeout: no worker read it in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        over = None
        while (model := await self.model(model_id)).state == "checking":
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise WaitTimeout(f"no worker read model {model_id} in {timeout:g} s; is one running?")
            if model.job in (None, over):  # its job is over, and is not yet noticed to be
                await self._calls.transport.sleep(1.0 if left is None else min(1.0, left))
                continue
            try:
                over = (await until_over(self._calls, model.job, timeout=left, on_event=None)).id
            except WaitTimeout:
                continue
        if model.state == "rejected":
            why = (model.reason or {}).get("message", "no reason was given")
            raise ModelRejected(f"{model.name or model.id} was rejected: {why}", model=model)
        return model

    async def model(self, model_id: str) -> Model:
        """A model."""
        return await self._calls.record(Model.read, Request("GET", f"{MODELS}/{quote(model_id, safe='')}"))

    async def models(
        self, *, name: str | None = None, sha256: str | None = None, limit: int = 50
    ) -> list[Model]:
        """Models, newest first; those of exactly this name, or of the file with this SHA-256, if one is given."""
        return await self._calls.listed(Model.read, MODELS, limit=limit, name=name, sha256=sha256)

    async def submit(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Queue a job: an evaluation, a transferability job, a training or a study, as its `kind` says.

        Args:
            spec: the job's document; with a `client_ref`, submitting it again is the same job, which is `attached` to.
            idempotency_key: makes this very call safe to repeat in another process; in this one it always is.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        answer = await self._calls.answer(Request.sending(JOBS, spec, headers))
        return replace(record(Job.read, answer), attached=answer.status == OK)  # a job that was made is 202

    async def job(self, job_id: str) -> Job:
        """A job as it is now."""
        return await self._calls.record(Job.read, Request("GET", job_path(job_id)))

    async def jobs(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        model: str | None = None,
        study: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs, newest first."""
        wanted = {"state": state, "kind": kind, "model": model, "study": study}
        return await self._calls.listed(Job.read, JOBS, limit=limit, **wanted)

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; one that is over stays as it is."""
        return await self._calls.record(Job.read, Request("POST", f"{job_path(job_id)}/cancel"))

    async def wait(
        self, job_id: str, *, timeout: float | None = None, on_event: OnEvent | None = None
    ) -> Job:
        """A job once it has succeeded.

        Args:
            job_id: the job's.
            timeout: seconds at most; None waits for ever.
            on_event: hears of everything that happens to it, from its beginning.

        Raises:
            JobFailed: it failed, or was cancelled.
            WaitTimeout: it takes longer.
        """
        job = await until_over(self._calls, job_id, timeout=timeout, on_event=on_event)
        if job.state != "succeeded":
            raise JobFailed(_ending(job), job=job)
        return job

    async def results(self, job_id: str) -> Json:
        """What a job found.

        Raises:
            JobFailed: it failed, or was cancelled.
            RequestError: it is not over (`job_not_finished`).
        """
        return await self._calls.json(Request("GET", f"{job_path(job_id)}/results"))

    async def results_csv(self, job_id: str) -> str:
        """What a job found, as CSV."""
        return await self._csv(f"{job_path(job_id)}/results")

    async def differences(
        self, job_id: str, attack: int, other: int, *, other_job: str | None = None
    ) -> Json:
        """One attack's numbers less another's on the same samples, by their positions in the specs."""
        pair = {"attack": str(attack), "other": str(other)}
        params = pair if other_job is None else {**pair, "other_job": other_job}
        return await self._calls.json(Request("GET", f"{job_path(job_id)}/differences", params=params))

    async def comparison(self, job_id: str, other_job: str) -> Json:
        """One model against another, from their evaluations: accuracy on clean images, robustness by attack."""
        params = {"other_job": other_job}
        return await self._calls.json(Request("GET", f"{job_path(job_id)}/comparison", params=params))

    async def comparison_csv(self, job_id: str, other_job: str) -> str:
        """The comparison as CSV."""
        return await self._csv(f"{job_path(job_id)}/comparison", other_job=other_job)

    async def gate(
        self,
        text: str,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        roots: Sequence[str | os.PathLike[str]] = (".",),
        place: Mapping[str, str | None] | Callable[[Json], Mapping[str, str | None]] | None = None,
        deadline: float | None = None,
        policy_file: str | None = None,
        report: str | None = None,
        publish: bool = False,
        progress: SendProgress | None = None,
        on_step: OnStep | None = None,
    ) -> Gated:
        """Gate a model: push it, evaluate it as its gate file plans, and decide.

        Run again, it sends nothing twice and attaches to the jobs that are there.

        Args:
            text: of the `windthrow.yaml`.
            checkpoint: what to gate; the file that the text names unless said.
            roots: where that file is looked for, such as the repository's root.
            place: where a baseline is looked for: `repository`, and `merge_base`, `branch`, `tag`; or what makes this
                of the file as JSON.
            deadline: seconds that it may take; as many as the text says unless said.
            policy_file: the text's path from the repository's root, for reports.
            report: an address that reports point to.
            publish: let the service keep the last look's page for whoever has its link, as `report` of the files; if
                that cannot be had, `report` stays what it is.
            progress: hears how many of how many bytes of the checkpoint are sent.
            on_step: hears of every step.

        Raises:
            RequestError: the text is no gate file (`invalid_gate_file`), or what it asks for is refused.
            ModelRejected: the model cannot be used.
            JobFailed: its evaluation failed, or somebody cancelled it.
            ServiceError: the service cannot be reached, says what makes no sense, or took too long (`WaitTimeout`).
        """
        wanted = _gating.Wanted(
            text=text,
            checkpoint=checkpoint,
            roots=roots,
            place=place,
            deadline=deadline,
            policy_file=policy_file,
            report=report,
            publish=publish,
            progress=progress,
            on_step=on_step,
        )
        return await _gating.gate(self._calls, lambda calls: Operations(calls, self.url), wanted)

    async def _csv(self, path: str, **params: str) -> str:
        answer = await self._calls.answer(Request("GET", path, params={**params, "format": "csv"}))
        return answer.file("text/csv").decode("utf-8", "replace")


def _ending(job: Job) -> str:
    why = (job.error or {}).get("message")
    return f"job {job.id} {'failed' if job.state == 'failed' else 'was cancelled'}" + (
        f": {why}" if why else ""
    )
