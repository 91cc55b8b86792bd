"""A user arrives with a file from somebody's training code and a data set on a disk: both go in as they are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from core.attacks import AttackSpec
from core.data.folders import open_folder
from core.evaluation import evaluate
from core.models import TreeModel, load_checkpoint
from core.tasks import profile
from tests.pairs import operate, write_pairs
from tests.service import Caller, Json, pointers
from worker.demo.models import DEMO_MODELS

DEMO = DEMO_MODELS[-1]
TASKS = profile("digits").tasks
SPLITS = {"validation": 8, "test": 12}
ATTACK: Json = {"algorithm": "pgd", "objective": "total", "eps": 8, "steps": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the digits in the general format: PNG files and a manifest."""
    root = tmp_path_factory.mktemp("pairs")
    write_pairs(root, SPLITS)
    return root


@pytest.fixture(scope="module")
def registered(caller: Caller, folder: Path) -> Iterator[Json]:
    done = operate(caller, "datasets", "add", "pairs", str(folder), "--title", "Pairs of digits")
    assert done.returncode == 0, done.stderr
    (found,) = [entry for entry in caller.get("/v1/datasets").json() if entry["name"] == "pairs"]
    yield found
    assert operate(caller, "datasets", "remove", "pairs").returncode == 0
    assert "pairs" not in {entry["name"] for entry in caller.get("/v1/datasets").json()}


@pytest.fixture(scope="module")
def from_torch(caller: Caller, tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The shipped digits model as a training script saves it, with nothing said of it."""
    path = tmp_path_factory.mktemp("files") / "last.pth"
    weights = {f"module.{name}": value for name, value in shipped().state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights, "optimizer": {"state": {}, "param_groups": []}}, path)
    answer = caller.post("/v1/models", {"upload": caller.upload(path.read_bytes()), "name": "last.pth"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["manifest"] is None
    return settled(caller, answer.json())


def shipped() -> TreeModel:
    return load_checkpoint(DEMO.weights, backbone="sapling", layout=DEMO.manifest.tree, tasks=TASKS)


def ended(caller: Caller, job: str) -> Json:
    """A job once it is over; the suite's time limit is the deadline."""
    while (found := caller.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=30"}).json())["state"] in (
        "queued",
        "running",
    ):
        pass
    return dict(found)


def settled(caller: Caller, model: Json) -> Json:
    """A model whose check is over."""
    ended(caller, model["job"])
    return dict(caller.get(f"/v1/models/{model['id']}").json())


def test_a_file_of_a_training_script_needs_nothing_said(from_torch: Json) -> None:
    assert from_torch["state"] == "ready", from_torch["reason"]
    assert from_torch["manifest"]["backbone"] == "sapling"
    assert from_torch["manifest"]["tasks"] == ["left", "right"]
    assert from_torch["weights"] != from_torch["sha256"]
    assert from_torch["facts"]["file"] == {"format": "torch", "names": "native"}


def test_its_clean_metrics_stand_next_to_those_of_random_weights(from_torch: Json) -> None:
    proof = from_torch["facts"]["proof"]
    for task in TASKS:
        assert proof["metrics"][task.name]["accuracy"] > proof["random"][task.name]["accuracy"] + 40
    assert proof["flags"] == []
    assert len(proof["variants"]) >= 3


def test_a_wrong_scale_is_seen_before_anybody_trusts_a_number(caller: Caller) -> None:
    said = {**DEMO.manifest.model_dump(mode="json"), "preprocessing": {"scale": 255.0}}
    answer = caller.register(DEMO.weights.read_bytes(), said)
    proof = settled(caller, answer.json())["facts"]["proof"]
    assert "doubtful_preprocessing" in {flag["code"] for flag in proof["flags"]}
    best = min(proof["variants"], key=lambda name: proof["variants"][name])
    assert best in ("images in 0..1", "no normalisation")


def test_a_registered_data_set_says_what_it_is(registered: Json) -> None:
    assert registered["splits"] == SPLITS
    assert registered["title"] == "Pairs of digits"
    assert [task["name"] for task in registered["tasks"]] == ["left", "right"]


def test_a_job_on_it_finds_what_the_library_finds(
    caller: Caller, registered: Json, from_torch: Json, folder: Path, tmp_path: Path
) -> None:
    spec = caller.evaluation(from_torch["id"], dataset={"name": "pairs"}, attacks=[ATTACK], batch_size=4)
    job = caller.service.follow(caller.service.submit(spec), lambda _: None)
    assert job["spec"]["dataset"] == {
        "name": "pairs",
        "version": registered["version"],
        "split": "test",
        "limit": SPLITS["test"],
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = evaluate(
        shipped(),
        open_folder("windthrow", folder, "test", cache=tmp_path),
        [AttackSpec(**ATTACK)],
        batch_size=4,
        health=False,
    )
    torch.set_num_threads(threads)
    assert [entry["arp"] for entry in caller.service.results(job)["attacks"]] == list(found.arp.values())


def test_a_data_set_without_the_models_tasks_is_refused(
    caller: Caller, registered: Json, from_torch: Json
) -> None:
    del registered
    answer = caller.post("/v1/jobs", caller.evaluation(from_torch["id"], dataset={"name": "scenes"}))
    assert answer.status_code == 422
    assert pointers(answer) == ["#/dataset/name"]
    answer = caller.post(
        "/v1/jobs", caller.evaluation(from_torch["id"], dataset={"name": "pairs", "limit": 13})
    )
    assert pointers(answer) == ["#/dataset/limit"]


def test_files_that_changed_under_a_job_fail_it_and_say_which(
    caller: Caller, registered: Json, from_torch: Json, folder: Path
) -> None:
    del registered
    path = folder / "test-0.png"
    before = path.read_bytes()
    path.write_bytes((folder / "test-1.png").read_bytes())
    try:
        assert operate(caller, "datasets", "check", "pairs").returncode == 1
        attack = {**ATTACK, "eps": 5}
        spec = caller.evaluation(from_torch["id"], dataset={"name": "pairs"}, attacks=[attack], batch_size=4)
        job = ended(caller, caller.service.submit(spec)["id"])
        assert job["state"] == "failed"
        assert job["error"]["code"] == "dataset_changed"
        assert "test-0.png" in job["error"]["message"]
    finally:
        path.write_bytes(before)


def test_a_file_that_would_run_code_is_rejected_and_runs_none(caller: Caller, tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "canary"),)

    path = tmp_path / "hostile.pt"
    torch.save({"state_dict": {}, "extra": Canary()}, path)
    answer = caller.post("/v1/models", {"upload": caller.upload(path.read_bytes())})
    model = settled(caller, answer.json())
    assert model["state"] == "rejected"
    assert model["reason"]["code"].startswith("pickle")
    assert not (tmp_path / "canary").exists()
