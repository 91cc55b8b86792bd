"""Which backbone a manifest means: a built-in one, one of an installed package, or one that it declares."""

from collections.abc import Mapping
from typing import Any

from core.backbones.base import Backbone
from core.backbones.builtin import BACKBONES
from core.backbones.declaration import declaration, declared
from core.backbones.plugged import BrokenBackboneError
from core.backbones.plugins import plugins
from core.backbones.residual import ResidualBackbone
from core.errors import InvalidError

BackboneReference = str | Mapping[str, Any]
"""How manifests say a backbone: by name, or `{"kind": "residual", …}`."""


def backbones() -> dict[str, Backbone]:
    """Every backbone that has a name: the built-in ones, then those of installed packages."""
    return {**BACKBONES, **plugins().backbones}


def backbone(reference: BackboneReference) -> Backbone:
    """The backbone of that name, or the one declared.

    Raises:
        BrokenBackboneError: an installed package has it, but it cannot be used; the message says why.
        InvalidError: there is none of that name, and the message lists those there are; or it is not declared
            properly, and `field` says where, such as "stages.2.channels".
    """
    if isinstance(reference, Mapping):
        return declared(reference)
    if not isinstance(reference, str):
        raise InvalidError('a backbone is a name, or a declaration {"kind": "residual", …}')
    if reference in BACKBONES:
        return BACKBONES[reference]
    if reference in plugins().problems:
        raise BrokenBackboneError(plugins().problems[reference])
    known = backbones()
    if reference not in known:
        raise InvalidError(f"no backbone {reference[:80]!r}; there are {', '.join(known)}")
    return known[reference]


def canonical_reference(reference: BackboneReference) -> str | dict[str, Any]:
    """The one way to say a backbone: its name if it has one, else its declaration.

    Raises:
        InvalidError: as `backbone`.
    """
    found = backbone(reference)
    if isinstance(found, ResidualBackbone) and found.name not in BACKBONES:
        return declaration(found)
    return found.name
