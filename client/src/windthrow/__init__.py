"""Client of Windthrow, the service that attacks multi-task models: `Client`, `AsyncClient`, their records and errors.

What speaks HTTP is imported when it is first asked for, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from windthrow._version import __version__
from windthrow.errors import (
    AuthError,
    FieldProblem,
    JobFailed,
    ModelRejected,
    RequestError,
    ServiceError,
    Unavailable,
    WaitTimeout,
    WindthrowError,
)
from windthrow.gates import Gated, Step
from windthrow.records import Event, Job, Model, Progress, Upload

if TYPE_CHECKING:
    from windthrow.async_client import AsyncClient
    from windthrow.client import Client

__all__ = [
    "AsyncClient",
    "AuthError",
    "Client",
    "Event",
    "FieldProblem",
    "Gated",
    "Job",
    "JobFailed",
    "Model",
    "ModelRejected",
    "Progress",
    "RequestError",
    "ServiceError",
    "Step",
    "Unavailable",
    "Upload",
    "WaitTimeout",
    "WindthrowError",
    "__version__",
]

_LAZY = {"Client": "windthrow.client", "AsyncClient": "windthrow.async_client"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
