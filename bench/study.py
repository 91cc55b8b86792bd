"""One study on rendered scenes, through the whole service over HTTP: writes docs/results/scenes.md, .json and figures.

Six layouts, one for each sharing level, are trained clean and then against five attacks, all are attacked, and the page
says which of the paper's findings hold here. The service is started for it, with two worker processes of one thread
each, unless one is named. Run as `python -m bench.study`; QUICK=1 makes it small, and `--from` only writes the page
again. Interrupted, it goes on where it was: what is done lies in the data directory.
"""

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.study_figures import write_figures
from bench.study_report import write_page
from core.settings import Settings
from worker.demo.client import Json, Service
from worker.supervisor import Stack

ROOT = Path(__file__).parents[1]
NAME = "scenes"

TASKS = ("segmentation", "normals", "depth")
LEVELS = 5
SINGLES = tuple(f"single:{task}" for task in TASKS)
OBJECTIVES = ("gb_mta", "total", "sign_total", *SINGLES)
TRAINED_AGAINST = ("gb_mta", "total", *SINGLES)
"""By FAT; the paper's Table 3."""

ATTACKED = "validation"
"""Split. The recipes were chosen by looking at test images."""

EPS = 8
SIZES = (2, 4, 8)
TASK_WEIGHTS = {"segmentation": 1, "normals": 2, "depth": 1}
SEED = 0

WORKERS = 2
DIGITS = 5
"""Of every number in the JSON file."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is trained and attacked.

    Attributes:
        sharing: levels that all tasks share, a layout for each.
        samples: of the training split; None is all.
        epochs, rate: of training on clean images.
        iterations, fat_rate: of friendly adversarial training, which goes on from there.
        inner_steps, tau: of its attack; a sample is let go so many steps after any of its tasks is fooled.
        tested: samples of the split that is attacked.
        steps: of the attacks.
        strong_steps: of APGD.
    """

    sharing: tuple[int, ...] = (5, 4, 3, 2, 1, 0)
    samples: int | None = None
    epochs: int = 4
    rate: float = 4e-3
    iterations: int = 100
    fat_rate: float = 2e-3
    inner_steps: int = 10
    tau: int = 1
    batch: int = 32
    tested: int = 128
    steps: int = 10
    strong_steps: int = 20


FULL = Scale()
QUICK = Scale(
    sharing=(5, 2, 0),
    samples=2048,
    epochs=3,
    iterations=20,
    inner_steps=3,
    tested=32,
    steps=5,
    strong_steps=5,
)


def study(scale: Scale) -> Json:
    """The one document that asks for everything."""
    test = {"name": NAME, "split": ATTACKED, "limit": scale.tested}
    return {
        "kind": "study",
        "name": f"{NAME}: {len(scale.sharing)} layouts",
        "model": {"backbone": "sapling", "profile": NAME, "tasks": list(TASKS)},
        "layouts": [layout(shared) for shared in scale.sharing],
        "dataset": {"name": NAME, "split": "train", "limit": scale.samples},
        "modes": [
            {"name": "clean", "recipe": _clean(scale)},
            *(
                {"name": f"FAT {objective}", "recipe": _fat(scale, objective), "start": "clean"}
                for objective in TRAINED_AGAINST
            ),
        ],
        "evaluation": {"dataset": test, "attacks": attacks(scale), "batch_size": 32},
        "transferability": {"attack": {"algorithm": "apgd", "eps": EPS, "steps": scale.strong_steps}},
    }


def layout(shared: int) -> list[list[list[int]]]:
    """All tasks together on so many levels, and each by itself below."""
    together, apart = [list(range(len(TASKS)))], [[task] for task in range(len(TASKS))]
    return [together] * shared + [apart] * (LEVELS - shared)


def attacks(scale: Scale) -> list[Json]:
    """PGD with every objective at every size, and APGD with the paper's."""
    pgd = [
        {"algorithm": "pgd", "objective": objective, "eps": eps, "steps": scale.steps}
        for eps in SIZES
        for objective in OBJECTIVES
    ]
    return [*pgd, {"algorithm": "apgd", "objective": "gb_mta", "eps": EPS, "steps": scale.strong_steps}]


def _clean(scale: Scale) -> Json:
    return {**_recipe(scale, scale.rate), "epochs": scale.epochs}


def _fat(scale: Scale, objective: str) -> Json:
    attack = {"algorithm": "pgd", "objective": objective, "eps": EPS, "steps": scale.inner_steps}
    adversarial = {"attack": attack, "tau": scale.tau, "fooled": {"aggregate": "any"}, "mix": "both"}
    return {**_recipe(scale, scale.fat_rate), "iterations": scale.iterations, "adversarial": adversarial}


def _recipe(scale: Scale, rate: float) -> Json:
    return {
        "batch_size": scale.batch,
        "optimiser": {"name": "adamw", "learning_rate": rate},
        "schedule": {"name": "one_cycle"},
        "task_weights": TASK_WEIGHTS,
        "seed": SEED,
    }


def run(service: Service, scale: Scale) -> Json:
    """Submit the study, follow it to its end, and fetch what it found.

    Raises:
        ServiceError: the service refused it, or it did not succeed.
    """
    asked = study(scale)
    job = submitted(service, asked)
    parts = job["progress"]["shards_total"]
    print(f"study {job['id']}: {parts} parts", flush=True)
    job = service.follow(job, _progress(time.monotonic()))
    began, ended = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return {
        "facts": {
            "seconds": round((ended - began).total_seconds()),
            "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
            "workers": WORKERS,
            "torch": version("torch"),
            "service": version("windthrow-server"),
            "seed": SEED,
            "scale": asdict(scale),
        },
        "study": asked,
        "results": service.results(job),
    }


def submitted(service: Service, asked: Json) -> Json:
    """The study's job: the one of before, if it runs yet or is done, so that no model is trained twice."""
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return service.submit({**asked, "client_ref": f"bench.study {digest[:16]}"})


def _progress(began: float) -> Callable[[Json], None]:
    """Print a line whenever a part has ended."""
    last = -1

    def seen(job: Json) -> None:
        nonlocal last
        done, progress = job["progress"]["shards_done"], job["progress"]
        if done != last:
            last = done
            told = f"{done} of {progress['shards_total']} parts, {100 * progress['fraction']:.0f} %"
            eta = progress["eta_seconds"]
            left = "" if eta is None else f", about {eta:.0f} s to go"
            print(f"  {time.monotonic() - began:6.0f} s  {told}{left}", flush=True)

    return seen


@contextmanager
def service_at(url: str | None, key: str | None, data_dir: Path) -> Iterator[Service]:
    """The service that is named, or one of our own."""
    if url is not None:
        with Service.at(url, key or "") as service:
            yield service
        return
    settings = Settings().model_copy(update={"threads": 1})
    print("Starting PostgreSQL, Valkey, the API and the workers …", flush=True)
    with (
        Stack(data_dir=data_dir, workers=WORKERS, settings=settings) as stack,
        Service.at(stack.url, stack.key) as service,
    ):
        yield service


def rounded(value: Any) -> Any:
    """JSON values with as many digits as anybody reads."""
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}")
        case dict():
            return {name: rounded(entry) for name, entry in value.items()}
        case list():
            return [rounded(entry) for entry in value]
        case _:
            return value


def write(found: Json, out: Path) -> None:
    """The page and its figures."""
    out.mkdir(parents=True, exist_ok=True)
    for name, drawing in write_figures(found["results"]).items():
        (out / f"{NAME}-{name}.svg").write_text(drawing)
    (out / f"{NAME}.md").write_text(write_page(found, name=NAME))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study, or read an earlier one, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--data-dir", type=Path, default=Settings().data_dir, help="of the service it starts")
    parser.add_argument("--url", help="a running service")
    parser.add_argument(
        "--key", default=os.environ.get("WINDTHROW_KEY"), help="its API key; else WINDTHROW_KEY"
    )
    parser.add_argument("--from", type=Path, dest="earlier", help="write the page of an earlier study again")
    options = parser.parse_args(arguments)
    if options.earlier is not None:
        write(json.loads(options.earlier.read_text()), options.out)
        return
    with service_at(options.url, options.key, options.data_dir) as service:
        found = rounded(run(service, QUICK if os.environ.get("QUICK") else FULL))
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, separators=(",", ":"))
    (options.out / f"{NAME}.json").write_text(text + "\n")
    write(found, options.out)
    print(f"{options.out / NAME}.md; {len(text) / 1000:.0f} KB of numbers; {found['facts']['seconds']} s")


if __name__ == "__main__":
    main()
