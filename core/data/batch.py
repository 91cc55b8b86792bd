"""`Batch`, what a data set hands to a model, an attack or a metric, and `Dataset`, what every reader looks like."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from core.errors import InvalidError
from core.tasks import Task


@dataclass(frozen=True, slots=True)
class Batch:
    """N samples with their labels.

    Attributes:
        images: [N, 3, H, W] float32, RGB in [0, 1] everywhere in the service.
        labels: by task name, shaped as `core.tasks.Task` says.
        masks: by task name, bool [N, H, W], True where a pixel counts; a task without an entry counts wherever its
            label is valid.
        indices: [N] int64, the samples' positions in their data set, which key their random numbers; by default 0..N-1.
    """

    images: Tensor
    labels: dict[str, Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)
    indices: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __post_init__(self) -> None:
        """Number the samples where nobody did, and check that every part has N of them."""
        count = len(self.images)
        if len(self.indices) == 0 and count:
            object.__setattr__(self, "indices", torch.arange(count))
        for name, part in (*self.labels.items(), *self.masks.items(), ("indices", self.indices)):
            if len(part) != count:
                raise InvalidError(f"{name} has {len(part)} samples for {count} images", field=name)

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: Tensor | slice) -> "Batch":
        """The samples at these rows (an index, a bool mask or a slice), as a new batch."""
        return Batch(
            self.images[rows],
            {name: label[rows] for name, label in self.labels.items()},
            {name: mask[rows] for name, mask in self.masks.items()},
            self.indices[rows],
        )

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device (the indices stay on the CPU, where random numbers are drawn)."""
        return Batch(
            self.images.to(device),
            {name: label.to(device) for name, label in self.labels.items()},
            {name: mask.to(device) for name, mask in self.masks.items()},
            self.indices,
        )


class Dataset(Protocol):
    """A finite, ordered, deterministic set of samples."""

    @property
    def name(self) -> str:
        """The name it is opened by."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever any byte of any sample does."""
        ...

    @property
    def split(self) -> str:
        """One of "train", "validation", "test"."""
        ...

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks it has labels for, in profile order."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at these positions, in this order. Raises IndexError outside 0..len-1."""
        ...
