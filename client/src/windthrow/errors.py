"""What can go wrong, by who can do something about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windthrow.records import Job, Model


class WindthrowError(Exception):
    """Anything that this package raises on purpose; its text is a sentence to act on."""


class ServiceError(WindthrowError):
    """The service cannot be reached, is broken, or answered what it never should."""


class Unavailable(ServiceError):
    """A trouble that may pass by itself: nobody answers, or the answer is 408, 429, 502, 503 or 504.

    Attributes:
        retry_after: seconds that the service asks to wait, if it does.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WaitTimeout(ServiceError):
    """What was waited for did not happen in time. It goes on regardless."""


@dataclass(frozen=True)
class FieldProblem:
    """One offending place of a request: a JSON pointer such as `#/attacks/0/eps`, or a parameter's name.

    Attributes:
        line: where in a text that was sent, from 1; None where no text was. So is `column`.
    """

    pointer: str
    code: str
    message: str
    line: int | None = None
    column: int | None = None


class RequestError(WindthrowError):
    """The service, or this client before it, refused what was asked.

    Attributes:
        code: the problem's, such as `invalid_request` or `job_not_found`.
        status: of the HTTP answer; None if nothing was sent.
        errors: the offending places.
        request_id: finds the request in the service's log.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int | None = None,
        errors: Sequence[FieldProblem] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.errors = tuple(errors)
        self.request_id = request_id


class AuthError(WindthrowError):
    """There is no API key, it is not known to the service, or it may not do this."""


OF_THE_MODEL = frozenset(
    {"invalid_prediction", "nonfinite_predictions", "nonfinite_weights", "checkpoint_too_hungry"}
)
"""Codes of errors of an evaluation that only the model can have caused; whatever is not here is the service's."""


class JobFailed(WindthrowError):
    """A job failed or was cancelled.

    Attributes:
        job: as it is now; None where only its refusal to give results is known.
    """

    def __init__(self, message: str, *, job: Job | None = None) -> None:
        super().__init__(message)
        self.job = job

    @property
    def of_the_model(self) -> bool:
        """Whether only the model can have caused it."""
        failed = self.job is not None and self.job.state == "failed"
        return failed and ((self.job and self.job.error) or {}).get("code") in OF_THE_MODEL


class ModelRejected(WindthrowError):
    """A worker read the checkpoint and could not use it; the model has the reason."""

    def __init__(self, message: str, *, model: Model) -> None:
        super().__init__(message)
        self.model = model
