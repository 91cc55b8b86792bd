"""How many scenes a second one core renders, labels included: the median of several runs.

Run from the repository root: `python bench/scenes.py [--resolution 64] [--images 200] [--runs 5]`.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.data.scenes import render


def images_per_second(images: int, resolution: int) -> tuple[float, float]:
    """Render the first images of the training split once: by the processor's time, and by the wall clock."""
    clock, processor = time.perf_counter(), time.process_time()
    for index in range(images):
        render(0, index, split="train", resolution=resolution)
    return images / (time.process_time() - processor), images / (time.perf_counter() - clock)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    images_per_second(10, asked.resolution)
    runs = [images_per_second(asked.images, asked.resolution) for _ in range(asked.runs)]
    rates, walls = zip(*runs, strict=True)
    print(
        f"{asked.resolution}x{asked.resolution}: {statistics.median(rates):.0f} images a second of one core's time"
        f" (median of {asked.runs} runs of {asked.images}; {min(rates):.0f} to {max(rates):.0f}),"
        f" {statistics.median(walls):.0f} by the wall clock"
    )


if __name__ == "__main__":
    main()
