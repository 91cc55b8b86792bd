"""From a checkpoint file of any kind that is read to a safetensors file with our tensor names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from core.checkpoint_files.errors import UnknownNamesError
from core.checkpoint_files.formats import Format, recognise
from core.checkpoint_files.identity import NO_HINTS, Hints, Identity, resolved_profile
from core.checkpoint_files.native import identify_native
from core.checkpoint_files.source import Source, open_source
from core.checkpoint_files.treemtl import identify_treemtl
from core.checkpoint_files.weights import style
from core.checkpoint_files.writer import write_safetensors
from core.checkpoints import MismatchedCheckpointError, check_tensors
from core.layouts import Layout
from core.specs.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True)
class Converted:
    """A file that was converted.

    Attributes:
        kind: what the file was.
        identity: what the model is.
        sha256: digest of the safetensors file, in hex.
        size: its bytes.
    """

    kind: Format
    identity: Identity
    sha256: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """As JSON, for another process."""
        found = self.identity
        return {
            "format": self.kind.value,
            "style": found.style,
            "manifest": found.manifest,
            "names": dict(found.names),
            "sha256": self.sha256,
            "size": self.size,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Converted":
        """What `to_json` wrote."""
        manifest = document["manifest"]
        chosen = resolved_profile(manifest["profile"])
        layout = manifest["layout"]
        given = manifest.get("preprocessing")
        identity = Identity(
            style=document["style"],
            backbone=manifest["backbone"],
            layout=Layout.parse(layout, tasks=len(manifest["tasks"]), levels=len(layout)),
            profile=manifest["profile"],
            tasks=tuple(chosen.task(name) for name in manifest["tasks"]),
            names=document["names"],
            preprocessing=given
            and Preprocessing(
                channel_order=given["channel_order"],
                scale=given["scale"],
                mean=tuple(given["mean"]),
                std=tuple(given["std"]),
                size=given["size"] and tuple(given["size"]),
            ),
        )
        return cls(Format(document["format"]), identity, document["sha256"], document["size"])


def identify(path: Path, hints: Hints = NO_HINTS) -> tuple[Format, Identity, Source]:
    """What the checkpoint in a file is, and where its weights are; names and shapes are those of that model.

    Raises:
        CheckpointError: of the kind that says what is wrong, or what the caller has to add.
    """
    kind = recognise(path)
    source = open_source(path, kind, field=hints.field)
    infos = {name: tensor.info for name, tensor in source.tensors.items()}
    match style(infos):
        case "native":
            identity = identify_native(infos, hints)
        case "treemtl":
            identity = identify_treemtl(infos, source.layout, hints)
        case None:
            raise UnknownNamesError(
                "the tensors' names are another model's; Windthrow's begin with stages. or heads., TreeMTL's with "
                "backbone.mtl_blocks."
            )
    if len(set(identity.names.values())) != len(infos):
        raise MismatchedCheckpointError("two of the checkpoint's tensors are the same tensor of the model")
    check_tensors({identity.names[name]: info for name, info in infos.items()}, identity.expected)
    return kind, identity, source


def convert(path: Path, out: Path, *, hints: Hints = NO_HINTS) -> Converted:
    """Write the weights of a checkpoint file as safetensors, under our names; the same file makes the same bytes.

    Numbers keep their dtype and bits. Memory does not grow with the file. Nothing in the file is executed.

    Args:
        path: the file.
        out: where the safetensors file goes; it appears when it is complete, or not at all.
        hints: what the caller knows of the model; a file that tells everything needs none.

    Raises:
        CheckpointError: of the kind that says what is wrong, or what the caller has to add.
    """
    kind, identity, source = identify(path, hints)
    tensors = {identity.names[name]: tensor for name, tensor in source.tensors.items()}
    with path.open("rb") as file, _appearing(out) as target:
        digest = write_safetensors(target, file, tensors)
        size = target.tell()
    return Converted(kind, identity, digest, size)


@contextmanager
def _appearing(out: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when it has been written without an error."""
    partial = out.with_name(f".{out.name}.{uuid4().hex}.part")
    try:
        with partial.open("xb") as target:
            yield target
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
