"""`prepare`: the same predictions and gradients out of a simpler copy, or a note that says why not."""

import importlib
import inspect
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrizations, spectral_norm

from core.losses import PredictionError
from core.models.prepare import Prepared, precision_context, prepare
from core.models.prepare.packing import PackedConvolution
from core.specs.precision import Precision
from tests.core.synthetic import SMALL, small_batch, small_model

TASKS = SMALL[:3]
BRANCHED = [[[0, 1, 2]], [[0, 2], [1]], [[0, 2], [1]], [[0], [1], [2]], [[0], [1], [2]]]


Model = TypeVar("Model", bound=nn.Module)


class Layers(nn.Module):
    """Named layers, and a forward pass that is given by hand."""

    def __init__(self, run: Callable[["Layers", Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        self.layers = nn.ModuleDict(layers)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"depth": self.run(self, images)}

    def through(self, name: str, features: Tensor) -> Tensor:
        result: Tensor = self.layers[name](features)
        return result


def lively(model: Model) -> Model:
    """Batch norms that do something: statistics, weights and biases drawn at random."""
    generator = torch.Generator().manual_seed(1)

    def draw(tensor: Tensor | None) -> None:
        if tensor is not None:
            tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5

    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                draw(tensor)
    return model


def sequence(*layers: nn.Module) -> Layers:
    return lively(Layers(lambda model, images: model.through("all", images), all=nn.Sequential(*layers)))


def random_images(samples: int = 2, side: int = 16) -> Tensor:
    return torch.rand(samples, 3, side, side, generator=torch.Generator().manual_seed(2))


def results(model: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Predictions, and the gradient of the sum of their cubes."""
    leaf = images.detach().requires_grad_()
    predictions: dict[str, Tensor] = model(leaf)
    total = torch.stack([value.pow(3).sum() for value in predictions.values()]).sum()
    gradient = torch.autograd.grad(total, leaf)[0]
    return {name: value.detach() for name, value in predictions.items()}, gradient


def assert_equal(model: nn.Module, prepared: Prepared, images: Tensor) -> None:
    given, gradient = results(model.eval(), images)
    found, changed = results(prepared.module, images)
    assert found.keys() == given.keys()
    for name, value in given.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5 * float(value.abs().max()))
    assert (
        float((changed - gradient).norm() / gradient.norm()) < 0.02
    )  # rounding may move a ReLU's input past 0


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


@pytest.mark.parametrize(
    "layout", ["all-shared", "independent", BRANCHED], ids=["all-shared", "independent", "tree"]
)
def test_a_tree_model_predicts_the_same_without_its_batch_norms(layout: object) -> None:
    model, images = lively(small_model(TASKS, layout)), small_batch(TASKS).images
    prepared = prepare(model, images)
    assert (prepared.folded, norms(prepared.module), prepared.notes) == (norms(model), 0, ())
    assert 0 < prepared.difference < 1e-5
    assert_equal(model, prepared, images)


def test_only_still_chooses_branches() -> None:
    model, images = lively(small_model(TASKS, BRANCHED)), small_batch(TASKS).images
    module = prepare(model, images).module
    assert "only" in inspect.signature(module.forward).parameters
    predictions = module(images, only={"depth"})
    assert list(predictions) == ["depth"]
    torch.testing.assert_close(predictions["depth"], model(images)["depth"])


def test_a_model_without_only_gets_none() -> None:
    module = prepare(sequence(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), random_images()).module
    assert "only" not in inspect.signature(module.forward).parameters


def test_the_model_given_is_left_as_it_was() -> None:
    model, images = lively(small_model(TASKS)).train(), small_batch(TASKS).images
    model.heads["depth"].eval()
    next(model.parameters()).requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    strides = [parameter.stride() for parameter in model.parameters()]
    random_state = torch.random.get_rng_state()
    prepare(model, images)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert [parameter.stride() for parameter in model.parameters()] == strides
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.random.get_rng_state(), random_state)


def test_a_model_in_training_mode_is_prepared_for_evaluation() -> None:
    model, images = lively(small_model(TASKS)).train(), small_batch(TASKS).images
    prepared = prepare(model, images)
    assert not any(module.training for module in prepared.module.modules())
    assert not any(parameter.requires_grad for parameter in prepared.module.parameters())
    assert_equal(model, prepared, images)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4)),
        (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
        (nn.Conv2d(3, 6, 3, groups=3, stride=2), nn.BatchNorm2d(6, eps=0.1)),
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4)),
        (nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4)),
        (nn.Flatten(), nn.Linear(768, 5), nn.BatchNorm1d(5)),
        (nn.Flatten(2), nn.Conv1d(3, 4, 5), nn.BatchNorm1d(4)),
        (nn.Unflatten(1, (3, 1)), nn.Conv3d(3, 4, (1, 3, 3)), nn.BatchNorm3d(4)),
    ],
    ids=["bias", "no-affine", "groups", "reflect", "sync", "linear", "conv1d", "conv3d"],
)
def test_every_kind_of_pair_is_folded(layers: tuple[nn.Module, ...]) -> None:
    model, images = sequence(*layers), random_images()
    prepared = prepare(model, images)
    assert (prepared.folded, norms(prepared.module)) == (1, 0)
    assert_equal(model, prepared, images)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ((nn.BatchNorm2d(3),), "follow no convolution or linear layer: layers.all.0"),
        ((nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), "follow no convolution"),
        ((nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), "the batch's own statistics"),
        ((nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4)), "they follow a ConvTranspose2d"),
        (
            (parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
            "they follow a ParametrizedConv2d",
        ),
        ((nn.Flatten(2), nn.Linear(256, 3), nn.BatchNorm1d(3)), "along another dimension"),
    ],
    ids=["first", "relu", "no-statistics", "transposed", "parametrized", "other-dimension"],
)
def test_what_cannot_be_folded_stays_and_is_noted(layers: tuple[nn.Module, ...], reason: str) -> None:
    model, images = sequence(*layers), random_images()
    prepared = prepare(model, images)
    assert (prepared.folded, norms(prepared.module)) == (0, 1)
    assert [reason in note for note in prepared.notes] == [True]
    assert_equal(model, prepared, images)


def test_a_layer_that_computes_its_weight_is_left_alone() -> None:
    model, images = sequence(spectral_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)), random_images()
    prepared = prepare(model, images)
    assert prepared.folded == 0
    assert "the layers they follow compute their weights" in prepared.notes[0]
    assert_equal(model, prepared, images)


def test_a_convolution_whose_output_is_read_twice_is_not_folded_but_the_next_one_is() -> None:
    def run(model: Layers, images: Tensor) -> Tensor:
        features = model.through("conv1", images)
        hidden = model.through("conv2", model.through("norm1", features).relu())
        return features + model.through("norm2", hidden)

    layers = (
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.BatchNorm2d(4),
    )
    names = ("conv1", "norm1", "conv2", "norm2")
    model, images = lively(Layers(run, **dict(zip(names, layers, strict=True)))), random_images()
    prepared = prepare(model, images)
    assert (prepared.folded, norms(prepared.module)) == (1, 1)
    assert "something else reads" in prepared.notes[0]
    assert_equal(model, prepared, images)


def test_what_the_trace_cannot_see_the_comparison_does() -> None:
    def run(model: Layers, images: Tensor) -> Tensor:
        weight = model.layers["conv"].weight
        assert isinstance(weight, Tensor)
        return model.through("norm", model.through("conv", images)) + F.conv2d(images, weight)

    model = lively(Layers(run, conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
    prepared = prepare(model, random_images())
    assert prepared.folded == 0
    assert "folding batch norms changed a prediction by" in prepared.notes[0]
    assert_equal(model, prepared, random_images())


def test_a_change_that_makes_a_model_fail_is_not_made() -> None:
    def run(model: Layers, images: Tensor) -> Tensor:
        norm = model.layers["norm"]
        assert norm.num_features == 4
        result: Tensor = norm(model.through("conv", images))
        return result

    model = lively(Layers(run, conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
    prepared = prepare(model, random_images())
    assert prepared.folded == 0
    assert "folding batch norms made the model fail (AttributeError" in prepared.notes[0]
    assert_equal(model, prepared, random_images())


def test_a_convolution_that_runs_twice_is_not_folded() -> None:
    def run(model: Layers, images: Tensor) -> Tensor:
        return model.through("norm", model.through("conv", images)) + model.through("conv", images * 2)

    model = lively(Layers(run, conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
    prepared = prepare(model, random_images())
    assert prepared.folded == 0
    assert "the layers they follow run more than once" in prepared.notes[0]
    assert_equal(model, prepared, random_images())


def test_a_batch_norm_with_two_names_is_folded_under_both() -> None:
    def run(model: Layers, images: Tensor) -> Tensor:
        return model.through("again", model.through("conv", images))

    norm = nn.BatchNorm2d(4)
    model = lively(Layers(run, conv=nn.Conv2d(3, 4, 3), norm=norm, again=norm))
    prepared = prepare(model, random_images())
    assert (prepared.folded, norms(prepared.module)) == (1, 0)
    assert_equal(model, prepared, random_images())


def test_convolutions_that_share_a_weight_are_folded_apart() -> None:
    def run(model: Layers, images: Tensor) -> Tensor:
        return model.through("norm", model.through("conv", images)) + model.through("other", images)

    model = lively(Layers(run, conv=nn.Conv2d(3, 4, 3), other=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
    model.layers["other"].weight = model.layers["conv"].weight
    prepared = prepare(model, random_images())
    assert prepared.folded == 1
    assert_equal(model, prepared, random_images())


def test_dropout_layers_are_gone() -> None:
    model = sequence(nn.Conv2d(3, 4, 3), nn.Dropout2d(0.5))
    prepared = prepare(model, random_images())
    assert not any(isinstance(module, nn.Dropout2d) for module in prepared.module.modules())
    assert_equal(model, prepared, random_images())


def test_a_model_that_draws_random_numbers_is_compared_with_the_same_ones() -> None:
    def run(model: Layers, images: Tensor) -> Tensor:
        result: Tensor = model.layers["norm"](model.through("conv", images + torch.rand_like(images)))
        return result

    model = lively(Layers(run, conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
    assert prepare(model, random_images()).folded == 1


def test_a_model_that_cannot_be_copied_is_used_as_given() -> None:
    model = sequence(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    model.lock = threading.Lock()  # type: ignore[assignment]
    prepared = prepare(model, random_images())
    assert (prepared.module, prepared.folded, prepared.difference) == (model, 0, 0.0)
    assert "cannot be copied (TypeError" in prepared.notes[0]
    assert all(module.training for module in model.modules())


def test_a_model_that_keeps_its_features_is_copied_before_it_runs() -> None:
    def run(model: Layers, images: Tensor) -> Tensor:
        model.features = model.through("conv", images)
        return model.through("norm", model.features)

    model = lively(Layers(run, conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
    assert prepare(model, random_images()).notes == ()
    assert not hasattr(model, "features")


def test_a_model_without_convolutions_needs_no_adapter() -> None:
    model = sequence(nn.Flatten(), nn.Linear(768, 5), nn.BatchNorm1d(5))
    assert isinstance(prepare(model, random_images()).module, Layers)


def test_what_gives_no_predictions_by_task_is_refused() -> None:
    with pytest.raises(PredictionError, match="it gave a Tensor"):
        prepare(nn.Conv2d(3, 4, 3), random_images())


def test_predictions_that_depend_on_nothing_differentiably_are_compared_all_the_same() -> None:
    model = Layers(lambda model, images: model.through("conv", images).argmax(1), conv=nn.Conv2d(3, 4, 3))
    prepared = prepare(model, random_images())
    assert prepared.difference == 0
    assert torch.equal(prepared.module(random_images())["depth"], model(random_images())["depth"])


def test_tiny_gradients_are_compared_by_their_direction_too() -> None:
    shrink = 1e-15
    model = lively(
        Layers(
            lambda model, images: shrink * model.through("norm", model.through("conv", images)),
            conv=nn.Conv2d(3, 4, 3),
            norm=nn.BatchNorm2d(4),
        )
    )
    prepared = prepare(model, random_images())
    assert prepared.folded == 1
    assert prepared.notes == ()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_come_in_the_memory_format_of_the_images(memory_format: torch.memory_format) -> None:
    model, images = small_model(TASKS), small_batch(TASKS).images.contiguous(memory_format=memory_format)
    gradient = results(prepare(model, images).module, images)[1]
    assert gradient.stride() == images.stride()


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(64, 64, 3, padding=1),
        nn.Conv2d(64, 64, 1, bias=False),
        nn.Conv2d(64, 64, (3, 5), padding=(0, 2)),
        nn.Conv2d(64, 64, 3, padding=4, dilation=4),
        nn.Conv2d(64, 64, 3, dilation=(1, 2)),
    ],
    ids=["same", "1x1", "oblong", "dilated", "shrinking"],
)
def test_packed_convolutions_and_their_gradients_are_the_same(convolution: nn.Conv2d) -> None:
    model, images = sequence(nn.Conv2d(3, 64, 1), nn.Tanh(), convolution, nn.Tanh()), random_images(1, 5)
    prepared = prepare(model, images)
    assert [type(module) for module in prepared.module.modules()].count(PackedConvolution) == 1
    assert_equal(model, prepared, images)
    assert_equal(model, prepared, random_images(3, 7))


def test_packed_convolutions_go_backward_more_than_once() -> None:
    model, images = sequence(nn.Conv2d(3, 512, 3, padding=1)), random_images(1, 4).requires_grad_()
    prepared = prepare(model, images)
    assert any(isinstance(module, PackedConvolution) for module in prepared.module.modules())
    prediction = prepared.module(images)["depth"]
    first = torch.autograd.grad(prediction.sum(), images, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(prediction.sum(), images)[0])


def test_a_prepared_model_can_be_prepared_again() -> None:
    model, images = sequence(nn.Conv2d(3, 512, 3), nn.BatchNorm2d(512)), random_images(1, 4)
    prepared = prepare(model, images)
    assert any(isinstance(module, PackedConvolution) for module in prepared.module.modules())
    assert prepare(prepared.module, images).difference == 0
    assert_equal(model, prepare(prepared.module, images), images)


@pytest.mark.parametrize(
    "convolution",
    [nn.Conv2d(3, 512, 3, stride=2), nn.Conv2d(3, 513, 3, groups=3), nn.Conv2d(3, 512, 1, padding=1)],
    ids=["strided", "grouped", "padded-beyond-its-reach"],
)
def test_other_convolutions_are_not_packed(convolution: nn.Conv2d) -> None:
    model, images = sequence(convolution), random_images(1, 4)
    prepared = prepare(model, images)
    assert not any(isinstance(module, PackedConvolution) for module in prepared.module.modules())
    assert_equal(model, prepared, images)


def test_bfloat16_gives_float32_predictions_and_gradients() -> None:
    model, images = lively(small_model(TASKS)), small_batch(TASKS).images
    prepared = prepare(model, images, precision="bfloat16")
    predictions, gradient = results(prepared.module, images)
    assert {value.dtype for value in (*predictions.values(), gradient)} == {torch.float32}
    assert 1e-4 < prepared.difference < 0.1
    assert set(prepared.module(images, only={"depth"})) == {"depth"}
    expected = model(images)["depth"].detach()
    torch.testing.assert_close(
        predictions["depth"], expected, rtol=0, atol=prepared.difference * float(expected.abs().max())
    )


def test_tf32_on_a_cpu_changes_nothing_and_says_so() -> None:
    model, images = lively(small_model(TASKS)), small_batch(TASKS).images
    prepared = prepare(model, images, precision="tf32")
    assert prepared.notes == ("tf32 has no effect on a CPU",)
    assert_equal(model, prepared, images)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of torch's own deprecations
def test_without_a_compiler_the_model_runs_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    config = importlib.import_module("torch._inductor.config")
    monkeypatch.setattr(config.cpp, "cxx", (None, "no-such-compiler"))
    monkeypatch.setattr(config, "force_disable_caches", True)
    model, images = lively(small_model(TASKS)), small_batch(TASKS).images
    prepared = prepare(model, images, compile_model=True)
    assert "compiling made the model fail (InductorError" in prepared.notes[0]
    assert_equal(model, prepared, images)


def switches() -> dict[str, str]:
    backends = torch.backends
    return {
        "products": backends.cuda.matmul.fp32_precision,
        "convolutions": backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "products on the CPU": backends.mkldnn.matmul.fp32_precision,  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize(
    ("precision", "inside"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")]
)
def test_the_precision_holds_inside_the_context_only(precision: Precision, inside: str) -> None:
    before = switches()
    with precision_context(precision):
        assert switches() == {"products": inside, "convolutions": inside, "products on the CPU": "ieee"}
    assert switches() == before


def test_preparing_leaves_torchs_switches_alone() -> None:
    before = switches()
    prepare(small_model(TASKS), small_batch(TASKS).images, precision="tf32")
    assert switches() == before
