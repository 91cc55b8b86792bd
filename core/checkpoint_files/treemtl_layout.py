"""TreeMTL's layouts, which have a level per block, and ours, which have one per stage."""

from collections.abc import Sequence

from core.checkpoint_files.errors import LayoutInsideStageError, UnknownLayoutError
from core.checkpoint_files.inert import Instance
from core.layouts import Layout, LayoutError

SETS = ("set", "frozenset")


def block_layout(saved: object, *, blocks: int, tasks: int) -> Layout:
    """The layout object that a checkpoint holds, a level per block, its sets in the authors' order.

    Args:
        saved: the object, or its state alone: a list of lists of sets of task numbers.
        blocks: how many blocks the backbone has.
        tasks: how many heads the checkpoint has.

    Raises:
        UnknownLayoutError: it is no such object, or not of this model.
    """
    state = saved.state if isinstance(saved, Instance) else {"state": saved}
    levels = state.get("state") if isinstance(state, dict) else None
    if not isinstance(levels, list) or len(levels) != blocks:
        raise UnknownLayoutError(
            f"the checkpoint's layout object is not understood: it should list {blocks} blocks' task sets; "
            "give the layout, and leave the object out of the file",
            field="layout",
        )
    try:
        read = Layout(tuple(tuple(map(_task_set, _members(level, tasks))) for level in levels))
    except LayoutError as error:
        raise UnknownLayoutError(
            f"the checkpoint's layout object is no layout: {error}", field="layout"
        ) from error
    if read.tasks != tasks:
        raise UnknownLayoutError(
            f"the checkpoint's layout has {read.tasks} tasks, its heads are {tasks}", field="layout"
        )
    return read


def stage_layout(fine: Layout, stages: Sequence[Sequence[int]]) -> Layout:
    """The same layout with a level per stage, each of a range of blocks.

    Raises:
        LayoutInsideStageError: two blocks of one stage have different branches.
    """
    partitions = [frozenset(level) for level in fine.levels]
    for number, blocks in enumerate(stages):
        for block in blocks[1:]:
            if partitions[block] != partitions[blocks[0]]:
                raise LayoutInsideStageError(
                    f"the model branches at block {block}, inside stage {number} (blocks {blocks[0]} to "
                    f"{blocks[-1]}); here branches begin with a stage",
                    field="layout",
                )
    return Layout(tuple(fine.levels[blocks[0]] for blocks in stages))


def over_blocks(coarse: Layout, stages: Sequence[Sequence[int]]) -> Layout:
    """A layout with a level per stage, written out for every block, the sets in the order given."""
    return Layout(tuple(coarse.levels[number] for number, blocks in enumerate(stages) for _ in blocks))


def _members(value: object, limit: int) -> list[object]:
    """The members of what was a list, tuple or set; at most `limit`, for there are no more tasks."""
    if isinstance(value, Instance) and value.of.name in SETS:
        value = value.args[0] if value.args else value.items
    if not isinstance(value, list | tuple) or len(value) > limit:
        raise UnknownLayoutError(
            "the checkpoint's layout object lists something else than tasks", field="layout"
        )
    return list(value)


def _task_set(value: object) -> frozenset[int]:
    members = _members(value, 1_000)
    if not all(type(task) is int and 0 <= task < 1_000 for task in members):
        raise UnknownLayoutError(
            "the checkpoint's layout object lists something else than tasks", field="layout"
        )
    return frozenset(task for task in members if isinstance(task, int))
