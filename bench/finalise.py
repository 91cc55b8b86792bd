"""What error bars cost: from the stored shards of 100 attacks to replicates, for two numbers of samples.

Shards of 256 samples of the scenes profile are made up, of plausible size, with statistics of images rounded to 8 bits
as real results have them, and written to a temporary folder; each attack reads its own from there. A process of its
own finalises, so that its peak memory is seen.
Run from the repository root, on Linux: `python bench/finalise.py [--attacks 100] [--check]`.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from core.evaluation import Statistics
from core.evaluation.bootstrap import ReplicateTotals, Resampler, take_replicates
from core.tasks import profile

TASKS = profile("scenes").tasks
SAMPLES = (2_500, 10_000)
SHARD = 256
PIXELS = 64 * 64
DRAWN = 4
"""Different shards there are; attacks take them in turn."""

MOST_SECONDS = 60.0
"""Most of one core's time that the larger number of samples may take."""

MOST_GROWTH = 16.0
"""Most MiB by which its peak may be higher; 7 of them are the weights that all attacks share."""


def made_up(generator: np.random.Generator) -> dict[str, dict[str, np.ndarray]]:
    """Statistics of a shard, by task, that take about as many bytes as those of a real model."""
    labelled = generator.multinomial(PIXELS, generator.dirichlet([0.3] * 13, SHARD))
    angles = generator.gamma(2, 8 * generator.lognormal(0, 0.5, (SHARD, 1)), (SHARD, PIXELS)).clip(0, 179.9)
    rows = np.arange(SHARD)[:, None] * 720
    histogram = np.bincount((rows + (4 * angles).astype(np.int64)).ravel(), minlength=720 * SHARD)
    valid = np.full(SHARD, PIXELS)
    error = generator.lognormal(0, 0.5, SHARD) * PIXELS / 10
    within = generator.binomial(PIXELS, generator.beta(5, 2, (SHARD, 3)))
    return {
        "segmentation": {
            "labelled": labelled,
            "predicted": generator.permuted(labelled, axis=0),
            "intersection": generator.binomial(labelled, generator.beta(5, 2, (SHARD, 1))),
        },
        "normals": {
            "valid": valid,
            "angle_sum": angles.sum(1),
            "cosine_sum": np.cos(np.radians(angles)).sum(1),
            "angle_histogram": histogram.reshape(SHARD, 720).astype(np.int32),
        },
        "depth": {
            "valid": valid,
            "relative_valid": valid,
            "abs_sum": error,
            "rel_sum": error / 3,
            "within": np.sort(within, axis=1),
        },
        "keypoints": {"valid": valid, "abs_sum": error},
        "edges": {"valid": valid, "abs_sum": error},
    }


def write_shards(folder: Path, samples: int) -> list[list[Path]]:
    """Write the shards of a split in a few versions; their paths, by version."""
    generator = np.random.default_rng(0)
    versions = [made_up(generator) for _ in range(DRAWN)]
    paths: list[list[Path]] = []
    for version, tasks in enumerate(versions):
        paths.append([])
        for start in range(0, samples, SHARD):
            indices = np.arange(start, min(start + SHARD, samples))
            kept = {
                task: {name: values[: len(indices)] for name, values in table.items()}
                for task, table in tasks.items()
            }
            flags = {name: np.zeros(len(indices), np.bool_) for name in ("floored", "non_finite")}
            path = folder / f"{version}-{start}.npz"
            path.write_bytes(Statistics(indices, kept, flags, rounded=kept).to_bytes())
            paths[-1].append(path)
    return paths


def finalise(versions: list[list[Path]], attacks: int) -> float:
    """Seconds from the shards of a clean pass and so many attacks to the replicates of each, as bytes."""
    started = time.perf_counter()
    resampler, clean = Resampler(), None
    for attack in range(attacks + 1):
        totals = ReplicateTotals(resampler)
        for path in versions[attack % DRAWN]:
            totals.add(Statistics.from_bytes(path.read_bytes()))
        replicates = take_replicates(totals, TASKS, dataset="made up", clean=clean)
        replicates.to_bytes()
        clean = clean or replicates
    return time.perf_counter() - started


def measure(versions: list[list[Path]], attacks: int) -> tuple[float, float, float]:
    """Wall-clock seconds, seconds of processor time, and MiB that finalising added to the process's peak."""
    before, processor = _peak_mebibytes(), time.process_time()
    seconds = finalise(versions, attacks)
    return seconds, time.process_time() - processor, _peak_mebibytes() - before


def _peak_mebibytes() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def main() -> int:
    """Measure both numbers of samples; 1 with `--check` when it takes too long or memory grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attacks", type=int, default=100)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    asked = parser.parse_args()
    peaks = []
    for samples in SAMPLES:
        with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as pool:
            versions = write_shards(Path(folder), samples)
            seconds, processor, peak = pool.apply(measure, (versions, asked.attacks))
        print(
            f"{samples:6d} samples, {asked.attacks} attacks: {seconds:5.1f} s ({processor:5.1f} s of one core),"
            f" {peak:5.0f} MiB at its peak beyond what was loaded"
        )
        peaks.append(peak)
    met = processor <= MOST_SECONDS and peaks[-1] - peaks[0] <= MOST_GROWTH
    return 1 if asked.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
