"""MobileNetV2's modules: shapes, counts, what a block computes, and that it can be prepared for attacks."""

import pytest
import torch
from torch import Tensor, nn

from core.backbones import backbone
from core.models import TreeModel, build_model
from core.models.levels import level_module
from core.models.mobilenet import ConvolutionBlock, InvertedResidual, MobileNetLevel
from core.models.prepare import Prepared, prepare
from core.tasks import Task

TASKS = (Task("segmentation", "segmentation", 4), Task("depth", "depth", 1))
BATCH_NORMS = 52
MOBILENET = backbone("mobilenet_v2")


def level(number: int) -> MobileNetLevel:
    module = level_module(MOBILENET, number)
    assert isinstance(module, MobileNetLevel)
    return module


def unsettled(module: nn.Module) -> nn.Module:
    """The module in eval mode, with batch norms that do something."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for name, low, high in (
                ("weight", 0.5, 1.5),
                ("bias", -0.3, 0.3),
                ("running_mean", -0.2, 0.2),
                ("running_var", 0.5, 2.0),
            ):
                getattr(norm, name).data.uniform_(low, high)
    return module.eval()


@torch.no_grad()
def test_every_level_hands_on_what_the_next_one_reads() -> None:
    features, side = torch.rand(1, 3, 64, 64), 64
    for number, stride in enumerate((4, 4, 1, 2, 1)):
        features, side = level(number).eval()(features), side // stride
        assert features.shape == (1, MOBILENET.level_channels[number], side, side)


def test_every_level_has_the_parameters_that_its_description_counts() -> None:
    with torch.device("meta"):
        counts = [sum(p.numel() for p in level(number).parameters()) for number in range(5)]
    assert tuple(counts) == MOBILENET.level_parameters("torch")


@torch.no_grad()
def test_a_block_without_an_add_is_a_convolution_a_norm_and_a_relu() -> None:
    block = unsettled(level(0)).get_submodule("blocks.0")
    assert isinstance(block, ConvolutionBlock)
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(block(images), torch.relu(block.norm1(block.conv1(images))))


@torch.no_grad()
def test_a_linear_bottleneck_lets_negative_numbers_through() -> None:
    block = unsettled(level(0)).get_submodule("blocks.2")
    assert (block(torch.rand(2, 32, 8, 8)) < 0).any()


@torch.no_grad()
def test_a_block_with_an_add_adds_its_input() -> None:
    block = unsettled(level(0)).get_submodule("blocks.6")
    assert isinstance(block, InvertedResidual)
    features = torch.rand(2, 24, 8, 8)
    block.norm3.weight.data.zero_()
    block.norm3.bias.data.fill_(1)
    torch.testing.assert_close(block(features), features + 1)


@torch.no_grad()
def test_activations_go_beyond_six_as_in_the_authors_models() -> None:
    block = unsettled(level(0)).get_submodule("blocks.0")
    assert block(100 * torch.rand(2, 3, 16, 16)).max() > 6


IMAGES = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model() -> TreeModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = build_model("mobilenet_v2", "all-shared", TASKS)
        unsettled(built)
    return built


@pytest.fixture(scope="module")
def prepared(model: TreeModel) -> Prepared:
    return prepare(model, IMAGES)


def results(module: nn.Module) -> tuple[dict[str, Tensor], Tensor]:
    """Predictions, and the gradient of their squares."""
    images = IMAGES.clone().requires_grad_()
    predictions: dict[str, Tensor] = module(images)
    loss = torch.stack([value.square().sum() for value in predictions.values()]).sum()
    gradient = torch.autograd.grad(loss, images)[0]
    return {name: value.detach() for name, value in predictions.items()}, gradient


def assert_close(found: Tensor, expected: Tensor, *, tolerance: float) -> None:
    """Within a share of the largest absolute value."""
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


def test_prepared_it_has_no_batch_norm_left(prepared: Prepared) -> None:
    assert prepared.folded == BATCH_NORMS
    assert prepared.notes == ()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.module.modules())


def test_prepared_it_gives_the_same_predictions_and_gradients(model: TreeModel, prepared: Prepared) -> None:
    expected, wanted = results(model)
    found, gradient = results(prepared.module)
    for name, value in expected.items():
        assert_close(found[name], value, tolerance=1e-5)
    assert_close(gradient, wanted, tolerance=1e-3)


def test_prepared_it_can_still_run_one_tasks_branch_only(prepared: Prepared) -> None:
    assert set(prepared.module(IMAGES, only={"depth"})) == {"depth"}
