"""Shards that need another's output: when they are announced, when they are to be had, and what they are handed."""

from collections.abc import Callable, Sequence
from uuid import UUID

import pytest
from sqlalchemy import select

from core.jobs.cancel import cancel
from core.jobs.leases import claim, find_result, finish, release
from core.jobs.planning import ShardPlan
from core.jobs.submission import _queue
from core.store.database import Database
from core.store.tables import Job, Outbox, Shard
from tests.core.jobs.steps import (
    all_sent,
    claim_one,
    events_of,
    expire,
    fail_one,
    finish_one,
    reap_now,
    rung,
    shards_of,
    state_of,
    work_off,
)

SEARCH = 2
"""Ordinal of the search: two slices of the clean pass come before it, its attack's two after it."""


@pytest.fixture
def searching(submit: Callable[..., Job]) -> Job:
    """A job whose last two shards wait for the one before."""
    return submit(attacks=[{"algorithm": "auto_mta", "eps": 8}])


def ids(shards: Sequence[Shard]) -> set[UUID]:
    return {shard.id for shard in shards}


def to_be_had(database: Database, shard: Shard) -> bool:
    with database.session() as session:
        claimed = claim(session, shard.id, worker="test", lease_seconds=60)
        if claimed is not None:
            release(session, claimed)
    return claimed is not None


def test_a_shard_that_waits_is_neither_announced_nor_to_be_had(database: Database, searching: Job) -> None:
    shards = shards_of(database, searching)
    assert [shard.after for shard in shards] == [None, None, None, SEARCH, SEARCH]
    assert rung(database, "shard") == ids(shards[: SEARCH + 1])
    for waiting in shards[SEARCH + 1 :]:
        assert not to_be_had(database, waiting)
    running = claim_one(database, shards[SEARCH])
    assert not to_be_had(database, shards[-1])
    finish_one(database, running)
    assert to_be_had(database, shards[-1])


def test_a_shard_that_waits_is_announced_as_the_other_is_done_and_handed_its_result(
    database: Database, searching: Job
) -> None:
    shards = shards_of(database, searching)
    all_sent(database)
    search = claim_one(database, shards[SEARCH])
    assert search.input is None
    finish_one(database, search, key="found")
    assert rung(database, "shard") == ids(shards[SEARCH + 1 :])
    for shard in shards[SEARCH + 1 :]:
        needed = claim_one(database, shard).input
        assert needed is not None
        assert (needed.key, needed.blob) == ("found", "0" * 64)


def test_a_reused_result_releases_those_that_waited(database: Database, searching: Job) -> None:
    shards = shards_of(database, searching)
    finish_one(database, claim_one(database, shards[0]), key="earlier")
    all_sent(database)
    with database.session() as session:
        known = find_result(session, "earlier")
        assert known is not None
    search = claim_one(database, shards[SEARCH])
    with database.session() as session:
        assert finish(
            session,
            search,
            result_key=known.key,
            blob=known.blob,
            samples=known.samples,
            cost=known.cost,
            code_version=known.code_version,
            reused=True,
        )
    assert rung(database, "shard") == ids(shards[SEARCH + 1 :])
    needed = claim_one(database, shards[-1]).input
    assert needed is not None
    assert needed.key == "earlier"


def test_a_stale_result_releases_nobody(database: Database, searching: Job) -> None:
    shards = shards_of(database, searching)
    stale = claim_one(database, shards[SEARCH])
    expire(database, stale)
    reap_now(database)
    all_sent(database)
    assert not finish_one(database, stale)
    assert rung(database, "shard") == set()
    assert not to_be_had(database, shards[-1])


def test_a_lost_worker_of_the_search_delays_those_that_wait_and_no_more(
    database: Database, searching: Job
) -> None:
    shards = shards_of(database, searching)
    all_sent(database)
    expire(database, claim_one(database, shards[SEARCH]))
    assert reap_now(database).expired == 1
    assert rung(database, "shard") == {shards[SEARCH].id}
    assert not to_be_had(database, shards[-1])
    work_off(database, searching)
    assert rung(database, "finalise") == {searching.id}


def test_a_search_that_fails_for_good_takes_those_that_wait_with_it(
    database: Database, searching: Job
) -> None:
    shards = shards_of(database, searching)
    all_sent(database)
    fail_one(database, claim_one(database, shards[SEARCH]), retry=False)
    assert state_of(database, searching) == "failed"
    states = [shard.state for shard in shards_of(database, searching)]
    assert states == ["cancelled", "cancelled", "failed", "cancelled", "cancelled"]
    assert rung(database, "shard") == set()


def test_a_search_that_ends_in_a_cancelled_job_releases_nobody(database: Database, searching: Job) -> None:
    shards = shards_of(database, searching)
    search = claim_one(database, shards[SEARCH])
    all_sent(database)
    with database.session() as session:
        cancel(session, searching.id)
    assert finish_one(database, search)
    assert rung(database, "shard") == set()
    assert state_of(database, searching) == "cancelled"
    assert events_of(database, searching)[-1] == "job.cancelled"
    assert [shard.state for shard in shards_of(database, searching)[SEARCH:]] == [
        "succeeded",
        "cancelled",
        "cancelled",
    ]


def test_the_reaper_announces_no_shard_that_waits_even_if_somebody_did(
    database: Database, searching: Job
) -> None:
    shards = shards_of(database, searching)
    with database.session() as session:
        session.add(Outbox(topic="shard", subject=shards[-1].id))
    all_sent(database)
    reap_now(database, ring_after=0)
    assert rung(database, "shard") == ids(shards[: SEARCH + 1])


def test_a_lost_bell_of_a_shard_that_waited_is_rung_again(database: Database, searching: Job) -> None:
    shards = shards_of(database, searching)
    for shard in shards[: SEARCH + 1]:
        finish_one(database, claim_one(database, shard))
    all_sent(database)
    assert reap_now(database, ring_after=0).rung == 2
    assert rung(database, "shard") == ids(shards[SEARCH + 1 :])


def test_a_shard_waits_for_those_of_its_own_job_only(
    database: Database, searching: Job, submit: Callable[..., Job]
) -> None:
    other = submit(attacks=[{"algorithm": "auto_mta", "eps": 4}])
    finish_one(database, claim_one(database, shards_of(database, other)[SEARCH]))
    assert not to_be_had(database, shards_of(database, searching)[-1])
    assert to_be_had(database, shards_of(database, other)[-1])


@pytest.mark.parametrize("after", [0, 1, -1, 7])
def test_a_plan_in_which_a_shard_waits_for_none_before_it_is_a_bug(
    database: Database, model_id: UUID, after: int
) -> None:
    plan = [ShardPlan(payload={}, work=1, after=after), ShardPlan(payload={}, work=1)]
    with database.session() as session, pytest.raises(AssertionError):
        _queue(session, plan, models=[model_id], kind="evaluation", spec={}, spec_digest="")
    with database.session() as session:
        assert session.scalars(select(Job)).all() == []
