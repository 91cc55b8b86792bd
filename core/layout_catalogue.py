"""Every layout of so many tasks over so many levels, as bit masks, in the order of the paper's model indices.

A task set is an integer with one bit per task, and a partition a tuple of them. `core.layouts` makes the
`Layout` objects.
"""

from functools import lru_cache
from itertools import compress, product
from math import comb

Partition = tuple[int, ...]
MaskLayout = tuple[Partition, ...]


@lru_cache(maxsize=4096)
def catalogue_size(tasks: int, levels: int) -> int:
    """How many layouts there are, without listing them: milliseconds for any size that a layout can have.

    On the first level task 0 sits with some others, which go on below; those left make a layout of their own.
    """
    if tasks == 0 or levels == 0:
        return 1
    return sum(
        comb(tasks - 1, left) * catalogue_size(tasks - left, levels - 1) * catalogue_size(left, levels)
        for left in range(tasks)
    )


def mask_layouts(tasks: int, levels: int) -> list[MaskLayout]:
    """All layouts, depth first from the all-shared one: a layout's position is the paper's model index.

    A cut splits a set on one level and all below. Cuts go down the levels, so that from its lowest cut on a
    layout has the same partition on every level. A layout counts where it is first reached.

    Source: the enumeration that the indices of the paper's Table 16 count in.
    """
    found: list[MaskLayout] = []
    seen: set[MaskLayout] = set()

    def visit(layout: MaskLayout, key: MaskLayout, lowest_cut: int) -> None:
        found.append(layout)
        for level in range(lowest_cut, levels):
            below = levels - level
            for partition, sorted_partition in _cuts(layout[level]):
                child_key = key[:level] + (sorted_partition,) * below
                if child_key not in seen:
                    seen.add(child_key)
                    visit(layout[:level] + (partition,) * below, child_key, level)

    shared: MaskLayout = ((2**tasks - 1,),) * levels
    visit(shared, shared, 0)
    return found


@lru_cache(maxsize=4096)
def _cuts(partition: Partition) -> tuple[tuple[Partition, Partition], ...]:
    """The partition with one set cut in two, in every way, the parts at the end; each also sorted."""
    cut = (
        (*(other for other in partition if other != group), left, group ^ left)
        for group in partition
        for left in _left_parts(group)
    )
    return tuple((child, tuple(sorted(child))) for child in cut)


def _left_parts(group: int) -> tuple[int, ...]:
    """The left parts of a set's cuts, in order; the first task always goes right, so none comes twice."""
    _, *others = (1 << task for task in range(group.bit_length()) if group >> task & 1)
    marks = product((True, False), repeat=len(others))
    return tuple(sum(compress(others, chosen)) for chosen in marks if any(chosen))
