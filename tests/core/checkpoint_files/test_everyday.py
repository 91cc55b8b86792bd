"""What training scripts save beside the weights: none of it may stand in the way of reading them."""

import argparse
import collections
import datetime as dt
import functools
import random
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler

from core.checkpoint_files import convert
from tests.core.checkpoint_files.files import Calls, model, saved


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


class Named(dict[str, Any]):
    """A dict with attributes, as configurations are."""


SCHEDULES: dict[str, Callable[[Optimizer], Any]] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 2]),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, 10),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.2),
    "ReduceLROnPlateau": lr_scheduler.ReduceLROnPlateau,
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(o, 1)]),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("protocol", [2, 4])
def test_optimisers_and_schedules_do_not_stand_in_the_way(path: Path, name: str, protocol: int) -> None:
    trained = model()
    optimiser = SGD(trained.parameters(), lr=0.1, momentum=0.9)
    state = {"state_dict": trained.state_dict(), name: SCHEDULES[name](optimiser).state_dict()}
    saved(path, {**state, "optimizer": optimiser.state_dict()}, pickle_protocol=protocol)
    assert convert(path, path.with_name("out")).identity.profile == "nyuv2"


@pytest.mark.parametrize("kind", [Adam, AdamW, torch.optim.RMSprop, torch.optim.NAdam, torch.optim.LBFGS])
def test_moments_of_an_optimiser_that_has_stepped_do_not_stand_in_the_way(
    path: Path, kind: Callable[..., Optimizer]
) -> None:
    trained = model()
    optimiser = kind(trained.parameters())

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = sum(value.square().mean() for value in trained(torch.ones(1, 3, 16, 16)).values())
        assert isinstance(loss, torch.Tensor)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    saved(path, {"epoch": 1, "model": trained.state_dict(), "optimizer": optimiser.state_dict()})
    assert convert(path, path.with_name("out")).identity.backbone == "sapling"


def test_a_schedule_of_earlier_versions_with_a_bound_method_does_not_stand_in_the_way(path: Path) -> None:
    """Old OneCycleLR and SWALR kept a function, which pickle writes as a call of getattr."""
    written = Calls(getattr, functools.partial, "__call__")
    saved(path, {"state_dict": model().state_dict(), "scheduler": {"anneal_func": written}})
    assert convert(path, path.with_name("out")).identity.profile == "nyuv2"


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_training_scripts_save_along_does_not_stand_in_the_way(path: Path, protocol: int) -> None:
    beside = {
        "args": argparse.Namespace(lr=0.1, out=Path("/runs"), started=dt.datetime.now(tz=dt.UTC)),
        "took": dt.timedelta(minutes=3),
        "losses": np.arange(5.0),
        "best": np.float64(0.5),
        "epoch": np.int64(3),
        "numpy": np.random.get_state(),  # noqa: NPY002 - the legacy generator's state is what scripts save
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "counts": collections.Counter("aab"),
        "history": collections.defaultdict(list, {"miou": [0.1, 0.2]}),
        "device": torch.device("cuda:0"),
        "dtype": torch.bfloat16,
        "size": torch.Size([2, 3]),
        "tasks": {"depth", "normals"},
        "more": types.SimpleNamespace(a=1),
        "named": Named(a=1),
        "complex": 1j,
        "bytes": b"ab",
        "sparse": torch.eye(3).to_sparse(),
        "eighth": torch.ones(2).to(torch.float8_e4m3fn),
        "integers": torch.arange(3),
    }
    saved(path, {**beside, "net": model().state_dict()}, pickle_protocol=protocol)
    assert convert(path, path.with_name("out")).identity.profile == "nyuv2"
