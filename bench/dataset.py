"""How many samples a second each folder format decodes, and how fast a fingerprint is taken: medians of several runs.

Writes data sets of random numbers at the published sizes into a temporary directory and reads them back, in order and
in a drawn one. So it does with the data sets that come along, from an empty cache. Run from the repository root:
`python -m bench.dataset [--samples 48] [--runs 3] [--threads 1 2]`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from core.data import Dataset, in_order, open_dataset
from core.data.folders import fingerprint, open_folder
from core.datasets import DATASETS
from tests.core.data import folder_writers as writers

NYUV2, CITYSCAPES, TASKONOMY, FULL = (288, 384), (128, 256), (256, 256), (480, 640)
BATCH = 16
FIRST = 64
"""Samples of a gate's first look."""

SEED = 0

SETS: Mapping[str, tuple[str, tuple[int, int], Callable[..., Any]]] = {
    "nyuv2_treemtl": ("nyuv2_treemtl", FULL, writers.write_treemtl),
    "nyuv2_mtan": ("nyuv2_mtan", NYUV2, writers.write_mtan),
    "cityscapes_mtan": ("cityscapes_mtan", CITYSCAPES, partial(writers.write_mtan, kind="cityscapes")),
    "taskonomy_adashare": ("taskonomy_adashare", TASKONOMY, writers.write_taskonomy),
    "windthrow, files": ("windthrow", NYUV2, writers.write_general_files),
    "windthrow, shards": ("windthrow", NYUV2, partial(writers.write_general_shards, per_shard=16)),
}


def samples_per_second(dataset: Dataset, clock: Callable[[], float]) -> float:
    """Read the split once, batch by batch."""
    began = clock()
    for first in range(0, len(dataset), BATCH):
        dataset.batch(range(first, min(first + BATCH, len(dataset))))
    return len(dataset) / (clock() - began)


def median_rate(dataset: Dataset, *, runs: int, core: bool = False) -> float:
    """Samples a second, by the wall clock or of one core's time."""
    clock = time.process_time if core else time.perf_counter
    dataset.batch(range(min(BATCH, len(dataset))))
    return statistics.median(samples_per_second(dataset, clock) for _ in range(runs))


def seconds_of(action: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    threads = [f"{count} threads" for count in asked.threads]
    print_row(["", "size", "MB", "core's", "shuffled", *threads, "halved", "hash MB/s", "again ms"])
    with tempfile.TemporaryDirectory() as folder:
        for title, (form, size, write) in SETS.items():
            root = Path(folder) / title / "data"
            write(root, {"val" if "mtan" in form else "test": asked.samples}, size=size)
            measure(title, form, root, size, runs=asked.runs, threads=asked.threads)
        print_row(["", "samples", f"first {FIRST}", "shuffled", "a second", "shuffled"])
        for name in DATASETS:
            measure_own(name, Path(folder), runs=asked.runs)


def measure_own(name: str, folder: Path, *, runs: int) -> None:
    """One row: seconds until the first samples are there at all, and then samples a second; in order and shuffled."""
    open_dataset(name, "test", cache=folder / f"{name}-warm").batch(
        [0]
    )  # what is loaded once a process is there then
    first = []
    for order in (None, SEED):
        cache = folder / f"{name}-{order}"
        dataset = in_order(open_dataset(name, "test", cache=cache), order)
        first.append(seconds_of(partial(dataset.batch, range(FIRST))))
    plain = open_dataset(name, "test", cache=cache)
    rates = (median_rate(in_order(plain, order), runs=runs) for order in (None, SEED))
    numbers = [*(f"{seconds:.2f} s" for seconds in first), *(f"{rate:.0f}" for rate in rates)]
    print_row([name, str(len(plain)), *numbers])


def measure(
    title: str, form: str, root: Path, size: tuple[int, int], *, runs: int, threads: Sequence[int]
) -> None:
    """One row: samples a second of one core's time and shuffled, by the clock with threads, halved; fingerprints."""
    cache = root.parent / "cache"
    opened = partial(open_folder, form, root, "test", cache=cache)
    megabytes = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 1e6
    first = seconds_of(lambda: fingerprint(form, root, cache=cache))
    time.sleep(2.5)  # a file changed within two seconds of being read is not trusted
    fingerprint(form, root, cache=cache)
    again = seconds_of(lambda: fingerprint(form, root, cache=cache))
    half = opened(threads=threads[-1], size=(size[0] // 2, size[1] // 2))
    numbers = [
        megabytes,
        median_rate(opened(threads=1), runs=runs, core=True),
        median_rate(in_order(opened(threads=1), SEED), runs=runs, core=True),
        *(median_rate(opened(threads=count), runs=runs) for count in threads),
        median_rate(half, runs=runs),
        megabytes / first,
        again * 1e3,
    ]
    print_row([title, f"{size[0]}x{size[1]}", *(f"{number:.0f}" for number in numbers)])


def print_row(cells: Sequence[str]) -> None:
    """A line of the table."""
    print(f"{cells[0]:20}", *(f"{cell:>10}" for cell in cells[1:]), flush=True)


if __name__ == "__main__":
    main()
