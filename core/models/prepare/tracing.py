"""One run of a model on an example, watched: what its layers read and gave, and which results others read too."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@dataclass(slots=True)
class Trace:
    """What happened; tensors are compared by identity, and kept so that no two ever have the same id.

    Attributes:
        inputs, outputs: of each watched module, one entry for every time it ran.
        readers: by the id of an output, operations that read it.
    """

    inputs: dict[nn.Module, list[Tensor]] = field(default_factory=dict)
    outputs: dict[nn.Module, list[Tensor]] = field(default_factory=dict)
    readers: Counter[int] = field(default_factory=Counter)

    def maker(self, tensor: Tensor) -> nn.Module | None:
        """The watched module whose output this very tensor is."""
        for module, outputs in self.outputs.items():
            if any(output is tensor for output in outputs):
                return module
        return None


def trace(model: nn.Module, example: Tensor, watched: Collection[nn.Module]) -> Trace:
    """Run the model once, watching some of its modules."""
    seen = Trace()

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            seen.inputs.setdefault(module, []).append(inputs[0])
            seen.outputs.setdefault(module, []).append(output)
            seen.readers[id(output)] = 0

    with torch.no_grad(), _hooked(watched, note), _CountReaders(seen.readers):
        model(example)
    return seen


@contextmanager
def _hooked(modules: Collection[nn.Module], note: Callable[..., None]) -> Iterator[None]:
    handles = [module.register_forward_hook(note) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _CountReaders(TorchFunctionMode):
    """Counts operations that make tensors from those whose ids are in the counter already."""

    def __init__(self, readers: Counter[int]) -> None:
        super().__init__()
        self._readers = readers

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        named = kwargs or {}
        result = func(*args, **named)
        if any(True for _ in _tensors((result,))):
            read = {id(tensor) for tensor in _tensors((*args, *named.values()))}
            self._readers.update(read & self._readers.keys())
        return result


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
