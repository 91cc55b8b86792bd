"""A training's state in one safetensors file: tensors, and JSON in its header; nothing that could be executed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from core.errors import InvalidError

GROUPS = ("model", "optimiser", "average")


class StateError(InvalidError):
    """A file or a state is of no training, or of another one."""

    code = "foreign_training_state"


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """Write what `Trainer.state_dict` gave; a file that is there is replaced once the new one is complete."""
    from safetensors.torch import save_file  # noqa: PLC0415 - the science runs without safetensors until it needs a file

    tensors = {f"{group}/{name}": value for group in GROUPS for name, value in _flat(state[group]).items()}
    facts = {name: state[name] for name in ("version", "training", "iteration", "columns")}
    part = path.with_name(path.name + ".part")
    save_file(tensors | {"curves": state["curves"]}, part, metadata={"state": json.dumps(facts)})
    part.replace(path)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, for `Trainer.load_state_dict`.

    Raises:
        StateError: the file is no training's state.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - as above

    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, ValueError) as error:
        raise StateError(f"{path.name} is not the state of a training: {error}") from error
    state: dict[str, Any] = {**facts, "curves": tensors.pop("curves"), **{group: {} for group in GROUPS}}
    for name, value in tensors.items():
        group, _, rest = name.partition("/")
        owner, _, key = rest.rpartition("/")
        place = state[group].setdefault(owner, {}) if owner else state[group]
        place[key] = value
    return state


def _flat(values: Mapping[str, Tensor | Mapping[str, Tensor]]) -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            flat[name] = value
        else:
            flat |= {f"{name}/{key}": inner for key, inner in value.items()}
    return flat
