"""Residual backbones that a manifest declares rather than names: JSON in, checked field by field; JSON out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeGuard

from core.backbones.base import HEADS, Backbone
from core.backbones.builtin import BACKBONES
from core.backbones.residual import ResidualBackbone, ResidualStage, Stem
from core.errors import InvalidError

MAX_STAGES = 12
MAX_PARAMETERS = 500_000_000
"""Of the backbone once, heads not counted, as torch counts."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """Whole numbers that a field may be, and how a sentence calls them."""

    allowed: range | tuple[int, ...]
    called: str

    @property
    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        if isinstance(self.allowed, range) and self.allowed.step == 1:
            return {"type": "integer", "minimum": self.allowed[0], "maximum": self.allowed[-1]}
        return {"type": "integer", "enum": list(self.allowed)}


_BLOCKS = _Choice(range(1, 65), "a whole number from 1 to 64")
_CHANNELS = _Choice(range(1, 4097), "a whole number from 1 to 4096")
_DILATION = _Choice(range(1, 65), "a whole number from 1 to 64")
_KERNEL = _Choice(range(1, 16, 2), "an odd number from 1 to 15")
_STRIDE = _Choice((1, 2, 4), "1, 2 or 4")

_STAGE = {"blocks": _BLOCKS, "channels": _CHANNELS, "stride": _STRIDE, "dilation": _DILATION}
_STEM = {"kernel": _KERNEL, "channels": _CHANNELS, "stride": _STRIDE}


def declared(value: Mapping[str, Any]) -> ResidualBackbone:
    """The backbone that a declaration describes; a built-in one if it is exactly that.

    Raises:
        InvalidError: a field is missing, unknown or out of bounds, or the network is too large; `field` says which,
            such as "stages.2.channels".
    """
    if value.get("kind") != "residual":
        raise InvalidError('the kind of a declared backbone is "residual"', field="kind")
    _check_fields(value, "", {"kind", "stem", "stages", "head"})
    if value["head"] not in HEADS:
        raise InvalidError(f"head must be {' or '.join(HEADS)}", field="head")
    stem, stages = _stem(value["stem"]), _stages(value["stages"])
    found = ResidualBackbone("residual", "A declared residual network", stem, stages, value["head"])
    parameters = sum(found.level_parameters("torch"))
    if parameters > MAX_PARAMETERS:
        raise InvalidError(
            f"the backbone has {parameters:,} parameters; it may have {MAX_PARAMETERS:,}", field="stages"
        )
    own = replace(found, name=f"residual-{_digest(found)}")
    return next((known for known in BACKBONES.values() if _alike(known, found)), own)


def declaration(backbone: ResidualBackbone) -> dict[str, Any]:
    """The JSON that declares a backbone."""
    return {
        "kind": "residual",
        "stem": asdict(backbone.stem),
        "stages": [asdict(stage) for stage in backbone.stages],
        "head": backbone.head,
    }


def declaration_schema() -> dict[str, Any]:
    """The JSON Schema of a declaration."""
    stage = {name: choice.schema for name, choice in _STAGE.items()}
    stem = {name: choice.schema for name, choice in _STEM.items()} | {"pool": {"type": "boolean"}}
    stages = {"type": "array", "items": _object_schema(stage), "minItems": 1, "maxItems": MAX_STAGES}
    kind, head = {"const": "residual"}, {"enum": list(HEADS)}
    return _object_schema({"kind": kind, "stem": _object_schema(stem), "stages": stages, "head": head})


def _object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _stem(value: Any) -> Stem:
    _check_fields(value, "stem", {*_STEM, "pool"})
    if not isinstance(value["pool"], bool):
        raise InvalidError("pool must be true or false", field="stem.pool")
    return Stem(**_numbers(value, "stem", _STEM), pool=value["pool"])


def _stages(value: Any) -> tuple[ResidualStage, ...]:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_STAGES:
        raise InvalidError(f"stages must be a list of 1 to {MAX_STAGES} stages", field="stages")
    return tuple(_stage(stage, f"stages.{number}") for number, stage in enumerate(value))


def _stage(value: Any, field: str) -> ResidualStage:
    _check_fields(value, field, set(_STAGE))
    return ResidualStage(**_numbers(value, field, _STAGE))


def _numbers(value: Mapping[str, Any], field: str, choices: Mapping[str, _Choice]) -> dict[str, int]:
    for name, choice in choices.items():
        number = value[name]
        if type(number) is not int or number not in choice.allowed:
            raise InvalidError(f"{name} must be {choice.called}", field=f"{field}.{name}")
    return {name: value[name] for name in choices}


def _check_fields(value: Any, field: str, names: set[str]) -> None:
    """Refuse anything but an object with exactly these fields."""
    if not isinstance(value, Mapping):
        raise InvalidError(f"{field} must be an object with {', '.join(sorted(names))}", field=field)
    inside = f"{field}." if field else ""
    if unknown := sorted(str(name)[:40] for name in value.keys() - names):
        raise InvalidError(f"there is no field {unknown[0]!r} here", field=inside + unknown[0])
    if missing := sorted(names - value.keys()):
        raise InvalidError(f"{missing[0]} is missing", field=inside + missing[0])


def _alike(known: Backbone, found: ResidualBackbone) -> TypeGuard[ResidualBackbone]:
    return replace(found, name=known.name, title=known.title) == known


def _digest(backbone: ResidualBackbone) -> str:
    canonical = json.dumps(declaration(backbone), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
