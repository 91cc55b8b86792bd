import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import IntegrityError

from core.jobs.baselines import (
    BaselineError,
    UnreliableBaselineError,
    find_baseline,
    list_baselines,
    other_names,
    retire_baseline,
    set_baseline,
)
from core.jobs.errors import JobNotFoundError
from core.jobs.finalise import Assembled, ResultRow, complete
from core.store.database import Database
from core.store.schema import alembic_config, upgrade
from core.store.tables import Baseline, BaselineKind, Job
from tests.core.jobs.steps import begin, work_off

DEPTH = "github.com/acme/depth"
ERROR = {"code": "masked", "severity": "error", "message": "do not trust", "evidence": {}}
WARNING = {**ERROR, "severity": "warning"}

Evaluated = Callable[..., Job]


@pytest.fixture
def evaluated(database: Database, submit: Callable[..., Job]) -> Evaluated:
    """A finished evaluation, with flags on the whole of it or on its only result."""

    def evaluated(*, summary: Any = None, flags: Any = ()) -> Job:
        job = submit()
        work_off(database, job)
        cost = {"forwards": 1, "backwards": 0, "seconds": 1.0}
        row = ResultRow(
            ordinal=-1, attack=None, metrics={}, task_arp=None, arp=None, samples=1, cost=cost, flags=flags
        )
        begun = begin(database, job)
        with database.session() as session:
            assert complete(session, begun, Assembled([row], summary or {}), replicates={})
        return job

    return evaluated


def put(
    database: Database, job: Job, kind: BaselineKind = "branch", ref: str = "main", **more: Any
) -> Baseline:
    with database.session() as session:
        return set_baseline(session, more.pop("repository", DEPTH), kind=kind, ref=ref, job_id=job.id, **more)


def found(database: Database, **places: Any) -> tuple[UUID, str] | None:
    with database.session() as session:
        resolved = find_baseline(session, places.pop("repository", DEPTH), **places)
    return None if resolved is None else (resolved.baseline.job_id, resolved.by)


def history(database: Database) -> list[Baseline]:
    with database.session() as session:
        return list(session.scalars(list_baselines(DEPTH, ended=True).order_by(Baseline.set_at)))


def test_the_merge_base_comes_before_the_branch_and_the_branch_before_the_tag(
    database: Database, evaluated: Evaluated
) -> None:
    commit, branch, tag = evaluated(), evaluated(), evaluated()
    put(database, commit, "commit", "c0ffee")
    put(database, branch, "branch", "main")
    put(database, tag, "tag", "v1")
    places = {"merge_base": "c0ffee", "branch": "main", "tag": "v1"}
    assert found(database, **places) == (commit.id, "merge_base")
    assert found(database, **{**places, "merge_base": "decade"}) == (branch.id, "branch")
    assert found(database, branch="other", tag="v1") == (tag.id, "tag")
    assert found(database, merge_base="main", branch="v1", tag="c0ffee") is None
    assert found(database) is None
    assert found(database, repository="github.com/acme/other", **places) is None


def test_what_stood_there_before_can_be_told(database: Database, evaluated: Evaluated) -> None:
    first, second = evaluated(), evaluated()
    before = put(database, first)
    after = put(database, second, note="trained longer")
    old, new = history(database)
    assert (old.id, old.job_id, old.model_id) == (before.id, first.id, first.model_id)
    assert old.ended_at == new.set_at
    assert (new.id, new.job_id, new.note, new.ended_at) == (after.id, second.id, "trained longer", None)
    assert found(database, branch="main") == (second.id, "branch")
    with database.session() as session:
        assert [row.id for row in session.scalars(list_baselines())] == [after.id]


def test_setting_the_same_once_more_changes_nothing(database: Database, evaluated: Evaluated) -> None:
    job = evaluated()
    assert put(database, job).id == put(database, job).id
    assert put(database, job, note="reviewed").id != history(database)[0].id
    assert len(history(database)) == 2


def test_a_retired_baseline_is_not_found_and_not_forgotten(database: Database, evaluated: Evaluated) -> None:
    job = evaluated()
    row = put(database, job)
    with database.session() as session:
        assert retire_baseline(session, row.id)
        assert not retire_baseline(session, row.id)
        assert not retire_baseline(session, uuid4())
    assert found(database, branch="main") is None
    assert [old.ended_at is not None for old in history(database)] == [True]
    put(database, job)
    assert found(database, branch="main") == (job.id, "branch")


def test_retiring_what_was_replaced_leaves_its_successor(database: Database, evaluated: Evaluated) -> None:
    old, new = put(database, evaluated()), put(database, evaluated())
    with database.session() as session:
        assert not retire_baseline(session, old.id)
    assert found(database, branch="main") == (new.job_id, "branch")


def test_only_a_succeeded_evaluation_is_a_baseline(database: Database, submit: Callable[..., Job]) -> None:
    job = submit()
    with pytest.raises(BaselineError, match="is queued; a baseline has succeeded"):
        put(database, job, force=True, note="in a hurry")
    with database.session() as session:
        session.get_one(Job, job.id).kind = "transferability"
    with pytest.raises(BaselineError, match="a baseline is an evaluation"):
        put(database, job, force=True, note="in a hurry")
    with database.session() as session, pytest.raises(JobNotFoundError):
        set_baseline(session, DEPTH, kind="tag", ref="v1", job_id=uuid4())
    assert history(database) == []


@pytest.mark.parametrize("flagged", [{"summary": {"flags": [ERROR]}}, {"flags": [WARNING, ERROR]}])
def test_an_unreliable_evaluation_needs_force_and_a_note(
    database: Database, evaluated: Evaluated, flagged: Any
) -> None:
    job = evaluated(**flagged)
    for more, field in (({}, "job"), ({"note": "why not"}, "job"), ({"force": True}, "note")):
        with pytest.raises(UnreliableBaselineError) as raised:
            put(database, job, **more)
        assert raised.value.field == field
    assert put(database, job, force=True, note="the flag is of a known bug").job_id == job.id


def test_warnings_do_not_make_it_unreliable(database: Database, evaluated: Evaluated) -> None:
    job = evaluated(summary={"flags": [WARNING]}, flags=[WARNING])
    assert put(database, job).job_id == job.id


def test_of_many_who_set_it_at_once_one_holds_and_none_is_lost(
    database: Database, evaluated: Evaluated
) -> None:
    jobs = [evaluated() for _ in range(4)]
    barrier = threading.Barrier(len(jobs))

    def setter(job: Job) -> UUID:
        barrier.wait(10)
        return put(database, job).id

    with ThreadPoolExecutor(len(jobs)) as pool:
        rows = set(pool.map(setter, jobs))
    kept = history(database)
    assert {row.id for row in kept} == rows
    assert {row.job_id for row in kept} == {job.id for job in jobs}
    assert [row.ended_at for row in kept] == [*(row.set_at for row in kept[1:]), None]


def test_a_second_setter_waits_until_the_first_has_committed(
    database: Database, evaluated: Evaluated
) -> None:
    first, second = evaluated(), evaluated()
    with ThreadPoolExecutor(1) as pool:
        with database.session() as session:
            set_baseline(session, DEPTH, kind="tag", ref="v1", job_id=first.id)
            waiting = pool.submit(put, database, second, "tag", "v1")
            put(database, second, "tag", "v2")
            put(database, second, "tag", "v1", model_name="seg")
            assert not waiting.done()
        assert waiting.result(30).job_id == second.id
    assert found(database, tag="v1") == (second.id, "tag")


def test_each_model_of_a_repository_has_baselines_of_its_own(
    database: Database, evaluated: Evaluated
) -> None:
    depth, seg, nameless = evaluated(), evaluated(), evaluated()
    put(database, depth, model_name="depth")
    assert found(database, branch="main", model_name="seg") is None
    assert found(database, branch="main") is None
    put(database, nameless)
    put(database, seg, model_name="seg")
    assert found(database, branch="main", model_name="depth") == (depth.id, "branch")
    assert found(database, branch="main", model_name="seg") == (seg.id, "branch")
    assert found(database, branch="main") == (nameless.id, "branch")
    assert found(database, branch="main", model_name="depht") is None
    with database.session() as session:
        assert [row.job_id for row in session.scalars(list_baselines(DEPTH, model_name=""))] == [nameless.id]
        assert [row.job_id for row in session.scalars(list_baselines(DEPTH, model_name="seg"))] == [seg.id]


def test_a_named_model_is_looked_for_at_every_place(database: Database, evaluated: Evaluated) -> None:
    other, older = evaluated(), evaluated()
    put(database, other, "commit", "c0ffee", model_name="seg")
    put(database, older, "branch", "main", model_name="depth")
    assert found(database, merge_base="c0ffee", branch="main", model_name="depth") == (older.id, "branch")


def test_the_other_models_that_have_a_baseline_there_are_named(
    database: Database, evaluated: Evaluated
) -> None:
    job = evaluated()
    retired = put(database, job, model_name="gone")
    with database.session() as session:
        retire_baseline(session, retired.id)
    put(database, job, model_name="seg")
    put(database, job, "commit", "c0ffee", model_name="seg")
    put(database, job, "commit", "c0ffee", model_name="depth")
    put(database, job)
    put(database, job, "tag", "main", model_name="of a tag")
    put(database, job, repository="github.com/acme/other", model_name="of another")
    with database.session() as session:
        place = {"merge_base": "c0ffee", "branch": "main"}
        assert other_names(session, DEPTH, model_name="new", **place) == ["", "depth", "seg"]
        assert other_names(session, DEPTH, **place) == ["depth", "seg"]
        assert other_names(session, DEPTH, model_name="new", branch="other") == []


@pytest.mark.parametrize("text", ["", "x" * 201, "a\nb", "a\x7fb"])
def test_the_database_refuses_what_is_no_line(database: Database, evaluated: Evaluated, text: str) -> None:
    job = evaluated()
    places: list[dict[str, Any]] = [{"ref": text}, {"repository": text}]
    places += [{"model_name": text}] if text else []
    for place in places:
        with pytest.raises(IntegrityError):
            put(database, job, **place)
    assert put(database, job, ref="ü" * 200).ref == "ü" * 200


def test_baselines_of_before_are_of_the_model_without_a_name(
    database: Database, evaluated: Evaluated
) -> None:
    before, named = evaluated(), evaluated()
    put(database, named)
    put(database, before)
    put(database, named, model_name="depth")
    config = alembic_config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
    columns = {column["name"] for column in inspect(database.engine).get_columns("baselines")}
    assert "model_name" not in columns
    with database.engine.connect() as connection:
        kept = connection.execute(
            text("SELECT job_id, ended_at IS NULL FROM baselines ORDER BY set_at")
        ).all()
    assert [tuple(row) for row in kept] == [(named.id, False), (before.id, True)]
    upgrade(database.url)
    assert [(row.model_name, row.job_id) for row in history(database)] == [("", named.id), ("", before.id)]
    assert found(database, branch="main") == (before.id, "branch")
    assert found(database, branch="main", model_name="depth") is None
    put(database, named, model_name="depth")
    assert found(database, branch="main") == (before.id, "branch")


def test_the_migration_can_be_taken_back(database: Database, evaluated: Evaluated) -> None:
    job = evaluated()
    put(database, job)
    config = alembic_config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
    assert not inspect(database.engine).has_table("baselines")
    upgrade(database.url)
    with database.session() as session:
        assert session.scalars(select(Baseline)).all() == []
    put(database, job)
