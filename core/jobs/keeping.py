"""How far a long shard has come, kept so that whoever takes it next goes on from there.

A state is kept under the key that the result will have: a job that does the same as one which was cancelled or has
failed goes on from that one's last state, too.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.jobs import events
from core.jobs.leases import Claim, held
from core.jobs.progress import NOW, interval
from core.jobs.states import JOB_OPEN
from core.store.tables import Job, KeptState, Model, Result, ShardResult, Upload


def kept_state(session: Session, key: str) -> KeptState | None:
    """The newest state of what will have this key."""
    return session.get(KeptState, key)


def keep(session: Session, claim: Claim, *, key: str, blob: str, position: int, share: float) -> str | None:
    """Note a state that is in the blob store, and what of the shard's work is safe with it.

    A shard that has got on has all its attempts before it again.

    Args:
        session: the transaction to do it in.
        claim: of the shard.
        key: that its result will have.
        blob: the state's digest.
        position: grows with every state; one that is not further than what is there is not noted.
        share: of the shard's work that is done, 0 to 1.

    Returns:
        The digest of the blob that nothing refers to any more: the state before, or this one where it was not noted.
    """
    job, shard = held(session, claim)
    if job is None or shard is None:
        return blob
    before = session.scalar(select(KeptState).where(KeptState.key == key).with_for_update())
    if before is not None and before.position >= position:
        return None if before.blob == blob else blob
    state = insert(KeptState).values(key=key, blob=blob, position=position, job_id=job.id)
    newer = {"blob": blob, "position": position, "job_id": job.id, "kept_at": func.now()}
    session.execute(
        state.on_conflict_do_update(index_elements=["key"], set_=newer, where=KeptState.position < position)
    )
    safe = max(shard.kept, min(1.0, share) * shard.work)
    job.work_done += safe - shard.kept
    job.version += 1
    shard.kept, shard.attempt = safe, 1
    return None if before is None or before.blob == blob else before.blob


def tell(session: Session, claim: Claim, kind: events.EventType, data: Mapping[str, Any]) -> None:
    """Let the job's events say something, as long as the shard is this worker's."""
    job, shard = held(session, claim)
    if job is not None and shard is not None:
        events.record(session, job.id, kind, data)


def forget(session: Session, key: str) -> str | None:
    """Keep no state any more of what has a result now; the digest of its blob, if there was one."""
    state = session.get(KeptState, key, with_for_update=True)
    if state is None:
        return None
    session.delete(state)
    return state.blob


def forget_older(session: Session, *, seconds: float, limit: int = 100) -> list[str]:
    """Keep no states any more of jobs that are over and that nobody has gone on with for so long; their blobs."""
    old = (
        select(KeptState)
        .join(Job, Job.id == KeptState.job_id)
        .where(KeptState.kept_at < NOW - interval(seconds), Job.state.not_in(JOB_OPEN))
        .limit(limit)
        .with_for_update(skip_locked=True, of=KeptState)
    )
    states = session.scalars(old).all()
    for state in states:
        session.delete(state)
    return [state.blob for state in states]


def unused(session: Session, digest: str) -> bool:
    """Whether nothing in the database refers to a blob."""
    places = (
        KeptState.blob == digest,
        ShardResult.blob == digest,
        Result.replicates == digest,
        or_(Model.sha256 == digest, Model.weights == digest),
        Upload.sha256 == digest,
    )
    return not session.scalar(select(or_(*(exists().where(place) for place in places))))
