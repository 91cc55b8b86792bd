"""`TreeModel`: the same as composing its levels by hand, each run once, and only those that are needed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import InvalidError
from core.layouts import Layout, LayoutError, enumerate_layouts
from core.models import Preprocess, TreeModel, build_model
from core.models.heads import DeeplabHead
from core.specs.preprocessing import Preprocessing
from core.tasks import Task, profile
from tests.core.synthetic import DIGITS, NYUV2, SCENES, SMALL, small_batch, small_model

TASKS = SMALL[:3]
BRANCHED = [[[0, 1, 2]], [[0, 2], [1]], [[0, 2], [1]], [[0], [1], [2]], [[0], [1], [2]]]
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CAFFE = Preprocessing(channel_order="bgr", scale=255.0, mean=(104.007, 116.669, 122.679))


@contextmanager
def counted(model: TreeModel) -> Iterator[dict[str, int]]:
    """How often each level's modules and each head ran."""
    names = [name for name, _ in model.named_modules() if name.startswith("stages.") and name.count(".") == 2]
    names += [f"heads.{task.name}" for task in model.tasks]
    calls = dict.fromkeys(names, 0)

    def count(name: str) -> None:
        def hook(*_: object) -> None:
            calls[name] += 1

        model.get_submodule(name).register_forward_hook(hook)

    for name in names:
        count(name)
    yield calls


def by_hand(model: TreeModel, images: Tensor, paths: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Every task by itself: down its own path of modules."""
    predictions = {}
    for task, path in paths.items():
        features = images
        for level, group in enumerate(path):
            features = model.get_submodule(f"stages.{level}.{group}")(features)
        predictions[task] = model.heads[task](features)
    return predictions


@torch.no_grad()
def test_a_branched_model_is_the_composition_of_its_paths() -> None:
    model, images = small_model(TASKS, BRANCHED), small_batch(TASKS).images
    paths = {"segmentation": (0, 0, 0, 0, 0), "normals": (0, 1, 1, 1, 1), "depth": (0, 0, 0, 2, 2)}
    expected = by_hand(model, images, paths)
    predicted = model(images)
    assert list(predicted) == ["segmentation", "normals", "depth"]
    assert all(torch.equal(predicted[name], expected[name]) for name in paths)


@torch.no_grad()
@pytest.mark.parametrize("index", range(0, 51, 5))
def test_every_layout_follows_its_own_paths(index: int) -> None:
    layout = enumerate_layouts(3, 5)[index]
    model, images = small_model(TASKS, layout), small_batch(TASKS).images
    expected = by_hand(model, images, {task.name: layout.path(n) for n, task in enumerate(TASKS)})
    predicted = model(images)
    assert all(torch.equal(predicted[task.name], expected[task.name]) for task in TASKS)


@torch.no_grad()
@pytest.mark.parametrize(
    "layout", ["all-shared", "independent", BRANCHED], ids=["all-shared", "independent", "tree"]
)
def test_each_task_sets_module_runs_once(layout: object) -> None:
    model = small_model(TASKS, layout)
    with counted(model) as calls:
        model(small_batch(TASKS).images)
    assert set(calls.values()) == {1}
    assert len(calls) == sum(map(len, model.layout.levels)) + 3


@torch.no_grad()
def test_only_runs_the_branch_of_the_task_asked_for() -> None:
    model = small_model(TASKS, BRANCHED)
    with counted(model) as calls:
        predicted = model(small_batch(TASKS).images, only={"normals"})
    ran = [name for name, count in calls.items() if count]
    assert list(predicted) == ["normals"]
    assert ran == ["stages.0.0", "stages.1.1", "stages.2.1", "stages.3.1", "stages.4.1", "heads.normals"]


@torch.no_grad()
@pytest.mark.parametrize("only", [{"depth"}, {"depth", "segmentation"}, ["normals", "depth"], ()])
def test_only_changes_no_prediction(only: set[str] | list[str]) -> None:
    model, images = small_model(TASKS, BRANCHED), small_batch(TASKS).images
    every, some = model(images), model(images, only=only)
    assert set(some) == set(only)
    assert all(torch.equal(some[name], every[name]) for name in only)


def test_only_a_task_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidError, match="no task 'gloss'; it has segmentation, normals, depth"):
        small_model(TASKS)(small_batch(TASKS).images, only={"gloss"})


def touched(model: TreeModel, task: str) -> set[str]:
    """Parameters that a task's prediction depends on."""
    model.requires_grad_(True).zero_grad()
    model(small_batch(TASKS).images)[task].square().sum().backward()
    return {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}


def test_tasks_of_an_independent_layout_share_nothing() -> None:
    model = small_model(TASKS, "independent")
    parts = [touched(model, task.name) for task in TASKS]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not parts[1] & parts[2]
    assert not parts[0] & parts[2]


def test_tasks_of_an_all_shared_layout_share_everything_but_their_heads() -> None:
    model = small_model(TASKS, "all-shared")
    one, other = touched(model, "normals"), touched(model, "depth")
    assert not {name for name in one ^ other if not name.startswith("heads.")}


@pytest.mark.parametrize("name", ["sapling", "deeplab_resnet34"])
@pytest.mark.parametrize("index", [0, 2, 14])
def test_the_backbones_parameters_are_those_that_the_layout_counts(name: str, index: int) -> None:
    layout = enumerate_layouts(3, 5)[index]
    with torch.device("meta"):
        model = build_model(name, layout, TASKS[:3])
    counted = sum(parameter.numel() for parameter in model.stages.parameters())
    assert counted == layout.parameter_count(name, "torch")


def test_deeplab_has_the_papers_ninety_million_parameters_with_its_three_heads() -> None:
    with torch.device("meta"):
        model = build_model("deeplab_resnet34", "all-shared", NYUV2)
    assert sum(parameter.numel() for parameter in model.parameters()) == 90_695_664


@pytest.mark.parametrize(("side", "size"), [(64, 9), (128, 17), (321, 41)])
def test_deeplab_has_output_stride_eight_and_a_pool_that_rounds_up(side: int, size: int) -> None:
    with torch.device("meta"):
        model = build_model("deeplab_resnet34", "all-shared", NYUV2).eval()
        predicted = model(torch.empty(1, 3, side, side))
    assert {tuple(value.shape[-2:]) for value in predicted.values()} == {(size, size)}
    assert [value.shape[1] for value in predicted.values()] == [40, 3, 1]


@torch.no_grad()
def test_deeplab_predicts_finite_numbers_from_a_real_image() -> None:
    model = build_model("deeplab_resnet34", "all-shared", NYUV2[1:2]).eval()
    predicted = model(torch.rand(1, 3, 64, 64))
    assert predicted["normals"].shape == (1, 3, 9, 9)
    assert torch.isfinite(predicted["normals"]).all()


def test_a_deeplab_head_is_the_sum_of_four_branches_of_growing_dilation() -> None:
    model = build_model("deeplab_resnet34", "all-shared", NYUV2[2:])
    convolutions = [module for module in model.heads.modules() if isinstance(module, nn.Conv2d)]
    wide = [(layer.dilation, layer.padding) for layer in convolutions if layer.kernel_size == (3, 3)]
    assert wide == [((n, n), (n, n)) for n in (6, 12, 18, 24)]


@torch.no_grad()
def test_dropout_of_a_deeplab_head_works_in_train_mode_only() -> None:
    torch.manual_seed(0)
    head, features = DeeplabHead(8, 1), torch.rand(1, 8, 4, 4)
    assert not torch.equal(head.train()(features), head(features))
    assert torch.equal(head.eval()(features), head(features))


@torch.no_grad()
@pytest.mark.parametrize("side", [16, 64])
def test_sapling_predicts_dense_tasks_at_a_quarter_of_the_side(side: int) -> None:
    predicted = small_model(SCENES)(torch.rand(2, 3, side, side))
    assert [tuple(value.shape) for value in predicted.values()] == [
        (2, task.channels, side // 4, side // 4) for task in SCENES
    ]


@torch.no_grad()
def test_sapling_predicts_one_row_of_scores_for_classification() -> None:
    predicted = small_model(DIGITS)(torch.rand(2, 3, 16, 32))
    assert [tuple(value.shape) for value in predicted.values()] == [(2, 10), (2, 10)]


@torch.no_grad()
def test_a_classification_head_tells_left_from_right() -> None:
    model, images = small_model(DIGITS), torch.rand(1, 3, 16, 32)
    assert not torch.allclose(model(images)["left"], model(images.flip(3))["left"], atol=1e-4)


@pytest.mark.parametrize("settings", [Preprocessing(), IMAGENET, CAFFE], ids=["none", "imagenet", "caffe"])
def test_preprocessing_reorders_scales_and_normalises(settings: Preprocessing) -> None:
    images = torch.rand(2, 3, 4, 5)
    found = Preprocess(settings)(images)
    order = (2, 1, 0) if settings.channel_order == "bgr" else (0, 1, 2)
    for channel, source in enumerate(order):
        expected = (images[:, source] * settings.scale - settings.mean[channel]) / settings.std[channel]
        torch.testing.assert_close(found[:, channel], expected)


@torch.no_grad()
def test_a_models_preprocessing_lives_inside_it() -> None:
    images = small_batch(TASKS).images
    plain = small_model(TASKS)
    normalised = build_model("sapling", "all-shared", TASKS, preprocessing=IMAGENET).eval()
    normalised.load_state_dict(plain.state_dict())
    outside = plain(Preprocess(IMAGENET)(images))
    assert all(torch.equal(normalised(images)[name], outside[name]) for name in outside)


def test_a_models_size_is_part_of_it_and_attacks_go_through() -> None:
    resized = build_model(
        "sapling", "all-shared", TASKS, preprocessing=replace(IMAGENET, size=(32, 48))
    ).eval()
    fitting = build_model("sapling", "all-shared", TASKS, preprocessing=IMAGENET).eval()
    fitting.load_state_dict(resized.state_dict())
    images = torch.rand(2, 3, 20, 30).requires_grad_()
    shrunk = F.interpolate(images, (32, 48), mode="bilinear", antialias=True)
    for name, value in resized(images).items():
        torch.testing.assert_close(value, fitting(shrunk)[name])
    found = resized(images)["depth"].sum()
    (gradient,) = torch.autograd.grad(found, images)
    assert gradient.shape == images.shape
    assert gradient.flatten(1).any(1).all()
    exact = torch.rand(1, 3, 32, 48)
    torch.testing.assert_close(resized(exact)["depth"], fitting(exact)["depth"])


def test_preprocessing_adds_nothing_to_the_state_dict() -> None:
    plain, other = (
        build_model("sapling", "all-shared", TASKS, preprocessing=settings) for settings in (None, CAFFE)
    )
    assert plain.state_dict().keys() == other.state_dict().keys()


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("scale", {"scale": 0.0}),
        ("mean.1", {"mean": (0.0, float("nan"), 0.0)}),
        ("std.2", {"std": (1.0, 1.0, 0.0)}),
        ("size", {"size": (0, 8)}),
        ("size", {"size": (8, 10_000)}),
    ],
)
def test_preprocessing_that_is_no_affine_map_is_refused(field: str, changes: dict[str, float]) -> None:
    with pytest.raises(InvalidError) as caught:
        Preprocessing(**changes)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_layout_of_another_number_of_levels_is_refused() -> None:
    with pytest.raises(LayoutError, match="5 levels"):
        build_model("sapling", Layout.all_shared(3, 4), TASKS)


def test_a_layout_of_other_tasks_is_refused() -> None:
    with pytest.raises(LayoutError):
        build_model("sapling", Layout.all_shared(2, 5), TASKS)


def test_layouts_may_name_their_tasks() -> None:
    named = [[["segmentation", "depth"], ["normals"]]] * 5
    numbered: list[list[list[int]]] = [[[0, 2], [1]]] * 5
    assert small_model(TASKS, named).layout == small_model(TASKS, numbered).layout


@torch.no_grad()
def test_the_order_in_which_a_layout_lists_its_sets_does_not_matter() -> None:
    images = small_batch(TASKS).images
    one = small_model(TASKS, [[[0, 2], [1]]] * 5)
    other = small_model(TASKS, [[[1], [2, 0]]] * 5)
    other.load_state_dict(one.state_dict())
    assert all(torch.equal(one(images)[task.name], other(images)[task.name]) for task in TASKS)


@pytest.mark.parametrize("name", ["scenes", "digits", "nyuv2", "taskonomy", "cityscapes"])
def test_every_profile_has_a_model(name: str) -> None:
    tasks: tuple[Task, ...] = profile(name).tasks
    assert set(small_model(tasks)(torch.rand(1, 3, 32, 32))) == {task.name for task in tasks}
