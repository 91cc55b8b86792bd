"""Which model a checkpoint of the paper's authors is of, and what its tensors are called here."""

import re
from collections.abc import Mapping, Sequence

from core.backbones import canonical_reference
from core.checkpoint_files.errors import UnknownLayoutError, UnknownTasksError, UnsupportedBackboneError
from core.checkpoint_files.identity import Hints, Identity, check_hint, in_order, one_profile
from core.checkpoint_files.treemtl_blocks import FAMILIES, Family
from core.checkpoint_files.treemtl_layout import block_layout, over_blocks, stage_layout
from core.checkpoints import TensorInfo
from core.layouts import Layout
from core.specs.preprocessing import Preprocessing
from core.tasks import Profile, profile

TASKS = {
    "segment_semantic": "segmentation",
    "normal": "normals",
    "depth_zbuffer": "depth",
    "keypoints2d": "keypoints",
    "edge_texture": "edges",
}
TRAINED_ON = ("nyuv2", "taskonomy")
"""The authors' data sets; another profile has to be named."""

PREPROCESSING = Preprocessing(
    channel_order="bgr", scale=255.0, mean=(104.00698793, 116.66876762, 122.67891434), std=(1.0, 1.0, 1.0)
)
"""The authors feed BGR images in 0..255 minus these means."""

BLOCK_NAME = re.compile(r"backbone\.mtl_blocks\.(\d{1,6})\.(.+)\.(\w+)")
HEAD_NAME = re.compile(r"heads\.(\w+)\.fc([1-4])\.(conv[123])\.(weight|bias)")


def identify_treemtl(tensors: Mapping[str, TensorInfo], saved_layout: object, hints: Hints) -> Identity:
    """The model whose tensors these are; a checkpoint with its layout object tells everything.

    Args:
        tensors: by the authors' names, in the file's order.
        saved_layout: the layout object beside them, or None.
        hints: what the caller knows.

    Raises:
        UnsupportedBackboneError: none of the backbones that are known.
        UnknownTasksError: no profile's tasks fit the heads, several profiles' do, or their order is unknown.
        UnknownLayoutError: it branches, and neither file nor caller say how.
        LayoutInsideStageError: it branches where our layouts cannot.
        MismatchedCheckpointError: it is not what the caller said.
    """
    family = _family(tensors)
    if hints.backbone is not None:
        check_hint("backbone", canonical_reference(hints.backbone), family.backbone)
    heads = _heads(tensors)
    among = hints.profiles.values() if hints.profile else map(profile, TRAINED_ON)
    chosen = one_profile(list(heads), [each for each in among if _fits(each, heads)], hints)
    names = in_order(list(heads), hints.tasks)
    if hints.tasks is None:
        _check_order(tensors)
    fine = _fine_layout(tensors, saved_layout, hints, family, names)
    layout = stage_layout(fine, family.stages)
    instances = _instances(fine, family, layout)
    return Identity(
        style="treemtl",
        backbone=family.backbone,
        layout=layout.canonical,
        profile=chosen.name if hints.profile is None else hints.profile,
        tasks=tuple(chosen.task(name) for name in names),
        names={name: _our_name(name, family, instances) for name in tensors},
        preprocessing=PREPROCESSING,
    )


def _family(tensors: Mapping[str, TensorInfo]) -> Family:
    for family in FAMILIES:
        first = tensors.get("backbone.mtl_blocks.0." + family.first)
        if first is not None and first.shape == family.stem_shape:
            return family
    known = ", ".join(sorted({family.backbone for family in FAMILIES}))
    raise UnsupportedBackboneError(f"the checkpoint's first block is none of {known}'s", field="backbone")


def _heads(tensors: Mapping[str, TensorInfo]) -> dict[str, int]:
    """Channels of every head by our task's name, in the order that the file first mentions them."""
    found = ((HEAD_NAME.fullmatch(name), info) for name, info in tensors.items())
    return {
        TASKS.get(match[1], match[1]): info.shape[0] if info.shape else 0
        for match, info in found
        if match and match[2] == "1" and match[3] == "conv3" and match[4] == "weight"
    }


def _fits(of: Profile, heads: Mapping[str, int]) -> bool:
    channels = {task.name: task.channels for task in of.tasks}
    return bool(heads) and all(channels.get(name) == count for name, count in heads.items())


def _check_order(tensors: Mapping[str, TensorInfo]) -> None:
    """The layout numbers the tasks in the order of the heads, so the file must have kept the module's order."""
    numbers = [int(match[1]) for match in map(BLOCK_NAME.fullmatch, tensors) if match]
    if numbers != sorted(numbers):
        raise UnknownTasksError(
            "the tensors are not in the model's order, so the order of its tasks is unknown: give the tasks",
            field="tasks",
        )


def _fine_layout(
    tensors: Mapping[str, TensorInfo], saved: object, hints: Hints, family: Family, names: Sequence[str]
) -> Layout:
    """The layout on the blocks: the file's own, or else the caller's, or all-shared where no block has a copy."""
    stages = family.stages
    blocks = len(family.blocks)
    given = None
    if hints.layout is not None:
        given = Layout.parse(hints.layout, tasks=names, levels=len(stages))
    if saved is not None:
        found = block_layout(saved, blocks=blocks, tasks=len(names))
        check_hint("layout", given, stage_layout(found, stages))
        return found
    if given is not None:
        return over_blocks(given, stages)
    copies = {match[1] for match in map(BLOCK_NAME.fullmatch, tensors) if match}
    if len(copies) > blocks:
        raise UnknownLayoutError(
            f"the checkpoint has {len(copies)} blocks where {family.backbone} has {blocks}, so it branches; it "
            "has no layout object that says how: give the layout",
            field="layout",
        )
    return over_blocks(Layout.all_shared(len(names), len(stages)), stages)


def _instances(fine: Layout, family: Family, layout: Layout) -> list[tuple[int, int]]:
    """For each numbered block of the file, which of the backbone's blocks it is a copy of and our branch's index."""
    groups = layout.canonical_levels
    return [
        (number, groups[block.level].index(tasks))
        for number, block in enumerate(family.blocks)
        for tasks in fine.levels[number]
    ]


def _our_name(name: str, family: Family, instances: Sequence[tuple[int, int]]) -> str:
    """Our name of a tensor; its own, if it is none of the model's, so that it is refused by it."""
    if match := HEAD_NAME.fullmatch(name):
        return f"heads.{TASKS.get(match[1], match[1])}.branches.{int(match[2]) - 1}.{match[3]}.{match[4]}"
    match = BLOCK_NAME.fullmatch(name)
    if match is None or int(match[1]) >= len(instances):
        return name
    number, group = instances[int(match[1])]
    block = family.blocks[number]
    module = block.modules.get(match[2])
    return name if module is None else f"stages.{block.level}.{group}.{module}.{match[3]}"
