"""The torch modules of an installed package's backbone, held against its description."""

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import cast

import pytest
import torch
from torch import nn

from core.backbones import Backbone, BrokenBackboneError, PluggedBackbone
from core.models.levels import level_module

OAK = PluggedBackbone(
    name="oak",
    title="An oak",
    head="sapling",
    level_channels=(4,),
    output_stride=1,
    modules="oaks_network:make",
    provider="oaks 1.2",
    parameters={"paper": (112,), "torch": (116,)},
    tensors=(
        {
            "0.weight": (4, 3, 3, 3),
            **dict.fromkeys(["1.weight", "1.bias", "1.running_mean", "1.running_var"], (4,)),
        },
    ),
)

Provide = Callable[[Callable[[int], object]], None]


@pytest.fixture
def provide() -> Iterator[Provide]:
    """Puts a function where the description says that it is."""
    module = ModuleType("oaks_network")

    def put(make: Callable[[int], object]) -> None:
        vars(module)["make"] = make

    sys.modules[module.__name__] = module
    yield put
    del sys.modules[module.__name__]


def layers(*, bias: bool = False, channels: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=bias), nn.BatchNorm2d(channels))


def frozen() -> nn.Module:
    """The right tensors, one of which is no parameter."""
    made = layers()
    convolution = made[0]
    weight = cast("nn.Conv2d", convolution).weight.detach()
    del convolution.weight
    convolution.register_buffer("weight", weight)
    return made


def fail(level: int) -> object:
    raise OSError(f"no disk for level {level}")


def test_a_module_as_described_is_taken(provide: Provide) -> None:
    provide(lambda _: layers())
    assert level_module(OAK, 0)(torch.rand(1, 3, 8, 8)).shape == (1, 4, 8, 8)


def test_the_meta_device_is_enough(provide: Provide) -> None:
    provide(lambda _: layers())
    with torch.device("meta"):
        assert next(level_module(OAK, 0).parameters()).is_meta


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: layers(bias=True), r"a tensor '0.bias' of shape \(4,\); oaks 1.2 describes None"),
        (lambda _: layers()[:1], r"a tensor '1.bias' of shape None; oaks 1.2 describes \(4,\)"),
        (lambda _: layers(channels=5), r"a tensor '0.weight' of shape \(5, 3, 3, 3\)"),
        (lambda _: frozen(), "8 parameters, not as many as described"),
        (lambda _: "oak", "gives a str for level 0, no torch module"),
        (fail, r"fails on level 0 \(OSError: no disk for level 0\)"),
        (None, r"fails on level 0 \(TypeError"),
    ],
    ids=["more", "fewer", "another shape", "no parameter", "no module", "failing", "no function"],
)
def test_a_module_that_is_not_as_described_is_refused(
    provide: Provide, make: Callable[[int], object], reason: str
) -> None:
    provide(make)
    with pytest.raises(BrokenBackboneError, match=reason) as caught:
        level_module(OAK, 0)
    assert str(caught.value).startswith("the backbone 'oak' cannot be built: oaks_network:make ")


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(BrokenBackboneError, match="No module named 'oaks_network'"):
        level_module(OAK, 0)


def test_a_backbone_of_a_stranger_has_no_modules() -> None:
    with pytest.raises(TypeError, match="no torch modules are known for object"):
        level_module(cast("Backbone", object()), 0)
