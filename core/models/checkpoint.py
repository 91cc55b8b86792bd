"""Weights in and out of safetensors files. What a file must hold, `core.checkpoints` knows and checks."""

from pathlib import Path

import torch
from torch import Tensor

from core.backbones import BackboneReference
from core.checkpoint_files.errors import NonFiniteWeightsError
from core.checkpoints import ForeignCheckpointError, check_tensors, expected_tensors, read_header
from core.models.tree import TreeModel, build_model
from core.specs.preprocessing import Preprocessing
from core.tasks import Task

__all__ = ["NonFiniteWeightsError", "load_checkpoint", "save_checkpoint", "weights_of"]


def weights_of(model: TreeModel) -> dict[str, Tensor]:
    """The tensors that make the model: parameters and batch-norm statistics, without batch counters."""
    return {
        name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")
    }


def save_checkpoint(model: TreeModel, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights as safetensors; float16 halves the file, exactly where weights were rounded to it."""
    from safetensors.torch import save_file  # noqa: PLC0415 - the science runs without safetensors until it reads a file

    save_file(
        {name: value.detach().to(dtype).contiguous() for name, value in weights_of(model).items()}, path
    )


def load_checkpoint(
    path: Path,
    *,
    backbone: BackboneReference,
    layout: object,
    tasks: tuple[Task, ...],
    preprocessing: Preprocessing | None = None,
) -> TreeModel:
    """A model in eval mode with the weights of a safetensors file, in float32 on the CPU.

    The header is checked against the layout before any tensor is read.

    Raises:
        CheckpointError: the file is foreign, truncated, of another model, or holds NaN or infinite weights.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 - as above
    from safetensors.torch import load_file  # noqa: PLC0415

    with torch.device("meta"):
        model = build_model(backbone, layout, tasks, preprocessing=preprocessing)
    check_tensors(read_header(path), expected_tensors(model.backbone, model.layout, model.tasks))
    try:
        weights = {name: value.float() for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise ForeignCheckpointError(f"not a safetensors file: {error}") from error
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            count = int((~torch.isfinite(value)).sum())
            raise NonFiniteWeightsError(f"{name} holds {count} NaN or infinite numbers", field=name)
    model = build_model(backbone, layout, tasks, preprocessing=preprocessing)
    model.load_state_dict(weights, strict=False)
    return model.eval()
