"""Studies: which jobs they fan out into, and when, what repeats of them do, and what is refused."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from core.datasets import DATASETS
from core.errors import InvalidError
from core.jobs.errors import ClientRefConflictError, JobTooLargeError
from core.jobs.finalise import begin_finalise, complete_study
from core.jobs.studies import advance, parts, submit_study
from core.store import registered
from core.store.database import Database
from core.store.tables import Job
from tests.core.jobs.steps import (
    begin,
    claim_one,
    events_of,
    shards_of,
    state_of,
)
from tests.core.jobs.study_steps import (
    ATTACK,
    FIRST,
    STUDY,
    advance_now,
    cancel_now,
    events_with_data,
    job_of,
    parts_of,
    study_spec,
    submit,
    train,
    work_through,
)

# The plan


def test_a_study_is_a_training_and_an_evaluation_for_every_layout_and_mode() -> None:
    plan = parts(study_spec(layouts=["all-shared"]))
    assert [(part.name, part.needs) for part in plan] == [
        ("layout 0/clean/training", None),
        ("layout 0/clean/evaluation", "layout 0/clean/training"),
        ("layout 0/clean/transferability", "layout 0/clean/training"),
        ("layout 0/fat/training", "layout 0/clean/training"),
        ("layout 0/fat/evaluation", "layout 0/fat/training"),
    ]
    assert {part.kind for part in plan} == {"training", "evaluation", "transferability"}
    assert [part.layout for part in parts(study_spec())] == [0] * 5 + [1] * 5


@pytest.mark.parametrize(
    ("asked", "measured"),
    [
        (None, []),
        ({"attack": {"algorithm": "fgsm", "eps": 8}}, ["clean"]),
        ({"attack": {"algorithm": "fgsm", "eps": 8}, "modes": ["fat"]}, ["fat"]),
        ({"attack": {"algorithm": "fgsm", "eps": 8}, "modes": ["fat", "clean"]}, ["clean", "fat"]),
    ],
)
def test_transferability_is_measured_of_the_modes_that_are_named(asked: Any, measured: list[str]) -> None:
    plan = parts(study_spec(layouts=["all-shared"], transferability=asked))
    assert [part.mode for part in plan if part.kind == "transferability"] == measured


# Fanning out


def test_trainings_that_need_nothing_are_there_at_once(database: Database) -> None:
    study = submit(database)
    there = parts_of(database, study)
    assert list(there) == FIRST
    assert {job.study_id for job in there.values()} == {study.id}
    assert (study.kind, study.state, study.model_id, study.model_ids) == ("study", "queued", None, [])
    assert (study.shards_total, shards_of(database, study)) == (10, [])
    assert events_of(database, study) == ["job.queued", "part.submitted", "part.submitted"]
    assert [job.spec["manifest"]["layout"][0] for job in there.values()] == [[[0, 1]], [[0], [1]]]
    assert [job.spec["name"] for job in there.values()] == ["study/layout 0/clean", "study/layout 1/clean"]


def test_the_rest_follows_as_soon_as_what_it_needs_is_there(database: Database) -> None:
    study = submit(database)
    first = train(database, parts_of(database, study)[FIRST[0]])
    assert not advance_now(database, study)
    there = parts_of(database, study)
    follow = ["layout 0/clean/evaluation", "layout 0/clean/transferability", "layout 0/fat/training"]
    assert list(there) == [*FIRST, *follow]
    assert [there[name].model_id for name in follow] == [first] * 3
    assert there["layout 0/fat/training"].spec["manifest"] is None
    second = train(database, there["layout 0/fat/training"])
    assert not advance_now(database, study)
    assert parts_of(database, study)["layout 0/fat/evaluation"].model_id == second
    assert second != first


def test_a_mode_may_begin_with_what_began_with_another(database: Database) -> None:
    modes = [*STUDY["modes"], {"name": "again", "recipe": {"epochs": 1}, "start": "fat"}]
    study = submit(database, layouts=["all-shared"], modes=modes)
    train(database, parts_of(database, study)[FIRST[0]])
    advance_now(database, study)
    assert "layout 0/again/training" not in parts_of(database, study)
    model = train(database, parts_of(database, study)["layout 0/fat/training"])
    advance_now(database, study)
    assert parts_of(database, study)["layout 0/again/training"].model_id == model


def test_a_study_whose_parts_have_all_succeeded_is_put_together_once(database: Database) -> None:
    study = submit(database)
    assert work_through(database, study)
    assert advance_now(database, study)
    assert set(parts_of(database, study)) == {part.name for part in parts(study_spec())}
    found = job_of(database, study)
    assert (found.state, found.shards_done, found.shards_total) == ("running", 10, 10)
    assert found.work_done == pytest.approx(found.work_total)
    begun = begin(database, study)
    with database.session() as session:
        assert begin_finalise(session, study.id, lease_seconds=60, max_attempts=9) is None
        assert complete_study(session, begun, {"cells": []})
    with database.session() as session:
        assert not complete_study(session, begun, {"cells": ["others"]})
    found = job_of(database, study)
    assert (found.state, found.summary) == ("succeeded", {"cells": []})
    assert events_of(database, study)[-1] == "job.succeeded"
    assert not advance_now(database, study)


def test_a_study_runs_once_a_part_does(database: Database) -> None:
    study = submit(database)
    advance_now(database, study)
    assert state_of(database, study) == "queued"
    claim_one(database, shards_of(database, parts_of(database, study)[FIRST[0]])[0])
    advance_now(database, study)
    assert state_of(database, study) == "running"
    assert events_of(database, study)[-1] == "job.started"


def test_parts_that_ended_are_told_and_counted_once(database: Database) -> None:
    study = submit(database)
    first = parts_of(database, study)[FIRST[0]]
    train(database, first)
    advance_now(database, study)
    told, version = events_of(database, study), job_of(database, study).version
    advance_now(database, study)
    found = job_of(database, study)
    assert events_of(database, study) == told
    assert (found.version, found.shards_done, found.work_done) == (version, 1, first.work_total)
    (event,) = events_with_data(database, study, "part.ended")
    assert (event["part"], event["job"], event["state"]) == (FIRST[0], str(first.id), "succeeded")
    assert (event["shards_done"], event["shards_total"]) == (1, 10)


def test_advances_at_the_same_time_submit_every_part_once(database: Database) -> None:
    study = submit(database)
    for job in parts_of(database, study).values():
        train(database, job)
    barrier = threading.Barrier(4)

    def at_once(_: int) -> bool:
        barrier.wait()
        return advance_now(database, study)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(at_once, range(4))) == [False] * 4
    submitted = [data["part"] for data in events_with_data(database, study, "part.submitted")]
    assert len(submitted) == len(set(submitted)) == 8
    assert set(submitted) == set(parts_of(database, study))
    assert job_of(database, study).shards_done == 2


def test_what_is_no_open_study_stays_as_it_is(database: Database, submit: Any) -> None:
    job = submit()
    assert not advance_now(database, job)
    assert events_of(database, job) == ["job.queued"]
    with database.session() as session:
        assert not advance(session, uuid4())


def test_the_planned_work_is_the_parts_own(database: Database) -> None:
    study = submit(database)
    assert work_through(database, study)
    there = parts_of(database, study)
    assert sum(job.work_total for job in there.values()) == pytest.approx(study.work_total)


# One version of everything


def test_nothing_but_a_models_name_tells_one_studys_parts_from_anothers(database: Database) -> None:
    weights = {name: uuid4().hex * 2 for name in ("clean", "fat")}
    found = []
    for changes in ({"name": "one"}, {"name": "another"}):
        study = submit(database, layouts=["all-shared"], **changes)
        for mode in ("clean", "fat"):
            train(database, parts_of(database, study)[f"layout 0/{mode}/training"], weights[mode])
            advance_now(database, study)
        found.append({name: dict(job.spec) for name, job in parts_of(database, study).items()})
    names = [[spec.pop("name", None) for spec in specs.values()] for specs in found]
    assert names[0][0] == "one/layout 0/clean"
    assert found[0] == found[1]


def offer(database: Database, version: str) -> None:
    digits = DATASETS["digits"]
    info = type(digits)(
        "mine", version, "Mine", digits.profile, digits.tasks, digits.splits, digits.image_shape
    )
    with database.session() as session:
        registered.register(session, info, form="scenes", location="/mine", fingerprint=version)


def test_a_study_keeps_to_the_version_it_began_with(database: Database) -> None:
    offer(database, "1")
    evaluation = {**STUDY["evaluation"], "dataset": {"name": "mine", "limit": 32}}
    study = submit(database, dataset={"name": "mine", "limit": 64}, evaluation=evaluation)
    offer(database, "2")
    with database.session() as session:
        registered.retire(session, "mine")
    assert work_through(database, study)
    versions = {job.spec["dataset"]["version"] for job in parts_of(database, study).values()}
    assert versions == {"1"}


# Repeats


def test_the_same_study_under_a_client_ref_is_the_same_job(database: Database) -> None:
    study = submit(database, client_ref="mine")
    assert submit(database, client_ref="mine").id == study.id
    assert list(parts_of(database, study)) == FIRST
    with pytest.raises(ClientRefConflictError):
        submit(database, client_ref="mine", name="another")
    cancel_now(database, study)
    assert submit(database, client_ref="mine").id != study.id


def test_a_study_that_lost_the_race_for_its_client_ref_has_no_parts(database: Database) -> None:
    barrier = threading.Barrier(3)

    def at_once(_: int) -> UUID:
        barrier.wait()
        return submit(database, client_ref="mine").id

    with ThreadPoolExecutor(3) as pool:
        (study_id,) = set(pool.map(at_once, range(3)))
    with database.session() as session:
        owners = session.scalars(select(Job.study_id).where(Job.study_id.is_not(None))).all()
    assert owners == [study_id] * 2


# What is refused


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dataset": {"name": "nowhere"}}, "dataset.name"),
        ({"dataset": {"name": "digits", "limit": 10**6}}, "dataset.limit"),
        ({"dataset": {"name": "scenes"}}, "dataset.name"),
        ({"evaluation": {**STUDY["evaluation"], "dataset": {"name": "nowhere"}}}, "evaluation.dataset.name"),
        ({"evaluation": {**STUDY["evaluation"], "dataset": {"name": "scenes"}}}, "evaluation.dataset.name"),
        (
            {"evaluation": {**STUDY["evaluation"], "attacks": [{**ATTACK, "objective": "single:depth"}]}},
            "evaluation.attacks.0.objective",
        ),
        (
            {"modes": [{"name": "a", "recipe": {"epochs": 1, "task_weights": {"depth": 1}}}]},
            "modes.0.recipe.task_weights.depth",
        ),
        ({"modes": [{"name": "a", "recipe": {"epochs": 1, "batch_size": 65}}]}, "modes.0.recipe.batch_size"),
    ],
)
def test_a_study_that_does_not_fit_its_data_is_refused(
    database: Database, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        submit(database, **changes)
    assert caught.value.field == field
    with database.session() as session:
        assert session.scalars(select(Job)).all() == []


def test_a_study_with_a_part_of_too_many_shards_is_refused(database: Database) -> None:
    attacks = [{**ATTACK, "eps": 1 + number / 100} for number in range(400)]
    evaluation = {"dataset": {"name": "digits", "limit": 1000}, "attacks": attacks, "batch_size": 1}
    with database.session() as session, pytest.raises(JobTooLargeError):
        submit_study(session, study_spec(evaluation=evaluation), key_id=None, shard_samples=16)
