"""`ScenesDataset`: splits of the endless stream of scenes, rendered when first asked for and kept on disk."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from core.data.batch import Batch
from core.data.paths import cache_root
from core.data.scenes.chunks import CHUNK, read_chunk, write_chunk
from core.data.scenes.draws import check_seed
from core.data.scenes.records import Records, decode, record_type
from core.data.scenes.render import check_resolution, render_into
from core.data.splits import check_indices, check_split
from core.datasets import DATASETS
from core.errors import InvalidError
from core.tasks import Task, profile

INFO = DATASETS["scenes"]

MEMORY_BYTES = 512 * 2**20
"""Chunks used of late stay in memory up to this size: the whole training split at 64 x 64."""


class ScenesDataset:
    """Rendered indoor scenes with labels for five dense tasks; every pixel is valid.

    Images are [N, 3, R, R]; labels as `core.data.scenes.records.Sample` says. Files lie under
    `<cache>/scenes-v<version>/seed<seed>-<resolution>/<split>/`, 3.7 MB per 64 samples at 64 x 64.

    Args:
        split: "train", "validation" or "test".
        cache: directory for rendered samples, else $WINDTHROW_CACHE, else ~/.cache/windthrow.
        resolution: height and width R in pixels.
        seed: names another data set of the same kind.
        size: number of samples, else the catalogue's; a longer data set begins with a shorter one's samples.

    Raises:
        InvalidError: an argument is out of range.
    """

    name = INFO.name
    version = INFO.version
    tasks: tuple[Task, ...] = profile(INFO.profile).tasks

    def __init__(
        self,
        split: str = "test",
        *,
        cache: Path | None = None,
        resolution: int = INFO.image_shape[1],
        seed: int = 0,
        size: int | None = None,
    ) -> None:
        self.split = check_split(INFO, split)
        self.resolution = check_resolution(resolution)
        self.seed = check_seed(seed)
        self._size = INFO.splits[split] if size is None else size
        if self._size < 1:
            raise InvalidError(f"a data set has at least one sample; got {size}", field="size")
        folder = cache_root(cache) / f"{self.name}-v{self.version}" / f"seed{seed}-{resolution}"
        self._folder = folder / split
        self._recent: OrderedDict[int, Records] = OrderedDict()

    def __len__(self) -> int:
        return self._size

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at these positions, in this order.

        Raises:
            IndexError: a position is outside 0..len-1.
        """
        rows = check_indices(indices, self._size)
        records = np.empty(len(rows), dtype=record_type(self.resolution))
        for place, row in enumerate(rows):
            records[place] = self._chunk(row // CHUNK)[row % CHUNK]
        sample = decode(records)
        labels = {task.name: torch.from_numpy(getattr(sample, task.name)) for task in self.tasks}
        return Batch(torch.from_numpy(sample.image), labels, indices=torch.tensor(rows, dtype=torch.int64))

    def _chunk(self, number: int) -> Records:
        """64 samples from memory, else from disk, else rendered."""
        if number in self._recent:
            self._recent.move_to_end(number)
            return self._recent[number]
        path = self._folder / f"{number:05d}.chunk"
        records = read_chunk(path, self.resolution)
        if records is None:
            records = self._render(number)
            write_chunk(path, records)
        self._recent[number] = records
        while len(self._recent) > max(1, MEMORY_BYTES // records.nbytes):
            self._recent.popitem(last=False)
        return records

    def _render(self, number: int) -> Records:
        records = np.zeros(CHUNK, dtype=record_type(self.resolution))
        for row in range(CHUNK):
            render_into(records[row : row + 1], self.seed, number * CHUNK + row, split=self.split)
        return records


def open_scenes(split: str, cache: Path | None, resolution: int | None) -> ScenesDataset:
    """As the registry opens it.

    Raises:
        InvalidError: as `ScenesDataset`.
    """
    return ScenesDataset(
        split, cache=cache, resolution=INFO.image_shape[1] if resolution is None else resolution
    )
