"""Trainings without the training: states that are kept, turns, and what the end of one leaves behind."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from core.jobs.cancel import cancel
from core.jobs.finalise import begin_finalise
from core.jobs.keeping import forget, forget_older, keep, kept_state, tell, unused
from core.jobs.leases import Claim, release
from core.jobs.planning import plan_training
from core.jobs.states import Urgency
from core.jobs.submission import submit_job
from core.jobs.trained import complete_training
from core.specs.manifests import ModelManifest
from core.specs.trainings import TrainingSpec
from core.store.database import Database
from core.store.tables import Job, Model, Outbox
from tests.core.jobs.steps import all_sent, begin, claim_one, events_of, fail_one, finish_one, rung, shards_of

RECIPE = {"iterations": 100, "batch_size": 10}
EVALUATION = {"dataset": {"name": "digits", "limit": 8}, "attacks": [{"algorithm": "fgsm", "eps": 8}]}
BLOBS = ["a" * 64, "b" * 64, "c" * 64]


def spec(**changes: Any) -> TrainingSpec:
    manifest = {"backbone": "sapling", "layout": "all-shared", "profile": "digits"}
    dataset = {"name": "digits", "limit": 100}
    document = {"kind": "training", "manifest": manifest, "dataset": dataset, "recipe": RECIPE}
    return TrainingSpec.model_validate(document | changes)


def submitted(database: Database, **changes: Any) -> Job:
    with database.session() as session:
        return submit_job(session, spec(**changes), key_id=None).job


def claimed(database: Database, **changes: Any) -> Claim:
    (shard,) = shards_of(database, submitted(database, **changes))
    return claim_one(database, shard)


def keep_one(database: Database, held: Claim, blob: str, position: int, *, key: str = "key") -> str | None:
    with database.session() as session:
        return keep(session, held, key=key, blob=blob, position=position, share=position / 100)


def job_of(database: Database, held: Claim) -> Job:
    with database.session() as session:
        return session.get_one(Job, held.job_id)


def report(weights: str = "d" * 64) -> dict[str, Any]:
    manifest = ModelManifest(backbone="sapling", layout="all-shared", profile="digits").resolved()
    return {
        "parameters": 7,
        "facts": {"proof": {}},
        "manifest": manifest.model_dump(mode="json"),
        "weights": weights,
        "iterations": 100,
        "figures": {"last": {"clean.left": 0.5}},
    }


def ended(database: Database, job: Job, **changes: Any) -> dict[str, Any]:
    """The summary of a training whose shard has found this."""
    (shard,) = shards_of(database, job)
    assert finish_one(database, claim_one(database, shard))
    with database.session() as session:
        begun = begin_finalise(session, job.id, lease_seconds=60, max_attempts=3)
        assert begun is not None
        assert complete_training(session, begun, report(**changes), code_version="1", shard_samples=32)
    with database.session() as session:
        summary = session.get_one(Job, job.id).summary
    assert summary is not None
    return summary


@pytest.mark.parametrize(
    ("adversarial", "cost"),
    [
        (None, 1.5),
        ({"attack": {"algorithm": "pgd", "eps": 8, "steps": 5}, "mix": "adversarial"}, 6.5),
        ({"attack": {"algorithm": "pgd", "eps": 8, "steps": 5}, "mix": "both"}, 8),
        ({"attack": {"algorithm": "fgsm", "objective": "sign_total", "eps": 8}, "mix": "joint"}, 4.5),
    ],
)
def test_the_plan_is_one_shard_that_costs_what_its_passes_do(adversarial: Any, cost: float) -> None:
    wanted = spec(recipe={**RECIPE, "adversarial": adversarial})
    (shard,) = plan_training(wanted, samples=100, tasks=2)
    assert shard.payload == {"kind": "training"}
    assert shard.work == pytest.approx(100 * 10 * cost)


def test_a_training_from_random_weights_is_a_job_without_a_model(database: Database) -> None:
    job = submitted(database)
    assert (job.model_id, job.model_ids) == (None, [])
    assert job.spec["dataset"]["version"]


def test_a_kept_state_counts_as_work_done(database: Database) -> None:
    held = claimed(database)
    assert keep_one(database, held, BLOBS[0], 25) is None
    job = job_of(database, held)
    assert job.work_done == pytest.approx(job.work_total / 4)
    assert keep_one(database, held, BLOBS[1], 50) == BLOBS[0], "what it replaces is of no use any more"
    assert finish_one(database, held)
    assert job_of(database, held).work_done == pytest.approx(job.work_total)


def test_a_state_that_is_behind_is_not_noted(database: Database) -> None:
    held, slower = claimed(database), claimed(database)
    keep_one(database, held, BLOBS[0], 50)
    assert keep_one(database, slower, BLOBS[1], 40) == BLOBS[1]
    assert keep_one(database, slower, BLOBS[0], 50) is None, "the same state is not to be deleted"
    with database.session() as session:
        state = kept_state(session, "key")
        assert state is not None
        assert (state.blob, state.position) == (BLOBS[0], 50)


def test_who_has_lost_the_lease_keeps_nothing_and_says_nothing(database: Database) -> None:
    held = claimed(database)
    with database.session() as session:
        release(session, held)
    assert keep_one(database, held, BLOBS[0], 50) == BLOBS[0]
    with database.session() as session:
        tell(session, held, "training.progress", {"iteration": 3})
        assert kept_state(session, "key") is None
    assert "training.progress" not in events_of(database, job_of(database, held))


def test_a_training_that_gets_on_may_lose_any_number_of_workers(database: Database) -> None:
    held = claimed(database)
    for position in range(1, 6):
        keep_one(database, held, BLOBS[0], position)
        assert fail_one(database, held)
        (shard,) = shards_of(database, job_of(database, held))
        held = claim_one(database, shard)
    assert fail_one(database, held)
    assert job_of(database, held).state == "failed", "and without getting on only as many as any shard"


def test_after_its_turn_a_training_stands_behind_what_came_meanwhile(database: Database) -> None:
    held = claimed(database)
    all_sent(database)
    with database.session() as session:
        release(session, held, urgency=Urgency.ORDINARY)
    with database.session() as session:
        bell = session.scalars(select(Outbox).where(Outbox.subject == held.shard_id)).one()
        assert bell.urgency == Urgency.ORDINARY
    assert held.shard_id in rung(database, "shard")


def test_forgetting_gives_back_the_blob(database: Database) -> None:
    held = claimed(database)
    keep_one(database, held, BLOBS[0], 1)
    with database.session() as session:
        assert not unused(session, BLOBS[0])
        assert forget(session, "key") == BLOBS[0]
        assert forget(session, "key") is None
    with database.session() as session:
        assert unused(session, BLOBS[0])


def test_states_of_trainings_that_are_over_expire(database: Database) -> None:
    open_one, over = claimed(database), claimed(database, recipe={**RECIPE, "seed": 1})
    keep_one(database, open_one, BLOBS[0], 1)
    keep_one(database, over, BLOBS[1], 1, key="other")
    with database.session() as session:
        cancel(session, over.job_id)
        release(session, over)
    with database.session() as session:
        assert forget_older(session, seconds=60) == []
        assert forget_older(session, seconds=-1) == [BLOBS[1]]
    with database.session() as session:
        assert kept_state(session, "key") is not None


def test_a_blob_that_is_a_result_or_a_model_is_in_use(database: Database, model_id: UUID) -> None:
    finish_one(database, claimed(database), blob=BLOBS[2])
    with database.session() as session:
        assert not unused(session, BLOBS[2])
        assert not unused(session, session.get_one(Model, model_id).sha256)


def test_the_end_registers_the_model_with_its_lineage(database: Database) -> None:
    job = submitted(database, name="sturdy")
    summary = ended(database, job)
    with database.session() as session:
        model = session.get_one(Model, UUID(summary["model"]))
    assert (model.state, model.name, model.weights, model.parameters) == ("ready", "sturdy", "d" * 64, 7)
    assert model.lineage is not None
    assert model.lineage["job"] == str(job.id)
    assert model.lineage["spec_digest"] == job.spec_digest
    assert model.lineage["dataset"] == job.spec["dataset"]
    assert model.lineage["code_version"] == "1"
    assert summary["last"] == {"clean.left": 0.5}


def test_the_same_weights_are_the_same_model_and_keep_their_lineage(database: Database) -> None:
    first, second = submitted(database, name="one"), submitted(database, name="two")
    one, two = ended(database, first), ended(database, second)
    assert one["model"] == two["model"]
    with database.session() as session:
        model = session.get_one(Model, UUID(one["model"]))
    assert model.name == "one"
    assert model.lineage is not None
    assert model.lineage["job"] == str(first.id)


def test_the_end_queues_what_was_asked_of_model_and_baseline(database: Database, model_id: UUID) -> None:
    job = submitted(database, manifest=None, model=str(model_id), evaluation=EVALUATION)
    summary = ended(database, job)
    with database.session() as session:
        mine = session.get_one(Job, UUID(summary["evaluation"]))
        baseline = session.get_one(Job, UUID(summary["baseline_evaluation"]))
    assert (str(mine.model_id), baseline.model_id) == (summary["model"], model_id)
    assert mine.spec["dataset"] == baseline.spec["dataset"] == job.spec["evaluation"]["dataset"]


def test_an_evaluation_that_cannot_be_queued_any_more_costs_no_model(
    database: Database, model_id: UUID
) -> None:
    job = submitted(database, manifest=None, model=str(model_id), evaluation=EVALUATION)
    with database.session() as session:
        session.get_one(Model, model_id).state = "rejected"
    summary = ended(database, job)
    assert summary["evaluation_error"]["code"] == "model_not_ready"
    with database.session() as session:
        assert session.get_one(Model, UUID(summary["model"])).state == "ready"


def test_a_lost_finaliser_registers_nothing(database: Database) -> None:
    job = submitted(database)
    (shard,) = shards_of(database, job)
    finish_one(database, claim_one(database, shard))
    stale = begin(database, job, lease_seconds=-1)
    assert begin(database, job)
    with database.session() as session:
        assert not complete_training(session, stale, report(), code_version="1", shard_samples=32)
        assert session.scalars(select(Model)).all() == []
