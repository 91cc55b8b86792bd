"""Which bells are rung first, and which again."""

from collections.abc import Callable, Sequence
from uuid import UUID

import pytest
from sqlalchemy import select, update

from core.jobs import outbox
from core.jobs.leases import Claim, release
from core.jobs.states import Urgency
from core.jobs.submission import submit_model_check
from core.store.database import Database
from core.store.tables import Job, Model, Outbox, Shard
from tests.core.jobs.steps import (
    all_sent,
    claim_one,
    expire,
    fail_one,
    finish_one,
    let_pass,
    reap_now,
    rung,
    shards_of,
    work_off,
)

Submit = Callable[..., Job]

LONG = 10**6
"""Seconds that a lease lasts, where a shard is to run on."""


def next_sent(database: Database) -> list[UUID]:
    """The subjects of the unsent bells, in the order in which the relay sends them."""
    with database.session() as session:
        return [bell.subject for bell in outbox.pending(session)]


def urgency_of(database: Database, shard: Shard) -> int:
    """Later jobs' messages may be at the broker already: there it is the urgency that decides."""
    with database.session() as session:
        return session.scalars(select(Outbox.urgency).where(Outbox.subject == shard.id)).one()


def check_model(database: Database, digest: str = "1" * 64) -> Shard:
    """The shard of a new model's check."""
    with database.session() as session:
        model = Model(sha256=digest, manifest={}, manifest_digest=digest)
        session.add(model)
        job = submit_model_check(session, model)
    (shard,) = shards_of(database, job)
    return shard


def ids(shards: Sequence[Shard]) -> list[UUID]:
    return [shard.id for shard in shards]


def run(database: Database, shard: Shard) -> Claim:
    return claim_one(database, shard, lease_seconds=LONG)


# Which first


def test_what_was_released_goes_before_later_jobs_and_after_what_is_urgent(
    database: Database, submit: Submit
) -> None:
    *_, search, first, second = shards_of(database, submit(attacks=[{"algorithm": "auto_mta", "eps": 8}]))
    all_sent(database)
    finished = submit()
    work_off(database, finished)
    all_sent(database)
    with database.session() as session:
        outbox.ring(session, "finalise", [finished.id])
    later = submit()
    check = check_model(database)
    finish_one(database, claim_one(database, search))
    urgent, resumed, ordinary = (
        [finished.id, check.id],
        [first.id, second.id],
        ids(shards_of(database, later)),
    )
    assert next_sent(database) == urgent + resumed + ordinary


def give_back(database: Database, claimed: Claim) -> None:
    with database.session() as session:
        assert release(session, claimed)


def lose(database: Database, claimed: Claim) -> None:
    expire(database, claimed)
    assert reap_now(database).expired == 1


@pytest.mark.parametrize("end", [give_back, fail_one, lose])
def test_a_shard_that_had_its_turn_goes_before_later_jobs(
    database: Database, submit: Submit, end: Callable[[Database, Claim], None]
) -> None:
    shard = shards_of(database, submit())[0]
    all_sent(database)
    later = submit()
    end(database, claim_one(database, shard))
    assert next_sent(database) == [shard.id, *ids(shards_of(database, later))]
    assert urgency_of(database, shard) == Urgency.RESUMED


def test_a_model_check_that_is_tried_again_stays_urgent(database: Database, submit: Submit) -> None:
    check = check_model(database)
    shard = shards_of(database, submit())[0]
    all_sent(database)
    fail_one(database, claim_one(database, shard))
    fail_one(database, claim_one(database, check))
    assert next_sent(database) == [check.id, shard.id]


# Which again


def test_a_lost_bell_is_rung_again_and_then_less_often(database: Database, submit: Submit) -> None:
    job = submit()
    all_sent(database)
    assert reap_now(database, ring_after=60).rung == 0
    let_pass(database, 61)
    assert reap_now(database, ring_after=60).rung == job.shards_total
    assert len(rung(database, "shard")) == job.shards_total
    all_sent(database)
    let_pass(database, 90)
    assert reap_now(database, ring_after=60).rung == 0
    let_pass(database, 31)
    assert reap_now(database, ring_after=60).rung == job.shards_total


def test_a_backlog_is_not_rung_again(database: Database, submit: Submit) -> None:
    first, second, third, _ = shards_of(database, submit())
    submit()
    all_sent(database)
    run(database, first)
    run(database, second)
    let_pass(database, 1000)
    assert reap_now(database).rung == 0
    run(database, third)
    assert reap_now(database).rung == 0


def test_a_backlog_is_not_rung_again_between_two_shards(database: Database, submit: Submit) -> None:
    first, *others = shards_of(database, submit())
    all_sent(database)
    let_pass(database, 10_000)
    finish_one(database, run(database, first))
    assert reap_now(database).rung == 0
    let_pass(database, 61)
    assert reap_now(database).rung == len(others)


def test_a_bell_that_was_overtaken_is_rung_again_though_others_run(
    database: Database, submit: Submit
) -> None:
    lost, second, third, fourth = shards_of(database, submit())
    all_sent(database)
    later = submit()
    all_sent(database)
    for shard in (second, third, fourth):
        run(database, shard)
    let_pass(database, 61)
    assert reap_now(database).rung == 1
    assert next_sent(database) == [lost.id]
    all_sent(database)
    run(database, shards_of(database, later)[1])
    let_pass(database, 61)
    assert reap_now(database).rung == 1
    assert next_sent(database) == [shards_of(database, later)[0].id]


def test_a_lost_bell_goes_before_later_jobs_when_it_is_rung_again(database: Database, submit: Submit) -> None:
    lost, second, third, fourth = shards_of(database, submit())
    all_sent(database)
    for shard in (second, third, fourth):
        run(database, shard)
    let_pass(database, 61)
    later = submit()
    reap_now(database)
    assert next_sent(database) == [lost.id, *ids(shards_of(database, later))]
    assert urgency_of(database, lost) == Urgency.RESUMED


def test_an_overtaken_bell_waits_until_a_worker_has_had_time_to_claim(
    database: Database, submit: Submit
) -> None:
    first, second, *_ = shards_of(database, submit())
    all_sent(database)
    let_pass(database, 10_000)
    run(database, second)
    let_pass(database, 59)
    assert reap_now(database).rung == 0
    let_pass(database, 2)
    assert reap_now(database).rung == 1
    assert rung(database, "shard") == {first.id}


def test_a_bell_that_a_more_urgent_one_has_overtaken_is_not_lost(database: Database, submit: Submit) -> None:
    first, *_ = shards_of(database, submit())
    all_sent(database)
    fail_one(database, run(database, first))
    check = check_model(database)
    all_sent(database)
    run(database, first)
    run(database, check)
    let_pass(database, 1000)
    assert reap_now(database).rung == 0


def test_a_lost_urgent_bell_is_noticed_when_an_ordinary_one_is_answered(
    database: Database, submit: Submit
) -> None:
    check = check_model(database)
    all_sent(database)
    first, *_ = shards_of(database, submit())
    all_sent(database)
    run(database, first)
    let_pass(database, 61)
    assert reap_now(database).rung == 1
    assert rung(database, "shard") == {check.id}


def test_a_shard_that_is_queued_again_proves_nothing_by_having_run_before(
    database: Database, submit: Submit
) -> None:
    first, *others = shards_of(database, submit())
    all_sent(database)
    run(database, first)
    begun = [run(database, shard) for shard in others]
    let_pass(database, 1000)
    for one in begun:
        give_back(database, one)
        all_sent(database)
    let_pass(database, 61)
    assert reap_now(database).rung == 0


def test_bells_that_were_rung_twice_prove_nothing(database: Database) -> None:
    """The workers were away. Of the first one's two messages it may have been the older that was answered."""
    first = check_model(database, "1" * 64)
    all_sent(database)
    let_pass(database, 61)
    check_model(database, "2" * 64)
    all_sent(database)
    assert reap_now(database).rung == 1
    all_sent(database)
    run(database, first)
    let_pass(database, 61)
    assert reap_now(database).rung == 0


def test_a_bell_that_is_being_rung_again_proves_nothing(database: Database, submit: Submit) -> None:
    lost, second, third, _ = shards_of(database, submit())
    all_sent(database)
    run(database, second)
    run(database, third)
    let_pass(database, 61)
    with database.session() as session:
        session.execute(update(Outbox).where(Outbox.subject == third.id).values(sent_at=None))
    assert reap_now(database).rung == 1
    assert rung(database, "shard") == {lost.id, third.id}


def test_a_bell_tells_of_lost_ones_however_long_it_had_waited(database: Database, submit: Submit) -> None:
    first, lost, third, _ = shards_of(database, submit())
    all_sent(database)
    let_pass(database, 10_000)
    run(database, first)
    finish_one(database, run(database, third))
    reap_now(database)
    let_pass(database, 61)
    assert reap_now(database).rung == 1
    assert rung(database, "shard") == {lost.id}
