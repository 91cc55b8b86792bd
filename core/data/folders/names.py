"""Many names in little memory: what an index of files holds, however long it is."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """An immutable sequence of strings in one block of UTF-8: 8 bytes each beside their letters.

    Attributes:
        letters: every name, one after the other.
        ends: where each name ends in `letters`.
    """

    letters: bytes
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, names: Iterable[str]) -> "Names":
        """The names in this order; they are drawn one at a time."""
        builder = NamesBuilder()
        for name in names:
            builder.add(name)
        return builder.done()

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self.ends):
            raise IndexError(f"name {index} is outside 0..{len(self.ends) - 1}")
        begin = int(self.ends[index - 1]) if index else 0
        return self.letters[begin : int(self.ends[index])].decode()

    def __iter__(self) -> Iterator[str]:
        begin = 0
        for end in self.ends:
            yield self.letters[begin : int(end)].decode()
            begin = int(end)


class NamesBuilder:
    """Names as they come in."""

    def __init__(self) -> None:
        self._letters = bytearray()
        self._ends = array("q")

    def add(self, name: str) -> None:
        """One more."""
        self._letters += name.encode()
        self._ends.append(len(self._letters))

    def done(self) -> Names:
        """Those that came in, in this order."""
        return Names(bytes(self._letters), np.array(self._ends, dtype=np.int64))


def first_repeated(names: Names | Sequence[str]) -> str | None:
    """A name that occurs twice, or None; 8 bytes a name are needed to find it, not a set of them all."""
    marks = np.fromiter((_mark(name) for name in names), dtype=np.uint64, count=len(names))
    order = np.argsort(marks, kind="stable")
    twins = np.flatnonzero(marks[order][1:] == marks[order][:-1])
    for twin in twins:
        first, second = names[int(order[twin])], names[int(order[twin + 1])]
        if first == second:
            return first
    return None


def _mark(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
