"""The client that blocks. What its methods do is written in `_operations`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from windthrow._calls import BACKOFF_SECONDS, RETRIES, TIMEOUT_SECONDS, Calls, Patience
from windthrow._gate_client import GateClient
from windthrow._operations import CHECK_SECONDS, Operations
from windthrow._transports import BlockingTransport, complete
from windthrow.credentials import credentials

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from windthrow._files import SendProgress
    from windthrow._waiting import OnEvent
    from windthrow.records import Job, Json, Model, Upload


@final
class Client(GateClient):
    """A running service, as the holder of an API key sees it. Close it, or use it as a context manager.

    Args:
        url: where the service is; with `key`, what `windthrow login` stored unless said.
        key: the API key, `wt_…`.
        timeout: seconds without an answer after which a call is given up.
        retries: how often a call is repeated when the service cannot be reached, or asks to come back later.
        backoff: seconds before the first repetition, twice as many before each next.
        on_retry: hears of each repetition, a sentence.

    Raises:
        RequestError: the URL is none.
        AuthError: there is no key, or it cannot be one.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        backoff: float = BACKOFF_SECONDS,
        on_retry: Callable[[str], None] | None = None,
    ) -> None:
        found = credentials(url, key)
        transport = BlockingTransport(found.url, found.key, timeout)
        self._operations = Operations(Calls(transport, Patience(retries, backoff, on_retry)), found.url)
        self.url = found.url

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        complete(self._operations.close())

    def upload(self, path: str | os.PathLike[str], *, progress: SendProgress | None = None) -> Upload:
        """Have a file at the service: nothing is sent of what is there already, by whomever.

        An upload that broke off, in this process or an earlier one, goes on where it did.

        Args:
            path: the file.
            progress: hears how many of how many bytes are sent.
        """
        return complete(self._operations.upload(path, progress=progress))

    def push(
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
        return complete(
            self._operations.push(
                path, name=name, manifest=manifest, dataset=dataset, timeout=timeout, progress=progress
            )
        )

    def register(
        self,
        upload: str,
        *,
        name: str | None = None,
        manifest: Mapping[str, Any] | None = None,
        dataset: str | None = None,
    ) -> Model:
        """Register an uploaded checkpoint. The same one with the same manifest is the model that it already is."""
        return complete(self._operations.register(upload, name=name, manifest=manifest, dataset=dataset))

    def wait_for_model(self, model_id: str, *, timeout: float | None = CHECK_SECONDS) -> Model:
        """A model once a worker has read it.

        Raises:
            ModelRejected: the worker could not use it.
            WaitTimeout: no worker read it in time.
        """
        return complete(self._operations.wait_for_model(model_id, timeout=timeout))

    def model(self, model_id: str) -> Model:
        """A model."""
        return complete(self._operations.model(model_id))

    def models(self, *, name: str | None = None, sha256: str | None = None, limit: int = 50) -> list[Model]:
        """Models, newest first; those of exactly this name, or of the file with this SHA-256, if one is given."""
        return complete(self._operations.models(name=name, sha256=sha256, limit=limit))

    def submit(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Queue a job: an evaluation, a transferability job, a training or a study, as its `kind` says.

        Args:
            spec: the job's document; with a `client_ref`, submitting it again is the same job, which is `attached` to.
            idempotency_key: makes this very call safe to repeat in another process; in this one it always is.
        """
        return complete(self._operations.submit(spec, idempotency_key=idempotency_key))

    def job(self, job_id: str) -> Job:
        """A job as it is now."""
        return complete(self._operations.job(job_id))

    def jobs(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        model: str | None = None,
        study: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs, newest first."""
        return complete(self._operations.jobs(state=state, kind=kind, model=model, study=study, limit=limit))

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; one that is over stays as it is."""
        return complete(self._operations.cancel(job_id))

    def wait(self, job_id: str, *, timeout: float | None = None, on_event: OnEvent | None = None) -> Job:
        """A job once it has succeeded.

        Args:
            job_id: the job's.
            timeout: seconds at most; None waits for ever.
            on_event: hears of everything that happens to it, from its beginning.

        Raises:
            JobFailed: it failed, or was cancelled.
            WaitTimeout: it takes longer.
        """
        return complete(self._operations.wait(job_id, timeout=timeout, on_event=on_event))

    def results(self, job_id: str) -> Json:
        """What a job found.

        Raises:
            JobFailed: it failed, or was cancelled.
            RequestError: it is not over (`job_not_finished`).
        """
        return complete(self._operations.results(job_id))

    def results_csv(self, job_id: str) -> str:
        """What a job found, as CSV."""
        return complete(self._operations.results_csv(job_id))

    def differences(self, job_id: str, attack: int, other: int, *, other_job: str | None = None) -> Json:
        """One attack's numbers less another's on the same samples, by their positions in the specs."""
        return complete(self._operations.differences(job_id, attack, other, other_job=other_job))

    def comparison(self, job_id: str, other_job: str) -> Json:
        """One model against another, from their evaluations: accuracy on clean images, robustness by attack."""
        return complete(self._operations.comparison(job_id, other_job))

    def comparison_csv(self, job_id: str, other_job: str) -> str:
        """The comparison as CSV."""
        return complete(self._operations.comparison_csv(job_id, other_job))
