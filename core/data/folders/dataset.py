"""`FolderDataset`: one split of a data set in a folder, read when it is asked for and held nowhere."""

from collections.abc import Sequence

from core.data.batch import Batch
from core.data.folders.checking import BadSample, Check, check_samples
from core.data.folders.inventory import Progress
from core.data.folders.reader import SampleReader
from core.data.folders.samples import Sample, resize, stack
from core.data.folders.threads import Pool
from core.data.splits import check_indices
from core.tasks import Task


class FolderDataset:
    """The samples of one split, in the order of their listing. `open_folder` makes it.

    It holds an index of names and nothing of the samples themselves. A batch is decoded by several threads, and the
    tensors do not depend on how many. It can be pickled, and used after a fork.

    Args:
        reader: reads the split.
        version: of the files' bytes, see `open_folder`.
        size: height and width that samples are resized to, if any.
        without: a check of the split, whose bad samples are left out; by default none is.
    """

    def __init__(
        self,
        reader: SampleReader,
        *,
        name: str,
        version: str,
        size: tuple[int, int] | None,
        threads: int,
        without: Check | None = None,
    ) -> None:
        self.name = name
        self.version = version + (f"-skip{len(without.bad)}" if without is not None and without.bad else "")
        self.split = reader.split
        self.tasks: tuple[Task, ...] = reader.tasks
        self.size = size
        self.skipped: tuple[BadSample, ...] = without.bad if without is not None else ()
        self._reader = reader
        self._kept = without.kept() if without is not None and without.bad else None
        self._pool = Pool(threads)

    def __len__(self) -> int:
        return len(self._reader) if self._kept is None else len(self._kept)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at these positions, in this order.

        Raises:
            IndexError: a position is outside 0..len-1.
            SampleError: a sample is bad; it says which, and its `field` which part of it.
            FolderError: images are of several sizes and no size was asked for.
        """
        places = check_indices(indices, len(self))
        samples = self._pool.map(self._read, [self._row(place) for place in places])
        return stack(samples, self.tasks, places)

    def key(self, index: int) -> str:
        """The name of a sample.

        Raises:
            IndexError: the position is outside 0..len-1.
        """
        (place,) = check_indices([index], len(self))
        return self._reader.rows.key(self._row(place))

    def check(self, *, progress: Progress | None = None) -> Check:
        """Decode every sample that the split lists, bad ones included, and say which are bad."""
        return check_samples(self._reader, self._pool, progress=progress)

    def _row(self, place: int) -> int:
        return place if self._kept is None else int(self._kept[place])

    def _read(self, row: int) -> Sample:
        return resize(self._reader.sample(row), self.size)
