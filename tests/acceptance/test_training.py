"""Training through the real stack: killed, cancelled, taking turns, failing, and what comes of it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load as load_tensors
from sqlalchemy import select

from core.data import open_dataset
from core.data.paths import cache_root
from core.models import TreeModel, build_model
from core.models.checkpoint import weights_of
from core.settings import Settings
from core.specs.manifests import ModelManifest
from core.specs.trainings import TrainingSpec
from core.store.blobs import FileBlobs
from core.store.database import Database
from core.store.tables import KeptState
from core.training import Trainer
from tests.pairs import operate, write_pairs
from tests.service import ATTACK, DIGITS, Caller, Json, pointers
from worker.demo.client import ServiceError
from worker.supervisor import Stack

ITERATIONS = 60
ADVERSARIAL: Json = {
    "attack": {"algorithm": "pgd", "objective": "gb_mta", "eps": 16, "steps": 4},
    "tau": 1,
    "mix": "joint",
}
RECIPE: Json = {
    "iterations": ITERATIONS,
    "batch_size": 16,
    "optimiser": {"learning_rate": 4e-3},
    "schedule": {"name": "one_cycle"},
    "augmentation": {"shift": 2},
    "ema": 0.9,
    "seed": 3,
    "adversarial": ADVERSARIAL,
}


@pytest.fixture(scope="module")
def quick(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A service that keeps a state every moment, gives a training three seconds a turn, and soon misses a worker."""
    settings = Settings(
        database_url=module_database_url,
        cache_dir=cache_root(None),
        keep_seconds=0,
        turn_seconds=3,
        lease_seconds=3,
        heartbeat_seconds=0.3,
        reap_seconds=0.2,
    )
    with Stack(data_dir=tmp_path_factory.mktemp("trainings"), workers=1, settings=settings) as stack:
        headers = {"Authorization": f"Bearer {stack.key}"}
        with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as http:
            yield Caller(stack, http)


def training(**changes: Any) -> Json:
    return {
        "kind": "training",
        "manifest": DIGITS,
        "dataset": {"name": "digits"},
        "recipe": RECIPE,
        **changes,
    }


def with_seed(seed: int, **changes: Any) -> Json:
    return {**RECIPE, "seed": seed, **changes}


def follow(caller: Caller, job: Json) -> Json:
    return caller.service.follow(job, lambda _: None)


def events_of(caller: Caller, job: Json, *, until: int = 10_000) -> list[Json]:
    """The progress of a training as its stream tells it, up to some iteration or the end."""
    found: list[Json] = []
    with caller.http.stream("GET", job["links"]["events"], timeout=60) as answer:
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == "training.progress":
                found.append(httpx.Response(200, content=line.removeprefix("data: ")).json())
                if found[-1]["iteration"] >= until:
                    return found
    return found


def weights(caller: Caller, model: str) -> dict[str, torch.Tensor]:
    digest = caller.get(f"/v1/models/{model}").json()["weights"]
    return load_tensors(FileBlobs(caller.stack.settings.blob_dir).read(digest))


def trained_here(document: Json) -> dict[str, torch.Tensor]:
    """What the library makes of the same, without a stop, on as many threads."""
    spec = TrainingSpec.model_validate(document)
    manifest = ModelManifest.model_validate(DIGITS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(spec.recipe.seed)
    model = build_model("sapling", manifest.tree, manifest.task_list)
    trainer = Trainer(model, manifest.task_list, open_dataset("digits", "train"), spec.recipe)
    trainer.run()
    torch.set_num_threads(threads)
    trained = trainer.trained()
    assert isinstance(trained, TreeModel)
    return weights_of(trained)


def kill_pool(caller: Caller) -> None:
    """Kill the worker's pool process, as the OOM killer would."""
    parent = caller.stack.pids["worker"]
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)


def kept(caller: Caller) -> list[tuple[int, str]]:
    database = Database(caller.stack.settings.database_url)
    with database.session() as session:
        found = [(state.position, state.blob) for state in session.scalars(select(KeptState))]
    database.dispose()
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def killed(quick: Caller) -> Json:
    """A training whose worker was killed twice."""
    job = quick.service.submit(training(name="sturdy digits"))
    for iteration in (ITERATIONS // 4, ITERATIONS // 2):
        events_of(quick, job, until=iteration)
        kill_pool(quick)
    return follow(quick, job)


def test_a_training_whose_worker_is_killed_ends_bit_for_bit_as_one_that_was_not(
    quick: Caller, killed: Json
) -> None:
    found = quick.service.results(killed)
    assert found["iterations"] == ITERATIONS
    assert same(weights(quick, found["model"]), trained_here(training()))
    assert kept(quick) == []


def test_the_model_is_registered_with_where_it_comes_from(quick: Caller, killed: Json) -> None:
    model = quick.get(f"/v1/models/{quick.service.results(killed)['model']}").json()
    assert (model["state"], model["name"]) == ("ready", "sturdy digits")
    assert model["parameters"] > 100_000
    assert model["facts"]["proof"]["dataset"] == "digits"
    lineage = model["lineage"]
    assert lineage["job"] == killed["id"]
    assert lineage["parent"] is None
    assert lineage["dataset"]["version"]
    assert lineage["recipe"]["seed"] == 3
    assert len(lineage["spec_digest"]) == 64


def test_results_are_curves(quick: Caller, killed: Json) -> None:
    found = quick.service.results(killed)
    losses = found["curves"]["adversarial.left"]
    assert len(losses) == len(found["curve_iterations"]) == ITERATIONS
    assert sum(losses[-10:]) < sum(losses[:10])
    assert 0 <= found["inner_steps_saved"] < 1
    assert 0 <= found["last"]["steps_to_fool.left"] <= 4
    rows = quick.get(killed["links"]["results"], params={"format": "csv"}).text.splitlines()
    assert len(rows) == 1 + ITERATIONS
    assert rows[0].split(",")[0] == "iteration"
    assert {"learning_rate", "clean.left", "adversarial.left"} <= set(rows[0].split(","))


def test_events_tell_how_it_goes(quick: Caller, killed: Json) -> None:
    told = events_of(quick, killed)
    assert told[-1]["iteration"] == told[-1]["iterations"] == ITERATIONS
    assert told[0]["means"].keys() >= {"clean.left", "adversarial.right", "inner_steps", "steps_to_fool.left"}


def test_the_same_training_again_is_not_done_again(quick: Caller, killed: Json) -> None:
    begun = time.monotonic()
    again = follow(quick, quick.service.submit(training(name="another name")))
    assert quick.service.results(again)["model"] == quick.service.results(killed)["model"]
    assert time.monotonic() - begun < 3


def test_a_cancelled_training_keeps_its_last_state_for_the_next(quick: Caller) -> None:
    spec = training(recipe=with_seed(4))
    job = quick.service.submit(spec)
    seen = events_of(quick, job, until=ITERATIONS // 4)[-1]["iteration"]
    quick.post(job["links"]["cancel"], None)
    with pytest.raises(ServiceError, match="cancelled"):
        follow(quick, job)
    ((position, _),) = kept(quick)
    assert seen <= position < ITERATIONS
    resumed = follow(quick, quick.service.submit(spec))
    first = events_of(quick, resumed)[0]
    assert first["iteration"] - first["over"] == position
    assert same(weights(quick, quick.service.results(resumed)["model"]), trained_here(spec))


def test_what_was_trained_is_evaluated_beside_what_it_came_from(quick: Caller, killed: Json) -> None:
    parent = quick.service.results(killed)["model"]
    evaluation = {"dataset": {"name": "digits", "limit": 32}, "attacks": [ATTACK], "health": False}
    recipe = {"iterations": 5, "batch_size": 16, "optimiser": {"name": "sgd", "learning_rate": 1e-3}}
    job = quick.service.submit(training(manifest=None, model=parent, recipe=recipe, evaluation=evaluation))
    assert job["model"] == parent
    found = quick.service.results(follow(quick, job))
    assert found["parent"] == parent != found["model"]
    jobs = [quick.get(f"/v1/jobs/{found[which]}").json() for which in ("evaluation", "baseline_evaluation")]
    one, other = (follow(quick, job) for job in jobs)
    assert [one["model"], other["model"]] == [found["model"], parent]
    bought = quick.get(found["links"]["comparison"]).json()
    assert (bought["job"], bought["other_job"]) == (one["id"], other["id"])
    assert bought["ara"]["overall"]["interval"] is not None
    assert bought["attacks"][0]["robust_gain"]["interval"] is not None
    assert not same(weights(quick, found["model"]), weights(quick, parent))


def test_divergence_fails_the_job_and_keeps_the_last_good_state(quick: Caller) -> None:
    recipe = {"iterations": 400, "batch_size": 16, "optimiser": {"name": "sgd", "learning_rate": 900}}
    with pytest.raises(ServiceError, match="became"):
        follow(quick, job := quick.service.submit(training(recipe=recipe)))
    failed = quick.service.job(job)
    assert failed["error"]["code"] == "diverged"
    assert "lower the learning rate" in failed["error"]["message"]


def test_a_data_set_that_changed_under_a_training_fails_it_and_its_state_is_kept(
    quick: Caller, tmp_path: Path
) -> None:
    write_pairs(tmp_path, {"train": 48, "validation": 8})
    assert operate(quick, "datasets", "add", "pairs", str(tmp_path)).returncode == 0
    job = quick.service.submit(training(dataset={"name": "pairs"}, recipe=with_seed(5, iterations=400)))
    events_of(quick, job, until=1)
    (tmp_path / "train-0.png").write_bytes((tmp_path / "train-1.png").read_bytes())
    kill_pool(quick)
    with pytest.raises(ServiceError, match=r"train-0\.png"):
        follow(quick, job)
    assert quick.service.job(job)["error"]["code"] == "dataset_changed"
    assert [position for position, _ in kept(quick) if position < 400]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"model": "0190f5a4-0000-7000-8000-000000000000"}, "#/model"),
        ({"manifest": None}, "#/model"),
        ({"recipe": {}}, "#/recipe/iterations"),
        ({"recipe": with_seed(1, adversarial={**ADVERSARIAL, "tau": 9})}, "#/recipe/adversarial/tau"),
        (
            {"recipe": with_seed(1, adversarial={"attack": {**ADVERSARIAL["attack"], "steps": 0}})},
            "#/recipe/adversarial/attack/steps",
        ),
        (
            {"recipe": with_seed(1, adversarial={"attack": {"algorithm": "apgd", "eps": 8}})},
            "#/recipe/adversarial/attack/algorithm",
        ),
        (
            {
                "recipe": with_seed(
                    1, adversarial={"attack": {**ADVERSARIAL["attack"], "objective": "single:up"}}
                )
            },
            "#/recipe/adversarial/attack/objective",
        ),
        ({"recipe": with_seed(1, task_weights={"up": 1})}, "#/recipe/task_weights/up"),
        ({"recipe": with_seed(1, batch_size=50_000)}, "#/recipe/batch_size"),
        ({"recipe": {"preset": "papers"}}, "#/recipe/preset"),
        ({"dataset": {"name": "scenes"}}, "#/dataset/name"),
        ({"evaluation": {"dataset": {"name": "moons"}, "attacks": [ATTACK]}}, "#/evaluation/dataset/name"),
        (
            {
                "evaluation": {
                    "dataset": {"name": "digits"},
                    "attacks": [{**ATTACK, "objective": "single:up"}],
                }
            },
            "#/evaluation/attacks/0/objective",
        ),
    ],
)
def test_a_training_that_cannot_be_run_is_refused_at_the_place(
    caller: Caller, changes: Json, pointer: str
) -> None:
    answer = caller.post("/v1/jobs", training(**changes))
    assert answer.status_code == 422, answer.text
    assert pointers(answer) == [pointer]
