"""What float32 means while a model runs: torch lets CUDA convolutions round to TF32 unless told otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.specs.precision import Precision


@contextmanager
def precision_context(precision: Precision) -> Iterator[None]:
    """Float32 convolutions and matrix products are exact inside, or with "tf32" rounded to TF32 on CUDA.

    Put it around whole attack steps: the switches are the process's, and the backward pass, which runs after
    the model has returned, obeys them as well. Afterwards they are as they were. With "bfloat16" too what
    stays in float32 is exact; the prepared model itself casts to bfloat16.
    """
    backends = torch.backends
    on_cuda = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)  # type: ignore[attr-defined]
    on_cpu = (backends.mkldnn.matmul, backends.mkldnn.conv)  # type: ignore[attr-defined]
    wanted = dict.fromkeys(on_cuda, "tf32" if precision == "tf32" else "ieee") | dict.fromkeys(on_cpu, "ieee")
    found = {switch: switch.fp32_precision for switch in wanted}
    try:
        for switch, value in wanted.items():
            switch.fp32_precision = value
        yield
    finally:
        for switch, value in found.items():
            switch.fp32_precision = value
