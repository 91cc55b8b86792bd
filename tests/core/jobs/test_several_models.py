"""Jobs that measure several models against each other."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from core.errors import InvalidError
from core.jobs.errors import ClientRefConflictError, ModelNotFoundError, ModelNotReadyError
from core.jobs.finalise import Assembled, complete
from core.jobs.submission import submit_job
from core.specs.documents import TransferabilitySpec
from core.specs.manifests import ModelManifest
from core.store.database import Database
from core.store.tables import Job, Model, Result
from tests.core.jobs.steps import begin, claim_one, events_of, finish_one, shards_of, state_of

AddModel = Callable[..., UUID]
Transfer = Callable[..., Job]


@pytest.fixture
def add_model(database: Database) -> AddModel:
    """Register a model of digits, of scenes or of some of their tasks."""

    def add(state: str = "ready", **changes: Any) -> UUID:
        document = {"backbone": "sapling", "layout": "independent", "profile": "digits", **changes}
        manifest = ModelManifest.model_validate(document)
        with database.session() as session:
            model = Model(sha256=uuid4().hex * 2, state=state)
            model.manifest, model.manifest_digest = manifest.model_dump(mode="json"), manifest.digest()
            session.add(model)
            session.flush()
            return model.id

    return add


@pytest.fixture
def transfer(database: Database) -> Transfer:
    """Submit a transferability job over 32 samples, in one slice."""

    def submit(*models: UUID, client_ref: str | None = None, **changes: Any) -> Job:
        document = {
            "kind": "transferability",
            "models": [str(model) for model in models],
            "dataset": {"name": "digits", "limit": 32},
            "attack": {"algorithm": "pgd", "eps": 8, "steps": 5},
        }
        spec = TransferabilitySpec.model_validate(document | changes)
        with database.session() as session:
            return submit_job(session, spec, key_id=None, client_ref=client_ref).job

    return submit


def test_a_job_keeps_its_models_in_the_specs_order(
    database: Database, add_model: AddModel, transfer: Transfer
) -> None:
    one, other, third = add_model(), add_model(), add_model()
    job = transfer(third, one, other)
    assert (job.kind, job.model_id, job.model_ids) == ("transferability", third, [third, one, other])
    shards = shards_of(database, job)
    assert len(shards) == 3 * (1 + 2)
    assert claim_one(database, shards[4]).model_ids == (third, one, other)
    with database.session() as session:
        found = session.scalars(select(Job).where(Job.model_ids.contains([other]))).all()
    assert [one.id for one in found] == [job.id]


def test_a_transferability_job_ends_with_a_summary_and_no_rows(
    database: Database, add_model: AddModel, transfer: Transfer
) -> None:
    job = transfer(add_model(), add_model())
    for shard in shards_of(database, job):
        finish_one(database, claim_one(database, shard))
    begun = begin(database, job)
    with database.session() as session:
        assert complete(session, begun, Assembled([], {"pairs": []}), replicates={})
    assert state_of(database, job) == "succeeded"
    assert events_of(database, job)[-1] == "job.succeeded"
    with database.session() as session:
        assert session.get_one(Job, job.id).summary == {"pairs": [], "reliable": True}
        assert session.scalars(select(Result)).all() == []


def test_the_place_of_a_model_that_cannot_be_used_is_named(add_model: AddModel, transfer: Transfer) -> None:
    good, checking = add_model(), add_model("checking")
    with pytest.raises(ModelNotFoundError) as missing:
        transfer(good, uuid4())
    with pytest.raises(ModelNotReadyError, match="wait") as unready:
        transfer(good, add_model(), checking)
    assert (missing.value.field, unready.value.field) == ("models.1", "models.2")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tasks": ["right", "left"]}, "models.1"),
        ({"tasks": ["left"]}, "models.1"),
        ({"profile": "scenes"}, "dataset.name"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(
    database: Database, add_model: AddModel, transfer: Transfer, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        transfer(add_model(), add_model(**changes))
    assert caught.value.field == field
    with database.session() as session:
        assert session.scalars(select(Job)).all() == []


def test_a_client_ref_is_one_jobs_whatever_its_kind(
    add_model: AddModel, transfer: Transfer, submit: Callable[..., Job]
) -> None:
    models = add_model(), add_model()
    first = transfer(*models, client_ref="repo@sha")
    assert transfer(*models, client_ref="repo@sha").id == first.id
    with pytest.raises(ClientRefConflictError):
        transfer(*reversed(models), client_ref="repo@sha")
    with pytest.raises(ClientRefConflictError):
        submit(client_ref="repo@sha")
