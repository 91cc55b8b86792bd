"""The state machines of jobs and shards: the only transitions there are."""

from enum import IntEnum
from typing import Literal, get_args

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ShardState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
SubmittedKind = Literal["evaluation", "transferability", "training", "study"]
JobKind = Literal[SubmittedKind, "model_check"]
ModelState = Literal["checking", "ready", "rejected"]
UploadState = Literal["open", "complete"]
Topic = Literal["shard", "finalise", "study"]

JOB_STATES: tuple[JobState, ...] = get_args(JobState)
SHARD_STATES: tuple[ShardState, ...] = get_args(ShardState)
SUBMITTED_KINDS: tuple[SubmittedKind, ...] = get_args(SubmittedKind)
JOB_KINDS: tuple[JobKind, ...] = get_args(JobKind)
MODEL_STATES: tuple[ModelState, ...] = get_args(ModelState)
UPLOAD_STATES: tuple[UploadState, ...] = get_args(UploadState)
TOPICS: tuple[Topic, ...] = get_args(Topic)


class Urgency(IntEnum):
    """Which bell is answered first: the lowest, and among equals the one that was rung first.

    So a job of hundreds of shards is worked off before the small one behind it: it was there first. What has resumed
    overtakes only work that was submitted after its own job. It was released, or given back, by a shard that was
    itself taken in its turn, and had it not waited it would have been done before all that was rung since.
    """

    URGENT = 0
    """Seconds of work that somebody waits for: a job's end, a model's check."""

    RESUMED = 1
    """A shard that waited for another, was given back, or whose bell was lost: its age is its job's."""

    ORDINARY = 2
    """A shard of a job that was just submitted, or of a training that has had its turn."""


JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    "queued": frozenset({"running", "cancelled"}),
    "running": frozenset({"succeeded", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""Cancelling is a flag beside the state: a job is `cancelled` once nothing of it runs any more."""

SHARD_TRANSITIONS: dict[ShardState, frozenset[ShardState]] = {
    "queued": frozenset({"running", "cancelled"}),
    "running": frozenset({"succeeded", "failed", "cancelled", "queued"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""`running` goes back to `queued` when a worker is lost, preempted, or failed in a way that may pass."""

JOB_FINAL: frozenset[JobState] = frozenset(state for state in JOB_STATES if not JOB_TRANSITIONS[state])
JOB_OPEN: tuple[JobState, ...] = tuple(state for state in JOB_STATES if JOB_TRANSITIONS[state])


def shards_before(state: ShardState) -> tuple[ShardState, ...]:
    """The states from which a shard may become `state`: every UPDATE asks for one of them."""
    return tuple(source for source in SHARD_STATES if state in SHARD_TRANSITIONS[source])
