"""From upload to ARP through the real stack, and that what comes out is what the library computes."""

import csv
import io
import os
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from core.data import open_dataset
from core.evaluation import evaluate
from core.models import load_checkpoint
from core.specs import AttackSpec
from core.tasks import profile
from tests.service import DIGITS, Caller, Json, random_checkpoint
from worker.demo.models import DEMO_MODELS

SAMPLES = 40
ATTACKS: list[Json] = [
    {"algorithm": algorithm, "objective": objective, "eps": 8} | steps
    for algorithm, steps in (("fgsm", {}), ("pgd", {"steps": 4}))
    for objective in ("single:left", "total", "sign_total", "gb_mta")
]


@pytest.fixture(scope="module")
def shipped(caller: Caller) -> str:
    demo = DEMO_MODELS[-1]
    return str(caller.service.push(demo.name, demo.weights, demo.manifest.model_dump(mode="json"))["id"])


@pytest.fixture(scope="module")
def job(caller: Caller, shipped: str) -> Json:
    dataset = {"name": "digits", "limit": SAMPLES}
    spec = caller.evaluation(shipped, dataset=dataset, attacks=ATTACKS, batch_size=16, previews=2)
    return caller.service.follow(caller.service.submit(spec), lambda _: None)


@pytest.fixture(scope="module")
def results(caller: Caller, job: Json) -> Json:
    return caller.service.results(job)


def test_the_service_finds_what_the_library_finds(results: Json) -> None:
    """The worker has one thread; so has this process here, so that the numbers agree to the last bit."""
    demo = DEMO_MODELS[-1]
    model = load_checkpoint(
        demo.weights, backbone="sapling", layout=demo.manifest.tree, tasks=profile("digits").tasks
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        attacks = [AttackSpec(**attack) for attack in ATTACKS]
        found = evaluate(model, open_dataset("digits"), attacks, limit=SAMPLES, batch_size=16)
    finally:
        torch.set_num_threads(threads)
    assert [entry["label"] for entry in results["attacks"]] == list(found.arp)
    assert [entry["arp"] for entry in results["attacks"]] == list(found.arp.values())
    assert results["clean"]["metrics"] == found.clean.metrics


def test_attacks_hurt_and_gb_mta_hurts_both_tasks(results: Json) -> None:
    by_label = {entry["label"]: entry for entry in results["attacks"]}
    assert results["clean"]["metrics"]["left"]["accuracy"] > 90
    iterated, single = by_label["pgd/gb_mta/eps=8/steps=4"], by_label["pgd/single:left/eps=8/steps=4"]
    assert iterated["arp"] > by_label["fgsm/gb_mta/eps=8"]["arp"] > 0
    assert iterated["task_arp"]["right"] > single["task_arp"]["right"]


def test_results_carry_samples_cost_and_the_formula(results: Json) -> None:
    entry = next(entry for entry in results["attacks"] if entry["label"] == "pgd/sign_total/eps=8/steps=4")
    assert entry["samples"] == SAMPLES
    assert entry["cost"]["forwards"] == SAMPLES * (4 + 2)  # as they are, and rounded to 8 bits
    assert entry["cost"]["backwards"] == SAMPLES * 4 * 2
    assert results["metric_version"] == "1"
    assert results["metrics"]["left"]["accuracy"] == {"direction": "higher", "unit": "%"}


def test_csv_says_the_same_as_json(caller: Caller, job: Json, results: Json) -> None:
    answer = caller.get(job["links"]["results"], params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"].startswith("text/csv")
    assert [row["attack"] for row in rows] == ["clean", *(entry["label"] for entry in results["attacks"])]
    for row, entry in zip(rows[1:], results["attacks"], strict=True):
        assert float(row["arp_percent"]) == entry["arp"]
        assert float(row["left.accuracy"]) == entry["metrics"]["left"]["accuracy"]


def test_pictures_stay_within_eps_of_the_clean_ones(caller: Caller, job: Json) -> None:
    def pixels(ordinal: int) -> torch.Tensor:
        data = caller.service.picture(job, ordinal, 1)
        image = Image.open(io.BytesIO(data))
        assert image.size == (64, 32)
        return torch.tensor(list(image.tobytes()), dtype=torch.int16)

    difference = (pixels(len(ATTACKS) - 1) - pixels(-1)).abs()
    assert 0 < int(difference.max()) <= 8
    missing = caller.get(f"/v1/jobs/{job['id']}/images/0/2.png")
    assert missing.status_code == 404


def test_the_same_evaluation_again_computes_nothing(caller: Caller, job: Json, results: Json) -> None:
    again = caller.service.follow(caller.service.submit(job["spec"]), lambda _: None)
    assert again["id"] != job["id"]
    found = caller.service.results(again)
    assert found["attacks"] == results["attacks"]
    events = caller.get(again["links"]["events"]).text
    assert events.count('"reused": true') == again["progress"]["shards_total"]


def test_a_model_that_breaks_fails_its_job_with_a_reason_and_the_worker_lives_on(
    caller: Caller,
) -> None:
    """The checkpoint vanishes from the store after the model was found ready, and no process remembers it."""
    demo = DEMO_MODELS[0]
    model = caller.service.push("broken", demo.weights, demo.manifest.model_dump(mode="json"))
    blob = caller.stack.settings.blob_dir / model["sha256"][:2] / model["sha256"][2:]
    hidden = blob.rename(blob.with_suffix(".hidden"))
    _kill_pool(caller)
    spec = caller.evaluation(model["id"], dataset={"name": "scenes", "limit": 4}, batch_size=4)
    try:
        job = caller.service.submit(spec)
        while job["state"] in ("queued", "running"):
            job = caller.get(job["links"]["self"], headers={"Prefer": "wait=30"}).json()
    finally:
        hidden.rename(blob)
    assert job["state"] == "failed"
    assert job["error"]["code"] == "blob_not_found"
    assert caller.get(job["links"]["results"]).json()["code"] == "job_failed"
    caller.service.follow(caller.service.submit(spec), lambda _: None)


def test_a_killed_pool_process_costs_no_result(caller: Caller, shipped: str) -> None:
    attacks = [
        {"algorithm": "pgd", "objective": "gb_mta", "eps": 3, "steps": steps} for steps in (41, 42, 43)
    ]
    job = caller.service.submit(caller.evaluation(shipped, attacks=attacks))
    killed = False

    def kill_once(now: Json) -> None:
        nonlocal killed
        if not killed and now["progress"]["shards_done"] == 1:
            _kill_pool(caller)
            killed = True

    job = caller.service.follow(job, kill_once)
    assert killed
    assert [entry["samples"] for entry in caller.service.results(job)["attacks"]] == [32, 32, 32]


def _kill_pool(caller: Caller) -> None:
    """Kill the worker's pool process, as the OOM killer would."""
    (child,) = _children(caller.stack.pids["worker"])
    os.kill(child, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        child for child in map(int, listed) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def test_checking_a_model_does_not_wait_for_long_jobs(caller: Caller, shipped: str, tmp_path: Path) -> None:
    attacks = [{"algorithm": "pgd", "objective": "total", "eps": eps, "steps": 60} for eps in range(1, 100)]
    job = caller.service.submit(caller.evaluation(shipped, attacks=attacks))
    fresh = random_checkpoint(tmp_path, seed=11)
    assert caller.service.push("fresh", fresh, DIGITS)["state"] == "ready"
    assert caller.get(job["links"]["self"]).json()["progress"]["shards_done"] < len(attacks) // 2
    caller.post(job["links"]["cancel"], None)
