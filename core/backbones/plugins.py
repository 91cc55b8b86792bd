"""Backbones of installed packages: the entry points of the group `windthrow.backbones`, each read once.

An entry point names a description, an object without torch. What it says is copied and checked here; the torch
modules that it names are `core.models`' part. A package that is broken is logged and left out.
"""

import logging
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from core.backbones.builtin import BACKBONES
from core.backbones.plugged import BackboneDescription, BrokenBackboneError, PluggedBackbone, copied

GROUP = "windthrow.backbones"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plugins:
    """What installed packages add.

    Attributes:
        backbones: by name.
        problems: by the entry point's name, why there is no such backbone.
    """

    backbones: Mapping[str, PluggedBackbone]
    problems: Mapping[str, str]


@cache
def plugins() -> Plugins:
    """What the packages add that were installed when this was first called."""
    return find_plugins()


def find_plugins() -> Plugins:
    """Read the entry points of all installed packages, and log what is wrong with them."""
    offers: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=GROUP):
        offers[entry.name].append(entry)
    backbones: dict[str, PluggedBackbone] = {}
    problems: dict[str, str] = {}
    for name, entries in sorted(offers.items()):
        try:
            backbones[name] = _only(name, entries)
        except BrokenBackboneError as error:
            problems[name] = str(error)
            logger.warning("%s", error)
    return Plugins(backbones, problems)


def _only(name: str, entries: Sequence[EntryPoint]) -> PluggedBackbone:
    providers = " and ".join(sorted(map(_provider, entries)))
    if name in BACKBONES:
        raise BrokenBackboneError(f"{providers} has a backbone {name!r}, which is a built-in one's name")
    if len(entries) > 1:
        raise BrokenBackboneError(f"{providers} both have a backbone {name!r}; uninstall one")
    try:
        return copied(_described(entries[0]), name=name, provider=providers)
    except (Exception, SystemExit) as error:  # strangers' packages raise anything
        reason = str(error) if isinstance(error, BrokenBackboneError) else f"{type(error).__name__}: {error}"
        raise BrokenBackboneError(
            f"the backbone {name!r} of {providers} cannot be used: {reason.splitlines()[0]}"
        ) from error


def _described(entry: EntryPoint) -> BackboneDescription:
    had_torch = "torch" in sys.modules
    description: BackboneDescription = entry.load()
    if "torch" in sys.modules and not had_torch:
        raise BrokenBackboneError(
            f"{entry.value} imports torch; keep the torch modules in another module, which `modules` names"
        )
    return description


def _provider(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
