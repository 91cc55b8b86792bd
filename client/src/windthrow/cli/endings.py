"""How a gate ends that got no verdict: whose fault that is, the exit code, and what to do next."""

from dataclasses import dataclass, field
from typing import Optional

from windthrow.cli.session import MODEL_FAILED, SERVICE_FAILED, WRONGLY_ASKED
from windthrow.errors import (
    AuthError,
    FieldProblem,
    JobFailed,
    ModelRejected,
    RequestError,
    ServiceError,
    WaitTimeout,
)

OF_THE_SERVICE = frozenset(
    {
        "blob_not_found",
        "broken_backbone",
        "cancelled",
        "corrupt_blob",
        "dataset_changed",
        "dataset_not_found",
        "digest_mismatch",
        "disk_full",
        "error",
        "finalise_timeout",
        "internal_error",
        "invalid_dataset",
        "invalid_label",
        "invalid_sample",
        "remote_dataset",
        "shard_timeout",
        "storage_full",
        "store_full",
        "worker_lost",
    }
)
"""Codes of reasons why a model could not be checked that say nothing about the model."""

TOO_MANY = 429
PASSING_STATUSES = frozenset({404, 405, 409, 410, 415, TOO_MANY})
"""Of refusals that the caller of a gate did not cause: another version of the service, a quota, a race."""


@dataclass(frozen=True)
class Ending:
    """The end of a gate without a verdict.

    Attributes:
        who: `MODEL`, `FILE`, `SERVICE`, `KEY` or `CALL`: who is at fault.
        advice: what to do next.
        places: in the gate file.
        outage: whether the service was away, broken or too slow, which `on_service_error: warn` lets pass.
    """

    code: int
    who: str
    message: str
    advice: str
    places: tuple[FieldProblem, ...] = field(default=())
    outage: bool = False

    @property
    def title(self) -> str:
        """Whose fault it is, in words."""
        return {
            "MODEL": "the MODEL is at fault",
            "FILE": "the gate FILE is at fault",
            "SERVICE": "the SERVICE is at fault",
            "KEY": "the API KEY is at fault",
            "CALL": "the CALL is at fault",
        }[self.who]

    @property
    def text(self) -> str:
        """All of it in a line."""
        return f"{self.title}: {self.message}; {self.advice}"


def ending(error: Exception) -> Ending:
    """What an error means for a gate. In doubt it is the service's: a model is not blamed for an outage."""
    if isinstance(error, AuthError):
        advice = "give one with WINDTHROW_KEY, or log in: windthrow login"
        return Ending(WRONGLY_ASKED, "KEY", str(error), advice)
    if isinstance(error, ModelRejected):
        return _rejected(error)
    if isinstance(error, JobFailed):
        return _failed(error)
    if isinstance(error, RequestError):
        return _refused(error)
    return _broken(error)


def _broken(error: Exception) -> Ending:
    message = str(error)
    if isinstance(error, WaitTimeout):
        advice = "a longer --deadline or deadline_minutes gives it more time"
    elif isinstance(error, ServiceError):
        advice = "nothing is known about the model; run again once the service is well, unless WINDTHROW_URL is wrong"
    else:
        message = f"something unexpected: {type(error).__name__}: {error}"
        advice = "nothing is known about the model; WINDTHROW_DEBUG=1 shows where it happened"
    outage = isinstance(error, ServiceError)
    return Ending(SERVICE_FAILED, "SERVICE", message, advice, outage=outage)


def _rejected(error: ModelRejected) -> Ending:
    code = (error.model.reason or {}).get("code")
    if code is None or code in OF_THE_SERVICE:
        advice = "the check of the model did not come to an end; run again"
        return Ending(SERVICE_FAILED, "SERVICE", str(error), advice)
    return Ending(MODEL_FAILED, "MODEL", str(error), "repair the checkpoint, or model.manifest in the file")


def _failed(error: JobFailed) -> Ending:
    job = error.job
    if error.of_the_model:
        return Ending(MODEL_FAILED, "MODEL", str(error), "repair the checkpoint")
    if job is not None and job.state == "cancelled":
        return Ending(SERVICE_FAILED, "SERVICE", f"{error} by somebody else", "run again to submit it anew")
    return Ending(
        SERVICE_FAILED, "SERVICE", str(error), "run again; if it stays, ask whoever runs the service"
    )


def _refused(error: RequestError) -> Ending:
    said = str(error) + (f" (request {error.request_id})" if error.request_id else "")
    pointers = {place.pointer for place in error.errors}
    if error.code == "invalid_gate_file":
        advice = "correct it; windthrow gate --check reads it and runs nothing"
        return Ending(WRONGLY_ASKED, "FILE", said, advice, error.errors)
    if error.code in ("model_not_found", "invalid_baseline"):
        return Ending(WRONGLY_ASKED, "FILE", said, "name another baseline")
    if error.status in PASSING_STATUSES or error.code == "upload_not_found":
        advice, outage = "is it of another version? run again later", error.status == TOO_MANY
        return Ending(SERVICE_FAILED, "SERVICE", said, advice, outage=outage)
    if error.code == "checkpoint_mismatch":
        advice = "give the checkpoint that model.manifest in the gate file describes, or correct that"
        return Ending(MODEL_FAILED, "MODEL", said, advice)
    if pointers == {"#/upload"} and error.status == 422:
        return Ending(MODEL_FAILED, "MODEL", said, "give a checkpoint that can be read")
    advice = _advice(error)
    return Ending(WRONGLY_ASKED, "CALL" if error.status is None else "FILE", said, advice, error.errors)


def _advice(error: RequestError) -> str:
    advice: Optional[str] = {
        "file_unreadable": "model.file in the gate file, or --checkpoint, says where it is",
        "file_empty": "model.file in the gate file, or --checkpoint, says where it is",
        "no_gate_file": "--file says where it is; windthrow init writes one",
        "no_url": "set WINDTHROW_URL and WINDTHROW_KEY",
        "invalid_url": "correct WINDTHROW_URL",
    }.get(error.code)
    return advice or "correct what it names"
