"""What a `dataset.json` says: tasks, how each part is written down, and which splits there are."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from core.data.folders.errors import FolderError
from core.data.folders.general.fields import Members, Node, parse
from core.data.folders.labels import Order
from core.errors import InvalidError
from core.tasks import IGNORE_VALUE, TASK_KINDS, Task, TaskKind, profile

MANIFEST = "dataset.json"
FORMAT_VERSION = 1
MAX_CHANNELS = 4096
MAX_SIDE = 2**16

Kind = Literal["png8", "png16", "jpeg", "npy", "value", "text"]
Axes = Literal["hwc", "chw"]
SPLITS = ("train", "validation", "test")
ORDERS: tuple[Order, ...] = get_args(Order)
AXES: tuple[Axes, ...] = get_args(Axes)
MAX_OFFSET = 2**31
RESERVED = {"image", "key", "masks"}
"""Members of a sample's entry that are no tasks."""

IMAGE_KINDS: tuple[Kind, ...] = ("png8", "jpeg", "npy")
MASK_KINDS: tuple[Kind, ...] = ("png8", "npy")
LABEL_KINDS: Mapping[TaskKind, tuple[Kind, ...]] = {
    "segmentation": ("png8", "png16", "npy"),
    "normals": ("png8", "npy"),
    "depth": ("png8", "png16", "npy"),
    "regression": ("png8", "png16", "npy"),
    "classification": ("value", "text", "npy"),
}

DEFAULT_IGNORE: Mapping[TaskKind, tuple[float, ...]] = {
    "segmentation": (IGNORE_VALUE,),
    "classification": (),
    "depth": (0.0,),
    "normals": (),
    "regression": (),
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one part is written down.

    Attributes:
        kind: the kind of file, or "value" for a number in the listing itself.
        scale: label = raw * scale + offset.
        ignore: raw values that do not count; NaN among them is NaN.
        order: of an image's or a normal's channels in the file.
        axes: of a `.npy` file with channels.
    """

    kind: Kind
    scale: float = 1.0
    offset: float = 0.0
    ignore: tuple[float, ...] = ()
    order: Order = "rgb"
    axes: Axes = "hwc"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole `dataset.json`; `splits` are left as they stand, for they may be long.

    Attributes:
        labels: by task, in the tasks' order.
        masks: by task; not every task has one.
        size: height and width that every sample must have, if it says so.
    """

    name: str
    title: str
    tasks: tuple[Task, ...]
    image: Encoding
    labels: Mapping[str, Encoding]
    masks: Mapping[str, Encoding]
    size: tuple[int, int] | None
    splits: Mapping[str, Node] = field(repr=False)


def read_manifest(data: bytes) -> Manifest:
    """A manifest, every field checked but the samples themselves.

    Raises:
        FolderError: a field is not as docs/datasets.md says; its `field` says which.
    """
    members = Node(parse(data, name=MANIFEST), "").members(
        required=("format", "format_version", "name", "image", "labels", "splits"),
        optional=("title", "profile", "tasks", "masks", "size"),
    )
    members.at("format").choice(("windthrow",))
    members.at("format_version").whole(low=FORMAT_VERSION, high=FORMAT_VERSION)
    tasks = _tasks(members)
    name = members.at("name").text()
    return Manifest(
        name=name,
        title=members.at("title").text() if "title" in members else name,
        tasks=tasks,
        image=_encoding(members.at("image"), IMAGE_KINDS, ignore=None),
        labels=_labels(members.at("labels"), tasks),
        masks=_masks(members.at("masks"), tasks) if "masks" in members else {},
        size=_size(members.at("size")) if "size" in members else None,
        splits=_splits(members.at("splits")),
    )


def _tasks(members: Members) -> tuple[Task, ...]:
    if ("profile" in members) == ("tasks" in members):
        members.at("tasks").refuse("or profile must be given, and not both")
    if "profile" in members:
        try:
            return profile(members.at("profile").text()).tasks
        except FolderError:
            raise
        except InvalidError as error:
            raise FolderError(str(error), field="profile") from error
    tasks = tuple(_task(node) for node in members.at("tasks").items())
    names = {task.name for task in tasks}
    if not tasks or len(names) != len(tasks) or names & RESERVED:
        members.at("tasks").refuse(f"must have one name each, and none of {', '.join(sorted(RESERVED))}")
    return tasks


def _task(node: Node) -> Task:
    members = node.members(
        required=("name", "kind", "channels"), optional=("metrics", "class_names", "class_weights")
    )
    name, kind = members.at("name").text(), members.at("kind").choice(TASK_KINDS)
    if not (name.isascii() and name.isidentifier()):
        members.at("name").refuse("must be made of ASCII letters, digits and _, and not begin with a digit")
    classes = kind in ("segmentation", "classification")
    channels = members.at("channels").whole(low=1, high=IGNORE_VALUE if classes else MAX_CHANNELS)
    listed = {
        key: tuple(node.items()) if key in members else ()
        for key in ("metrics", "class_names", "class_weights")
        for node in (members.at(key),)
    }
    weights = tuple(entry.number() for entry in listed["class_weights"])
    if any(weight < 0 for weight in weights):
        members.at("class_weights").refuse("must not be negative")
    try:
        return Task(
            name,
            kind,
            channels,
            metrics=tuple(entry.text() for entry in listed["metrics"]),
            class_names=tuple(entry.text() for entry in listed["class_names"]),
            class_weights=weights,
        )
    except FolderError:
        raise
    except InvalidError as error:
        path = f"{node.path}.{error.field}"
        raise FolderError(f"{path}: {error}", field=path) from error


def _labels(node: Node, tasks: tuple[Task, ...]) -> dict[str, Encoding]:
    members = node.members(required=[task.name for task in tasks])
    return {task.name: _label(members.at(task.name), task) for task in tasks}


def _label(node: Node, task: Task) -> Encoding:
    found = _encoding(node, LABEL_KINDS[task.kind], ignore=DEFAULT_IGNORE[task.kind])
    if task.kind in ("segmentation", "classification"):
        whole = found.offset == int(found.offset) and abs(found.offset) <= MAX_OFFSET
        if found.scale != 1.0 or not whole:
            node.refuse(f"holds classes: no scale, and a whole offset of at most {MAX_OFFSET}")
    if task.kind == "normals" and found.kind == "png8" and not {"scale", "offset"} & set(node.value):
        return replace(found, scale=2 / 255, offset=-1.0)
    return found


def _masks(node: Node, tasks: tuple[Task, ...]) -> dict[str, Encoding]:
    dense = [task.name for task in tasks if task.kind != "classification"]
    entries = node.members(optional=dense).each()
    return {
        name: Encoding(entry.members(required=("encoding",)).at("encoding").choice(MASK_KINDS))
        for name, entry in entries
    }


def _encoding(node: Node, kinds: tuple[Kind, ...], *, ignore: tuple[float, ...] | None) -> Encoding:
    """One encoding; one without `ignore` by default has none."""
    optional = ("scale", "offset", "order", "axes", *(["ignore"] if ignore is not None else []))
    members = node.members(required=("encoding",), optional=optional)
    found = Encoding(
        kind=members.at("encoding").choice(kinds),
        scale=members.at("scale").number() if "scale" in members else 1.0,
        offset=members.at("offset").number() if "offset" in members else 0.0,
        ignore=_ignore(members.at("ignore")) if "ignore" in members else ignore or (),
        order=members.at("order").choice(ORDERS) if "order" in members else "rgb",
        axes=members.at("axes").choice(AXES) if "axes" in members else "hwc",
    )
    if found.scale == 0:
        members.at("scale").refuse("must not be 0")
    return found


def _ignore(node: Node) -> tuple[float, ...]:
    entries = list(node.items()) if isinstance(node.value, list) else [node]
    return tuple(math.nan if entry.value == "nan" else entry.number() for entry in entries)


def _size(node: Node) -> tuple[int, int]:
    sides = [side.whole(low=1, high=MAX_SIDE) for side in node.items()]
    if len(sides) != 2:
        node.refuse("must be [height, width]")
    return sides[0], sides[1]


def _splits(node: Node) -> dict[str, Node]:
    found = dict(node.members(optional=SPLITS).each())
    if not found:
        node.refuse("must name at least one split")
    return found
