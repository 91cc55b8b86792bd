"""One split's samples, decoded one by one; whatever is wrong with one is a `SampleError` that names it."""

from dataclasses import dataclass

from core.data.folders.errors import RefusedError, SampleError, blame
from core.data.folders.folder import Part, Rows
from core.data.folders.samples import Compose, Sample, check_shapes, check_sizes
from core.tasks import Task


@dataclass(frozen=True, slots=True)
class SampleReader:
    """Reads the samples of one split, bad ones included, by their position in its listing."""

    split: str
    tasks: tuple[Task, ...]
    parts: tuple[Part, ...]
    compose: Compose
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, row: int) -> Sample:
        """A sample as its files have it.

        Raises:
            SampleError: it is bad.
        """
        try:
            return self._sample(row)
        except RefusedError as error:
            file = self.rows.file(row, error.part)
            key = self.rows.key(row)
            raise SampleError.at(error, split=self.split, index=row, key=key, file=file) from error

    def _sample(self, row: int) -> Sample:
        arrays = {}
        for part in self.parts:
            with blame(part.name):
                arrays[part.name] = part.decode(self.rows.read(row, part.name))
        check_sizes(arrays)
        with blame("image"):
            sample = self.compose(arrays)
        check_shapes(sample, self.tasks)
        return sample
