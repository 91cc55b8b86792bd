"""Several processes that train one model: each attacks and differentiates its part of every batch.

Messages are one sum of gradients an optimiser step, and the batch norms' sums; the attack, which is most of the
work, sends nothing. The weights are the same in all processes; any of them may write the state.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

Backend = Literal["gloo", "nccl"]
Work = Callable[..., None]
"""Called as `work(group, *arguments)` in every process."""


class Group:
    """The processes of torch's default group, as a `core.training.team.Team`.

    Attributes:
        rank, size: this process's number, and how many there are.
        device: where this process's model belongs.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.device = device

    def add(self, values: Tensor) -> None:
        """Sum over all processes, in place."""
        dist.all_reduce(values)

    def share(self, values: Tensor) -> None:
        """The first process's values, in place."""
        whole = values.contiguous()
        dist.broadcast(whole, src=0)
        values.copy_(whole)


@contextmanager
def joined(backend: Backend | None = None) -> Iterator[Group]:
    """This process's place among those that torchrun started.

    Args:
        backend: NCCL unless said where every process has a GPU, else Gloo.
    """
    rank, here = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    with _in_group(backend or _suitable(here), rank, init_method="env://") as group:
        yield group


@contextmanager
def joined_at(meeting: Path, rank: int, processes: int, *, backend: Backend | None = None) -> Iterator[Group]:
    """A place among processes of this machine, however they were started.

    Args:
        meeting: a file by which they find each other, the same for all; nothing is there before.
        rank: this process's number, from 0 on.
        processes: how many there are.
        backend: as for `joined`.
    """
    where = f"file://{meeting.absolute()}"
    with _in_group(
        backend or _suitable(processes), rank, init_method=where, rank=rank, world_size=processes
    ) as group:
        yield group


def run_parallel(
    work: Work, processes: int, *, arguments: tuple[Any, ...] = (), backend: Backend | None = None
) -> None:
    """Run a function in so many new processes of this machine, and wait for them.

    Args:
        work: defined in a module, so that the processes find it; what it is to give back, it writes somewhere.
        arguments: handed on after the group; they are pickled.
        backend: as for `joined`.

    Raises:
        torch.multiprocessing.ProcessRaisedException: one of them raised; the others are stopped.
    """
    threads = max(1, torch.get_num_threads() // processes)
    with tempfile.TemporaryDirectory(prefix="windthrow-") as folder:
        handed = (work, arguments, processes, backend, Path(folder) / "meeting", threads)
        spawn(_one, handed, nprocs=processes)  # type: ignore[no-untyped-call]  # as torch leaves it


def _one(
    rank: int,
    work: Work,
    arguments: tuple[Any, ...],
    processes: int,
    backend: Backend | None,
    meeting: Path,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    with joined_at(meeting, rank, processes, backend=backend) as group:
        work(group, *arguments)


def _suitable(processes: int) -> Backend:
    return "nccl" if torch.cuda.is_available() and torch.cuda.device_count() >= processes else "gloo"


@contextmanager
def _in_group(backend: Backend, place: int, **meeting: Any) -> Iterator[Group]:
    """Inside, torch's default group; `place` is this process's number on its machine."""
    device = torch.device("cuda", place) if backend == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, **meeting)
    try:
        yield Group(device)
    finally:
        dist.destroy_process_group()
