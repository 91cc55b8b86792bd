"""Time to enumerate every layout, by size: best of five, nothing cached. Run as `python -m bench.layouts`."""

from time import perf_counter

from core import layout_catalogue, layouts
from core.layouts import enumerate_layouts

SIZES = ((3, 5), (4, 5), (5, 5), (5, 8), (6, 4))


def best_seconds(tasks: int, levels: int, *, runs: int = 5) -> float:
    """Seconds of the fastest of so many runs."""
    seconds = []
    for _ in range(runs):
        layouts._catalogue.cache_clear()  # noqa: SLF001 - the cache is what would be timed otherwise
        layout_catalogue._cuts.cache_clear()  # noqa: SLF001
        started = perf_counter()
        enumerate_layouts(tasks, levels)
        seconds.append(perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    for tasks, levels in SIZES:
        seconds = best_seconds(tasks, levels)
        count = len(enumerate_layouts(tasks, levels))
        print(f"{tasks} tasks, {levels} levels: {count:6d} layouts in {seconds * 1000:8.1f} ms")
