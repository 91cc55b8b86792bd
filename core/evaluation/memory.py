"""How many samples to take at once: as many as pay, and as fit."""

import torch
from torch import nn

from core.data.batch import Dataset
from core.modules import device_of, frozen

CPU_BATCH = 32
"""More does not pay on a CPU, where activations must fit its caches."""

TRIAL_BATCH = 4
MAX_BATCH = 512
USED_SHARE = 0.6
"""Share of a GPU's free memory that a batch may take; SIGNTOTAL and its like keep a gradient for every task."""


def suitable_batch_size(model: nn.Module, dataset: Dataset) -> int:
    """Samples per pass for attacking a model on its device.

    On a GPU from what a forward and a backward pass over a few samples take of its memory; a batch that does not
    fit after all is halved when it comes to it.
    """
    device = device_of(model)
    if device.type != "cuda":
        return CPU_BATCH
    images = dataset.batch(range(min(TRIAL_BATCH, len(dataset)))).images.to(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    with frozen(model), torch.enable_grad():
        leaf = images.requires_grad_()
        torch.autograd.grad(sum(value.sum() for value in model(leaf).values()), leaf)
    each = max(1, torch.cuda.max_memory_allocated(device) - before) / len(images)
    free, _ = torch.cuda.mem_get_info(device)
    fitting = int(USED_SHARE * free / each)
    return max(1, min(MAX_BATCH, 1 << max(0, fitting.bit_length() - 1)))
