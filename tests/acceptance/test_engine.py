"""What the engine adds, through the real stack: a search, a probe, intervals, differences, transferability."""

from collections.abc import Iterator

import pytest
import torch

from core.attacks import AttackSpec
from core.data import open_dataset
from core.evaluation import evaluate, evaluate_transferability
from core.models import TreeModel, load_checkpoint
from core.tasks import profile
from tests.service import Caller, Json
from worker.demo.models import DEMO_MODELS

SAMPLES = 24
STEPS = 12
ATTACKS: list[Json] = [
    {"algorithm": "auto_mta", "eps": 8, "steps": STEPS},
    {"algorithm": "apgd", "objective": "gb_mta", "eps": 8, "steps": STEPS},
    {"algorithm": "sign_noise", "eps": 8},
]
DEMO = DEMO_MODELS[0]


@pytest.fixture(scope="module")
def shipped(caller: Caller) -> str:
    return str(caller.service.push(DEMO.name, DEMO.weights, DEMO.manifest.model_dump(mode="json"))["id"])


@pytest.fixture(scope="module")
def job(caller: Caller, shipped: str) -> Json:
    dataset = {"name": "scenes", "limit": SAMPLES}
    spec = caller.evaluation(shipped, dataset=dataset, attacks=ATTACKS, batch_size=8, health=True)
    return caller.service.follow(caller.service.submit(spec), lambda _: None)


@pytest.fixture(scope="module")
def results(caller: Caller, job: Json) -> Json:
    return caller.service.results(job)


@pytest.fixture
def model() -> Iterator[TreeModel]:
    """The worker has one thread; so has this process here, so that the numbers agree to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tasks = profile("scenes").tasks
    yield load_checkpoint(DEMO.weights, backbone="sapling", layout=DEMO.manifest.tree, tasks=tasks)
    torch.set_num_threads(threads)


def test_the_search_and_the_attacks_find_what_the_library_finds(results: Json, model: TreeModel) -> None:
    found = evaluate(
        model,
        open_dataset("scenes"),
        [AttackSpec(**attack) for attack in ATTACKS],
        limit=SAMPLES,
        batch_size=8,
        calibration=open_dataset("scenes", "validation"),
        health=False,
    )
    assert [entry["arp"] for entry in results["attacks"]] == list(found.arp.values())
    for entry, result in zip(results["attacks"], found.attacks, strict=True):
        assert result.interval is not None
        assert entry["intervals"]["arp"] == [result.interval.low, result.interval.high]


def test_a_search_says_what_it_tried_and_ran(results: Json) -> None:
    search = results["searches"]["0"]
    assert len(search["trials"]) >= 1
    assert len(search["finalists"]) == 1


def test_the_probe_measures_and_finds_nothing_to_object_to(results: Json) -> None:
    assert results["probe"]["noise"]["arp"] < results["probe"]["reference"]["arp"]
    assert results["reliable"]


def test_a_difference_is_that_of_the_two_numbers(caller: Caller, job: Json, results: Json) -> None:
    found = caller.get(f"/v1/jobs/{job['id']}/differences?attack=1&other=2").json()
    strong, noise = results["attacks"][1]["arp"], results["attacks"][2]["arp"]
    assert found["arp"]["difference"] == pytest.approx(strong - noise)
    assert found["arp"]["interval"][0] > 0


def test_a_transferability_job_finds_what_the_library_finds(
    caller: Caller, shipped: str, model: TreeModel
) -> None:
    spec = {
        "kind": "transferability",
        "models": [shipped],
        "dataset": {"name": "scenes", "limit": SAMPLES},
        "attack": {"algorithm": "pgd", "eps": 8, "steps": 4},
        "batch_size": 8,
    }
    job = caller.service.follow(caller.service.submit(spec), lambda _: None)
    (pair,) = caller.service.results(job)["pairs"]
    attack = AttackSpec(algorithm="pgd", eps=8, steps=4)
    found = evaluate_transferability(
        {"it": model}, open_dataset("scenes"), attack, limit=SAMPLES, batch_size=8
    ).pairs["it", "it"]
    assert pair["matrix"] == found.matrix
    assert pair["transfer"] == found.values
