"""A training in several processes: the worker starts them, and brings what they leave in a folder to where it is kept.

They are interpreters of their own: a Celery pool process may not have children through multiprocessing. None of them
outlives the worker: each holds the end of a pipe that closes with it.
"""

import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from core.settings import Settings
from core.specs.fitting import check_recipe
from core.training import Trainer, load_state
from core.training.parallel import Group, joined_at
from worker.checking import scratch
from worker.contract import StopRequested
from worker.training_post import Forwarding, Post
from worker.training_run import Keeper, Run, Training, write_state

POLL_SECONDS = 0.02
FORWARD_SECONDS = 0.2
"""Between two looks at what the processes have left."""

LAST_SECONDS = 2.0
"""How long a training may take to keep its state once its worker is told to exit."""

Crew = Sequence[subprocess.Popen[bytes]]
"""The processes by rank."""


def training_processes() -> int:
    """How many processes train a model here: one on every GPU, unless the settings say it."""
    return Settings().training_processes or max(1, torch.cuda.device_count())


def run_processes(
    training: Training, trainer: Trainer, processes: int, keeper: Keeper, check: Callable[[], None]
) -> None:
    """Train in so many processes from where a trainer stands to the end, where it stands then.

    Raises:
        TurnOver, StopRequested: as from `Run`; the state is kept.
        InvalidError: a batch is too small for so many processes.
        ProcessError: whatever of ours one of them raised; diverged, the state before is kept.
        RuntimeError: one of them failed in another way.
    """
    check_recipe(training.spec.recipe, trainer.tasks, processes=processes)
    with TemporaryDirectory(prefix="training-", dir=scratch(), ignore_cleanup_errors=True) as folder:
        post = Post(Path(folder))
        post.begin(training, trainer)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the first process shares this one's GPU
        with _started(post, processes) as crew:
            _attend(crew, Forwarding(post, keeper), check)
        trainer.load_state_dict(load_state(post.final))


@contextmanager
def _started(post: Post, processes: int) -> Iterator[Crew]:
    """The processes at work; in the end they are gone."""
    with ExitStack() as crew:
        yield [crew.enter_context(_process(post, processes, rank)) for rank in range(processes)]


@contextmanager
def _process(post: Post, processes: int, rank: int) -> Iterator[subprocess.Popen[bytes]]:
    arguments = str(post.folder), str(processes), str(rank)
    script = [sys.executable, "-m", "worker.training_parallel", *arguments]
    with subprocess.Popen(script, stdin=subprocess.PIPE) as process:  # noqa: S603 - our own script
        try:
            yield process
        finally:
            process.kill()


def _attend(crew: Crew, forwarding: Forwarding, check: Callable[[], None]) -> None:
    """Forward what the processes leave until they have trained to the end, or have been told to stop and did."""
    try:
        while not _ended(crew, FORWARD_SECONDS):
            forwarding.forward()
            check()
    except (StopRequested, SystemExit) as told:
        forwarding.post.ask_to_stop()
        last = time.monotonic() + (LAST_SECONDS if isinstance(told, SystemExit) else math.inf)
        while not _ended(crew, FORWARD_SECONDS) and time.monotonic() < last:
            forwarding.forward()
        forwarding.forward()
        raise
    forwarding.forward()
    for rank, member in enumerate(crew):
        if (code := member.returncode) is not None and code < 0:
            raise RuntimeError(f"process {rank} of the training was killed by signal {-code}")
    forwarding.post.raise_ending()
    if any(member.returncode != 0 for member in crew):
        raise RuntimeError("a process of the training could not begin; the worker's log says why")


def _ended(crew: Crew, seconds: float) -> bool:
    """Wait so long for all to end, or for one to fail: the others then wait for it in vain."""
    deadline = time.monotonic() + seconds
    while True:
        codes = [member.poll() for member in crew]
        if None not in codes or any(codes):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)


def main(folder: str, processes: str, rank: str) -> None:
    """One of the processes."""
    post, size = Post(Path(folder)), int(processes)
    threading.Thread(target=_end_with_worker, args=(post,), daemon=True).start()
    torch.set_num_threads(max(1, Settings().threads // size))
    with post.telling_why(), joined_at(post.meeting, int(rank), size) as group:
        _take_part(group, post)


def _end_with_worker(post: Post) -> None:
    """Wait until the worker is gone, which leaves no one to train for."""
    os.read(sys.stdin.fileno(), 1)
    shutil.rmtree(post.folder, ignore_errors=True)
    os._exit(1)


def _take_part(group: Group, post: Post) -> None:
    """This process's share of the training; the first one's is to keep and tell, too."""
    with post.telling_why():  # before it leaves the others, who would say that it has left
        training = post.training()
        trainer = training.trainer(training.new_model().to(group.device), team=group)
        trainer.load_state_dict(load_state(post.start))
        if group.rank == 0:
            Run(trainer, post, post.check).to_the_end()
            write_state(trainer, post.final)
        else:
            trainer.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
