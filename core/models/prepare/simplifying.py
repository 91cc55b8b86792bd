"""Which changes a model bears: each is made to a copy, which must then behave as the model given."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core.models.prepare.behaviour import Behaviour, observe
from core.models.prepare.folding import drop_dropouts, fold_batch_norms
from core.models.prepare.packing import pack_convolutions
from core.specs.precision import Precision

OUTPUT_TOLERANCE = 1e-5
"""Most that a change may move a float32 prediction, as a share of the prediction's largest absolute value."""

GRADIENT_TOLERANCE = 1e-3
"""Most that a change may turn the gradient, as 1 - cosine.

Single numbers of it may change a lot, where rounding moves a ReLU's input across zero.
"""


class RefusedError(Exception):
    """A change broke the model; the message completes a sentence."""


class UncopyableError(Exception):
    """The model cannot be copied; the message says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that makes a model faster.

    Attributes:
        doing: what it does, for a sentence to begin with.
        apply: does it in place, given the example, and says what it left out.
    """

    doing: str
    apply: Callable[[nn.Module, Tensor], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Simple:
    """A model with those changes that it bears.

    Attributes:
        given: what the model does without them.
        difference: what they did to its predictions.
    """

    module: nn.Module
    kept: tuple[Change, ...]
    given: Behaviour
    difference: float
    notes: tuple[str, ...]


def simplified(model: nn.Module, changes: Sequence[Change], example: Tensor) -> Simple:
    """Make all changes; if the result is not the same model, make them one by one to see which to leave."""
    try:
        given = observe(_copied(model), example)
    except UncopyableError as error:
        reason = f"the model cannot be copied ({error}); it is used as given"
        return Simple(model, (), observe(model, example), 0.0, (reason,))
    kept: list[Change] = []
    refusals: list[str] = []
    try:
        return _changed(model, changes, example, given)
    except RefusedError:
        for change in changes:
            try:
                _changed(model, [*kept, change], example, given)
                kept.append(change)
            except RefusedError as refusal:
                refusals.append(f"{change.doing} {refusal}; it was not done")
    simple = _changed(model, kept, example, given)
    return replace(simple, notes=(*refusals, *simple.notes))


def observed(module: nn.Module, example: Tensor) -> Behaviour:
    """What a changed module does.

    Raises:
        RefusedError: it cannot be run.
    """
    try:
        return observe(module, example)
    except Exception as error:  # strangers' models raise anything
        raise RefusedError(f"made the model fail ({_first_line(error)})") from error


def check(given: Behaviour, found: Behaviour) -> float:
    """How much the predictions differ.

    Raises:
        RefusedError: more than rounding in float32 explains, or the gradients do.
    """
    difference, turned = given.difference(found), given.turned(found)
    if not difference <= OUTPUT_TOLERANCE:  # NaN is no small difference
        raise RefusedError(f"changed a prediction by {difference:.0e} of its largest value")
    if not turned <= GRADIENT_TOLERANCE:
        raise RefusedError(f"turned the gradient by {turned:.0e}")
    return difference


def _changed(model: nn.Module, changes: Sequence[Change], example: Tensor, given: Behaviour) -> Simple:
    """A copy of the model with some changes."""
    module = _copied(model)
    notes: list[str] = []
    for change in changes:
        try:
            notes += change.apply(module, example)
        except Exception as error:  # as above
            raise RefusedError(f"failed ({_first_line(error)})") from error
    module.eval()  # new modules too
    difference = check(given, observed(module, example)) if changes else 0.0
    return Simple(module, tuple(changes), given, difference, tuple(notes))


def _copied(model: nn.Module) -> nn.Module:
    """A frozen copy. It is always the model given that is copied: once run, many can no longer be."""
    try:
        copied = copy.deepcopy(model)
    except Exception as error:  # as above
        raise UncopyableError(_first_line(error)) from error
    return copied.eval().requires_grad_(False)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _order_channels_last(model: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Let the weights of convolutions, and so all features, lie channels-last."""
    del example
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ()


FOLD = (
    Change("taking dropout layers out", drop_dropouts),
    Change("folding batch norms", fold_batch_norms),
)
CHANNELS_LAST = Change("ordering weights channels-last", _order_channels_last)
PACK = Change("packing weights", pack_convolutions)


def worthwhile(
    model: nn.Module, device: str, precision: Precision, *, compile_model: bool
) -> tuple[Change, ...]:
    """What may make a model faster.

    On CUDA, tensor cores want channels-last and exact float32 does not. A compiler packs weights itself, and
    bfloat16's would have to be packed as such.
    """
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return FOLD
    if device == "cuda" and precision == "float32":
        return FOLD
    onednn = device == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    packs = onednn and precision != "bfloat16" and not compile_model
    return (*FOLD, CHANNELS_LAST, PACK) if packs else (*FOLD, CHANNELS_LAST)
