"""Where in a checkpoint the weights are: training scripts put the state dict under many names, or wrap it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from core.checkpoint_files.errors import (
    AmbiguousWeightsError,
    NoWeightsError,
    UnknownNamesError,
)
from core.checkpoint_files.inert import Instance, TensorRef
from core.checkpoint_files.refusals import WholeModuleError
from core.checkpoints import MAX_NAME

Style = Literal["native", "treemtl"]

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and training frameworks put before every name."""

MAX_DEPTH = 2
NATIVE_NAME = re.compile(r"stages\.\d+\.\d+\.")
TREEMTL_NAME = re.compile(r"backbone\.mtl_blocks\.\d+\.")

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Weights:
    """The state dict that was found, its names without prefixes, and the layout object beside it, if any."""

    tensors: Mapping[str, TensorRef]
    layout: object = None


def find_weights(tree: object, field: str | None = None) -> Weights:
    """The one state dict of a checkpoint whose names are known.

    Args:
        tree: what the pickle describes.
        field: dotted path of the state dict, where there are several.

    Raises:
        AmbiguousWeightsError: several could be meant.
        UnknownNamesError: there are tensors, but none of a model that is known.
        WholeModuleError: there is a module rather than its state dict.
        NoWeightsError: there are no tensors, or none under `field`.
    """
    layout = _layout(tree)
    if field:
        return Weights(_checked(_tensors(_under(tree, field)) or _missing(field)), layout)
    found = {place: without_prefixes(tensors) for place, tensors in _state_dicts(tree)}
    known = {place: tensors for place, tensors in found.items() if style(tensors)}
    if len(known) > 1:
        raise AmbiguousWeightsError(
            f"the file has several state dicts, under {_listed(known)}: say which by `field`", field="field"
        )
    for tensors in known.values():
        return Weights(_checked(tensors), layout)
    raise _nothing_known(tree, found)


def style(names: Mapping[str, object]) -> Style | None:
    """Whose names these are: Windthrow's own, TreeMTL's, or unknown ones."""
    if any(NATIVE_NAME.match(name) for name in names):
        return "native"
    if any(TREEMTL_NAME.match(name) for name in names):
        return "treemtl"
    return None


def without_prefixes(named: Mapping[str, _Value]) -> dict[str, _Value]:
    """The same without the prefixes that all names share."""
    names = dict(named)
    while names and (
        shared := [prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in names)]
    ):
        names = {name.removeprefix(shared[0]): value for name, value in names.items()}
    return names


def _checked(tensors: Mapping[str, TensorRef]) -> dict[str, TensorRef]:
    """The same, none of its names such that it could not stand in a safetensors file or a message."""
    for name in tensors:
        if len(name) > MAX_NAME or not (name.isascii() and name.isprintable()):
            raise UnknownNamesError(f"{_shown(name)} is no tensor's name")
    return without_prefixes(tensors)


def _state_dicts(tree: object) -> Iterator[tuple[str, dict[str, TensorRef]]]:
    """Dicts that hold tensors, at the top or up to `MAX_DEPTH` dicts below; each once."""
    seen: set[int] = set()
    level: list[tuple[str, object]] = [("", tree)]
    for _ in range(MAX_DEPTH + 1):
        below: list[tuple[str, object]] = []
        for place, value in level:
            if not isinstance(value, dict) or id(value) in seen:
                continue
            seen.add(id(value))
            if tensors := _tensors(value):
                yield place, tensors
            below += [
                (f"{place}.{key}".lstrip("."), inner) for key, inner in value.items() if isinstance(key, str)
            ]
        level = below


def _tensors(value: object) -> dict[str, TensorRef]:
    entries = value.items() if isinstance(value, dict) else ()
    return {
        name: tensor for name, tensor in entries if isinstance(name, str) and isinstance(tensor, TensorRef)
    }


def _under(tree: object, field: str) -> object:
    for part in field.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _missing(field: str) -> dict[str, TensorRef]:
    raise NoWeightsError(f"the file has no tensors under {field[:80]!r}", field="field")


def _nothing_known(tree: object, found: Mapping[str, Mapping[str, TensorRef]]) -> Exception:
    if found:
        place, tensors = max(found.items(), key=lambda item: len(item[1]))
        return UnknownNamesError(
            f"the tensors{f' under {_shown(place)}' if place else ''} have names of another model, such as "
            f"{_listed(tensors)}; Windthrow's begin with stages. or heads., TreeMTL's with backbone.mtl_blocks."
        )
    values = tree.values() if isinstance(tree, dict) else (tree,)
    if any(_is_module(value) for value in values):
        return WholeModuleError()
    return NoWeightsError(
        "the file has no dict of tensors: save the weights with torch.save(model.state_dict(), 'weights.pt')"
    )


def _is_module(value: object) -> bool:
    state = value.state if isinstance(value, Instance) else None
    return isinstance(state, dict) and {"_modules", "_parameters"} <= state.keys()


def _layout(tree: object) -> object:
    """What TreeMTL's trainer saves beside the weights: an object, or its state alone."""
    return tree.get("layout") if isinstance(tree, dict) else None


def _listed(names: Mapping[str, object]) -> str:
    shown = ", ".join(_shown(name) for name in list(names)[:3])
    return shown + (", …" if len(names) > 3 else "")


def _shown(name: str) -> str:
    return ascii(name[:80]) if name else "the top level"
