"""What can be wrong with a request about a job."""

from uuid import UUID

from core.errors import WindthrowError


class JobError(WindthrowError):
    """The root of this package's errors."""

    code = "job_error"


class JobNotFoundError(JobError):
    """No job has that id."""

    code = "job_not_found"

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"there is no job {job_id}")


class ModelError(JobError):
    """A model that the spec names cannot be used.

    Attributes:
        field: where the spec names it.
    """

    code = "model_error"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class ModelNotFoundError(ModelError):
    """The spec names a model that is not registered."""

    code = "model_not_found"

    def __init__(self, model_id: UUID, *, field: str) -> None:
        super().__init__(f"there is no model {model_id}; register it first", field=field)


class ModelNotReadyError(ModelError):
    """The model is still being checked, or was rejected."""

    code = "model_not_ready"

    def __init__(self, model_id: UUID, state: str, *, field: str) -> None:
        advice = "wait until it is ready" if state == "checking" else "see its reason"
        super().__init__(f"model {model_id} is {state}; {advice}", field=field)


class ClientRefConflictError(JobError):
    """A job with the same `client_ref` has another spec."""

    code = "client_ref_conflict"

    def __init__(self, client_ref: str, job_id: UUID) -> None:
        super().__init__(f"client_ref {client_ref!r} belongs to job {job_id}, which has another spec")
        self.job_id = job_id


class JobTooLargeError(JobError):
    """The spec would take more shards than a job may have."""

    code = "job_too_large"

    def __init__(self, shards: int, maximum: int) -> None:
        super().__init__(f"this would take {shards} shards, above the {maximum} of one job; split it")
