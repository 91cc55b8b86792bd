"""Which model a checkpoint with Windthrow's own tensor names is of."""

from collections.abc import Iterator, Mapping
from itertools import count

from core.backbones import BACKBONES, BackboneReference, backbone, canonical_reference
from core.checkpoint_files.errors import UnknownLayoutError, UnsupportedBackboneError
from core.checkpoint_files.identity import Hints, Identity, in_order, one_profile
from core.checkpoints import CheckpointError, MismatchedCheckpointError, TensorInfo, expected_tensors
from core.layouts import Layout
from core.tasks import Profile

ENOUGH = 0.5


def identify_native(tensors: Mapping[str, TensorInfo], hints: Hints) -> Identity:
    """The model whose tensors these are. Names and shapes tell all but the layout of a branched one.

    Raises:
        UnknownTasksError: no profile's tasks fit the heads, or several profiles' do.
        UnknownLayoutError: it branches, and the caller does not say how.
        MismatchedCheckpointError: its heads are not for the tasks that the caller said.
        InvalidError: the caller's backbone, layout or profile is none.
    """
    heads = _heads(tensors)
    reference, chosen = _backbone_and_profile(tensors, heads, hints)
    names = in_order([task.name for task in chosen.tasks if task.name in heads], hints.tasks)
    return Identity(
        style="native",
        backbone=reference,
        layout=_layout(tensors, hints, names, levels=backbone(reference).levels),
        profile=chosen.name if hints.profile is None else hints.profile,
        tasks=tuple(chosen.task(name) for name in names),
        names={name: name for name in tensors},
    )


def _heads(tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    """The tasks' names, in the order that the file first mentions them."""
    parts = (name.split(".") for name in tensors)
    return tuple(dict.fromkeys(part[1] for part in parts if part[0] == "heads" and len(part) > 2))


def _backbone_and_profile(
    tensors: Mapping[str, TensorInfo], heads: tuple[str, ...], hints: Hints
) -> tuple[BackboneReference, Profile]:
    """Those with most shapes in common with the file, out of those that come into question; at least half.

    Not all shapes, so that a file with a tensor missing is told which, rather than that it is nothing known.
    """
    references = list(BACKBONES) if hints.backbone is None else [canonical_reference(hints.backbone)]
    pairs = [(reference, each) for reference in references for each in hints.profiles.values()]
    if len(pairs) == 1 and any(task.name in heads for task in pairs[0][1].tasks):
        return pairs[0]
    shares = [_share(tensors, reference, each, heads) for reference, each in pairs]
    best = [pair for pair, share in zip(pairs, shares, strict=True) if share == max(shares) > ENOUGH]
    if not best and any({task.name for task in each.tasks}.issuperset(heads) for _, each in pairs if heads):
        raise _no_backbone(hints)
    chosen = one_profile(heads, list({each.name: each for _, each in best}.values()), hints)
    return next(pair for pair in best if pair[1] is chosen)


def _no_backbone(hints: Hints) -> CheckpointError:
    if hints.backbone is not None:
        return MismatchedCheckpointError("the checkpoint's tensors are not that backbone's", field="backbone")
    return UnsupportedBackboneError(
        f"the tensors' shapes are those of none of {', '.join(BACKBONES)}: say which backbone",
        field="backbone",
    )


def _share(
    tensors: Mapping[str, TensorInfo], reference: BackboneReference, of: Profile, heads: tuple[str, ...]
) -> float:
    """How many of the shapes that the first branch of every level, and the heads, should have are in the file."""
    tasks = tuple(task for task in of.tasks if task.name in heads)
    if len(tasks) != len(heads) or not tasks:
        return 0.0
    chosen = backbone(reference)
    needed = expected_tensors(chosen, Layout.all_shared(len(tasks), chosen.levels), tasks)
    return sum(key in tensors and tensors[key].shape == shape for key, shape in needed.items()) / len(needed)


def _layout(
    tensors: Mapping[str, TensorInfo], hints: Hints, names: tuple[str, ...], *, levels: int
) -> Layout:
    if hints.layout is not None:
        return Layout.parse(hints.layout, tasks=names, levels=levels)
    branches = [sum(1 for _ in _branches(tensors, level)) for level in range(levels)]
    if max(branches) > 1:
        raise UnknownLayoutError(
            f"the checkpoint branches ({branches} branches on its levels) and does not say which tasks share "
            "which: give the layout",
            field="layout",
        )
    return Layout.all_shared(len(names), levels)


def _branches(tensors: Mapping[str, TensorInfo], level: int) -> Iterator[int]:
    known = {tuple(name.split(".")[1:3]) for name in tensors if name.startswith("stages.")}
    for group in count():
        if (str(level), str(group)) not in known:
            return
        yield group
