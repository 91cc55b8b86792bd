"""Finding a data set of the general format: its manifest, its tasks, and the samples of its splits."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from core.data.folders.errors import FolderError, RefusedError
from core.data.folders.folder import FileRows, Folder, Split, read_listing
from core.data.folders.general.fields import Node, parse
from core.data.folders.general.manifest import MANIFEST, Manifest, read_manifest
from core.data.folders.general.recipe import MASK, Recipe, endings_of, parts_of
from core.data.folders.general.shards import ShardSplit
from core.data.folders.names import NamesBuilder, first_repeated
from core.data.folders.roots import check_name, stat_file

MAX_LINE = 2**16
MAX_MANIFEST = 2**26
MAX_CLASS = 2**31


def find_windthrow(root: Path) -> Folder:
    """The data set under this root.

    Raises:
        FolderError: there is no `dataset.json`, or one of its fields is not as docs/datasets.md says.
    """
    data = read_listing(str(root), MANIFEST)
    if len(data) > MAX_MANIFEST:
        raise FolderError(
            f"{MANIFEST} has more than {MAX_MANIFEST} bytes; list samples in JSON lines files", field="splits"
        )
    manifest = read_manifest(data)
    listings = [MANIFEST]
    splits: dict[str, Split] = {}
    for name, node in manifest.splits.items():
        splits[name], listing = _split(root, node, manifest)
        listings += [listing] if listing else []
    return Folder(
        format="windthrow",
        root=str(root),
        name=manifest.name,
        title=manifest.title,
        tasks=manifest.tasks,
        parts=parts_of(manifest),
        compose=Recipe(manifest.tasks, manifest.image, manifest.labels, manifest.size),
        splits=splits,
        listings=tuple(listings),
    )


def _split(root: Path, node: Node, manifest: Manifest) -> tuple[Split, str]:
    """A split, and the file that lists its samples, if there is one."""
    members = node.members(optional=("samples", "shards"))
    if ("samples" in members) == ("shards" in members):
        node.refuse("has either samples or shards")
    if "shards" in members:
        return _shards(root, members.at("shards"), manifest), ""
    samples = members.at("samples")
    if not isinstance(samples.value, str):
        return _files(root, samples.items(), manifest, field=samples.path), ""
    listing = check_name(samples.value, field=samples.path)
    lines = _lines(root, listing, field=samples.path)
    return _files(root, lines, manifest, field=samples.path), listing


def _shards(root: Path, node: Node, manifest: Manifest) -> ShardSplit:
    for name, encoding in manifest.labels.items():
        if encoding.kind == "value":
            node.refuse(f"cannot hold {name} as a value; write it as text or npy")
    names = tuple(check_name(entry.value, field=entry.path) for entry in node.items())
    if not names or first_repeated(names) is not None:
        node.refuse("must list at least one shard, each once")
    return ShardSplit(str(root), names, endings_of(manifest), node.path)


def _lines(root: Path, listing: str, *, field: str) -> Iterator[Node]:
    """The samples of a JSON lines file, one at a time."""
    try:
        stat_file(str(root), listing)
        with (root / listing).open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                path = f"{listing}:{number}"
                if len(line) == MAX_LINE:
                    raise FolderError(f"{path} is longer than {MAX_LINE} bytes", field=path)
                if line.strip():
                    yield Node(parse(line, name=path), path)
    except (OSError, RefusedError) as error:
        raise FolderError(f"{field}: {listing} cannot be read: {error}", field=field) from error


def _files(root: Path, samples: Iterable[Node], manifest: Manifest, *, field: str) -> FileRows:
    """Samples in files of their own, their names as columns."""
    columns = _columns(manifest)
    builders = {part: NamesBuilder() for part in columns}
    keys = NamesBuilder()
    labels = [task.name for task in manifest.tasks]
    optional = ("key", "masks") if manifest.masks else ("key",)
    for node in samples:
        members = node.members(required=("image", *labels), optional=optional)
        masks = members.at("masks").members(required=tuple(manifest.masks)) if manifest.masks else None
        for part, cell in columns.items():
            within = masks if masks is not None and part.endswith(MASK) else members
            builders[part].add(cell(within.at(part.removesuffix(MASK))))
        keys.add(members.at("key").text() if "key" in members else str(members.at("image").value))
    found = keys.done()
    if not len(found):
        raise FolderError(f"{field} lists no samples", field=field)
    if (twin := first_repeated(found)) is not None:
        raise FolderError(f"{field}: the key {twin!r} occurs twice", field=field)
    inline = frozenset(name for name in labels if manifest.labels[name].kind == "value")
    return FileRows(str(root), {part: builder.done() for part, builder in builders.items()}, found, inline)


def _columns(manifest: Manifest) -> Mapping[str, Callable[[Node], str]]:
    """By part, how a sample's entry is checked and written into its column."""
    columns: dict[str, Callable[[Node], str]] = {"image": _file}
    for name, encoding in manifest.labels.items():
        columns[name] = _class if encoding.kind == "value" else _file
    return columns | {name + MASK: _file for name in manifest.masks}


def _file(node: Node) -> str:
    return check_name(node.value, field=node.path)


def _class(node: Node) -> str:
    return str(node.whole(low=-MAX_CLASS, high=MAX_CLASS))
