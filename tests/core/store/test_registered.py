"""Data sets of an operator: offered in their newest version, found in every other, and never lost by a job."""

from dataclasses import replace

import pytest

from core.datasets import DATASETS, DatasetInfo
from core.errors import InvalidError
from core.store import registered
from core.store.database import Database
from core.store.registered import DatasetNotFoundError
from core.tasks import Task, profile

DEPTH = Task("depth", "depth", 1, metrics=("abs_error",), loss="huber")
PARTS = Task("parts", "segmentation", 3, class_names=("a", "b", "c"), class_weights=(1.0, 0.5, 2.0))
ROOMS = DatasetInfo(
    name="rooms",
    version="1-aa",
    title="Rooms",
    profile="rooms",
    tasks=(PARTS, DEPTH),
    splits={"train": 5, "test": 3},
    image_shape=(3, 32, 40),
)


def add(database: Database, info: DatasetInfo) -> None:
    with database.session() as session:
        registered.register(session, info, form="windthrow", location="/data", fingerprint="1-aa")


def names(database: Database) -> list[tuple[str, str]]:
    with database.session() as session:
        return [(info.name, info.version) for info in registered.offered(session)]


def test_what_was_registered_is_offered_as_it_was_described(database: Database) -> None:
    add(database, ROOMS)
    with database.session() as session:
        assert registered.find(session, "rooms") == ROOMS
        row = registered.registration(session, "rooms", "1-aa")
        assert row is not None
        assert (row.format, row.location, row.fingerprint, row.options) == (
            "windthrow",
            "/data",
            "1-aa",
            {"size": None, "on_bad": "error"},
        )


def test_new_jobs_get_the_newest_version_and_others_are_still_found(database: Database) -> None:
    newer = replace(ROOMS, version="1-bb", splits={"test": 4})
    add(database, ROOMS)
    add(database, newer)
    assert names(database)[-1] == ("rooms", "1-bb")
    with database.session() as session:
        assert registered.find(session, "rooms") == newer
        assert registered.find(session, "rooms", "1-aa") == ROOMS
    add(database, ROOMS)
    assert names(database)[-1] == ("rooms", "1-aa"), "what is registered again is the newest again"


def test_a_retired_data_set_is_offered_no_more_and_jobs_still_find_it(database: Database) -> None:
    add(database, ROOMS)
    with database.session() as session:
        assert registered.retire(session, "rooms") == 1
        assert registered.retire(session, "rooms") == 0
    with database.session() as session:
        with pytest.raises(DatasetNotFoundError, match="there are scenes, digits"):
            registered.find(session, "rooms")
        assert registered.registration(session, "rooms", "1-aa") is not None
    add(database, ROOMS)
    assert ("rooms", "1-aa") in names(database)


def test_the_names_and_versions_of_what_came_along_are_kept(database: Database) -> None:
    with pytest.raises(InvalidError) as caught:
        add(database, replace(ROOMS, name="scenes"))
    assert caught.value.field == "name"
    with database.session() as session:
        assert registered.find(session, "digits", DATASETS["digits"].version) == DATASETS["digits"]
        with pytest.raises(DatasetNotFoundError) as missing:
            registered.find(session, "digits", "0")
        assert missing.value.field == "version"


def test_a_model_is_tried_where_there_are_labels_for_its_tasks(database: Database) -> None:
    add(database, ROOMS)
    with database.session() as session:
        for tasks, expected in (
            ((PARTS,), "rooms"),
            (profile("digits").tasks, "digits"),
            (profile("scenes").tasks[1:3], "scenes"),
            ((replace(PARTS, channels=4, class_names=(), class_weights=()),), None),
        ):
            found = registered.fitting(session, tasks)
            assert (found and found.name) == expected


def test_the_labels_owner_says_how_a_task_is_measured() -> None:
    models = (Task("depth", "depth", 1), replace(PARTS, class_names=(), class_weights=()))
    assert ROOMS.measured(models) == (DEPTH, PARTS)
    (depth,) = ROOMS.measured((replace(models[0], loss="squared"),))
    assert depth == replace(DEPTH, loss="squared"), "but the loss that is attacked is the model's own"
    with pytest.raises(InvalidError, match="segmentation with 3 channels in the data set 'rooms'"):
        ROOMS.measured((Task("parts", "regression", 3),))
    with pytest.raises(InvalidError, match="which has parts, depth"):
        ROOMS.measured((Task("normals", "normals", 3),))
