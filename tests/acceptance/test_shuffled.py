"""A data set that is sorted by class, and a model that is good at the first half of the classes alone."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from sqlalchemy import func, select

from core.attacks import AttackSpec
from core.data import in_order, open_dataset
from core.data.folders import open_folder
from core.data.order import drawn_order
from core.evaluation import evaluate
from core.models import TreeModel, load_checkpoint, save_checkpoint
from core.store.database import Database
from core.store.tables import Job, Shard, ShardResult
from core.tasks import profile
from tests.pairs import operate, write_pairs
from tests.service import Caller, Json
from worker.demo.models import DEMO_MODELS

DEMO = DEMO_MODELS[-1]
TASKS = profile("digits").tasks
SAMPLES = 256
KNOWN = 5
"""Classes that the model can say at all: every second sample shows another."""

ATTACK: Json = {"algorithm": "fgsm", "objective": "total", "eps": 4}
FILE = """\
version: 1
model: {file: a.safetensors}
dataset: {name: sortedpairs}
suite:
  attacks: [{algorithm: fgsm, objective: total, eps: 4}]
rules:
  - {name: knows its digits, on: metric, task: left, metric: accuracy, at_least: 80}
"""
GIVEN = FILE.replace("name: sortedpairs", "name: sortedpairs, shuffle: null")
OPEN = FILE.replace("at_least: 80", "at_least: 50")
"""About what the model reaches, so that no number of samples settles it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sorted")
    write_pairs(root, {"test": SAMPLES}, by="left")
    return root


@pytest.fixture(scope="module")
def registered(caller: Caller, folder: Path) -> Iterator[None]:
    done = operate(caller, "datasets", "add", "sortedpairs", str(folder))
    assert done.returncode == 0, done.stderr
    yield
    assert operate(caller, "datasets", "remove", "sortedpairs").returncode == 0


def half_good() -> TreeModel:
    """The shipped model, which never says that the left digit is one of the other half."""
    model = load_checkpoint(DEMO.weights, backbone="sapling", layout=DEMO.manifest.tree, tasks=TASKS)
    with torch.no_grad():
        dict(model.named_parameters())["heads.left.out.bias"][KNOWN:] -= 1e4
    return model


@pytest.fixture(scope="module")
def model(caller: Caller, registered: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    del registered
    path = tmp_path_factory.mktemp("weights") / "half.safetensors"
    save_checkpoint(half_good(), path)
    return str(caller.service.push("half good", path, DEMO.manifest.model_dump(mode="json"))["id"])


@pytest.fixture(scope="module")
def database(caller: Caller) -> Iterator[Database]:
    opened = Database(caller.stack.settings.database_url)
    yield opened
    opened.dispose()


def looks(caller: Caller, model: str, text: str) -> list[Json]:
    answer = caller.post(f"/v1/policies/check?model={model}", {"text": text})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["looks"])


def run(caller: Caller, model: str, evaluation: Json) -> Json:
    spec = {**evaluation, "kind": "evaluation", "model": model}
    return caller.service.follow(caller.service.submit(spec), lambda _: None)


def verdict(caller: Caller, job: Json, text: str) -> Json:
    answer = caller.post(f"/v1/jobs/{job['id']}/verdict", {"gate_file": text})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_first_samples_in_the_given_order_are_of_few_classes(folder: Path, tmp_path: Path) -> None:
    given = open_folder("windthrow", folder, "test", cache=tmp_path)
    of_all, first, drawn = (
        set(data.batch(range(count)).labels["left"].tolist())
        for data, count in ((given, SAMPLES), (given, 64), (in_order(given, 0), 64))
    )
    assert first == {0, 1, 2}
    assert drawn == of_all == set(range(10))


def test_a_gate_is_fooled_by_the_given_order_and_not_by_a_drawn_one(caller: Caller, model: str) -> None:
    """Half of all samples show a digit that the model cannot say; of the first 64 as they stand none does."""
    (given, _), (drawn, _) = looks(caller, model, GIVEN), looks(caller, model, FILE)
    fooled = verdict(caller, run(caller, model, given["evaluation"]), GIVEN)
    assert (fooled["status"], fooled["look"]["number"], fooled["next"]) == ("passed", 1, None)
    found = verdict(caller, run(caller, model, drawn["evaluation"]), FILE)
    assert (found["status"], found["look"]["number"], found["next"]) == ("failed", 1, None)
    assert found["outcomes"][0]["observed"]["value"] == pytest.approx(50, abs=15)


def test_a_drawn_look_is_the_beginning_of_the_next_which_finds_it_done(
    caller: Caller, model: str, database: Database
) -> None:
    def results() -> int:
        with database.session() as session:
            return session.scalar(select(func.count()).select_from(ShardResult)) or 0

    def keys(job: Json) -> dict[tuple[int | None, int], str | None]:
        with database.session() as session:
            shards = session.scalars(select(Shard).join(Job).where(Job.id == job["id"]))
            return {
                (shard.payload["attack"], shard.payload["start"]): shard.result_key
                for shard in shards
                if shard.payload["kind"] == "evaluation"
            }

    small, large = looks(caller, model, OPEN)
    first = run(caller, model, small["evaluation"])
    assert verdict(caller, first, OPEN)["next"]["number"] == 2
    before = results()
    second = run(caller, model, large["evaluation"])
    done, now = keys(first), keys(second)
    assert set(done) == {(None, 0), (0, 0)}
    assert set(now) == {(attack, start) for attack in (None, 0) for start in (0, 64, 128)}
    assert {place: now[place] for place in done} == done
    assert results() - before == len(now) - len(done)


def test_the_service_finds_what_the_library_finds(
    caller: Caller, model: str, folder: Path, tmp_path: Path
) -> None:
    """However it was cut into slices. The worker has one thread; so has this process here."""
    dataset = {"name": "sortedpairs", "limit": 100, "shuffle": 7}
    spec = caller.evaluation(model, dataset=dataset, attacks=[ATTACK], batch_size=16)
    results = caller.service.results(caller.service.follow(caller.service.submit(spec), lambda _: None))
    assert results["dataset"]["shuffle"] == 7
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = evaluate(
        half_good(),
        open_folder("windthrow", folder, "test", cache=tmp_path),
        [AttackSpec(**ATTACK)],
        limit=100,
        shuffle=7,
        batch_size=16,
    )
    torch.set_num_threads(threads)
    assert results["clean"]["metrics"] == found.clean.metrics
    assert [entry["arp"] for entry in results["attacks"]] == list(found.arp.values())
    assert found.probe is not None
    assert results["probe"]["reference"]["arp"] == found.probe.facts["reference"]["arp"]


def test_pictures_are_of_the_samples_that_are_drawn_first(caller: Caller, model: str) -> None:
    dataset = {"name": "digits", "limit": 8, "shuffle": 7}
    spec = caller.evaluation(model, dataset=dataset, batch_size=2, previews=3, health=False)
    job = caller.service.follow(caller.service.submit(spec), lambda _: None)
    data = open_dataset("digits")
    images = data.batch(drawn_order(7, len(data))[:3].tolist()).images
    for place, image in enumerate(images):
        kept = pixels(caller.service.picture(job, -1, place))
        assert kept.equal((image * 255).round().byte().permute(1, 2, 0))


def pixels(png: bytes) -> torch.Tensor:
    image = Image.open(io.BytesIO(png))
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)


def test_evaluations_in_other_orders_are_not_paired(caller: Caller, model: str) -> None:
    jobs = [
        caller.service.follow(
            caller.service.submit(
                caller.evaluation(
                    model, dataset={"name": "sortedpairs", **order}, attacks=[ATTACK], health=False
                )
            ),
            lambda _: None,
        )
        for order in ({}, {"shuffle": 1}, {"shuffle": 2}, {"shuffle": 1, "split": "test"})
    ]
    own, drawn, other, again = (job["id"] for job in jobs)
    for question in ("differences?attack=0&other=0&other_job=", "comparison?other_job="):
        assert caller.get(f"/v1/jobs/{drawn}/{question}{again}").status_code == 200
        for one in (own, other):
            answer = caller.get(f"/v1/jobs/{drawn}/{question}{one}")
            assert (answer.status_code, answer.json()["code"]) == (422, "unpaired")
