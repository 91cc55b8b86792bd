"""`prepare`: a model copied, simplified, and put into an adapter where its inside is not what the outside sees."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from core.models.prepare.adapter import adapted
from core.models.prepare.behaviour import Behaviour, observe
from core.models.prepare.precision import precision_context
from core.models.prepare.simplifying import (
    CHANNELS_LAST,
    RefusedError,
    check,
    observed,
    simplified,
    worthwhile,
)
from core.modules import device_of
from core.specs.precision import Precision


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model to attack.

    Attributes:
        module: called as the model given is, `module(images)` and, where that takes it,
            `module(images, only={"depth"})`, to {task: float32 prediction}. Images may come in any memory
            format, and gradients come back in the images' own.
        folded: batch norms that are gone, folded into the layers before them.
        difference: largest difference of any prediction to those of the model as given, on the example, as a
            share of the prediction's largest absolute value.
        precision: what the module computes in; run it, and its backward passes, inside `precision_context`.
        notes: what was not done and why, a sentence each.
    """

    module: nn.Module
    folded: int
    difference: float
    precision: Precision
    notes: tuple[str, ...]


def prepare(
    model: nn.Module, example: Tensor, *, precision: Precision = "float32", compile_model: bool = False
) -> Prepared:
    """A copy of the model in eval mode, its parameters frozen, that gives the same results sooner.

    Each change that makes it faster is kept only if on the example the float32 predictions stay within
    `OUTPUT_TOLERANCE` and the gradient in the images within `GRADIENT_TOLERANCE` (see
    `core.models.prepare.simplifying`). A model that cannot be copied is used as given, its modes and flags
    included.

    Args:
        model: maps images to {task: prediction}; it is not changed.
        example: [N, 3, H, W], like the batches that will be attacked, N and all.
        precision: "tf32" rounds the factors of products on CUDA; "bfloat16" casts wherever autocast does.
        compile_model: hand the copy to `torch.compile`, which takes a minute and pays off in long runs.

    Raises:
        PredictionError: the model gives no predictions by task.
    """
    device = device_of(model, example.device)
    example = example.detach().to(device)
    changes = worthwhile(model, device.type, precision, compile_model=compile_model)
    with precision_context("float32"):
        simple = simplified(model, changes, example)
    notes = list(simple.notes)
    if precision == "tf32" and device.type != "cuda":
        notes.append(f"tf32 has no effect on a {device.type.upper()}")
    ordered = CHANNELS_LAST in simple.kept
    adapt = partial(adapted, like=model, channels_last=ordered, precision=precision)
    bare = not ordered and precision != "bfloat16" and device.type != "cuda"
    module, difference = simple.module if bare else adapt(simple.module), simple.difference
    with precision_context(precision):
        if compile_model:
            try:
                module = _compiled(adapt(_compile(simple.module)), example, simple.given, precision)
            except RefusedError as refusal:
                notes.append(f"compiling {refusal}; the model runs uncompiled")
        if precision != "float32" or compile_model:
            difference = simple.given.difference(observe(module, example))
    return Prepared(module, _norms(model) - _norms(simple.module), difference, precision, tuple(notes))


def _compile(module: nn.Module) -> nn.Module:
    compiled = torch.compile(module, dynamic=False)
    assert isinstance(compiled, nn.Module)
    return compiled


def _compiled(module: nn.Module, example: Tensor, given: Behaviour, precision: Precision) -> nn.Module:
    """The module after the compiler has run, which it does when the module is called first.

    Raises:
        RefusedError: the compiler failed, or float32 results are no longer the model's.
    """
    found = observed(module, example)
    if precision == "float32":
        check(given, found)
    return module


def _norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())
